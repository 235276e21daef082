"""Measures of motion: how well an edit follows its source's optical flow, which is an argument here."""

from __future__ import annotations

import math

import cv2
import numpy as np

from videoedit.errors import ShapeError


def warp_error(frames: np.ndarray, flow: np.ndarray, occlusion: np.ndarray) -> float:
    """Mean squared difference of frame i+1 and frame i brought onto it, over visible pixels, values in [0, 1].

    Convention: `flow` [F-1, 2, H, W] is *backward*, frame i+1 -> i, in pixels, x right and y down; frame i is
    sampled at ``p + flow(p)``. `occlusion` [F-1, H, W] (or [F-1, 1, H, W]) is True where frame i+1 shows
    nothing of frame i. Pixels sampled from outside the frame do not count. ``nan`` if under 1 % is visible.
    """
    count, height, width = len(frames), *frames.shape[1:3]
    flow, occlusion = np.asarray(flow, np.float32), np.asarray(occlusion, bool)
    occlusion = occlusion[:, 0] if occlusion.ndim == 4 else occlusion
    if flow.shape != (count - 1, 2, height, width) or occlusion.shape != (count - 1, height, width):
        raise ShapeError(
            f"{count} frames of {height} x {width} need flow {(count - 1, 2, height, width)} and occlusion "
            f"{(count - 1, height, width)}, got {flow.shape} and {occlusion.shape}"
        )
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    error, visible_total = 0.0, 0
    for index in range(count - 1):
        x, y = columns + flow[index, 0], rows + flow[index, 1]
        moved = cv2.remap(frames[index].astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        visible = ~occlusion[index] & (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        error += float((((moved - frames[index + 1]) / 255) ** 2).mean(-1)[visible].sum())
        visible_total += int(visible.sum())
    if visible_total < 0.01 * (count - 1) * height * width or count < 2:
        return math.nan
    return error / visible_total
