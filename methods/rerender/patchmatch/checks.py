"""Checks of all that `synthesize` takes: one clear line for everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rerender.patchmatch.problem import PATCH, Bytes, Field, Guide
from videoedit.errors import ConfigError, InputError, ShapeError


def check_style(style: Bytes) -> None:
    """Raise ShapeError unless `style` is uint8 ``[H, W, 3]`` and no smaller than a patch."""
    if not is_image(style) or style.ndim != 3 or style.shape[2] != 3:
        raise ShapeError(f"the style is {describe(style)}; expected uint8 [H, W, 3]")
    if min(style.shape[:2]) < PATCH:
        height, width = style.shape[:2]
        raise ShapeError(f"the style has {width} x {height} pixels; patches need at least {PATCH} x {PATCH}")


def checked_guides(guides: Sequence[Guide], size: tuple[int, ...]) -> list[Guide]:
    """The guides as uint8 ``[H, W, c]`` for this (height, width); those of weight 0 are dropped.

    Raises InputError if none is left, ShapeError for other sizes or types, ConfigError for other weights.
    """
    checked = [checked_guide(guide, i, size) for i, guide in enumerate(guides)]
    used = [guide for guide in checked if guide[2] > 0]
    if not used:
        raise InputError("no guides with a weight: give at least one (source, target, weight)")
    return used


def checked_guide(guide: Guide, index: int, size: tuple[int, ...]) -> Guide:
    """One guide of `checked_guides`."""
    source, target, weight = guide
    for side, image in (("source", source), ("target", target)):
        if not is_image(image) or image.ndim not in (2, 3):
            raise ShapeError(f"guide {index}: its {side} is {describe(image)}; expected uint8 [H, W, c] or [H, W]")
        if image.shape[:2] != size:
            raise ShapeError(
                f"guide {index}: its {side} has {image.shape[1]} x {image.shape[0]} pixels; "
                f"the style has {size[1]} x {size[0]}"
            )
    if source.shape[2:] != target.shape[2:]:
        raise ShapeError(f"guide {index}: source is {describe(source)}, target {describe(target)}: channels differ")
    if not (np.isfinite(weight) and weight >= 0):
        raise ConfigError(f"guide {index}: weight {weight}; expected a number that is not negative")
    return source.reshape(*size, -1), target.reshape(*size, -1), float(weight)


def check_init(init: Field, size: tuple[int, ...]) -> None:
    """Raise ShapeError unless `init` is int32 ``[H, W, 2]`` for this (height, width)."""
    if not isinstance(init, np.ndarray) or init.dtype != np.int32 or init.shape != (*size, 2):
        raise ShapeError(f"init is {describe(init)}; expected int32 [{size[0]}, {size[1]}, 2], source (x, y)")


def is_image(image: Any) -> bool:
    return isinstance(image, np.ndarray) and image.dtype == np.uint8


def describe(value: Any) -> str:
    """Type and shape, for a message."""
    if not isinstance(value, np.ndarray):
        return f"a {type(value).__name__}"
    return f"{value.dtype} [{', '.join(map(str, value.shape))}]"
