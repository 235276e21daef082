"""Ties of a key frame to the anchor and to the key before it: masks, the blended target, fused latents, colours.

Rerender-A-Video, sections 4.1.2 and 4.1.3 (colours, after Huang & Belongie, AdaIN, 2017). Tensors are ``[B, C, H, W]``
at the resolution of pixels, ``[B, C, h, w]`` at that of latents, `factor` pixels apart. Occlusion maps are bool, True =
occluded; a soft mask is 1 where the warped picture must not be trusted, a latent mask 1 where it may. Flow is as in
`videoedit.motion.flow`: from the current key to the reference.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from videoedit.diffusion.ddim import widen
from videoedit.motion.flow import resize_flow, warp

BLUR_SIZE, BLUR_SIGMA = 9, 18.0
EPS = 1e-5  # added to variances

# ------------------------------------------------------------------------------------------------- masks


def soft_mask(occluded: Tensor, size: int = BLUR_SIZE) -> Tensor:
    """Occlusion [B, 1, H, W] with a seam: ``min(blur(dilate(occ)) + occ, 1)``, float32, 1 = occluded.

    Grown by `size` // 2 pixels, then blurred by a Gaussian of `size` x `size` taps (odd) and sigma 18, nearly a box,
    that mirrors at the border. The official 9 taps are one more than the pixels in a latent cell.
    """
    hard = occluded.float()
    grown = F.max_pool2d(hard, size, stride=1, padding=size // 2)
    return (_blur(grown, size) + hard).clamp(0, 1)


def latent_mask(soft: Tensor, factor: int) -> Tensor:
    """1 where no pixel of a latent cell is doubtful: ``1 - maxpool(soft)``, [B, 1, h, w]."""
    return 1 - F.max_pool2d(soft, factor)


def latent_flow(flow: Tensor, factor: int) -> Tensor:
    """`flow` [B, 2, H, W] in latent cells, [B, 2, h, w]."""
    height, width = flow.shape[-2:]
    return resize_flow(flow, (width // factor, height // factor))


def flat_region(mask: Tensor) -> Tensor:
    """1 where the 3 x 3 Prewitt gradient of `mask` [B, 1, h, w] is exactly 0, else 0: away from the mask's edges."""
    padded = F.pad(mask, (1, 1, 1, 1), mode="replicate")
    dx = (padded[..., 2:] - padded[..., :-2]).unfold(-2, 3, 1).sum(-1)  # differences first: 0 where all is the same
    dy = (padded[..., 2:, :] - padded[..., :-2, :]).unfold(-1, 3, 1).sum(-1)
    return ((dx == 0) & (dy == 0)).to(mask.dtype)


def _blur(x: Tensor, size: int) -> Tensor:
    """Gaussian blur of [B, 1, H, W]. An axis too short to mirror is constant after the dilation: any padding does."""
    half = size // 2
    taps = torch.exp(-0.5 * (torch.arange(-half, half + 1, device=x.device, dtype=x.dtype) / BLUR_SIGMA) ** 2)
    taps /= taps.sum()
    height, width = x.shape[-2:]
    across = F.pad(x, (half, half, 0, 0), mode="reflect" if width > half else "replicate")
    x = F.conv2d(across, taps.view(1, 1, 1, -1))
    along = F.pad(x, (0, 0, half, half), mode="reflect" if height > half else "replicate")
    return F.conv2d(along, taps.view(1, 1, -1, 1))


# ----------------------------------------------------------------------------------------------- target


def blend_reference(
    direct: Tensor, warped_previous: Tensor, soft_previous: Tensor, warped_anchor: Tensor, soft_anchor: Tensor
) -> Tensor:
    """The picture that the key should become, [B, 3, H, W]: the anchor over the previous key over the direct result.

    ``B = (1 - soft_prev) prev + soft_prev direct;  (1 - soft_anchor) anchor + soft_anchor B`` with warped references.
    """
    blend = (1 - soft_previous) * warped_previous + soft_previous * direct
    return (1 - soft_anchor) * warped_anchor + soft_anchor * blend


def fidelity_encode(
    encode: Callable[[Tensor], Tensor],
    decode: Callable[[Tensor], Tensor],
    pixels: Tensor,
    factor: int,
    *,
    threshold: float = 0.25,
) -> Tensor:
    """Latents [B, C, h, w] that decode to `pixels` [B, 3, H, W] in [-1, 1] more closely than plain encoding.

    Fidelity-oriented image encoding (Rerender-A-Video, Eqs. 7 to 9): with ``z = E(x)`` and ``z' = E(D(z))``, ``z - z'``
    is what one more round trip would lose; add it in advance, but not in `unfaithful` cells, where that overshoots.
    """
    latents = encode(pixels)
    lost = latents - encode(decode(latents))
    overshot = unfaithful(decode(latents + lost), pixels, factor, threshold)
    return latents + (1 - overshot) * lost


def unfaithful(decoded: Tensor, pixels: Tensor, factor: int, threshold: float) -> Tensor:
    """1 in latent cells [B, 1, h, w] whose neighbourhood was decoded over `threshold` off, mean of channels; else 0.

    A cell is judged by the pixels at its centre (bilinear resizing), and the marked cells are grown by one.
    """
    off = ((decoded - pixels).abs().mean(1, keepdim=True) > threshold).to(pixels.dtype)
    size = (pixels.shape[-2] // factor, pixels.shape[-1] // factor)
    cells = F.interpolate(off, size, mode="bilinear", align_corners=False) > 0
    return F.max_pool2d(cells.to(pixels.dtype), 3, stride=1, padding=1)


# ---------------------------------------------------------------------------------------------- latents


def shape_aware(x0: Tensor, anchor_x0: Tensor, flow: Tensor, mask: Tensor) -> Tensor:
    """Predicted clean latents [B, C, h, w] that follow those of the anchor at the same step.

    ``mask warp(anchor_x0) + (1 - mask) x0``, nearest cells, with `flow` [B, 2, h, w] from `latent_flow` and `mask`
    [B, 1, h, w] from `latent_mask`.
    """
    return warp(anchor_x0, flow, "nearest") * mask + (1 - mask) * x0


def pixel_aware(
    latents: Tensor,
    direction: Tensor,
    noisy_target: Tensor,
    weight: Tensor,
    flat: Tensor,
    *,
    inner_strength: float = 0.9,
    smooth_boundary: bool = True,
) -> Tensor:
    """Noisy latents [B, C, h, w] pulled towards the target by `weight` w [B, 1, h, w], before the model sees them.

    ``w noisy_target + (1 - w) (x - d) + s d`` with d = `direction`, the noise part sqrt(1 - a) eps that the last step
    added to x. Independent noises average to less noise, so only the clean part is weighted by 1 - w, and d by
    ``s = max(1 - w, inner_strength sqrt(1 - w^2))``; an `inner_strength` of 1 keeps the variance. With
    `smooth_boundary` that holds only where `flat` (`flat_region` of the mask) is 1, and elsewhere s = 1 - w.
    """
    plain = 1 - weight
    scale = torch.maximum(plain, inner_strength * (1 - weight**2).sqrt())
    if smooth_boundary:
        scale = plain * (1 - flat) + scale * flat
    return weight * noisy_target + plain * (latents - direction) + scale * direction


# ----------------------------------------------------------------------------------------------- colors


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

    The variance here is the biased one, as in instance normalisation. Both together reproduce the official code; the
    statistics to reach are those of the anchor's predicted latent at the same step.
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
