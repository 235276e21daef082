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

    def denoise(latents: Tensor, t: int) -> Tensor:
        narrow, cond = latents.to(prompt_embeds.dtype), _for_batch(prompt_embeds, latents)
        if guidance_scale == 1.0:
            return predict(narrow, t, cond)
        uncond = _for_batch(negative_embeds, latents)
        if batched:
            both = predict(torch.cat([narrow, narrow]), t, torch.cat([uncond, cond]))
            noise_pred_uncond, noise_pred_cond = widen(both).chunk(2)
        else:
            noise_pred_uncond, noise_pred_cond = widen(predict(narrow, t, uncond)), widen(predict(narrow, t, cond))
        return noise_pred_uncond + guidance_scale * (noise_pred_cond - noise_pred_uncond)

    return denoise


def _for_batch(embeds: Tensor, latents: Tensor) -> Tensor:
    """One prompt for every clip of the batch, or one for each."""
    if embeds.shape[0] not in (1, latents.shape[0]):
        raise ShapeError(
            f"{embeds.shape[0]} prompts for a batch of {latents.shape[0]} clips; give one, or one for each"
        )
    return embeds.expand(latents.shape[0], -1, -1)
