"""Pixels to latents and back, a few frames at a time; the only place that knows how a VAE scales its latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videoedit.errors import MethodError, ShapeError


@dataclass(frozen=True)
class Posterior:
    """All that the encoder says about a clip: a normal distribution for every (scaled) latent value."""

    mean: Tensor  # [B, F, C, h, w] float32
    std: Tensor  # the same

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """A fresh draw, as Tune-A-Video's training takes one each step; drawn on the generator's device."""
        device = self.mean.device if generator is None else generator.device
        noise = torch.randn(self.mean.shape, generator=generator, dtype=self.mean.dtype, device=device)
        return self.mean + self.std * noise.to(self.mean.device)


def frames_to_pixels(frames: np.ndarray) -> Tensor:
    """uint8 [F, H, W, 3] RGB -> float32 [1, F, 3, H, W] in [-1, 1]."""
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ShapeError(f"expected uint8 frames [F, H, W, 3], got {frames.dtype} {list(frames.shape)}")
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    return (pixels.float() / 127.5 - 1.0).unsqueeze(0)


def pixels_to_frames(pixels: Tensor) -> np.ndarray:
    """Float [1, F, 3, H, W] in [-1, 1] -> uint8 [F, H, W, 3] RGB, rounded to the nearest value."""
    if pixels.ndim != 5 or pixels.shape[0] != 1 or pixels.shape[2] != 3:
        raise ShapeError(f"expected the pixels of one clip, [1, F, 3, H, W], got {list(pixels.shape)}")
    levels = ((pixels[0].float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def spatial_factor(vae: Any) -> int:
    """Pixels per latent along a side: 8 for Stable Diffusion's VAE, 4 for the embedded one."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


@torch.no_grad()
def encode_posterior(vae: Any, pixels: Tensor, *, chunk: int = 8) -> Posterior:
    """The distribution of scaled latents for `pixels` [B, F, 3, H, W] in [-1, 1], `chunk` frames at a time."""
    factor = spatial_factor(vae)
    if pixels.ndim != 5 or pixels.shape[2] != 3 or pixels.shape[-1] % factor or pixels.shape[-2] % factor:
        raise ShapeError(
            f"expected pixels [B, F, 3, H, W] with sides divisible by the autoencoder's {factor}, "
            f"got {list(pixels.shape)}"
        )
    distributions = _in_chunks(lambda x: _moments(vae, x), pixels.flatten(0, 1), vae, chunk)
    mean, std = distributions.unflatten(0, pixels.shape[:2]).chunk(2, dim=2)
    shift, scale = _shift_and_scale(vae, mean)
    return Posterior((mean - shift) * scale, std * scale)


def encode(vae: Any, pixels: Tensor, *, chunk: int = 8) -> Tensor:
    """Scaled latents [B, F, C, h, w], float32: the mean of what the encoder says about `pixels` [B, F, 3, H, W]."""
    return encode_posterior(vae, pixels, chunk=chunk).mean


@torch.no_grad()
def decode(vae: Any, latents: Tensor, *, chunk: int = 8) -> Tensor:
    """Pixels [B, F, 3, H, W], float32 in [-1, 1], of scaled latents [B, F, C, h, w], `chunk` frames at a time."""
    channels = vae.config.latent_channels
    if latents.ndim != 5 or latents.shape[2] != channels:
        raise ShapeError(f"expected latents [B, F, {channels}, h, w], got {list(latents.shape)}")
    shift, scale = _shift_and_scale(vae, latents)
    unscaled = (latents.float() / scale + shift).flatten(0, 1)
    pixels = _in_chunks(lambda x: vae.decode(x).sample, unscaled, vae, chunk)
    return pixels.unflatten(0, latents.shape[:2]).clamp(-1.0, 1.0)


def _moments(vae: Any, pixels: Tensor) -> Tensor:
    """Mean and standard deviation of the unscaled latents of [N, 3, H, W], stacked: [N, 2C, h, w]."""
    distribution = vae.encode(pixels).latent_dist
    return torch.cat([distribution.mean, distribution.std], dim=1)


def _in_chunks(function: Callable[[Tensor], Tensor], batch: Tensor, vae: Any, chunk: int) -> Tensor:
    if chunk < 1:
        raise ShapeError(f"chunk is {chunk}; expected the number of frames to take at a time, at least 1")
    result = torch.cat([function(part.to(vae.device, vae.dtype)).float() for part in batch.split(chunk)])
    if not torch.isfinite(result).all():
        raise MethodError(f"the autoencoder overflowed in {vae.dtype}; run it in float32 or bfloat16")
    return result


def _shift_and_scale(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """(shift, scale), both [C or 1, 1, 1], with scaled = (unscaled - shift) * scale, from the VAE's config.

    Most VAEs have one `scaling_factor`, some a `shift_factor`, some (as diffusers' SDXL pipeline reads them) a mean
    and a standard deviation for each channel.
    """
    config = vae.config
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is None or std is None:
        mean, std = [config.get("shift_factor") or 0.0], [1.0]
    shift, spread = (torch.tensor(x, device=like.device).reshape(-1, 1, 1).float() for x in (mean, std))
    return shift, config.scaling_factor / spread
