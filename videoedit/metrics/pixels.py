"""Measures of pixels: closeness to a reference, change from frame to frame, colours, edges."""

from __future__ import annotations

import itertools
import math

import cv2
import numpy as np

from videoedit.errors import ShapeError


def psnr(frames: np.ndarray, reference: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB over all frames at once; ``inf`` for identical clips."""
    same_shape(frames, reference)
    error = float(np.mean((frames.astype(np.float64) - reference) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ssim(frames: np.ndarray, reference: np.ndarray, *, window: int = 11) -> float:
    """Structural similarity (Wang et al. 2004), Gaussian window, mean over frames and channels; at most 1."""
    same_shape(frames, reference)
    if min(frames.shape[1:3]) < window:
        raise ShapeError(f"SSIM needs frames of at least {window} x {window} pixels, got {frames.shape[1:3]}")
    import torch
    from kornia.metrics import ssim as ssim_map

    total = 0.0
    for a, b in zip(frames, reference, strict=True):  # frame by frame: long clips stay small
        pair = torch.from_numpy(np.stack([a, b])).permute(0, 3, 1, 2).float() / 255
        total += float(ssim_map(pair[:1], pair[1:], window, padding="valid").mean())
    return total / len(frames)


def flicker(frames: np.ndarray) -> float:
    """Mean absolute change from each frame to the next, in grey levels (0-255); ``nan`` for one frame."""
    if len(frames) < 2:
        return math.nan
    changes = [float(np.abs(b.astype(np.int16) - a).mean()) for a, b in itertools.pairwise(frames)]
    return sum(changes) / len(changes)


def flicker_ratio(frames: np.ndarray, source: np.ndarray) -> float:
    """`flicker` of an edit over that of its source; ``nan`` if the source does not change."""
    still = flicker(source)
    return flicker(frames) / still if still > 0 else math.nan


def colour_drift(frames: np.ndarray) -> float:
    """Mean distance of the colours of frames 1.. from those of frame 0, in CIELAB units.

    The distance of two frames is the earth mover's distance of their values, channel by channel, added in
    quadrature: blind to where a colour is, so motion alone costs nothing. ``nan`` for one frame.
    """
    if len(frames) < 2:
        return math.nan
    values = [np.sort(cielab(frame).reshape(-1, 3), axis=0) for frame in frames]
    return float(np.mean([np.linalg.norm(np.abs(v - values[0]).mean(0)) for v in values[1:]]))


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
        a, b = (
            cv2.Canny(cv2.cvtColor(np.ascontiguousarray(f), cv2.COLOR_RGB2GRAY), 100, 200) > 0 for f in (ours, theirs)
        )
        if not a.any() and not b.any():
            continue
        near_a, near_b = (cv2.dilate(edges.astype(np.uint8), kernel) > 0 for edges in (a, b))
        precision, recall = (a & near_b).sum() / max(a.sum(), 1), (b & near_a).sum() / max(b.sum(), 1)
        scores.append(2 * precision * recall / max(precision + recall, 1e-12))
    return float(np.mean(scores)) if scores else math.nan


def same_shape(a: np.ndarray, b: np.ndarray) -> None:
    """Raise ShapeError unless both are clips [F, H, W, 3] of one shape."""
    if a.shape != b.shape or a.ndim != 4 or a.shape[-1] != 3:
        raise ShapeError(f"expected two clips of one shape [F, H, W, 3], got {a.shape} and {b.shape}")
