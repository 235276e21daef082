"""The engine's inner loops, compiled by numba; `reference` says the same in NumPy, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numba.extending import intrinsic

from rerender.patchmatch import reference
from rerender.patchmatch.problem import PATCH, RADIUS


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call; keep the machine code where there is a folder for it."""
    try:
        return njit(cache=True)(function)
    except RuntimeError:  # numba found no folder that it may write to
        return njit(function)


inlined = njit(forceinline=True)
scramble: Any = inlined(reference.scramble)
draw: Any = inlined(reference.draw)


def _borrowed(_, array):  # type: ignore[no-untyped-def]
    """The same array without a reference count.

    Numba counts references to the arrays handed to a function, atomically, even where it then inlines the function:
    twice the cost of comparing two patches.
    """

    def code(context, builder, _, arguments):  # type: ignore[no-untyped-def]
        view = context.make_array(array)(context, builder, arguments[0])
        view.meminfo = view.meminfo.type(None)
        return view._getvalue()

    return array(array), code


borrowed: Any = intrinsic(_borrowed)


@inlined
def patch_error(source, target, width, channels, cx, cy, x, y, bound):  # type: ignore[no-untyped-def]
    """Error of source patch (cx, cy) at target pixel (x, y); given up after the row that exceeds `bound`.

    The images are flat. Unsigned places spare the question whether they count from the end, and let the sum over a
    row be vectorised; it fits in 32 bits (see `integer_scale`).
    """
    there = np.uint64(((cy - RADIUS) * width + cx - RADIUS) * channels)
    here = np.uint64((y * (width + 2 * RADIUS) + x) * channels)
    error = np.int64(0)
    for _ in range(PATCH):
        total = np.int32(0)
        for i in range(np.uint64(PATCH * channels)):
            difference = np.int32(np.int16(target[here + i] - source[there + i]))
            total = np.int32(total + np.int32(difference * difference))
        error += total
        if error > bound:
            break
        there += np.uint64(width * channels)
        here += np.uint64((width + 2 * RADIUS) * channels)
    return error


@inlined
def use(usage, cx, cy, change):  # type: ignore[no-untyped-def]
    """Count a use of every pixel of the patch at (cx, cy), or take it back."""
    for y in range(cy - RADIUS, cy + RADIUS + 1):
        for x in range(cx - RADIUS, cx + RADIUS + 1):
            usage[y, x] += change


@inlined
def uses(usage, cx, cy):  # type: ignore[no-untyped-def]
    """Uses of the pixels of the patch at (cx, cy), summed."""
    total = np.int64(0)
    for y in range(cy - RADIUS, cy + RADIUS + 1):
        for x in range(cx - RADIUS, cx + RADIUS + 1):
            total += usage[y, x]
    return total


@inlined
def beside(field, x, y, dx, dy):  # type: ignore[no-untyped-def]
    """The patch that continues that of the neighbour at (x + dx, y + dy), and whether there is one."""
    height, width = field.shape[:2]
    if not (0 <= x + dx < width and 0 <= y + dy < height):
        return False, 0, 0
    cx, cy = field[y + dy, x + dx, 0] - dx, field[y + dy, x + dx, 1] - dy
    return RADIUS <= cx < width - RADIUS and RADIUS <= cy < height - RADIUS, cx, cy


@compiled
def search(source, target, field, errors, usage, active, radii, penalty, seed, forward):  # type: ignore[no-untyped-def]
    """One sweep over the active pixels: try the neighbours' patches moved along, then random ones around the best.

    Forward: rows from the top, neighbours left and above; else from the bottom, right and below.
    """
    height, width, channels = source.shape
    source, target = borrowed(source.reshape(-1)), borrowed(target.reshape(-1))
    usage, field = borrowed(usage), borrowed(field)
    back = -1 if forward else 1
    for place in range(height * width):
        y, x = divmod(place if forward else height * width - 1 - place, width)
        if not active[y, x]:
            continue
        bx, by, error = np.int64(field[y, x, 0]), np.int64(field[y, x, 1]), errors[y, x]
        cost = error + penalty * uses(usage, bx, by)
        middle_x, middle_y = bx, by
        state = scramble(seed ^ (y * width + x))
        for k in range(2 + radii.size):
            if k < 2:
                dx, dy = (back, 0) if k == 0 else (0, back)
                inside, cx, cy = beside(field, x, y, dx, dy)
                if not inside:
                    continue
            else:
                if k == 2:
                    middle_x, middle_y = bx, by
                state, cx = draw(state, middle_x, radii[k - 2], width - 1 - RADIUS)
                state, cy = draw(state, middle_y, radii[k - 2], height - 1 - RADIUS)
            if cx == bx and cy == by:
                continue
            new = patch_error(source, target, width, channels, cx, cy, x, y, cost)
            if new >= cost or new + penalty * uses(usage, cx, cy) >= cost:
                continue
            use(usage, cx, cy, 1)
            use(usage, bx, by, -1)
            bx, by, error = cx, cy, new
            cost = error + penalty * uses(usage, bx, by)
        field[y, x, 0], field[y, x, 1], errors[y, x] = bx, by, error


@compiled
def evaluate(source, target, field, errors, active):  # type: ignore[no-untyped-def]
    """Set the `errors` of the active pixels to those of their patches."""
    height, width, channels = source.shape
    source, target = borrowed(source.reshape(-1)), borrowed(target.reshape(-1))
    for y in range(height):
        for x in range(width):
            if active[y, x]:
                cx, cy = np.int64(field[y, x, 0]), np.int64(field[y, x, 1])
                errors[y, x] = patch_error(source, target, width, channels, cx, cy, x, y, np.int64(2**62))


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
