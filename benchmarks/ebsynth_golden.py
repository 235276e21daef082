"""What EbSynth was given and what it made of it: the clip of ``../shared/golden/ebsynth`` (see its README).

Forward from key frame 0 to frames 1..10. The official guides are rebuilt from frames, flow, and EbSynth's own pictures:
all but its pictures went through JPEG of quality 95, positions and the frame before were moved by nearest pixels, and
occluded pixels inpainted with radius 30.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch

from videoedit.flow import occlusion, warp
from videoedit.flow_models import load_flow

FOLDER = Path(__file__).parents[2] / "shared" / "golden" / "ebsynth" / "bunny"
FRAMES = range(1, 11)
LAPLACIAN = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32)


def read(name: str) -> np.ndarray:
    """A stored picture, uint8 RGB ``[H, W, 3]``."""
    image = cv2.imread(str(FOLDER / f"{name}.png"))
    if image is None:
        raise FileNotFoundError(FOLDER / f"{name}.png")
    return np.ascontiguousarray(image[..., ::-1])


def through_jpeg(image: np.ndarray) -> np.ndarray:
    """What is left of an RGB image after JPEG of quality 95."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def edges(image: np.ndarray) -> np.ndarray:
    return through_jpeg(cv2.filter2D(image, -1, LAPLACIAN))


def positions(height: int, width: int) -> np.ndarray:
    """R = 255 y / (H - 1), G = 255 x / (W - 1), B = 0."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = (np.arange(height) / (height - 1) * 255)[:, None]
    image[..., 1] = np.arange(width) / (width - 1) * 255
    return image


class Motion:
    """Flow from each frame to the one before, by RAFT with the weights ``raft-sintel`` and 20 updates."""

    def __init__(self) -> None:
        self.network = load_flow("raft-sintel", "cpu").network
        self.frames = [torch.from_numpy(read(f"input_{t:04d}")).permute(2, 0, 1)[None] / 127.5 - 1 for t in range(11)]

    @torch.no_grad()
    def flow(self, start: int, end: int) -> torch.Tensor:
        return self.network(self.frames[start], self.frames[end], num_flow_updates=20)[-1]

    def advance(self, image: np.ndarray, t: int) -> np.ndarray:
        """The image of frame t - 1 moved onto frame t, uint8 RGB ``[H, W, 3]``."""
        back, (_, occluded) = self.step(t)
        moved = warp(torch.from_numpy(image).permute(2, 0, 1)[None].float(), back, "nearest")
        return cv2.inpaint(
            np.ascontiguousarray(moved[0].permute(1, 2, 0).byte().numpy()),
            occluded[0, 0].byte().numpy(),
            30,
            cv2.INPAINT_TELEA,
        )

    @cache  # noqa: B019
    def step(self, t: int) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Flow from frame t to t - 1, and the occlusion of both (of t - 1, of t)."""
        back = self.flow(t, t - 1)
        return back, occlusion(self.flow(t - 1, t), back)
