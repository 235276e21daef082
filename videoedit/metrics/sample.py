"""One edit to take measures from (`Sample`), the result of a measure (`Figure`), facts of a video file (`Facts`)."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from videoedit.errors import MethodError, ShapeError

if TYPE_CHECKING:
    from videoedit.motion.cache import FlowCache
    from videoedit.motion.estimators import FlowEstimator, FlowPair

WORKING_SIDE = 256  # pixels of the shorter side at which the motion of two clips is compared
ALIKE_LEVELS = 32  # grey levels by which encoding, or the light of another background, may change a pixel


@dataclass(frozen=True)
class Figure:
    """A measured value; ``nan`` where there was nothing to measure, and then `reason` says why.

    `series` has one value a frame, for plots; of a change from frame to frame, the first frame's is 0.
    """

    value: float
    series: tuple[float, ...] | None = None
    reason: str = ""


@dataclass(frozen=True)
class Facts:
    """Facts of a video file, apart from its pictures; `size` is (width, height)."""

    frames: int
    fps: Fraction
    size: tuple[int, int]
    audio: bool
    seconds: Fraction | float

    @classmethod
    def of(cls, path: Path) -> Facts:
        """Look at a file; raises InputError if it is no readable video."""
        from videoedit.media.video import probe

        info = probe(path)
        return cls(info.frames, info.fps, (info.width, info.height), info.has_audio, info.duration)


@dataclass(eq=False)
class Sample:
    """Everything there is to measure of one edit. Heavy things are made when first asked for, and then kept.

    Masks are True on the subject. `numbers` are those of the frames in the clip, for flow out of files.
    """

    frames: np.ndarray  # uint8 [F, H, W, 3] RGB, the edit
    source: np.ndarray  # the same frames of the source, same shape
    prompt: str = ""  # what the edit should show
    source_prompt: str = ""  # what the source shows
    kind: str = ""  # subject, background, attribute, style, several
    truth: np.ndarray | None = None  # what a perfect edit looks like, same shape
    boxes: np.ndarray | None = None  # float [F, 4], the subject's x0, y0, x1, y1 in pixels
    mask: np.ndarray | None = None  # bool [F, H, W]
    keyframes: tuple[int, ...] = ()  # positions in `frames`
    numbers: range | tuple[int, ...] | None = None
    output: Facts | None = None  # of the file as it was written
    wanted: Facts | None = None  # of the file as it should be
    cost: Mapping[str, float] = field(default_factory=dict)  # seconds, cpu_seconds, peak_memory_mb
    flow: str = "dis"  # a name that `videoedit.motion.estimators.load_flow` knows
    flow_cache: Path | None = None
    weights_dir: Path | None = None
    memo: dict[Any, Any] = field(default_factory=dict)  # work that several measures share

    def __post_init__(self) -> None:
        shape = self.frames.shape
        if len(shape) != 4 or shape[-1] != 3 or self.frames.dtype != np.uint8:
            raise ShapeError(f"expected frames uint8 [F, H, W, 3], got {self.frames.dtype} {shape}")
        for name, wanted in (("source", shape), ("truth", shape), ("mask", shape[:3]), ("boxes", (shape[0], 4))):
            given = getattr(self, name)
            if given is not None and given.shape != wanted:
                raise ShapeError(f"frames of shape {shape} need {name} of shape {wanted}, got {given.shape}")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)"""
        return self.frames.shape[1], self.frames.shape[2]

    @functools.cached_property
    def keep(self) -> np.ndarray | None:
        """The region that the edit should leave alone, bool [F, H, W]; None if there is none or it is not known.

        Of a box, all outside it is not the subject, but only its middle is sure to be: half its width and height.
        Where there is a ground truth, what it changes need not stay: another subject may be larger than the first.
        """
        if self._subject is None or self.kind not in ("subject", "attribute", "background"):
            return None
        keep = ~self._subject if self.kind != "background" else self.mask
        keep = self._in_boxes(0.5) if keep is None else keep
        return keep if self.truth is None or keep is None else keep & _alike(self.truth, self.source)

    @functools.cached_property
    def change(self) -> np.ndarray | None:
        """The region that the edit should change, bool [F, H, W]; None if that is everything or not known."""
        if self.kind in ("subject", "attribute"):
            return self._subject
        return ~self._subject if self.kind == "background" and self._subject is not None else None

    @functools.cached_property
    def _subject(self) -> np.ndarray | None:
        return self.mask if self.mask is not None else self._in_boxes()

    def _in_boxes(self, share: float = 1.0) -> np.ndarray | None:
        return None if self.boxes is None else inside_boxes(self.boxes, *self.size, scale=share)

    @functools.cached_property
    def estimator(self) -> FlowEstimator:
        """The estimator of motion; its name is part of the ids of the measures that depend on it."""
        return _estimator(self.flow)

    @functools.cached_property
    def pairs(self) -> list[FlowPair]:
        """Motion of the source from each frame to the next and back, F - 1 of them."""
        return self._flow_pairs(self.source)

    @functools.cached_property
    def flow_bwd(self) -> list[np.ndarray]:
        """Backward flow of the source, frame i + 1 -> i, float32 [2, H, W] each."""
        return [pair.bwd[0].numpy() for pair in self.pairs]

    @functools.cached_property
    def occ_bwd(self) -> list[np.ndarray]:
        """bool [H, W] each, True where frame i + 1 of the source shows nothing of frame i."""
        return [pair.occ_bwd[0, 0].numpy() for pair in self.pairs]

    @functools.cached_property
    def motion(self) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        """Forward flow of the edit and of the source, float32 [2, h, w] each, and where the source's can be trusted.

        Both are estimated at one working size, the shorter side WORKING_SIDE pixels, so that what is said of them
        does not depend on the size of the clip. The third are bool [h, w], True where the next frame of the source
        shows the point too. Raises MethodError where flow comes out of files: they know nothing of the edit.
        """
        if self.flow_files:
            raise MethodError("flow files hold the source's motion only; name an estimator (dis, raft-large, ...)")
        pairs = self._flow_pairs(_at_working_size(self.source))
        of_edit, of_source, visible = [], [], []
        for first, second in itertools.pairwise(_at_working_size(self.frames)):
            of_edit.append(self.estimator(first, second).half().float()[0].numpy())
        for pair in pairs:
            of_source.append(pair.fwd[0].numpy())
            visible.append(~pair.occ_fwd[0, 0].numpy())
        return of_edit, of_source, visible

    @property
    def flow_files(self) -> bool:
        return self.estimator.name.startswith("files-")

    def _flow_pairs(self, frames: Sequence[np.ndarray] | np.ndarray) -> list[FlowPair]:
        from videoedit.motion.estimators import flow_pair

        numbers = tuple(self.numbers or range(len(frames)))
        pairs = []
        for i in range(len(frames) - 1):
            indices = numbers[i], numbers[i + 1]
            pairs.append(flow_pair(self.estimator, frames[i], frames[i + 1], self._cache, indices=indices))
        return pairs

    @property
    def _cache(self) -> FlowCache | None:
        from videoedit.motion.cache import FlowCache

        return None if self.flow_cache is None else FlowCache(self.flow_cache, self.estimator.name)


@functools.lru_cache(maxsize=4)
def _estimator(name: str) -> FlowEstimator:
    from videoedit.motion.estimators import load_flow

    return load_flow(name)


def _alike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """bool [F, H, W]: where two clips show the same, up to encoding and light."""
    return np.stack([(cv2.absdiff(x, y) <= ALIKE_LEVELS).all(-1) for x, y in zip(a, b, strict=True)])


def _at_working_size(frames: np.ndarray) -> list[np.ndarray]:
    height, width = frames.shape[1:3]
    scale = WORKING_SIDE / min(height, width)
    size = round(width * scale), round(height * scale)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return [cv2.resize(np.ascontiguousarray(frame), size, interpolation=way) for frame in frames]


def inside_boxes(boxes: np.ndarray, height: int, width: int, *, grow: int = 0, scale: float = 1.0) -> np.ndarray:
    """bool [F, H, W]: True where a pixel's centre is in its frame's box (x0, y0, x1, y1).

    The boxes [F, 4] are first scaled about their centres and then grown by so many pixels.
    """
    center, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * scale + grow
    (x0, y0), (x1, y1) = (center - half).T[..., None], (center + half).T[..., None]
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    return ((x >= x0) & (x < x1))[:, None, :] & ((y >= y0) & (y < y1))[:, :, None]
