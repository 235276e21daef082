"""One frame out of two: the propagations from the key before and from the key after a frame, blended.

All images are uint8 ``[H, W, 3]`` RGB of one size. `w_bwd` in [0, 1] is the weight of the backward one, from the later
key: 0 at the earlier key, 1 at the later; frame i of an interval of K frames (key at 0, next key at K) has i / K.
Rerender-A-Video, section 4.2: `select_min_error` (the selected image is called `min_error` below), then
`histogram_blend`, then, if wanted, `poisson_blend`.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from scipy import fft

from videoedit.errors import ConfigError, ShapeError

GRADIENT_WEIGHTS = (2.5, 0.5, 0.5)  # of L, a, b in `poisson_blend`
LARGEST_GRADIENT = 100.0  # 8-bit Lab levels; steeper ones are clipped
SLACK = 1e-6  # a whole number that the solver misses by its rounding error is not truncated to the one below


def select_min_error(
    fwd: np.ndarray,
    bwd: np.ndarray,
    err_fwd: np.ndarray,
    err_bwd: np.ndarray,
    w_bwd: float,
    previous_mask: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel from the propagation with the lower weighted patch error.

    `err_fwd` and `err_bwd` are the error maps ``[H, W]`` of these two images. A pixel is taken from `bwd` where
    ``(1 - w_bwd) err_bwd <= w_bwd err_fwd``, or where `previous_mask` says so: the mask of the frame before, bool
    ``[H, W]``, already moved to this frame by the caller, so that what once came from the later key stays with it.

    Returns the image and the mask, bool ``[H, W]``, True = backward.
    """
    maps = {"err_fwd": err_fwd, "err_bwd": err_bwd, "previous_mask": previous_mask}
    _check(w_bwd, maps, fwd=fwd, bwd=bwd)
    mask = (1 - w_bwd) * err_bwd <= w_bwd * err_fwd if w_bwd > 0 else np.zeros(fwd.shape[:2], bool)
    if previous_mask is not None:
        mask = mask | previous_mask
    return np.where(mask[..., None], bwd, fwd), mask


def histogram_blend(fwd: np.ndarray, bwd: np.ndarray, min_error: np.ndarray, w_bwd: float) -> np.ndarray:
    """The weighted mean of both images with the contrast of the selected one, uint8 ``[H, W, 3]``.

    A mean of two images that do not quite agree is flat and greyish. So both are standardised per channel of 8-bit
    Lab before they are averaged, and the average gets mean and standard deviation of `min_error`:
    ``N(x) = (x - mean_x) / std_x;  m = (1 - w) N(fwd) + w N(bwd);  out = N(m) std + mean``. A channel without contrast
    standardises to zeros.
    """
    _check(w_bwd, fwd=fwd, bwd=bwd, min_error=min_error)
    mixed = _standardize(_to_lab(fwd)) * np.float32(1 - w_bwd)
    mixed += _standardize(_to_lab(bwd)) * np.float32(w_bwd)
    mean, std = _mean_std(_to_lab(min_error))
    return _to_rgb(np.rint(_standardize(mixed) * std + mean))


def poisson_blend(hist: np.ndarray, fwd: np.ndarray, bwd: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Colours of the blended image with the gradients of the selected ones, uint8 ``[H, W, 3]``.

    Per channel of 8-bit Lab the x that minimises ``|x - hist|^2 + g^2 |grad x - G|^2`` with G the gradient of `bwd`
    where `mask` (bool ``[H, W]``) is True, of `fwd` elsewhere, clipped to ±`LARGEST_GRADIENT`, and g from
    `GRADIENT_WEIGHTS`; solved exactly by `screened_poisson`. The result is truncated, not rounded, to 8-bit Lab, as in
    the official code.
    """
    _check(maps={"mask": mask}, hist=hist, fwd=fwd, bwd=bwd)
    return _to_rgb(poisson_lab(hist, fwd, bwd, mask) + SLACK)


def poisson_lab(hist: np.ndarray, fwd: np.ndarray, bwd: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`poisson_blend` before it is rounded: float64 ``[H, W, 3]``, L, a, b on the 8-bit scale."""
    lab, lab_fwd, lab_bwd = (_to_lab(image) for image in (hist, fwd, bwd))
    solved = np.empty(hist.shape)
    for channel, g in enumerate(GRADIENT_WEIGHTS):  # one at a time: large frames need little memory
        dy, dx = selected_gradient(lab_fwd[..., channel], lab_bwd[..., channel], mask)
        solved[..., channel] = screened_poisson(lab[..., channel], dy, dx, g)
    return solved


def screened_poisson(image: np.ndarray, dy: np.ndarray, dx: np.ndarray, g: float) -> np.ndarray:
    """The x that minimises ``|x - image|^2 + g^2 (|Dy x - dy|^2 + |Dx x - dx|^2)``, exactly; float64 ``[H, W]``.

    Dy and Dx are the differences to the next row and column (none beyond the last), so `dy` is ``[H-1, W]`` and `dx`
    ``[H, W-1]``. The normal equations ``(1 + g^2 (Dy'Dy + Dx'Dx)) x = image + g^2 (Dy'dy + Dx'dx)`` have constant
    coefficients and mirror at the border, so the orthonormal DCT-II diagonalises them: frequency (i, j) has the
    eigenvalue ``1 + g^2 (4 - 2 cos(pi i / H) - 2 cos(pi j / W))``.
    """
    right = image.astype(np.float64)
    right[:-1] -= g**2 * dy
    right[1:] += g**2 * dy
    right[:, :-1] -= g**2 * dx
    right[:, 1:] += g**2 * dx
    rows, columns = (2 - 2 * np.cos(np.pi * np.arange(n) / n) for n in right.shape)
    spectrum = fft.dctn(right, norm="ortho", overwrite_x=True)
    spectrum /= 1 + g**2 * (rows[:, None] + columns)
    return fft.idctn(spectrum, norm="ortho", overwrite_x=True)


def selected_gradient(fwd: np.ndarray, bwd: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Differences of ``[H, W]`` to the next row and column, from the image that the nearer pixel is selected from."""

    step_fwd, step_bwd = ([np.diff(image.astype(np.float64), axis=axis) for axis in (0, 1)] for image in (fwd, bwd))
    dy = np.where(mask[:-1], step_bwd[0], step_fwd[0])
    dx = np.where(mask[:, :-1], step_bwd[1], step_fwd[1])
    return dy.clip(-LARGEST_GRADIENT, LARGEST_GRADIENT), dx.clip(-LARGEST_GRADIENT, LARGEST_GRADIENT)


def _standardize(image: np.ndarray) -> np.ndarray:
    """Each channel with mean 0 and standard deviation 1, float32; one without contrast becomes zeros."""
    mean, std = _mean_std(image)
    return (image - mean) / np.where(std > 0, std, 1).astype(np.float32)


def _mean_std(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and (population) standard deviation of each channel, float32 ``[3]``."""
    mean, std = cv2.meanStdDev(image)
    return mean[:, 0].astype(np.float32), std[:, 0].astype(np.float32)


def _to_lab(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2Lab)


def _to_rgb(lab: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), cv2.COLOR_Lab2RGB)


def _check(w_bwd: float = 0.0, maps: Mapping[str, np.ndarray | None] | None = None, **images: np.ndarray) -> None:
    """Raise ShapeError unless `images` have one shape [H, W, 3] and `maps` [H, W], ConfigError for a wrong weight."""
    shapes = {name: image.shape for name, image in images.items()}
    first = next(iter(shapes.values()))
    if len(set(shapes.values())) > 1 or len(first) != 3 or first[-1] != 3:
        given = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ShapeError(f"expected images of one shape [H, W, 3], got {given}")
    for name, array in (maps or {}).items():
        if array is not None and array.shape != first[:2]:
            raise ShapeError(f"{name} has the shape {array.shape}; expected that of the images, {first[:2]}")
    if not 0 <= w_bwd <= 1:
        raise ConfigError(f"w_bwd is {w_bwd}; expected a weight from 0 to 1")
