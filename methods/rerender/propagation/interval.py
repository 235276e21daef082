"""From edited key frames to every frame: the arithmetic of one interval between two key frames.

Each frame between two key frames is made twice, *forward* from the key before it and *backward* from the key after it,
frame by frame along the clip, and the two are blended. Before the first and after the last key frame of a shot there is
one direction only. Rerender-A-Video (Yang et al., SIGGRAPH Asia 2023), section 4.2.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from rerender.keyframes import shots
from rerender.patchmatch import synthesize
from rerender.propagation.blend import histogram_blend, poisson_blend, select_min_error
from rerender.propagation.guides import advance, advance_positions, edge_guide, positional_guide, positional_image
from videoedit.errors import InputError
from videoedit.motion.flow import warp

if TYPE_CHECKING:
    from videoedit.motion.estimators import FlowPair

Direction = Literal["forward", "backward"]

COLOR, EDGE, POSITIONAL, TEMPORAL = 6.0, 0.5, 2.0, 0.5  # guide weights of the paper and the official code
FROM_FLOW = "preview"  # the preset whose search begins at the flow
PATCH = 5  # side, pixels, over which `propagate_flow` measures its error


@dataclass(frozen=True)
class Interval:
    """The frames `start` to `stop` - 1 between the key frames `left` and `right`; one of those may be missing."""

    start: int
    stop: int
    left: int | None
    right: int | None

    def __str__(self) -> str:
        return f"frame {self.start}" if self.stop == self.start + 1 else f"frames {self.start}-{self.stop - 1}"

    @property
    def stem(self) -> str:
        """The name of its files."""
        return f"{self.start:06d}-{self.stop - 1:06d}"

    @property
    def frames(self) -> range:
        """The frames to make."""
        return range(self.start, self.stop)

    @property
    def span(self) -> range:
        """The source frames that this takes: those to make and the key frames."""
        return range(self.start - (self.left is not None), self.stop + (self.right is not None))

    @property
    def keys(self) -> dict[Direction, int]:
        """The key frame that the frames are made from, in each direction that there is."""
        sides: dict[Direction, int | None] = {"forward": self.left, "backward": self.right}
        return {direction: key for direction, key in sides.items() if key is not None}

    def walk(self, direction: Direction) -> range:
        """The frames to make, in the order in which one is made from the other."""
        return self.frames if direction == "forward" else self.frames[::-1]

    def backward_weight(self, frame: int) -> float:
        """Weight of the backward image: 0 at the left key frame, 1 at the right one, in equal steps."""
        if self.left is None or self.right is None:
            return float(self.left is None)
        return (frame - self.left) / (self.right - self.left)


def intervals(num_frames: int, keys: Iterable[int], cuts: Sequence[int] = ()) -> tuple[Interval, ...]:
    """The intervals to make between the key frames `keys` of a clip, in order; a key frame serves its own shot only.

    `cuts` are the first frames of the shots after the first. Raises InputError for a shot without a key frame, and for
    a key frame outside the clip.
    """
    keys = sorted(keys)
    if not keys:
        raise InputError("there is no key frame; give at least one edited frame of the clip")
    if keys[0] < 0 or keys[-1] >= num_frames:
        outside = keys[0] if keys[0] < 0 else keys[-1]
        raise InputError(f"key frame {outside} does not exist; the clip's frames are 0 to {num_frames - 1}")
    found: list[Interval] = []
    for start, stop in shots(num_frames, cuts):
        own = [key for key in keys if start <= key < stop]
        if not own:
            raise InputError(
                f"frames {start} to {stop - 1} are a shot of their own and hold no key frame; edit one of them, frame "
                f"{start} say, or allow key frames to serve across cuts with --set cuts=[]"
            )
        sides: list[int | None] = [None, *own, None]
        for left, right in itertools.pairwise(sides):
            first, last = start if left is None else left + 1, stop if right is None else right
            if first < last:
                found.append(Interval(first, last, left, right))
    return tuple(found)


# ------------------------------------------------------------------------------------------- one direction


@dataclass(frozen=True)
class Made:
    """A frame made from a key frame."""

    image: np.ndarray  # uint8 [H, W, 3]
    error: np.ndarray  # float32 [H, W], patch error: how badly a pixel's surroundings fit what it was made from


def propagate_patchmatch(
    style: np.ndarray,  # uint8 [H, W, 3], the edited key frame
    source: np.ndarray,  # the same frame, unedited
    steps: Iterable[tuple[np.ndarray, FlowPair]],  # the source frames after it, with the motion between each two
    *,
    preset: str,
    seed: int,
) -> Iterator[Made]:
    """Redraw each frame with patches of the key frame, chosen by four guides: colour, edge, position and time.

    Convention: the flow pair of a step goes from the frame before (`fwd`) and back to it (`bwd`), in walking order.
    """
    places = start = positional_guide(*source.shape[:2])
    before = style
    for frame, motion in steps:
        places = advance_positions(places, motion.bwd, motion.occ_bwd)
        guides = [
            (source, frame, COLOR),
            (edge_guide(source), edge_guide(frame), EDGE),
            (positional_image(start), positional_image(places), POSITIONAL),
            (style, advance(before, motion.bwd, motion.occ_bwd), TEMPORAL),
        ]
        nearest = places.round().clip(0, start[-1, -1]).astype(np.int32)
        init = nearest if preset == FROM_FLOW else None
        before, error = synthesize(style, guides, preset=preset, seed=seed, init=init)
        yield Made(before, error)


def propagate_flow(
    style: np.ndarray, source: np.ndarray, steps: Iterable[tuple[np.ndarray, FlowPair]]
) -> Iterator[Made]:
    """Move the key frame along the flow, chained from frame to frame and applied once, so that nothing blurs.

    The error is that of the colour guide, measured on the source frames: what the flow explains badly in them it
    explains badly in the edit. Pixels that a frame on the way did not show have an error above every other.
    Arguments as in `propagate_patchmatch`.
    """
    places = positional_guide(*source.shape[:2])
    unseen = np.zeros(source.shape[:2], bool)
    worst = COLOR * PATCH**2 * 255.0**2
    for frame, motion in steps:
        places = advance_positions(places, motion.bwd, motion.occ_bwd)
        unseen = moved_mask(unseen, motion.bwd) | motion.occ_bwd[0, 0].numpy()
        difference = np.square(_sample(source, places).astype(np.float32) - frame).sum(-1) * COLOR / 3
        error = cv2.boxFilter(difference, -1, (PATCH, PATCH), normalize=False) + worst * unseen
        yield Made(_sample(style, places), error.astype(np.float32))


def _sample(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The image at `places` [H, W, 2] (x, y), bicubic; beyond its border, the border."""
    x, y = np.moveaxis(places, -1, 0)
    return cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def moved_mask(mask: np.ndarray, flow: Tensor) -> np.ndarray:
    """A mask, bool [H, W], of the frame before on this one; `flow` [1, 2, H, W] goes back to that. Nearest pixels."""
    return warp(torch.from_numpy(mask)[None, None].float(), flow, "nearest")[0, 0].numpy() > 0.5


# ------------------------------------------------------------------------------------------ both directions


@dataclass(frozen=True)
class Blended:
    """A finished frame and what to know of it."""

    image: np.ndarray  # uint8 [H, W, 3]
    patch_error: float  # mean over the pixels, of the direction that each was taken from
    backward: float  # share of the pixels taken from the later key frame
    seams: float  # share of the pixels whose right or lower neighbour was taken from the other key frame


def blend(
    interval: Interval,
    made: Mapping[Direction, Callable[[int], Made]],
    motion: Callable[[int, int], FlowPair],
    *,
    how: Literal["histogram", "select"] = "histogram",
    poisson: bool = False,
) -> Iterator[Blended]:
    """The frames of an interval in order, out of what `made` gives for a direction and a frame.

    What was once taken from the later key frame stays so: the mask of the frame before, moved along, is added to each
    frame's own. `motion(a, b)` is the flow from frame a to b and back, `how` and `poisson` are `PropagateConfig`'s.
    """
    mask: np.ndarray | None = None
    for frame in interval.frames:
        if len(made) == 1:
            (direction,) = made
            only = made[direction](frame)
            yield Blended(only.image, float(only.error.mean()), float(direction == "backward"), 0.0)
            continue
        forward, backward, weight = made["forward"](frame), made["backward"](frame), interval.backward_weight(frame)
        moved = None if mask is None else moved_mask(mask, motion(frame - 1, frame).bwd)
        image, mask = select_min_error(
            forward.image, backward.image, forward.error, backward.error, weight, previous_mask=moved
        )
        if how == "histogram":
            image = histogram_blend(forward.image, backward.image, image, weight)
        if poisson:
            image = poisson_blend(image, forward.image, backward.image, mask)
        error = np.where(mask, backward.error, forward.error)
        yield Blended(image, float(error.mean()), float(mask.mean()), _seams(mask))


def _seams(mask: np.ndarray) -> float:
    edges = np.zeros_like(mask)
    edges[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edges[:-1] |= mask[:-1] != mask[1:]
    return float(edges.mean())
