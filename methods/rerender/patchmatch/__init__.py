"""Guided patch-match synthesis: an image's style moved to another image, without a compiler.

The algorithm is that of EbSynth (Jamriška et al., "Stylizing Video by Example", SIGGRAPH 2019; Fišer et al., "StyLit",
SIGGRAPH 2016), as Rerender-A-Video calls it. EbSynth is in the public domain; its README gives this notice, which holds
here as well: the PatchMatch algorithm that the engine builds on is patented in the United States
(Adobe, US patent 8,861,869). Who must avoid it can propagate by optical flow alone (``propagator="flow"``).

Convention: a nearest-neighbour field is int32 ``[H, W, 2]``; ``field[y, x] = (sx, sy)`` says that the 5 x 5 patch
around source pixel (sx, sy), column and row counted from 0 at the top left, is the match of the one around target
pixel (x, y). Source patches always lie inside the source image: 2 <= sx <= W - 3, 2 <= sy <= H - 3. Target patches may
reach over the border, which counts as repeated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rerender.patchmatch.problem import PRESETS, Bytes, Field, Guide, Preset, check_init, check_style, checked_guides
from videoedit.errors import ConfigError

__all__ = ["PRESETS", "Guide", "Preset", "synthesize"]


def synthesize(
    style: Bytes,
    guides: Sequence[Guide],
    *,
    preset: str = "default",
    seed: int = 0,
    init: Field | None = None,
) -> tuple[Bytes, NDArray[np.float32]]:
    """Restyle the target image: put it together from patches of `style` where the guides of source and target agree.

    style: uint8 ``[H, W, 3]``, the restyled source image. guides: (source, target, weight) each, both uint8
    ``[H, W, c]`` or ``[H, W]``. preset: a name in `PRESETS`. init: a field (see the module) to start from in place of a
    random one, for instance from optical flow. The same arguments give the same bytes, on any machine.

    Returns the image, uint8 ``[H, W, 3]``, and the error of each pixel's patch, float32 ``[H, W]``, in squared grey
    levels: the sum over the patch of |style difference|^2 / 3 + sum over the guides of weight |guide difference|^2 / c,
    where the style difference is that to the image before the last vote.

    Raises ShapeError for arrays of other sizes or types or below 5 x 5 pixels, InputError without guides, ConfigError
    for an unknown preset or a weight that is negative or not a number.
    """
    from rerender.patchmatch.engine import solve  # brings numba

    if preset not in PRESETS:
        raise ConfigError(f"unknown patch-match preset {preset!r}: choose one of {', '.join(PRESETS)}")
    check_style(style)
    guides = checked_guides(guides, style.shape[:2])
    if init is not None:
        check_init(init, style.shape[:2])
    solution = solve(style, guides, PRESETS[preset], seed, init)
    return solution.image, solution.errors
