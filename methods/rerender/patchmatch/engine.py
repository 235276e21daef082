"""The search itself: levels, votes and sweeps, with the inner loops of `fast` or of `reference`."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from rerender.patchmatch import fast, problem
from rerender.patchmatch.problem import PATCH, Bytes, Field, Guide, Level, Preset

Mask = NDArray[np.bool_]


class Solution(NamedTuple):
    """image: uint8 ``[H, W, 3]``; field: its source pixels (x, y), int32 ``[H, W, 2]``; errors: of its patches, float32
    ``[H, W]``; estimate: the image before the last vote, which the errors were taken with."""

    image: Bytes
    field: Field
    errors: NDArray[np.float32]
    estimate: Bytes


def solve(
    style: Bytes,
    guides: Sequence[Guide],
    preset: Preset,
    seed: int = 0,
    init: Field | None = None,
    kernels: ModuleType = fast,
) -> Solution:
    """`synthesize` without its checks, and with all that it finds."""
    generator = np.random.default_rng(seed)
    field: Field | None = None
    for level in problem.pyramid(style, guides):
        size = level.style.shape[:2]
        if field is not None:
            field = problem.doubled(field, size)
        elif init is not None:
            field = problem.coarse_field(init, problem.depth(style.shape[:2]) - 1)
        else:
            field = problem.random_field(size, generator)
        solution = refine(level, field, preset, generator, kernels)
    return solution


def refine(level: Level, field: Field, preset: Preset, generator: np.random.Generator, kernels: ModuleType) -> Solution:
    """Improve `field` in place at one level: sweep, vote, and again where the vote changed the image."""
    everywhere = np.ones(field.shape[:2], np.bool_)
    errors = np.zeros(field.shape[:2], np.int64)
    usage = usage_of(field)
    image = np.zeros_like(level.style)
    kernels.vote(level.style, field, image, everywhere)
    active, radii = everywhere, search_radii(field.shape[:2], preset.reach)
    for _ in range(preset.votes):
        if not active.any():
            break
        level.paint(image)
        kernels.evaluate(level.source, level.target, field, errors, active)
        for sweep in range(preset.passes):
            seed = int(generator.integers(2**32))
            forward = sweep % 2 == 0
            kernels.search(
                level.source, level.target, field, errors, usage, active, radii, level.penalty, seed, forward
            )
        estimate = image.copy()
        kernels.vote(level.style, field, image, grown(active))
        active = grown(np.abs(image.astype(np.int16) - estimate).max(axis=-1) >= preset.stop)
    kernels.evaluate(level.source, level.target, field, errors, everywhere)
    return Solution(image, field, (errors / level.scale**2).astype(np.float32), estimate)


def usage_of(field: Field) -> NDArray[np.int32]:
    """The times that each source pixel lies in a chosen patch."""
    centers = np.zeros(field.shape[:2])
    np.add.at(centers, (field[..., 1], field[..., 0]), 1)
    return cv2.boxFilter(centers, -1, (PATCH, PATCH), normalize=False, borderType=cv2.BORDER_CONSTANT).astype(np.int32)


def search_radii(size: tuple[int, ...], reach: float) -> NDArray[np.int64]:
    """1, ..., half the longer side, the longer side; none above `reach`."""
    side = max(size)
    radii = [side >> i for i in reversed(range(side.bit_length()))]
    return np.array([radius for radius in radii if radius <= reach], np.int64)


def grown(mask: Mask) -> Mask:
    """The mask and all pixels whose patch touches it."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((PATCH, PATCH), np.uint8)).astype(np.bool_)
