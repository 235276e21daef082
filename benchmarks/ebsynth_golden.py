"""What EbSynth was given and what it made of it: the clip of ``../shared/golden/ebsynth`` (see its README).

Forward from key frame 0 to frames 1..10. The official guides are rebuilt from frames, flow, and EbSynth's own pictures:
all but its pictures went through JPEG of quality 95, positions and the frame before were moved by nearest pixels, and
occluded pixels inpainted with radius 30.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from rerender.patchmatch import Guide
from videoedit.motion.estimators import load_flow
from videoedit.motion.flow import occlusion, warp

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
    """The edge guide."""
    return through_jpeg(cv2.filter2D(image, -1, LAPLACIAN))


def positions(height: int, width: int) -> np.ndarray:
    """R = 255 y / (H - 1), G = 255 x / (W - 1), B = 0."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = (np.arange(height) / (height - 1) * 255)[:, None]
    image[..., 1] = np.arange(width) / (width - 1) * 255
    return image


def restyle(image: np.ndarray) -> np.ndarray:
    """The filter that the key frame went through; of another frame it is the truth to come close to."""
    painted = cv2.stylization(np.ascontiguousarray(image[..., ::-1]), sigma_s=60, sigma_r=0.45)
    tinted = cv2.applyColorMap(cv2.cvtColor(painted, cv2.COLOR_BGR2GRAY), cv2.COLORMAP_OCEAN)
    return np.ascontiguousarray(cv2.addWeighted(painted, 0.6, tinted, 0.4, 0)[..., ::-1])


class Case(NamedTuple):
    """One call of EbSynth: the frame's number, style, guides (source, target, weight), its picture and mean error."""

    frame: int
    style: np.ndarray
    guides: list[Guide]
    ebsynth: np.ndarray
    truth: np.ndarray
    error: float


def cases() -> Iterator[Case]:
    """The ten calls; takes some 80 CPU seconds for flow. Needs the weights: ``videoedit models fetch raft-sintel``."""
    errors = json.loads((FOLDER / "metrics.json").read_text())["ebsynth_error_map"]
    network = load_flow("raft-sintel", "cpu").network
    key, first = read("key_0000"), read("input_0000")
    ramp = place = positions(*key.shape[:2])
    style = before = through_jpeg(key)
    for t in FRAMES:
        frame, earlier = read(f"input_{t:04d}"), read(f"input_{t - 1:04d}")
        motion = flow_back(network, earlier, frame)
        place = advance(place, *motion)
        guides = [
            (first, frame, 6.0),
            (edges(first), edges(frame), 0.5),
            (style, through_jpeg(advance(before, *motion)), 0.5),
            (through_jpeg(ramp), through_jpeg(place), 2.0),
        ]
        before = read(f"eb_fwd_{t:04d}")
        yield Case(t, key, guides, before, restyle(frame), errors[str(t)]["mean"])


@torch.no_grad()
def flow_back(network: Callable, earlier: np.ndarray, frame: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Flow from `frame` to the `earlier` one, ``[1, 2, H, W]``, and what of it is hidden there, ``[1, 1, H, W]``."""
    a, b = (torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1 for image in (earlier, frame))
    back = network(b, a, num_flow_updates=20)[-1]
    return back, occlusion(network(a, b, num_flow_updates=20)[-1], back)[1]


def advance(image: np.ndarray, flow: torch.Tensor, occluded: torch.Tensor) -> np.ndarray:
    """The earlier frame's image moved onto the frame, uint8 RGB ``[H, W, 3]``."""
    moved = warp(torch.from_numpy(image).permute(2, 0, 1)[None].float(), flow, "nearest")
    pixels = np.ascontiguousarray(moved[0].permute(1, 2, 0).byte().numpy())
    return cv2.inpaint(pixels, occluded[0, 0].byte().numpy(), 30, cv2.INPAINT_TELEA)
