"""The problem that the engine solves: what it may be given, and in integers packed channels, pyramid, first fields.

A value v (0..255) of a channel of weight w is stored as the integer ``round(v * sqrt(w) * scale)``, so that the squared
difference of two stored values is w * difference^2 in units of 1 / scale^2. Sums of integers do not depend on their
order: every implementation, compiler and processor comes to the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from videoedit.errors import ConfigError, InputError, ShapeError

Bytes: TypeAlias = NDArray[np.uint8]
Shorts: TypeAlias = NDArray[np.int16]
Field: TypeAlias = NDArray[np.int32]
Guide: TypeAlias = tuple[Bytes, Bytes, float]

PATCH = 5
RADIUS = PATCH // 2
UNIFORMITY = 3500.0
SMALLEST_SIDE = 2 * PATCH + 1  # of the coarsest level
LANES = 16  # channels of a pixel are filled up with zeros to a multiple, for the vector units


@dataclass(frozen=True)
class Preset:
    """The work done at every level of the pyramid.

    `votes` times: improve the field by `passes` sweeps, then vote for the image anew. From the second time on, only
    pixels in whose patch the last vote changed something by `stop` grey levels or more are searched for (0: all are):
    the stop threshold of EbSynth's CUDA backend. Its own 5 gives up too early: errors in flat regions stay up to twice
    as high. Random patches are tried up to `reach` pixels away; what is farther, the coarser levels have found.
    """

    votes: int
    passes: int
    stop: int
    reach: float


PRESETS = {
    "official": Preset(votes=12, passes=6, stop=0, reach=math.inf),  # as Rerender-A-Video calls EbSynth's CPU backend
    "default": Preset(votes=12, passes=6, stop=1, reach=64),
    "fast": Preset(votes=6, passes=5, stop=1, reach=64),
    "preview": Preset(votes=4, passes=3, stop=1, reach=64),
}

# ------------------------------------------------------------------------------------------- what is given


def check_style(style: Bytes) -> None:
    """Raise ShapeError unless `style` is uint8 ``[H, W, 3]`` and no smaller than a patch."""
    if not is_image(style, (3,)) or style.shape[2] != 3:
        raise ShapeError(f"the style is {describe(style)}; expected uint8 [H, W, 3]")
    if min(style.shape[:2]) < PATCH:
        raise ShapeError(f"the style has {pixels(style.shape)} pixels; patches need at least {PATCH} x {PATCH}")


def checked_guides(guides: Sequence[Guide], size: tuple[int, ...]) -> list[Guide]:
    """The guides as uint8 ``[H, W, c]`` for this (height, width); those of weight 0 are dropped.

    Raises InputError if none is left, ShapeError for other sizes or types, ConfigError for other weights.
    """
    used = []
    for index, (source, target, weight) in enumerate(guides):
        for side, image in (("source", source), ("target", target)):
            what = f"guide {index}: its {side}"
            if not is_image(image, (2, 3)):
                raise ShapeError(f"{what} is {describe(image)}; expected uint8 [H, W, c] or [H, W]")
            if image.shape[:2] != size:
                raise ShapeError(f"{what} has {pixels(image.shape)} pixels; the style has {pixels(size)}")
        if source.shape[2:] != target.shape[2:]:
            raise ShapeError(f"guide {index}: source is {describe(source)}, target {describe(target)}: channels differ")
        if not (np.isfinite(weight) and weight >= 0):
            raise ConfigError(f"guide {index}: weight {weight}; expected a number that is not negative")
        if weight > 0:
            used.append((source.reshape(*size, -1), target.reshape(*size, -1), float(weight)))
    if not used:
        raise InputError("no guides with a weight: give at least one (source, target, weight)")
    return used


def check_init(init: Field, size: tuple[int, ...]) -> None:
    """Raise ShapeError unless `init` is int32 ``[H, W, 2]`` for this (height, width)."""
    if not isinstance(init, np.ndarray) or init.dtype != np.int32 or init.shape != (*size, 2):
        raise ShapeError(f"init is {describe(init)}; expected int32 [{size[0]}, {size[1]}, 2], source (x, y)")


def is_image(image: Any, axes: tuple[int, ...]) -> bool:
    return isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim in axes


def describe(value: Any) -> str:
    """Type and shape, for a message."""
    if not isinstance(value, np.ndarray):
        return f"a {type(value).__name__}"
    return f"{value.dtype} {list(value.shape)}"


def pixels(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"


# --------------------------------------------------------------------------------------------- in integers


@dataclass(frozen=True)
class Level:
    """One level of the pyramid.

    style: the restyled source image, uint8 ``[h, w, 3]``. source: it and its guides packed, int16 ``[h, w, C]``.
    target: the same of the image in the making, its border repeated RADIUS times, ``[h + 4, w + 4, C]``; `paint` fills
    in its style channels. tones: what each grey level of a style channel is stored as. scale: see the module.
    """

    style: Bytes
    source: Shorts
    target: Shorts
    tones: Shorts
    scale: float

    @property
    def penalty(self) -> int:
        """Cost of one use of one pixel of a candidate's patch: UNIFORMITY times its share in the occupancy."""
        return round(UNIFORMITY / PATCH**4 * self.scale**2)

    def paint(self, image: Bytes) -> None:
        """Make `image` ``[h, w, 3]`` the current estimate of the target."""
        self.target[..., :3] = pad(self.tones[image])


def pad(image: Shorts) -> Shorts:
    """``[h, w, C]`` -> ``[h + 4, w + 4, C]``, the border repeated."""
    return np.pad(image, ((RADIUS, RADIUS), (RADIUS, RADIUS), (0, 0)), mode="edge")


def integer_scale(weights: Sequence[float]) -> float:
    """The finest scale, near enough, at which a value fits in 16 bits and the sum over a row of a patch in 32."""
    largest_row = PATCH * 255**2 * sum(weights)
    largest_value = 255 * math.sqrt(max(weights))
    return 0.99 * min(math.sqrt(2**31 / largest_row), 2**15 / largest_value)


def tone_table(weight: float, scale: float) -> Shorts:
    """The numbers that stand for the grey levels 0..255 of a channel of this weight."""
    return np.round(np.arange(256) * np.sqrt(weight) * scale).astype(np.int16)


def pack(images: Sequence[Bytes], tables: Sequence[Shorts]) -> Shorts:
    """Interleave images ``[H, W, c]``, each through its table, to ``[H, W, C]`` with C a multiple of LANES."""
    channels = sum(image.shape[2] for image in images)
    packed = np.zeros((*images[0].shape[:2], -(-channels // LANES) * LANES), np.int16)
    first = 0
    for image, table in zip(images, tables, strict=True):
        packed[..., first : first + image.shape[2]] = table[image]
        first += image.shape[2]
    return packed


def pyramid(style: Bytes, guides: Sequence[Guide]) -> Iterator[Level]:
    """The levels, coarsest first; each half the size of the next, sides rounded down.

    Lower levels are point samples (EbSynth interpolates, at places that are whole pixels if sides divide evenly).
    """
    scale = integer_scale([1.0] + [weight for _, _, weight in guides])
    tables = [tone_table(1 / 3, scale)] + [tone_table(weight / image.shape[2], scale) for image, _, weight in guides]
    source = pack([style, *(guide[0] for guide in guides)], tables)
    target = pack([style, *(guide[1] for guide in guides)], tables)
    for exponent in reversed(range(depth(style.shape[:2]))):
        yield Level(
            style=thin(style, exponent),
            source=thin(source, exponent),
            target=pad(thin(target, exponent)),
            tones=tables[0],
            scale=scale,
        )


def depth(size: tuple[int, ...]) -> int:
    """The number of levels: the smaller side of the coarsest is at least SMALLEST_SIDE, if there is more than one."""
    levels = 1
    while min(size) >> levels >= SMALLEST_SIDE:
        levels += 1
    return levels


def thin(image: NDArray, exponent: int) -> NDArray:
    """Every 2^exponent-th pixel of every 2^exponent-th row, as many as fit."""
    height, width = (side >> exponent for side in image.shape[:2])
    step = 1 << exponent
    return image[::step, ::step][:height, :width].copy()


def random_field(size: tuple[int, ...], generator: np.random.Generator) -> Field:
    """A field ``[h, w, 2]`` of source pixels whose patches lie inside the image."""
    height, width = size
    x = generator.integers(RADIUS, width - RADIUS, size)
    y = generator.integers(RADIUS, height - RADIUS, size)
    return np.stack([x, y], axis=-1).astype(np.int32)


def coarse_field(field: Field, exponent: int) -> Field:
    """A field of the full size, 2^exponent times smaller."""
    smaller = thin(field, exponent) >> exponent
    return clamp(smaller, RADIUS)


def doubled(field: Field, size: tuple[int, ...]) -> Field:
    """A field for the next level, of this (height, width)."""
    y, x = np.indices(size)
    height, width = field.shape[:2]
    parent = field[np.minimum(y // 2, height - 1), np.minimum(x // 2, width - 1)]
    return clamp(2 * parent + np.stack([x % 2, y % 2], axis=-1), PATCH)


def clamp(field: NDArray, margin: int) -> Field:
    """Move source pixels to `margin` or more pixels inside the image, which has the field's size."""
    height, width = field.shape[:2]
    limits = (width - 1 - margin, height - 1 - margin)
    return np.clip(field, margin, limits).astype(np.int32)
