"""Pictures as edits may look, and pictures that show no subject, for the judge and the locator."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.vocabulary import COLOURS


def worn(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Pictures [B, 3, S, S] in [-1, 1] with one wear of four, or none: blur, weave, a ghost, something before them."""
    kind, size = rng.integers(0, 8), pixels.shape[-1]
    if kind == 0:
        return F.avg_pool2d(F.pad(pixels, (2,) * 4, mode="replicate"), 5, 1)
    if kind == 1:
        lines = torch.sin(torch.arange(size) * float(rng.uniform(0.8, 3)))
        return pixels + float(rng.uniform(0.05, 0.2)) * (lines[:, None] + lines[None]) / 2
    if kind == 2:
        return torch.lerp(pixels, pixels.roll(int(rng.integers(8, 40)), -1), float(rng.uniform(0.1, 0.3)))
    if kind == 3:
        left, top = (int(v) for v in rng.integers(0, size - size // 5, 2))
        pixels = pixels.clone()
        pixels[..., top : top + size // 5, left : left + size // 5] = float(rng.uniform(-1, 1))
    return pixels


def mosaic(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Pictures [B, 3, S, S] in 8 to 13 tiles a side, coarser than any style."""
    tiles = int(rng.integers(8, 14))
    small = F.interpolate(pixels, size=(tiles, tiles), mode="area")
    return F.interpolate(small, size=pixels.shape[-2:], mode="nearest")


def boxed(pixels: Tensor, masks: Tensor | None, rng: np.random.Generator) -> Tensor:
    """A flat box over each subject of masks [B, 1, S, S] in [0, 1], or somewhere if there is none."""
    pixels, size = pixels.clone(), pixels.shape[-1]
    for index, picture in enumerate(pixels):
        width, height = (int(v) for v in rng.integers(size // 4, size * 3 // 4, 2))
        left, top = int(rng.integers(0, size - width)), int(rng.integers(0, size - height))
        if masks is not None:
            rows, columns = torch.nonzero(masks[index, 0] > 0.02, as_tuple=True)
            if not len(rows):
                continue
            left, top = int(columns.min()), int(rows.min())
            width, height = int(columns.max()) + 1 - left, int(rows.max()) + 1 - top
        color = np.array(list(COLOURS.values())[rng.integers(len(COLOURS))]) + rng.normal(0, 12, 3)
        paint = torch.from_numpy(color.astype(np.float32) / 127.5 - 1).clamp(-1, 1)
        picture[:, top : top + height, left : left + width] = paint[:, None, None]
    return pixels


def without_subject(pixels: Tensor, masks: Tensor, empty: Tensor, rng: np.random.Generator) -> Tensor:
    """As many pictures as ``empty`` scenes: some as they are, with a box, or made of pictures with a subject."""
    parts = torch.arange(len(empty)).tensor_split(4)
    covered = boxed(pixels[parts[2]], masks[parts[2]], rng)
    return torch.cat([empty[parts[0]], boxed(empty[parts[1]], None, rng), covered, mosaic(pixels[parts[3]], rng)])
