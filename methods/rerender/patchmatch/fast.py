"""The engine's inner loops, compiled by numba; `reference` says the same in NumPy, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from rerender.patchmatch.problem import PATCH, RADIUS


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call; keep the machine code where there is a folder for it."""
    try:
        return njit(cache=True)(function)
    except RuntimeError:  # numba found no folder that it may write to
        return njit(function)


@compiled
def rows(image):  # type: ignore[no-untyped-def]
    """``[h, w, C]`` -> ``[h, w * C]``."""
    return image.reshape(image.shape[0], image.shape[1] * image.shape[2])


@compiled
def row_error(target, source):  # type: ignore[no-untyped-def]
    """Sum of squared differences of two rows of packed values, in 32 bits (see `integer_scale`)."""
    total = np.int32(0)
    for i in range(target.size):
        difference = np.int32(target[i]) - np.int32(source[i])
        total = np.int32(total + np.int32(difference * difference))
    return total


@compiled
def patch_error(target, source, x, y, cx, cy, channels, bound):  # type: ignore[no-untyped-def]
    """Error of source patch (cx, cy) at target pixel (x, y); given up after the row that exceeds `bound`."""
    error = np.int64(0)
    for j in range(PATCH):
        row = source[cy - RADIUS + j]
        error += row_error(
            target[y + j, x * channels : (x + PATCH) * channels],
            row[(cx - RADIUS) * channels : (cx + RADIUS + 1) * channels],
        )
        if error > bound:
            break
    return error


@compiled
def use(usage, cx, cy, change):  # type: ignore[no-untyped-def]
    """Count a use of every pixel of the patch at (cx, cy), or take it back."""
    for y in range(cy - RADIUS, cy + RADIUS + 1):
        for x in range(cx - RADIUS, cx + RADIUS + 1):
            usage[y, x] += change


@compiled
def uses(usage, cx, cy):  # type: ignore[no-untyped-def]
    """Uses of the pixels of the patch at (cx, cy), summed."""
    total = np.int64(0)
    for y in range(cy - RADIUS, cy + RADIUS + 1):
        for x in range(cx - RADIUS, cx + RADIUS + 1):
            total += usage[y, x]
    return total


@compiled
def scramble(number):  # type: ignore[no-untyped-def]
    """A well mixed number below 2^32 from one below 2^32."""
    number = ((number ^ (number >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    number = ((number ^ (number >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    return number ^ (number >> 16)


@compiled
def draw(state, centre, radius, last):  # type: ignore[no-untyped-def]
    """The next state, and a number within `radius` of `centre` and in [RADIUS, last], all equally likely."""
    state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
    low = max(centre - radius, RADIUS)
    high = min(centre + radius, last)
    return state, low + (state * (high - low + 1) >> 32)


@compiled
def attempt(source, target, usage, channels, penalty, x, y, cx, cy, best):  # type: ignore[no-untyped-def]
    """Take source patch (cx, cy) for pixel (x, y) if it costs less than `best` = (bx, by, error, cost)."""
    bx, by, _, cost = best
    if cx == bx and cy == by:
        return best
    error = patch_error(target, source, x, y, cx, cy, channels, cost)
    if error >= cost or error + penalty * uses(usage, cx, cy) >= cost:
        return best
    use(usage, cx, cy, 1)
    use(usage, bx, by, -1)
    return cx, cy, error, error + penalty * uses(usage, cx, cy)


@compiled
def search(source, target, field, errors, usage, active, radii, penalty, seed, forward):  # type: ignore[no-untyped-def]
    """One sweep over the active pixels: try the neighbours' patches moved along, then random ones around the best.

    Forward: rows from the top, neighbours left and above; else from the bottom, right and below.
    """
    height, width, channels = source.shape
    source, target = rows(source), rows(target)
    step = 1 if forward else -1
    for i in range(height):
        y = i if forward else height - 1 - i
        for j in range(width):
            x = j if forward else width - 1 - j
            if not active[y, x]:
                continue
            bx, by = np.int64(field[y, x, 0]), np.int64(field[y, x, 1])
            best = (bx, by, errors[y, x], errors[y, x] + penalty * uses(usage, bx, by))
            if j > 0:
                cx, cy = np.int64(field[y, x - step, 0]) + step, np.int64(field[y, x - step, 1])
                if RADIUS <= cx < width - RADIUS:
                    best = attempt(source, target, usage, channels, penalty, x, y, cx, cy, best)
            if i > 0:
                cx, cy = np.int64(field[y - step, x, 0]), np.int64(field[y - step, x, 1]) + step
                if RADIUS <= cy < height - RADIUS:
                    best = attempt(source, target, usage, channels, penalty, x, y, cx, cy, best)
            bx, by = best[0], best[1]
            state = scramble(seed ^ (y * width + x))
            for radius in radii:
                state, cx = draw(state, bx, radius, width - 1 - RADIUS)
                state, cy = draw(state, by, radius, height - 1 - RADIUS)
                best = attempt(source, target, usage, channels, penalty, x, y, cx, cy, best)
            field[y, x, 0], field[y, x, 1], errors[y, x] = best[0], best[1], best[2]


@compiled
def evaluate(source, target, field, errors, active):  # type: ignore[no-untyped-def]
    """Set the `errors` of the active pixels to those of their patches."""
    height, width, channels = source.shape
    source, target = rows(source), rows(target)
    for y in range(height):
        for x in range(width):
            if active[y, x]:
                cx, cy = np.int64(field[y, x, 0]), np.int64(field[y, x, 1])
                errors[y, x] = patch_error(target, source, x, y, cx, cy, channels, np.int64(2**62))


@compiled
def count(field, usage):  # type: ignore[no-untyped-def]
    """Add up in `usage` how often each source pixel lies in a chosen patch."""
    height, width = usage.shape
    for y in range(height):
        for x in range(width):
            use(usage, field[y, x, 0], field[y, x, 1], 1)


@compiled
def vote(style, field, image, active):  # type: ignore[no-untyped-def]
    """Set the active pixels of `image` to the mean, cut to whole numbers, of what the patches over them show there."""
    height, width = active.shape
    for y in range(height):
        for x in range(width):
            if not active[y, x]:
                continue
            red, green, blue, votes = 0, 0, 0, 0
            for j in range(max(y - RADIUS, 0), min(y + RADIUS + 1, height)):
                for i in range(max(x - RADIUS, 0), min(x + RADIUS + 1, width)):
                    cx, cy = field[j, i, 0] + x - i, field[j, i, 1] + y - j
                    red += style[cy, cx, 0]
                    green += style[cy, cx, 1]
                    blue += style[cy, cx, 2]
                    votes += 1
            image[y, x, 0], image[y, x, 1], image[y, x, 2] = red // votes, green // votes, blue // votes
