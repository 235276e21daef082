"""Colours of the anchor for every key frame: adaptive instance normalisation of the predicted clean latent.

Rerender-A-Video, section 4.1.3 (color-aware adaptive latent adjustment), after Huang & Belongie, AdaIN (2017). The
statistics to reach are those of the anchor's predicted latent at the same step.
"""

from __future__ import annotations

from torch import Tensor

from videoedit.diffusion.ddim import widen

EPS = 1e-5  # added to variances


def statistics(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of `latents` [B, C, h, w], each [B, C, 1, 1], in its dtype.

    ``std = sqrt(var + EPS)`` with the unbiased variance; of a single pixel it is ``sqrt(EPS)``.
    """
    wide = widen(latents)
    count = wide[0, 0].numel()
    variance = wide.var((2, 3), correction=0, keepdim=True) * (count / max(count - 1, 1))
    return wide.mean((2, 3), keepdim=True).to(latents), (variance + EPS).sqrt().to(latents)


def adain(latents: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """`latents` [B, C, h, w] with the given `statistics`: ``(x - mean_x) / sqrt(var_x + EPS) * std + mean``.

    Here the variance is the biased one, as in instance normalisation. Both together reproduce the official code.
    """
    wide = widen(latents)
    variance, center = wide.var((2, 3), correction=0, keepdim=True), wide.mean((2, 3), keepdim=True)
    return ((wide - center) * (variance + EPS).rsqrt() * std + mean).to(latents)
