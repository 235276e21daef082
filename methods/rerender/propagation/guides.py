"""Guide images of the patch matching: what says which place of the key frame a pixel of another frame looks like.

Rerender-A-Video, section 4.2, has four. Colour: the frames themselves. Edge: `edge_guide` of both. Temporal: the key
and `advance` of the frame made before. Positional: `positional_image` of `positional_guide` and of what
`advance_positions` makes of it, frame by frame.

Images are uint8 ``[H, W, 3]`` RGB. Positions are float32 ``[H, W, 2]``: where in the key frame the point seen at a
pixel lies, x and y in pixels. `flow` is float ``[1, 2, H, W]`` from the new frame to the one before it, and `occluded`
bool ``[1, 1, H, W]``, True where the new frame shows what that one does not (`videoedit.motion.flow.occlusion`).
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from videoedit.motion.flow import compose, warp

INPAINT_RADIUS = 5  # pixels; the official 30 takes twenty times as long and comes less close to what is there
LAPLACIAN = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32)


def edge_guide(frame: np.ndarray) -> np.ndarray:
    """The brightness of a pixel above its four neighbours', per channel; never below 0. uint8 ``[H, W, 3]``."""
    return cv2.filter2D(frame, -1, LAPLACIAN)


def positional_guide(height: int, width: int) -> np.ndarray:
    """The positions of the key frame's own pixels, ``[H, W, 2]``."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([x, y], axis=-1)


def positional_image(positions: np.ndarray) -> np.ndarray:
    """Positions as colours, uint8 ``[H, W, 3]``: y is red and x green, 0 at the first pixel and 255 at the last."""
    height, width = positions.shape[:2]
    scale = 255 / np.maximum([width - 1, height - 1], 1)
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 1::-1] = (positions * scale).clip(0, 255)
    return image


def advance(image: np.ndarray, flow: Tensor, occluded: Tensor) -> np.ndarray:
    """The image of the frame before, moved onto the new frame: nearest pixels, occluded ones filled from around."""
    moved = warp(_to_tensor(image), flow, "nearest")
    return _fill(_to_array(moved).astype(np.uint8), occluded)


def advance_positions(positions: np.ndarray, flow: Tensor, occluded: Tensor) -> np.ndarray:
    """The positions of the frame before, moved onto the new frame; occluded pixels move like what is around them.

    The displacements are chained bilinearly (`videoedit.motion.flow.compose`). Moving an 8-bit picture of the positions
    from nearest pixel to nearest pixel, as the official code does, loses every motion below half a pixel a frame.
    """
    here = positional_guide(*positions.shape[:2])
    displacement = _to_array(compose(flow, _to_tensor(positions - here)))
    return here + np.stack([_fill(plane, occluded) for plane in np.moveaxis(displacement, -1, 0)], axis=-1)


def _fill(image: np.ndarray, occluded: Tensor) -> np.ndarray:
    """Inpainting after Telea (2004); an image with nothing visible stays as it is.

    So does one of a single row or column, of which OpenCV makes undefined numbers.
    """
    mask = occluded[0, 0].cpu().numpy()
    if not mask.any() or mask.all() or min(mask.shape) == 1:
        return image
    return cv2.inpaint(np.ascontiguousarray(image), mask.astype(np.uint8), INPAINT_RADIUS, cv2.INPAINT_TELEA)


def _to_tensor(image: np.ndarray) -> Tensor:
    """``[H, W, C]`` -> float32 ``[1, C, H, W]``."""
    return torch.from_numpy(np.ascontiguousarray(image)).float().permute(2, 0, 1)[None]


def _to_array(tensor: Tensor) -> np.ndarray:
    """``[1, C, H, W]`` -> ``[H, W, C]``."""
    return tensor[0].permute(1, 2, 0).numpy()
