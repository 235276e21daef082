"""The colours of one picture for another: of latents, by adaptive instance normalisation, and of pixels.

Rerender-A-Video, section 4.1.3 (color-aware adaptive latent adjustment), after Huang & Belongie, AdaIN (2017). The
statistics to reach are those of the anchor's predicted latent at the same step.
"""

from __future__ import annotations

import cv2
import numpy as np
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


def match_colors(frame: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """`frame` with the colours of `reference` and its own lightness; uint8 [H, W, 3] RGB, any sizes.

    The histograms of a and b (CIE Lab, 8 bits) are matched. The official code matches all three channels and then puts
    the luminosity back.
    """
    lab, wanted = (cv2.cvtColor(np.ascontiguousarray(x), cv2.COLOR_RGB2LAB) for x in (frame, reference))
    for channel in (1, 2):
        lab[..., channel] = match_histogram(lab[..., channel], wanted[..., channel])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def match_histogram(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Each grey level (uint8) moved to where `reference` has the same share of values below it, interpolated."""
    shares, wanted = (np.cumsum(np.bincount(x.ravel(), minlength=256)) / x.size for x in (values, reference))
    present = np.unique(reference)
    return np.interp(shares, wanted[present], present).round().astype(np.uint8)[values]
