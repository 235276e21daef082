"""The miniature UNet and its training: noise prediction on fixed latents with a frozen text tower."""

from __future__ import annotations

import copy
import os
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTokenizer

from training import clip, latents
from training.checkpoint import Checkpoint, wait_while_paused
from training.dataset import CLIP, open_renders
from training.device import autocast, device
from training.tokenizer import token_ids
from tuneavideo.temporal import clip_norms
from videoedit.attention.processors import FrameState

SUBJECT_WEIGHT = 3.0  # loss inside the subject, relative to outside
EMPTY = 0.1  # share of empty captions, for classifier-free guidance
MIN_SNR = 5.0
CLIP_SHARE = 1 / 3  # of the batches: clips of CLIP frames
PEAK = {"new": 1e-3, "known": 3e-4}  # learning rate of a UNet from nothing and of one with weights to begin with
SYNC = 12  # steps between two averagings of the workers' weights
SAVE = 180  # seconds between two checkpoints
PATIENCE = timedelta(hours=24)  # of a worker that waits for the others


def build() -> UNet2DConditionModel:
    """10.9 M parameters: 16x16 convolutions, text and self-attention at 8x8 and 4x4."""
    unet = UNet2DConditionModel(
        sample_size=latents.GRID,
        in_channels=latents.CHANNELS,
        out_channels=latents.CHANNELS,
        block_out_channels=(64, 128, 192),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=128,
        attention_head_dim=(1, 2, 3),  # diffusers reads this as the number of heads: 64 wide each
    )
    unet.set_attn_processor(AttnProcessor())  # faster than the fused kernel at these sizes on a CPU
    return unet.to(memory_format=torch.channels_last)


@torch.no_grad()
def widen(layer: nn.Conv2d, known: nn.Conv2d) -> None:
    """Copy a convolution into one with more inputs or outputs.

    New outputs begin at zero. New inputs begin at random: with both at zero neither would find a gradient.
    """
    rows, cols = known.weight.shape[:2]
    layer.weight.normal_(0, known.weight.std().item())
    layer.weight[rows:] = 0
    layer.weight[:rows, :cols] = known.weight
    layer.bias.zero_()
    layer.bias[: len(known.bias)] = known.bias


def start_from(folder: Path, unet: nn.Module) -> None:
    """Begin with the UNet (or ControlNet) of an earlier model: its latent channels must be the first of these."""
    known = type(unet).from_pretrained(folder).float().to(unet.device)
    for name in ("conv_in", "conv_out"):
        if hasattr(unet, name):
            widen(getattr(unet, name), getattr(known, name))
    ends = ("conv_in.", "conv_out.", "controlnet_cond_embedding.")
    inner = {name: value for name, value in known.state_dict().items() if not name.startswith(ends)}
    missing, unexpected = unet.load_state_dict(inner, strict=False)
    if unexpected or any(not name.startswith(ends) for name in missing):
        raise ValueError(f"{folder} has another shape: unknown {unexpected}, missing {missing}")


def pool_norms(unet: nn.Module) -> FrameState:
    """Let those group norms that Tune-A-Video pools see all frames of a clip; the state says how many it has."""
    state = FrameState()
    for name, norm in clip_norms(unet, state).items():
        unet.set_submodule(name, norm)
    return state


def scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def loss_weights(alpha_bar: Tensor) -> Tensor:
    """Min-SNR weights of a noise-prediction loss [1000]: min(SNR, 5) / SNR."""
    snr = alpha_bar / (1 - alpha_bar)
    return snr.clamp(max=MIN_SNR) / snr


def timestep_density(weights: Tensor) -> Tensor:
    """How often each timestep is drawn [1000]: less where the loss counts little (the least noisy ones)."""
    density = weights.clamp(min=0.25)
    return density / density.sum()


def spread_timesteps(rng: np.random.Generator, count: int, density: Tensor) -> Tensor:
    """One random timestep from each of ``count`` equally likely parts of the schedule, int64 [count]."""
    level = (np.arange(count) + rng.random(count)) / count
    t = np.searchsorted(np.cumsum(density.numpy()), level)
    return torch.from_numpy(t.clip(max=len(density) - 1))


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, step: int) -> None:
    """Exponential moving average over about the last hundred rounds of SYNC steps."""
    keep = min(0.985, (1 + step) / (10 + step))
    for kept, new in zip(average.parameters(), module.parameters(), strict=True):
        kept.lerp_(new, 1 - keep)


def learning_rate(share: float, samples: int, peak: float, floor: float = 2e-5) -> float:
    """Cosine over the share of the time budget spent, after a short warm-up by samples."""
    fade = 0.5 * (1 + np.cos(np.pi * min(share, 1)))
    return float(min(1, 0.02 + samples / 8000) * (floor + (peak - floor) * fade))


class Batches:
    """Draws (latents [B, C, 16, 16], weights [B, 1, 16, 16], text features [B, 77, 128]) of a split of the renders."""

    def __init__(self, folder: Path, count: int, rng: np.random.Generator, split: str = "train") -> None:
        self.renders = open_renders(folder / "renders", split, count)
        _, self.latents, self.masks = latents.prepare(folder, self.renders, split)
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.text = clip.load_text(self.tokenizer, folder).to(device())
        self.rng, self.count = rng, count

    @torch.no_grad()
    def draw(self, size: int, frames: int = 1) -> tuple[Tensor, Tensor, Tensor, np.ndarray]:
        """A batch of ``size`` pictures; ``frames`` neighbours at a time are one clip with one caption."""
        first = np.sort(self.rng.integers(0, self.count // frames, size // frames)) * frames
        captions = ["" if self.rng.random() < EMPTY else self.renders.caption(self.rng, int(i)) for i in first]
        ids = torch.from_numpy(token_ids(self.tokenizer, captions)).to(device())
        with autocast():
            text = self.text(input_ids=ids).last_hidden_state.repeat_interleave(frames, 0)
        index = (first[:, None] + np.arange(frames)).ravel()
        x0, share = (torch.from_numpy(v[index]).to(device()).float() for v in (self.latents, self.masks))
        x0 = x0.contiguous(memory_format=torch.channels_last)
        weight = 1 + (SUBJECT_WEIGHT - 1) * share
        return x0, weight, text.float(), index


def join_workers(rank: int, workers: int, folder: Path) -> None:
    """Meet the other workers started by the same process."""
    torch.set_num_threads(1)
    if workers > 1:
        store = dist.FileStore(str(folder / f"workers-{os.getppid()}.store"), workers)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=workers, timeout=PATIENCE)


def leave_workers(workers: int) -> None:
    if workers > 1:
        dist.barrier()
        dist.destroy_process_group()


def synchronise(module: nn.Module, seconds: float, workers: int) -> float:
    """Average the workers' weights, in one message; returns the slowest worker's ``seconds``.

    Every step would have each wait for the other on a busy machine; every SYNC steps costs almost nothing.
    """
    if workers == 1:
        return seconds
    weights = [p.data for p in module.parameters()]
    flat = torch.cat([w.reshape(-1) for w in weights])
    dist.all_reduce(flat)
    flat /= workers
    for weight, part in zip(weights, flat.split([w.numel() for w in weights]), strict=True):
        weight.copy_(part.view(weight.shape))
    clock = torch.tensor(seconds, dtype=torch.float64)
    dist.all_reduce(clock, dist.ReduceOp.MAX)
    return clock.item()


def noise_loss(
    unet: nn.Module, batch: tuple, tables: tuple[Tensor, Tensor], rng: np.random.Generator, frames: int = 1
) -> Tensor:
    """The weighted squared error of the predicted noise; ``frames`` neighbours at a time have one timestep."""
    x0, weight, text, _ = batch
    alpha_bar, snr_weight = tables
    density = timestep_density(snr_weight)
    t = spread_timesteps(rng, len(x0) // frames, density).repeat_interleave(frames)
    importance = (snr_weight[t] / (density[t] * len(density))).to(x0.device)
    noise = torch.randn_like(x0)
    a = alpha_bar[t][:, None, None, None].to(x0.device)
    noisy = (a.sqrt() * x0 + (1 - a).sqrt() * noise).contiguous(memory_format=torch.channels_last)
    with autocast():
        noise_pred = unet(noisy, t.to(x0.device), text).sample
    error = (noise_pred.float() - noise).square() * weight
    return (error.mean((1, 2, 3)) * importance).mean()


def work(rank: int, workers: int, folder: Path, counts: dict[str, int], seconds: float, batch: int) -> None:
    """One worker of the training; worker 0 keeps the checkpoint. ``counts``: pictures of the splits train and clips."""
    join_workers(rank, workers, folder)
    unet = build().to(device())
    average = copy.deepcopy(unet).requires_grad_(False)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-3, weight_decay=0.01, betas=(0.9, 0.99), fused=True)
    state = Checkpoint(folder / "unet.pt", unet, optimizer, average)
    start = folder / "start" / "unet"
    peak = PEAK["known" if start.exists() else "new"]
    if not state.load():
        if start.exists():
            start_from(start, unet)
        synchronise(unet, 0.0, workers)
        average.load_state_dict(unet.state_dict())
    norms = pool_norms(unet)
    rng = np.random.default_rng((state.samples, rank))
    torch.manual_seed(int(rng.integers(2**31)))
    batches = {split: Batches(folder, count, rng, split) for split, count in counts.items()}
    alpha_bar = scheduler().alphas_cumprod
    tables = alpha_bar, loss_weights(alpha_bar)
    losses: list[float] = []
    saved, clock = time.monotonic(), time.process_time()
    while state.seconds < seconds:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(state.seconds / seconds, state.samples, peak)
        for _ in range(SYNC):
            wait_while_paused(folder)
            split, norms.num_frames = ("clips", CLIP) if rng.random() < CLIP_SHARE else ("train", 1)
            drawn = batches[split].draw(batch, norms.num_frames)
            loss = noise_loss(unet, drawn, tables, rng, norms.num_frames)
            loss.backward()
            nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        elapsed = synchronise(unet, time.process_time() - clock, workers)
        clock = time.process_time()
        state.advance(batch * workers * SYNC, elapsed)
        update_average(average, unet, state.samples // (batch * workers * SYNC))
        if rank == 0 and state.due(30):
            print(f"unet {state.seconds:.0f}s {state.samples} loss {np.mean(losses[-200:]):.4f}", flush=True)
        if rank == 0 and time.monotonic() - saved > SAVE:
            state.save()
            saved = time.monotonic()
    if rank == 0:
        state.save()
    leave_workers(workers)


def train(folder: Path, counts: dict[str, int], *, seconds: float, workers: int = 2, batch: int | None = None) -> None:
    """Train for ``seconds`` of CPU time in all, stopped and resumed as often as need be; on a GPU alone."""
    workers, batch = (1, batch or 256) if device().type == "cuda" else (workers, batch or 32)
    if workers == 1:
        work(0, 1, folder, counts, seconds, batch)
        return
    torch.multiprocessing.spawn(work, (workers, folder, counts, seconds, batch), nprocs=workers)
