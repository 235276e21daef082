"""The engine's inner loops, to be read: NumPy, patch by patch; the same bytes as `fast`, a thousand times slower.

Hand this module to `engine.solve` as `kernels`. Arrays: see `problem.Level`; field int32 ``[h, w, 2]``, errors int64
``[h, w]``, usage int32 ``[h, w]``, active bool ``[h, w]``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rerender.patchmatch.problem import PATCH, RADIUS, Bytes, Field, Shorts

Errors = NDArray[np.int64]
Mask = NDArray[np.bool_]

MULTIPLIER, INCREMENT = 1664525, 1013904223  # of the linear congruential generator in Numerical Recipes
WORD = 2**32 - 1


def window(x: int, y: int) -> tuple[slice, slice]:
    """Rows and columns of the patch around pixel (x, y)."""
    return slice(y - RADIUS, y + RADIUS + 1), slice(x - RADIUS, x + RADIUS + 1)


def patch_error(source: Shorts, target: Shorts, x: int, y: int, cx: int, cy: int) -> int:
    """Sum of squared differences of the source patch at (cx, cy) and the target patch at (x, y)."""
    there, here = source[window(cx, cy)], target[y : y + PATCH, x : x + PATCH]  # the target is padded by RADIUS
    return int(np.square(here.astype(np.int64) - there).sum())


def evaluate(source: Shorts, target: Shorts, field: Field, errors: Errors, active: Mask) -> None:
    """Set the `errors` of the active pixels to those of their patches."""
    for y, x in np.argwhere(active):
        errors[y, x] = patch_error(source, target, x, y, *field[y, x])


def vote(style: Bytes, field: Field, image: Bytes, active: Mask) -> None:
    """Set the active pixels of `image` to the mean, cut to whole numbers, of what the patches over them show there."""
    height, width = active.shape
    for y, x in np.argwhere(active):
        rows, columns = np.mgrid[
            max(y - RADIUS, 0) : min(y + RADIUS + 1, height), max(x - RADIUS, 0) : min(x + RADIUS + 1, width)
        ].reshape(2, -1)
        cx, cy = field[rows, columns].T
        colors = style[cy + y - rows, cx + x - columns]
        image[y, x] = colors.sum(axis=0, dtype=np.int64) // len(colors)


def search(
    source: Shorts,
    target: Shorts,
    field: Field,
    errors: Errors,
    usage: NDArray[np.int32],
    active: Mask,
    radii: NDArray[np.int64],
    penalty: int,
    seed: int,
    forward: bool,
) -> None:
    """One sweep over the active pixels: try the neighbours' patches moved along, then random ones around the best.

    A patch is taken if error + penalty * (uses of its pixels) is less than that of the present one.
    Forward: rows from the top, neighbours left and above; else from the bottom, right and below.
    """
    order = np.argwhere(active)
    for y, x in order if forward else order[::-1]:
        for candidates in (neighbors(field, x, y, forward), random_ones(field, x, y, radii, seed)):
            for cx, cy in candidates:
                here, there = window(*field[y, x]), window(cx, cy)
                error = patch_error(source, target, x, y, cx, cy)
                if error + penalty * int(usage[there].sum()) < errors[y, x] + penalty * int(usage[here].sum()):
                    usage[there] += 1
                    usage[here] -= 1
                    field[y, x], errors[y, x] = (cx, cy), error


def neighbors(field: Field, x: int, y: int, forward: bool) -> Iterator[tuple[int, int]]:
    """The patches that continue those of the two neighbours visited before, if they lie inside the source."""
    height, width = field.shape[:2]
    step = 1 if forward else -1
    if 0 <= x - step < width:
        cx, cy = field[y, x - step] + (step, 0)
        if RADIUS <= cx < width - RADIUS:
            yield cx, cy
    if 0 <= y - step < height:
        cx, cy = field[y - step, x] + (0, step)
        if RADIUS <= cy < height - RADIUS:
            yield cx, cy


def random_ones(field: Field, x: int, y: int, radii: NDArray[np.int64], seed: int) -> Iterator[tuple[int, int]]:
    """A random patch within each of the `radii` of the present one, as it is before any of them is tried."""
    height, width = field.shape[:2]
    bx, by = map(int, field[y, x])
    state = scramble(seed ^ int(y * width + x))
    for radius in map(int, radii):
        state, cx = draw(state, bx, radius, width - 1 - RADIUS)
        state, cy = draw(state, by, radius, height - 1 - RADIUS)
        yield cx, cy


def scramble(number: int) -> int:
    """A well mixed number below 2^32 from one below 2^32."""
    for _ in range(2):
        number = (number ^ number >> 16) * 0x45D9F3B & WORD
    return number ^ number >> 16


def draw(state: int, center: int, radius: int, last: int) -> tuple[int, int]:
    """The next state, and a number within `radius` of `center` and in [RADIUS, last], all equally likely."""
    state = state * MULTIPLIER + INCREMENT & WORD
    low, high = max(center - radius, RADIUS), min(center + radius, last)
    return state, low + (state * (high - low + 1) >> 32)
