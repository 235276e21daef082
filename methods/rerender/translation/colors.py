"""The colours of one picture for another."""

from __future__ import annotations

import cv2
import numpy as np


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
