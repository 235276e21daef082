"""Classifier-free guidance: a denoiser out of a conditional network, prompts and a scale."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from videoedit.diffusion.ddim import widen
from videoedit.diffusion.sampling import Denoiser
from videoedit.errors import ShapeError

Predictor = Callable[[Tensor, int, Tensor], Tensor]  # (latents [B, …], t, prompt embeddings [B, L, D]) -> [B, …]


def guided(
    predict: Predictor,
    prompt_embeds: Tensor,  # [B or 1, L, D]
    negative_embeds: Tensor,  # the same
    guidance_scale: float,
    *,
    batched: bool = True,
) -> Denoiser:
    """The denoiser  uncond + scale * (cond - uncond)  of Ho & Salimans, "Classifier-Free Diffusion Guidance".

    The network gets both conditions in one batch, [uncond, cond]; with `batched=False` one after the other, which
    gives the same values for half the memory. At scale 1 the unconditional pass is left out, as it cancels.
    It runs in the dtype of `prompt_embeds`; latents may be wider (and should be, see `ddim_sample`).
    """
    if prompt_embeds.shape[1:] != negative_embeds.shape[1:]:
        raise ShapeError(
            "prompt and negative prompt embeddings differ in shape: "
            f"{list(prompt_embeds.shape)} and {list(negative_embeds.shape)}"
        )

    def conditional(latents: Tensor, t: int) -> Tensor:
        return predict(latents.to(prompt_embeds.dtype), t, _for_batch(prompt_embeds, latents))

    def sequential(latents: Tensor, t: int) -> Tensor:
        narrow = latents.to(prompt_embeds.dtype)
        noise_pred_uncond = predict(narrow, t, _for_batch(negative_embeds, latents))
        return _combine(noise_pred_uncond, conditional(latents, t), guidance_scale)

    def together(latents: Tensor, t: int) -> Tensor:
        embeds = torch.cat([_for_batch(negative_embeds, latents), _for_batch(prompt_embeds, latents)])
        narrow = latents.to(prompt_embeds.dtype)
        noise_pred_uncond, noise_pred_cond = predict(torch.cat([narrow, narrow]), t, embeds).chunk(2)
        return _combine(noise_pred_uncond, noise_pred_cond, guidance_scale)

    if guidance_scale == 1.0:
        return conditional
    return together if batched else sequential


def _combine(noise_pred_uncond: Tensor, noise_pred_cond: Tensor, scale: float) -> Tensor:
    uncond, cond = widen(noise_pred_uncond), widen(noise_pred_cond)
    return uncond + scale * (cond - uncond)


def _for_batch(embeds: Tensor, latents: Tensor) -> Tensor:
    """One prompt for every clip of the batch, or one for each."""
    if embeds.shape[0] not in (1, latents.shape[0]):
        raise ShapeError(
            f"{embeds.shape[0]} prompts for a batch of {latents.shape[0]} clips; give one, or one for each"
        )
    return embeds.expand(latents.shape[0], -1, -1)
