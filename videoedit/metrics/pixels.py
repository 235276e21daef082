"""Measures of pixels: closeness to a reference, strength of an edit, change from frame to frame, colours, edges."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from videoedit.errors import ShapeError
from videoedit.metrics.sample import Figure, Sample

if TYPE_CHECKING:
    import torch

SSIM_WINDOW = 11  # pixels, Gaussian of sigma 1.5
LEAST = 0.01  # share of the pixels below which a region has nothing to say
EXACT_DB = 100.0  # what an exact copy counts as in tables, where an infinite value would swallow every mean


def psnr(frames: np.ndarray, reference: np.ndarray, where: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB over all frames at once; ``inf`` for identical clips.

    Only pixels that are True in `where` [F, H, W] count; ``nan`` if those are under 1 %.
    """
    same_shape(frames, reference)
    if where is not None and where.mean() < LEAST:
        return math.nan
    total = count = 0.0
    for index, (ours, theirs) in enumerate(
        zip(frames, reference, strict=True)
    ):  # frame by frame: long clips stay small
        squares = (ours.astype(np.float64) - theirs) ** 2
        squares = squares if where is None else squares[where[index]]
        total, count = total + float(squares.sum()), count + squares.size
    return math.inf if total == 0 else 10 * math.log10(255**2 * count / total)


def ssim(frames: np.ndarray, reference: np.ndarray, where: np.ndarray | None = None) -> float:
    """Structural similarity (Wang et al. 2004), Gaussian window of 11, mean over frames and channels; at most 1.

    Only pixels that are True in `where` [F, H, W] count, and the others do not reach into their windows;
    ``nan`` if they are under 1 %.
    """
    same_shape(frames, reference)
    if where is not None and where.mean() < LEAST:
        return math.nan
    total = count = 0.0
    for index, (ours, theirs) in enumerate(zip(frames, reference, strict=True)):
        scores = ssim_map(ours, theirs, None if where is None else where[index])
        total, count = total + float(scores.sum()), count + scores.size
    return total / count if count else math.nan


def ssim_map(picture: np.ndarray, reference: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    """SSIM [N, 3] of the pixels of two pictures [H, W, 3] (0 to 255) that are True in `where` [H, W].

    The 5 pixels at every border have no whole window and are left out. Where `where` is False the reference stands
    in for the picture, so that what does not count does not disturb its neighbours.
    """
    if min(picture.shape[:2]) < SSIM_WINDOW:
        raise ShapeError(f"SSIM needs frames of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, got {picture.shape[:2]}")
    import torch
    from kornia.metrics import ssim as kornia_ssim

    if where is not None:
        picture = np.where(where[..., None], picture, reference)
    pair: torch.Tensor = torch.from_numpy(np.stack([picture, reference])).permute(0, 3, 1, 2).float() / 255
    scores = kornia_ssim(pair[:1], pair[1:], SSIM_WINDOW, padding="valid")[0].permute(1, 2, 0).numpy()
    edge = SSIM_WINDOW // 2
    return scores.reshape(-1, 3) if where is None else scores[where[edge:-edge, edge:-edge]]


def strength(frames: np.ndarray, source: np.ndarray, where: np.ndarray | None = None) -> list[float]:
    """Mean distance of the colours from the source's, CIELAB units (the 1976 difference), one value a frame.

    Only pixels that are True in `where` [F, H, W] count; ``nan`` for a frame that has none.
    """
    same_shape(frames, source)
    distances = []
    for index, (ours, theirs) in enumerate(zip(frames, source, strict=True)):
        distance = np.linalg.norm(cielab(ours) - cielab(theirs), axis=-1)
        distance = distance if where is None else distance[where[index]]
        distances.append(float(distance.mean()) if distance.size else math.nan)
    return distances


def changes(frames: np.ndarray) -> list[float]:
    """Mean absolute change from each frame to the next, in grey levels (0-255), F - 1 values."""
    return [float(np.abs(b.astype(np.int16) - a).mean()) for a, b in itertools.pairwise(frames)]


def flicker(frames: np.ndarray) -> float:
    """Mean of `changes`; ``nan`` for one frame."""
    return float(np.mean(changes(frames))) if len(frames) > 1 else math.nan


def flicker_ratio(frames: np.ndarray, source: np.ndarray) -> float:
    """`flicker` of an edit over that of its source; ``nan`` if the source does not change."""
    still = flicker(source)
    return flicker(frames) / still if still > 0 else math.nan


def color_drift(frames: np.ndarray) -> float:
    """Mean distance of the colours of frames 1.. from those of frame 0, in CIELAB units.

    The distance of two frames is the earth mover's distance of their values, channel by channel, added in
    quadrature: blind to where a colour is, so motion alone costs nothing. ``nan`` for one frame.
    """
    return float(np.mean(drifts(frames))) if len(frames) > 1 else math.nan


def drifts(frames: np.ndarray) -> list[float]:
    """The distances that `color_drift` averages, F - 1 values."""
    first = _sorted_channels(frames[0])
    distances = []
    for frame in frames[1:]:
        channels = np.abs(_sorted_channels(frame) - first).mean(0)
        distances.append(float(np.linalg.norm(channels)))
    return distances


def _sorted_channels(frame: np.ndarray) -> np.ndarray:
    """CIELAB values of a frame [H * W, 3], each channel in ascending order."""
    return np.sort(cielab(frame).reshape(-1, 3), axis=0)


def cielab(frame: np.ndarray) -> np.ndarray:
    """CIELAB of an RGB frame, float32 [H, W, 3], L in 0-100."""
    return cv2.cvtColor(np.ascontiguousarray(frame, np.float32) / 255, cv2.COLOR_RGB2Lab)


def edge_f1(frames: np.ndarray, source: np.ndarray, *, tolerance: int = 1) -> float:
    """F1 of the Canny edges of an edit against the source's, a hit being an edge within `tolerance` pixels.

    Mean over the frames that have an edge in either clip; ``nan`` if none has.
    """
    same_shape(frames, source)
    kernel = np.ones((2 * tolerance + 1,) * 2, np.uint8)
    scores = []
    for ours, theirs in zip(frames, source, strict=True):
        a, b = _edges(ours), _edges(theirs)
        if not a.any() and not b.any():
            continue
        near_a = cv2.dilate(a.astype(np.uint8), kernel) > 0
        near_b = cv2.dilate(b.astype(np.uint8), kernel) > 0
        precision, recall = (a & near_b).sum() / max(a.sum(), 1), (b & near_a).sum() / max(b.sum(), 1)
        scores.append(2 * precision * recall / max(precision + recall, 1e-12))
    return float(np.mean(scores)) if scores else math.nan


def _edges(frame: np.ndarray) -> np.ndarray:
    """bool [H, W], True on the Canny edges of an RGB frame."""
    gray = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.Canny(gray, 100, 200) > 0)


def same_shape(a: np.ndarray, b: np.ndarray) -> None:
    """Raise ShapeError unless both are clips [F, H, W, 3] of one shape."""
    if a.shape != b.shape or a.ndim != 4 or a.shape[-1] != 3:
        raise ShapeError(f"expected two clips of one shape [F, H, W, 3], got {a.shape} and {b.shape}")


# ------------------------------------------------------------------------------------------- of a sample


def strength_of(sample: Sample) -> Figure:
    series = strength(sample.frames, sample.source)
    return Figure(float(np.mean(series)), tuple(series))


def strength_region_of(sample: Sample) -> Figure:
    series = strength(sample.frames, sample.source, sample.change)
    seen = np.array(series)[np.isfinite(series)]
    return Figure(float(seen.mean()) if len(seen) else math.nan, reason="" if len(seen) else "the region is empty")


def psnr_of(sample: Sample) -> float:
    assert sample.truth is not None
    return min(psnr(sample.frames, sample.truth), EXACT_DB)


def ssim_of(sample: Sample) -> float:
    assert sample.truth is not None
    return ssim(sample.frames, sample.truth)


def background_psnr_of(sample: Sample) -> Figure:
    value = psnr(sample.frames, sample.source, sample.keep)
    return Figure(value if math.isnan(value) else min(value, EXACT_DB), reason=_if_empty(value))


def background_ssim_of(sample: Sample) -> Figure:
    value = ssim(sample.frames, sample.source, sample.keep)
    return Figure(value, reason=_if_empty(value))


def _if_empty(value: float) -> str:
    return "under 1 % of the pixels are to be left alone" if math.isnan(value) else ""


def edge_f1_of(sample: Sample) -> Figure:
    value = edge_f1(sample.frames, sample.source)
    return Figure(value, reason="neither clip has an edge" if math.isnan(value) else "")


def flicker_ratio_of(sample: Sample) -> Figure:
    if len(sample.frames) < 2:
        return Figure(math.nan, reason="one frame does not change")
    still = flicker(sample.source)
    if still == 0:
        return Figure(math.nan, reason="the source does not change")
    series = [change / still for change in changes(sample.frames)]
    return Figure(float(np.mean(series)), (0.0, *series))


def color_drift_of(sample: Sample) -> Figure:
    if len(sample.frames) < 2:
        return Figure(math.nan, reason="one frame does not change")
    series = drifts(sample.frames)
    return Figure(float(np.mean(series)), (0.0, *series))
