"""A picture for the report: flow and occlusion between two key frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from videoedit.media.images import contact_rows
from videoedit.motion.flow import warp

if TYPE_CHECKING:
    from videoedit.motion.estimators import FlowPair


def flow_sheet(first: np.ndarray, second: np.ndarray, edited: np.ndarray, pair: FlowPair) -> np.ndarray:
    """Two frames, the flow from the second back to the first, its occlusion, and `edited` (of the first) warped."""
    occluded = np.repeat(pair.occ_bwd[0, 0].numpy().astype(np.uint8)[..., None] * 255, 3, axis=-1)
    pixels = torch.from_numpy(edited).permute(2, 0, 1)[None].float()
    warped = warp(pixels, pair.bwd)[0].permute(1, 2, 0).round().clamp(0, 255).numpy().astype(np.uint8)
    return contact_rows([first, second, flow_colors(pair.bwd[0].numpy()), occluded, warped])


def flow_colors(flow: np.ndarray) -> np.ndarray:
    """Flow [2, H, W] as uint8 [H, W, 3]: hue is the direction, saturation the length against the longest."""
    length, angle = cv2.cartToPolar(flow[0], flow[1], angleInDegrees=True)
    strongest = max(float(np.quantile(length, 0.99)), 1e-6)
    planes = [angle / 2, np.clip(length / strongest, 0, 1) * 255, np.full_like(length, 255)]
    return cv2.cvtColor(np.stack(planes, -1).astype(np.uint8), cv2.COLOR_HSV2RGB)
