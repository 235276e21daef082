"""Pictures for the report: some key frames, and the flow and occlusion between two of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from videoedit.deliver import Picture
from videoedit.media.images import contact_rows
from videoedit.motion.flow import warp

if TYPE_CHECKING:
    from videoedit.motion.estimators import FlowPair
    from videoedit.runs.clip import Clip

SHOWN = 8  # key frames in a picture


def shown_of(indices: Sequence[int]) -> Sequence[int]:
    """At most `SHOWN` key frames of all, evenly."""
    return indices[:: max(1, -(-len(indices) // SHOWN))]


def key_picture(
    clip: Clip,
    shown: Sequence[int],
    edited: Callable[[], Mapping[int, np.ndarray]],
    rows: str,
    needs: Mapping[str, Any],
    control: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Picture:
    """Some key frames: of the clip, what a ControlNet follows, if one does, and edited; `rows` says so."""

    def draw() -> np.ndarray:
        sources, results = list(dict(clip.pick(shown)).values()), edited()
        followed = list(map(control, sources)) if control else []
        return contact_rows(sources, followed, list(map(results.__getitem__, shown)))

    return Picture("Key frames", f"Key frames {', '.join(map(str, shown))}: {rows}.", "keys.png", draw, needs)


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
