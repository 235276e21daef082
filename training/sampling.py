"""Draw samples from an exported model folder in large batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from training.device import autocast, device
from training.tokenizer import token_ids


class Sampler:
    """The parts of a model folder, in float32."""

    def __init__(self, folder: Path) -> None:
        self.vae = AutoencoderKL.from_pretrained(folder / "vae").eval().to(device())
        self.unet: nn.Module = UNet2DConditionModel.from_pretrained(folder / "unet").eval().to(device())
        self.text = CLIPTextModel.from_pretrained(folder / "text_encoder").eval().to(device())
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")

    @torch.no_grad()
    def embed(self, prompts: list[str]) -> Tensor:
        """Text features [B, 77, 128]."""
        return self.text(input_ids=torch.from_numpy(token_ids(self.tokenizer, prompts)).to(device())).last_hidden_state

    @torch.no_grad()
    def latents(
        self,
        prompts: list[str],
        *,
        steps: int,
        guidance_scale: float,
        rng: np.random.Generator,
        denoiser: nn.Module,
        source: Tensor | None = None,
        strength: float = 1.0,
    ) -> Tensor:
        """DDIM with classifier-free guidance; ``denoiser`` takes the batch [uncond, cond].

        With the latents of a ``source`` only the last ``strength`` (a fraction) of the steps run, from its noisy state.
        """
        config = self.unet.config
        size = (len(prompts), config.in_channels, config.sample_size, config.sample_size)
        latents = torch.from_numpy(rng.standard_normal(size, dtype=np.float32)).to(device())
        text = self.embed([""] * len(prompts) + prompts)
        self.scheduler.set_timesteps(steps)
        timesteps = self.scheduler.timesteps[steps - max(1, round(steps * strength)) :]
        if source is not None:
            latents = self.scheduler.add_noise(source, latents, timesteps[:1].expand(len(source)))
        for t in timesteps:
            with autocast():
                noise_pred = denoiser(torch.cat([latents, latents]), t, text).sample.float()
            uncond, cond = noise_pred.chunk(2)
            noise_pred = uncond + guidance_scale * (cond - uncond)
            latents = self.scheduler.step(noise_pred, t, latents).prev_sample
        return latents

    @property
    def size(self) -> int:
        """Pixels of its pictures."""
        return self.unet.config.sample_size * 2 ** (len(self.vae.config.block_out_channels) - 1)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> np.ndarray:
        """uint8 [B, H, W, 3]."""
        with autocast():
            parts = (latents / self.vae.config.scaling_factor).split(16)
            pixels = torch.cat([self.vae.decode(part).sample.float() for part in parts])
        pixels = (pixels.clamp(-1, 1) + 1) * 127.5
        return pixels.round().byte().permute(0, 2, 3, 1).cpu().numpy()

    @torch.no_grad()
    def encode(self, images: np.ndarray) -> Tensor:
        """Scaled latents [B, C, h, w] of uint8 pictures [B, H, W, 3]."""
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        means = [self.vae.encode(part.to(device())).latent_dist.mean for part in pixels.split(16)]
        return torch.cat(means) * self.vae.config.scaling_factor

    def __call__(
        self,
        prompts: list[str],
        *,
        steps: int = 20,
        guidance_scale: float = 5.0,
        rng: np.random.Generator,
        denoiser: nn.Module | None = None,
    ) -> np.ndarray:
        """Pictures uint8 [N, H, W, 3] of the prompts."""
        model = denoiser or self.unet
        out = []
        for first in range(0, len(prompts), 50):
            part = prompts[first : first + 50]
            kept = {"steps": steps, "guidance_scale": guidance_scale, "rng": rng, "denoiser": model}
            out.append(self.decode(self.latents(part, **kept)))
        return np.concatenate(out)


def contact_sheet(images: np.ndarray, columns: int) -> np.ndarray:
    """Pictures [N, H, W, 3] side by side: uint8 [rows*H, columns*W, 3]."""
    count, height, width, _ = images.shape
    rows = -(-count // columns)
    filled = np.concatenate([images, np.full((rows * columns - count, height, width, 3), 255, np.uint8)])
    grid = filled.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * height, columns * width, 3)
