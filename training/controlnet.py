"""A ControlNet that makes samples follow Canny edges."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor

from training import unet as denoiser
from training.checkpoint import Checkpoint, wait_while_paused
from training.device import device

THRESHOLDS = (60, 140)  # of cv2.Canny on 8-bit grey


def build(unet: UNet2DConditionModel) -> ControlNetModel:
    """A copy of the UNet's encoder; its condition is embedded with three halvings (the latents' factor is 8)."""
    control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 32, 64, 96))
    open_condition(control)
    control.set_attn_processor(AttnProcessor())
    return control.to(memory_format=torch.channels_last)


@torch.no_grad()
def open_condition(control: ControlNetModel) -> None:
    """Let the copy see the condition from the start.

    diffusers zeroes the last layer of the condition's embedding as well as the outgoing layers; the latter are
    enough to begin without effect, and a short training never got past both.
    """
    embedding = control.controlnet_cond_embedding
    layers = [embedding.conv_in, *embedding.blocks, embedding.conv_out]
    generator = torch.Generator().manual_seed(0)
    for layer in layers:
        inputs = layer.weight[0].numel()
        layer.weight.normal_(0, (3 / inputs) ** 0.5, generator=generator)  # SiLU loses about a factor of 1.7
        layer.bias.zero_()


def parameter_groups(control: ControlNetModel, rate: float) -> list[dict]:
    """The new layers learn three times as fast as the copied ones; ``factor`` holds the ratio."""
    new = [control.controlnet_cond_embedding, control.controlnet_down_blocks, control.controlnet_mid_block]
    fresh = [p for part in new for p in part.parameters()]
    known = {id(p) for p in fresh}
    copied = [p for p in control.parameters() if id(p) not in known]
    return [{"params": copied, "lr": rate, "factor": 1.0}, {"params": fresh, "lr": rate, "factor": 3.0}]


def canny(image: np.ndarray) -> np.ndarray:
    """Edges of a uint8 RGB picture [H, W, 3]: uint8 [H, W], 0 or 255."""
    return cv2.Canny(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), *THRESHOLDS)


def conditions(images: np.ndarray) -> Tensor:
    """The ControlNet's input for pictures [N, H, W, 3]: float [N, 3, H, W] in [0, 1]."""
    edges = np.stack([canny(image) for image in images]).astype(np.float32) / 255
    return torch.from_numpy(edges)[:, None].expand(-1, 3, -1, -1).contiguous()


class ControlledUNet(torch.nn.Module):
    """UNet and ControlNet as one noise predictor for a fixed condition [B, 3, H, W]."""

    def __init__(self, unet: UNet2DConditionModel, control: ControlNetModel, condition: Tensor) -> None:
        super().__init__()
        self.unet, self.control, self.condition = unet, control, condition

    def forward(self, noisy: Tensor, t: Tensor, text: Tensor) -> object:
        """The UNet's output object, as without control."""
        down, mid = self.control(noisy, t, text, controlnet_cond=self.condition, return_dict=False)
        return self.unet(noisy, t, text, down_block_additional_residuals=down, mid_block_additional_residual=mid)


def work(rank: int, workers: int, folder: Path, unet_folder: Path, count: int, seconds: float, batch: int) -> None:
    """One worker: trains the copy on the frozen UNet in ``unet_folder``; worker 0 keeps the checkpoint."""
    denoiser.join_workers(rank, workers, folder)
    unet = UNet2DConditionModel.from_pretrained(unet_folder).requires_grad_(False)
    unet.set_attn_processor(AttnProcessor())
    unet.to(device(), memory_format=torch.channels_last)
    control = build(unet).to(device())
    groups = parameter_groups(control, 6e-4)
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.99), fused=True)
    state = Checkpoint(folder / "controlnet.pt", control, optimizer)
    start = folder / "start" / "controlnet-canny"
    if not state.load() and start.exists():
        denoiser.start_from(start, control)
    denoiser.synchronise(control, 0.0, workers)
    rng = np.random.default_rng((state.samples, rank, 3))
    torch.manual_seed(int(rng.integers(2**31)))
    batches = denoiser.Batches(folder, count, rng)
    alpha_bar = denoiser.scheduler().alphas_cumprod
    tables = alpha_bar, denoiser.loss_weights(alpha_bar)
    losses: list[float] = []
    clock = time.process_time()
    while state.seconds < seconds:
        for group in optimizer.param_groups:
            rate = denoiser.learning_rate(state.seconds / seconds, state.samples * 4, peak=6e-4)
            group["lr"] = group["factor"] * rate
        for _ in range(denoiser.SYNC):
            wait_while_paused(folder)
            drawn = batches.draw(batch)
            model = ControlledUNet(unet, control, conditions(batches.renders.images[drawn[3]]).to(device()))
            loss = denoiser.noise_loss(model, drawn, tables, rng)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(control.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        elapsed = denoiser.synchronise(control, time.process_time() - clock, workers)
        clock = time.process_time()
        state.advance(batch * workers * denoiser.SYNC, elapsed)
        if rank == 0 and state.due(30):
            print(f"controlnet {state.seconds:.0f}s {state.samples} loss {np.mean(losses[-100:]):.4f}", flush=True)
            state.save()
    if rank == 0:
        state.save()
    denoiser.leave_workers(workers)


def train(
    folder: Path, unet: UNet2DConditionModel, count: int, *, seconds: float, workers: int = 2, batch: int | None = None
) -> None:
    """Train for ``seconds`` of CPU time in all on a finished UNet; on a GPU alone."""
    workers, batch = (1, batch or 128) if device().type == "cuda" else (workers, batch or 24)
    unet_folder = folder / "unet-for-control"
    unet.save_pretrained(unet_folder)
    given = (workers, folder, unet_folder, count, seconds, batch)
    if workers == 1:
        work(0, *given)
        return
    torch.multiprocessing.spawn(work, given, nprocs=workers)


def load(folder: Path, unet: UNet2DConditionModel) -> ControlNetModel:
    """As far as its training got; without a checkpoint a copy that changes nothing."""
    control = build(unet)
    Checkpoint(folder / "controlnet.pt", control).load()
    return control.eval()
