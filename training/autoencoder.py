"""The autoencoder: a stock AutoencoderKL; its encoder learns the fixed latents, its decoder improves on them."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from training.checkpoint import Checkpoint
from training.dataset import SIZE, Renders
from training.latents import CHANNELS, SCALING_FACTOR, PatchBasis, photographs

LOG_VARIANCE = -7.0  # of the posterior, constant: standard deviation 0.03


def build() -> AutoencoderKL:
    """Factor 4, widths 24, 48, 96, no attention; the posterior's variance is constant."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(24, 48, 96),
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        sample_size=SIZE,
        scaling_factor=SCALING_FACTOR,
        mid_block_add_attention=False,
        force_upcast=False,
    )
    with torch.no_grad():
        vae.quant_conv.weight[CHANNELS:] = 0
        vae.quant_conv.bias[CHANNELS:] = LOG_VARIANCE
    return vae.to(memory_format=torch.channels_last)


def fold_scale(vae: AutoencoderKL, images: np.ndarray, basis: PatchBasis) -> None:
    """Give ``quant_conv`` each channel's mean and spread, so that the encoder works at unit size."""
    latents = basis.encode(images) / SCALING_FACTOR
    mean, spread = (torch.from_numpy(v.astype(np.float32)) for v in (latents.mean((0, 2, 3)), latents.std((0, 2, 3))))
    with torch.no_grad():
        vae.quant_conv.weight[:CHANNELS] = 0
        vae.quant_conv.weight[range(CHANNELS), range(CHANNELS), 0, 0] = spread
        vae.quant_conv.bias[:CHANNELS] = mean
        vae.post_quant_conv.weight.zero_()
        vae.post_quant_conv.weight[range(CHANNELS), range(CHANNELS), 0, 0] = 1 / spread
        vae.post_quant_conv.bias.copy_(-mean / spread)


def losses(
    vae: AutoencoderKL, images: np.ndarray, basis: PatchBasis, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """(squared error of the latents, error of the pictures decoded from slightly noisy latents)."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    target = torch.from_numpy(basis.encode(images)) / SCALING_FACTOR
    with torch.autocast("cpu", torch.bfloat16):
        mean = vae.encode(pixels).latent_dist.mean.float()
        noise = torch.from_numpy(rng.standard_normal(mean.shape, dtype=np.float32))
        decoded = vae.decode(mean.detach() + 0.06 * noise).sample.float()
    error = decoded - pixels
    slopes = error.diff(dim=-1).square().mean() + error.diff(dim=-2).square().mean()
    return F.mse_loss(mean, target), error.square().mean() + 0.05 * error.abs().mean() + 0.25 * slopes


def train(renders: Renders, basis: PatchBasis, folder: Path, *, seconds: float, batch: int = 16) -> AutoencoderKL:
    """Train for a budget of CPU seconds; three quarters renders, one quarter photographs."""
    vae = build()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=2e-3, weight_decay=0.0, fused=True)
    state = Checkpoint(folder / "vae.pt", vae, optimizer)
    if not state.load():
        fold_scale(vae, renders.images[:1000], basis)
    photos = photographs(1500, seed=1)
    rng = np.random.default_rng(state.samples + 7)
    while state.seconds < seconds:
        start = time.process_time()
        for group in optimizer.param_groups:
            fade = float(np.cos(np.pi / 2 * min(1, state.seconds / seconds)) ** 2)
            group["lr"] = 2e-3 * min(1, state.samples / 2000 + 0.02) * (0.01 + 0.99 * fade)
        index = np.sort(rng.integers(0, len(renders), batch * 3 // 4))
        images = np.concatenate([renders.images[index], photos[rng.integers(0, len(photos), batch // 4)]])
        latent_loss, pixel_loss = losses(vae, images, basis, rng)
        (latent_loss + 10 * pixel_loss).backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        vae.quant_conv.weight.grad[CHANNELS:] = 0
        vae.quant_conv.bias.grad[CHANNELS:] = 0
        optimizer.step()
        optimizer.zero_grad()
        state.advance(batch, time.process_time() - start)
        if state.due(30):
            figures = f"latents {latent_loss.item():.4f} pixels {pixel_loss.item():.5f}"
            print(f"vae {state.seconds:.0f}s {state.samples} {figures}", flush=True)
            state.save()
    state.save()
    return vae.eval()


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, images: np.ndarray) -> np.ndarray:
    """Encode and decode uint8 pictures [N, H, W, 3]."""
    out = []
    for part in np.array_split(images, max(1, len(images) // 32)):
        pixels = torch.from_numpy(part).permute(0, 3, 1, 2).to(vae.dtype) / 127.5 - 1
        decoded = vae.decode(vae.encode(pixels).latent_dist.mean).sample
        out.append(((decoded.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(out)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 arrays."""
    error = np.mean((a.astype(np.float32) - b.astype(np.float32)) ** 2)
    return float(10 * np.log10(255**2 / error))
