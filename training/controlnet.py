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
from training.checkpoint import Checkpoint

THRESHOLDS = (60, 140)  # of cv2.Canny on 8-bit grey


def build(unet: UNet2DConditionModel) -> ControlNetModel:
    """A copy of the UNet's encoder; its condition is embedded with two halvings (the latents' factor is 4)."""
    control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 32, 96))
    control.set_attn_processor(AttnProcessor())
    return control.to(memory_format=torch.channels_last)


def canny(image: np.ndarray) -> np.ndarray:
    """Edges of a uint8 RGB picture [H, W, 3]: uint8 [H, W], 0 or 255."""
    return cv2.Canny(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), *THRESHOLDS)


def conditions(images: np.ndarray) -> Tensor:
    """The ControlNet's input for pictures [N, H, W, 3]: float [N, 3, H, W] in [0, 1]."""
    edges = np.stack([canny(image) for image in images]).astype(np.float32) / 255
    return torch.from_numpy(edges)[:, None].expand(-1, 3, -1, -1).contiguous()


def controlled(unet: UNet2DConditionModel, control: ControlNetModel, condition: Tensor) -> torch.nn.Module:
    """A module with the UNet's call signature that adds the control."""
    return ControlledUNet(unet, control, condition)


class ControlledUNet(torch.nn.Module):
    """UNet and ControlNet as one noise predictor for a fixed condition [B, 3, H, W]."""

    def __init__(self, unet: UNet2DConditionModel, control: ControlNetModel, condition: Tensor) -> None:
        super().__init__()
        self.unet, self.control, self.condition = unet, control, condition

    def forward(self, noisy: Tensor, t: Tensor, text: Tensor) -> object:
        down, mid = self.control(noisy, t, text, controlnet_cond=self.condition, return_dict=False)
        return self.unet(noisy, t, text, down_block_additional_residuals=down, mid_block_additional_residual=mid)


def train(
    folder: Path, count: int, unet: UNet2DConditionModel, *, seconds: float, batch: int = 32
) -> ControlNetModel:
    """Train the copy on a frozen UNet for a time budget."""
    unet = unet.requires_grad_(False)
    unet.set_attn_processor(AttnProcessor())
    control = build(unet)
    optimizer = torch.optim.AdamW(control.parameters(), lr=6e-4, weight_decay=0.01, fused=True)
    state = Checkpoint(folder / "controlnet.pt", control, optimizer)
    state.load()
    rng = np.random.default_rng((state.samples, 3))
    batches = denoiser.Batches(folder, count, rng)
    alpha_bar = denoiser.scheduler().alphas_cumprod
    tables = alpha_bar, denoiser.loss_weights(alpha_bar)
    losses: list[float] = []
    while state.seconds < seconds:
        start = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = denoiser.learning_rate(state.seconds / seconds, state.samples * 4, peak=6e-4)
        drawn = batches.draw(batch)
        model = controlled(unet, control, conditions(batches.renders.images[drawn[3]]))
        loss = denoiser.noise_loss(model, drawn, tables, rng)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(control.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        state.advance(batch, time.monotonic() - start)
        if state.due(30):
            print(
                f"controlnet {state.seconds:.0f}s {state.samples} loss {np.mean(losses[-100:]):.4f}",
                flush=True,
            )
            state.save()
    state.save()
    return control.eval()


def load(folder: Path, unet: UNet2DConditionModel) -> ControlNetModel:
    """As far as its training got; without a checkpoint a copy that changes nothing."""
    control = build(unet)
    Checkpoint(folder / "controlnet.pt", control).load()
    return control.eval()
