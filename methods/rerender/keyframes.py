"""The choice of key frames: translated by diffusion, while those in between are propagated from them.

A scene cut starts a new shot. The first and the last frame of every shot are key frames, the first is the shot's
anchor, and no frame is ever propagated over a cut. Cuts are given as the first frames of the shots after the first.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import cv2
import numpy as np

from videoedit.errors import ConfigError

_THUMBNAIL = 64  # longer side, pixels, at which frames are compared
_LEAST_JUMP = 12.0  # mean Lab difference (0..255) below which nothing is a cut
_LEAST_CHANGE = 0.25  # share of the colour histogram that a cut replaces
_STANDS_OUT = 2.5  # times as large a difference as any nearby one
_NEIGHBORS = 2  # frames on either side that "nearby" means


def shots(num_frames: int, cuts: Sequence[int] = ()) -> list[tuple[int, int]]:
    """(first frame, one past the last) of every shot."""
    if num_frames < 1:
        raise ConfigError(f"{num_frames} frames cannot be divided into shots; expected at least 1")
    if outside := [cut for cut in cuts if not 0 < cut < num_frames]:
        raise ConfigError(f"there is no scene cut before frame {outside[0]} in a clip of {num_frames} frames")
    edges = [0, *sorted(set(cuts)), num_frames]
    return list(itertools.pairwise(edges))


def uniform(num_frames: int, interval: int, cuts: Sequence[int] = ()) -> tuple[int, ...]:
    """Every `interval`-th frame of each shot, and each shot's last."""
    if interval < 1:
        raise ConfigError(f"the key frame interval is {interval}; expected a whole number of frames, at least 1")
    return _union(({*range(start, stop, interval), stop - 1} for start, stop in shots(num_frames, cuts)))


def at_most(most: int, num_frames: int, choose: Callable[[int], tuple[int, ...]]) -> tuple[int, ...]:
    """The key frames that `choose` gives for the smallest interval that needs no more than `most` of them.

    Where there are so many shots that none does, those for the largest.
    """
    keys: tuple[int, ...] = ()
    for interval in range(max(1, -(-(num_frames - 1) // (most - 1))), max(num_frames, 2)):
        keys = choose(interval)
        if len(keys) <= most:
            break
    return keys


def explicit(num_frames: int, indices: Sequence[int], cuts: Sequence[int] = ()) -> tuple[int, ...]:
    """The frames that somebody named, and the first and last frame of every shot."""
    if outside := [index for index in indices if not 0 <= index < num_frames]:
        raise ConfigError(f"key frame {outside[0]} does not exist; the clip's frames are 0 to {num_frames - 1}")
    return _union([set(indices), *({start, stop - 1} for start, stop in shots(num_frames, cuts))])


def changes(frames: Iterable[np.ndarray]) -> np.ndarray:
    """The difference of each frame from the one before, [F]; `frames` are uint8 [H, W, 3] each, once through."""
    return np.array([0.0, *(jump for jump, _ in _differences(frames))])


def adaptive(
    changes: np.ndarray,  # [F], see `changes`
    smallest: int,
    largest: int,
    cuts: Sequence[int] = (),
) -> tuple[int, ...]:
    """More key frames where more happens: intervals of `smallest` to `largest` frames, split where frames differ most.

    The greedy rule of Yang et al., "FRESCO" (CVPR 2024): while an interval is longer than `largest`, its frame that
    differs most from the frame before becomes a key frame, if that leaves `smallest` frames on either side. Shots
    shorter than `smallest` have their first and last frame only.
    """
    if smallest < 1 or largest < 2 * smallest - 1:
        raise ConfigError(
            f"key frame intervals of {smallest} to {largest} frames cannot always be made; give a shortest of at least "
            f"1 and a longest of at least {2 * max(smallest, 1) - 1}"
        )
    return _union(_split(changes, start, stop - 1, smallest, largest) for start, stop in shots(len(changes), cuts))


def scene_cuts(frames: Iterable[np.ndarray]) -> tuple[int, ...]:
    """First frames of the shots after the first, of `frames` (uint8 [H, W, 3] RGB each, once through).

    A cut is a frame whose mean Lab difference to the one before is large, stands out from the differences around it
    (fast motion does not) and comes with another colour histogram (a shaking camera does not). Fades are no cuts.
    """
    measured = list(_differences(frames))
    jumps = np.array([jump for jump, _ in measured])
    return tuple(
        i + 1
        for i, (jump, change) in enumerate(measured)
        if jump > _LEAST_JUMP and change > _LEAST_CHANGE and jump > _STANDS_OUT * _nearby(jumps, i)
    )


def _union(parts: Iterable[set[int]]) -> tuple[int, ...]:
    return tuple(sorted(set().union(*parts)))


def _split(changes: np.ndarray, first: int, last: int, smallest: int, largest: int) -> set[int]:
    """Key frames from `first` to `last`, both included."""
    if last - first <= largest:
        return {first, last}
    candidates = np.arange(first + smallest, last - smallest + 1)
    off_center = np.abs(candidates - (first + last) / 2)
    best = int(candidates[np.lexsort((off_center, -changes[candidates]))[0]])
    return _split(changes, first, best, smallest, largest) | _split(changes, best, last, smallest, largest)


def _differences(frames: Iterable[np.ndarray]) -> Iterator[tuple[float, float]]:
    """For every frame but the first, against the one before: (mean Lab difference, share of the histogram changed)."""
    previous: tuple[np.ndarray, np.ndarray] | None = None
    for frame in frames:
        scale = min(1.0, _THUMBNAIL / max(frame.shape[:2]))
        size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
        lab = cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
        histogram = np.histogramdd(lab.reshape(-1, 3), bins=8, range=[(0, 256)] * 3)[0] / (lab.size / 3)
        if previous is not None:
            jump = float(cv2.absdiff(lab, previous[0]).mean())
            yield jump, float(np.abs(histogram - previous[1]).sum() / 2)
        previous = lab, histogram


def _nearby(jumps: np.ndarray, i: int) -> float:
    """The largest difference among the neighbours of `i`."""
    around = np.concatenate([jumps[max(0, i - _NEIGHBORS) : i], jumps[i + 1 : i + 1 + _NEIGHBORS]])
    return float(around.max(initial=0.0))
