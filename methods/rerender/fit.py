"""Whether key frames show the frames that they are said to be for, by their outlines, whatever their colors are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import cv2
import numpy as np

SIDE = 64  # pixels; longer side of what is compared
CLEARLY, ALIKE = 0.1, 0.35  # of 1: by how much another frame must be more alike, and how alike it must be


def misplaced(keys: Mapping[int, np.ndarray], frames: Iterable[np.ndarray]) -> dict[int, int]:
    """Key frames that resemble another frame of the clip clearly more than their own, and which.

    `keys` are pictures by frame index, `frames` all frames of the clip in order; uint8 [H, W, 3] of one size.
    """
    outlines = {index: _outlines(picture) for index, picture in keys.items()}
    alike: dict[int, list[float]] = {index: [] for index in keys}
    for frame in frames:
        shown = _outlines(frame)
        for index, outline in outlines.items():
            alike[index].append(float((outline.conj() * shown).real.sum()))
    found = {}
    for index, scores in alike.items():
        best = int(np.argmax(scores))
        if scores[best] > max(ALIKE, scores[index] + CLEARLY):
            found[index] = best
    return found


def _outlines(picture: np.ndarray) -> np.ndarray:
    """Directions of the outlines in a small picture, complex [h, w] of length 1 in all.

    Angles are doubled, so that light on dark and dark on light are the same.
    """
    scale = SIDE / max(picture.shape[:2])
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, None, fx=min(1, scale), fy=min(1, scale), interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(small.astype(np.float32), (0, 0), 1)
    gradient = cv2.Sobel(soft, cv2.CV_32F, 1, 0) + 1j * cv2.Sobel(soft, cv2.CV_32F, 0, 1)
    doubled = gradient**2 / np.sqrt(np.abs(gradient) ** 2 + 1)  # strong edges count by their height, not its square
    centered = doubled - doubled.mean()
    return centered / max(float(np.linalg.norm(centered)), 1e-6)
