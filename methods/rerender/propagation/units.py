"""Propagation as units of work, (interval, direction), that can be killed at any moment and taken up again.

In the work folder an interval is a few `FrameArchive`s: its source frames, and what was made of them in each direction.
Once its finished frames are in an archive of their own, these are removed. A file appears whole, the same whoever made
it.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import cv2
import numpy as np

from rerender.config import PropagateConfig
from rerender.propagation.cost import worthwhile_workers
from rerender.propagation.interval import (
    Direction,
    Interval,
    Made,
    blend,
    intervals,
    propagate_flow,
    propagate_patchmatch,
)
from rerender.propagation.workers import Job, run_jobs
from videoedit.config import build_config
from videoedit.errors import ShapeError
from videoedit.files import atomic_path
from videoedit.motion.cache import FlowCache
from videoedit.motion.estimators import FlowEstimator, FlowPair, flow_pair, load_flow

FIGURES = "figures.json"
FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1]


def propagate(
    frames: np.ndarray,
    keyframes: Mapping[int, np.ndarray],
    *,
    flow: str | Path | FlowEstimator | None = None,
    preset: str = "default",
    propagator: str = "patchmatch",
    workers: int | None = None,
) -> np.ndarray:
    """Carry edited key frames to every frame of a clip: uint8 [F, H, W, 3] RGB in, the same out.

    `keyframes` are edited frames by index, uint8 [H, W, 3]; they come back unchanged at their places. One is enough.
    `flow` is an estimator or what `videoedit.motion.estimators.load_flow` takes (None: "auto"). `preset` is one of the
    patch matcher's, `propagator` "patchmatch" or "flow" (no patches; fast). `workers` processes share the work, by
    default one for each core; their number changes no byte of the result.

    Raises ShapeError for arrays that do not fit, InputError for key frames outside the clip, ConfigError for unknown
    names, ToolError if a worker dies over the same unit twice.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise ShapeError(f"the clip is {frames.dtype} {frames.shape}; expected uint8 [F, H, W, 3]")
    for index, image in keyframes.items():
        if image.shape != frames.shape[1:] or image.dtype != np.uint8:
            raise ShapeError(
                f"key frame {index} is {image.dtype} {image.shape}; expected uint8 {frames.shape[1:]}, like the clip"
            )
    config = build_config(PropagateConfig, {"propagator": propagator, "preset": preset, "workers": workers})
    estimator = load_flow(flow or "auto") if flow is None or isinstance(flow, str | Path) else flow
    with tempfile.TemporaryDirectory(prefix="videoedit-") as folder:
        targets = {part: Path(folder, f"{part.start}.zip") for part in intervals(len(frames), keyframes)}
        make_frames(frames, keyframes, targets, Context(Path(folder, "work"), config, estimator))
        return np.stack(list(stitch(len(frames), keyframes, targets)))


# ------------------------------------------------------------------------------------------------- on disk


class FrameArchive(ZipFile):
    """A zip file of images uint8 [H, W, 3] RGB by frame number, each with an error map float32 [H, W] or without.

    A context manager. The file is there only if it was written to the end: see `new_archive`.
    """

    def put(self, frame: int, image: np.ndarray) -> None:
        """Add an image as PNG."""
        self.put_bytes(f"{frame:06d}.png", cv2.imencode(".png", image[..., ::-1], FAST)[1].tobytes())

    def put_raw(self, frame: int, image: np.ndarray, error: np.ndarray | None = None) -> None:
        """Add an image as it is: larger, and read in no time, as an archive should be that is soon removed."""
        self._put_array(f"{frame:06d}.rgb.npy", image)
        if error is not None:
            self._put_array(f"{frame:06d}.npy", error.astype(np.float32))

    def image(self, frame: int) -> np.ndarray:
        if f"{frame:06d}.png" not in self.namelist():
            return np.load(io.BytesIO(self.read(f"{frame:06d}.rgb.npy")))
        data = np.frombuffer(self.read(f"{frame:06d}.png"), np.uint8)
        decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
        return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)

    def error(self, frame: int) -> np.ndarray:
        return np.load(io.BytesIO(self.read(f"{frame:06d}.npy")))

    def _put_array(self, name: str, array: np.ndarray) -> None:
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(array))
        self.put_bytes(name, buffer.getvalue())

    def put_bytes(self, name: str, data: bytes) -> None:
        info = ZipInfo(name)  # without the time: same frames, same bytes
        info.create_system = 3  # on every system
        self.writestr(info, data)


@contextlib.contextmanager
def new_archive(path: Path) -> Iterator[FrameArchive]:
    """Write an archive; it appears at `path` whole, when the block ends without an error."""
    with atomic_path(path) as temporary, FrameArchive(temporary, "w") as archive:
        yield archive


@dataclass(frozen=True)
class Context:
    """All that every worker knows."""

    folder: Path  # of what is unfinished
    config: PropagateConfig
    estimator: FlowEstimator
    seed: int = 0
    flow_folder: Path | None = None  # where flow is kept; None: there too

    def path(self, interval: Interval, what: str) -> Path:
        """The archive of what is unfinished of an interval: its source, or what was made in a direction."""
        return self.folder / f"{interval.stem}.{what}.zip"

    def made(self, interval: Interval) -> list[Direction]:
        """The directions that are done."""
        return [way for way in interval.keys if self.path(interval, way).is_file()]

    def motion(self, source: FrameArchive, before: int, after: int) -> FlowPair:
        """`fwd` from frame `before` to its neighbour `after`, `bwd` back; either may be the earlier one in the clip."""
        first, second = sorted((before, after))
        cache = FlowCache(self.flow_folder or self.folder / "flow", self.estimator.name)
        pair = flow_pair(self.estimator, source.image(first), source.image(second), cache, indices=(first, second))
        return pair if before < after else FlowPair(pair.bwd, pair.fwd, pair.occ_bwd, pair.occ_fwd)


def make_frames(
    frames: Iterable[np.ndarray],  # uint8 [H, W, 3] each, all of the clip in order, once through
    keyframes: Mapping[int, np.ndarray],
    targets: Mapping[Interval, Path],
    context: Context,
    advance: Callable[[int], None] = lambda steps: None,
) -> None:
    """Make the frames of intervals, each into its archive; those that are there already are kept.

    `config.workers` processes share the units: by default one for each core, fewer for little work. `frames` is read
    just ahead of them, so that neither a long clip nor its key frames are ever in memory as a whole. `advance` is told
    of steps done, of `count_steps` in all.

    Raises the first error of a unit, and ToolError if two workers die over the same one.
    """
    todo = {interval: path for interval, path in targets.items() if not path.is_file()}
    if not todo:
        return
    context.folder.mkdir(parents=True, exist_ok=True)
    for part in context.folder.glob(".*.part*"):  # left by a killed worker
        part.unlink()
    height, width, _ = next(iter(keyframes.values())).shape
    steps = sum(len(interval.keys) * len(interval.frames) for interval in todo)
    run_jobs(
        _jobs(frames, keyframes, todo, context),
        context,
        workers=min(
            context.config.workers or worthwhile_workers(steps, width * height, context.config),
            sum(len(interval.keys) for interval in todo),
        ),
        follow=partial(_follow, context),
        advance=advance,
    )


def count_steps(targets: Mapping[Interval, Path], context: Context | None = None) -> int:
    """Steps of `make_frames`: one for each frame and direction, and one for its blend; with `context` those done."""
    total = 0
    for interval, path in targets.items():
        whole = context is None or path.is_file()
        made = len(interval.keys) + 1 if whole else len(context.made(interval)) if context else 0
        total += made * len(interval.frames)
    return total


def stitch(
    num_frames: int, keyframes: Mapping[int, np.ndarray], archives: Mapping[Interval, Path]
) -> Iterator[np.ndarray]:
    """All frames of the clip in order, uint8 [H, W, 3]: key frames as they are, the others from their archives."""
    after = 0
    for interval, path in archives.items():
        yield from (keyframes[key] for key in range(after, interval.start))
        with FrameArchive(path) as archive:
            yield from map(archive.image, interval.frames)
        after = interval.stop
    yield from (keyframes[key] for key in range(after, num_frames))


def read_figures(num_frames: int, archives: Mapping[Interval, Path]) -> dict[str, list[float]]:
    """Patch error, backward share and seams (see `Blended`) of every frame; 0 at the key frames."""
    figures: dict[str, list[float]] = {}
    for interval, path in archives.items():
        with FrameArchive(path) as archive:
            for name, values in json.loads(archive.read(FIGURES)).items():
                figures.setdefault(name, [0.0] * num_frames)[interval.start : interval.stop] = values
    return figures


# -------------------------------------------------------------------------------------------------- the jobs


@dataclass(frozen=True)
class Unit:
    """The frames of one interval, made from one of its key frames."""

    interval: Interval
    direction: Direction
    style: np.ndarray  # uint8 [H, W, 3], that key frame, edited
    target: Path  # of the finished interval

    @property
    def name(self) -> str:
        return f"{self.interval}, {self.direction} from key frame {self.interval.keys[self.direction]}"

    def run(self, context: Context, step: Callable[[], None]) -> None:
        target = context.path(self.interval, self.direction)
        with FrameArchive(context.path(self.interval, "source")) as source, new_archive(target) as archive:
            for frame, made in self._make(source, context):
                archive.put_raw(frame, made.image, made.error)
                step()

    def _make(self, source: FrameArchive, context: Context) -> Iterator[tuple[int, Made]]:
        config, key, walk = context.config, self.interval.keys[self.direction], self.interval.walk(self.direction)
        pairs = zip((key, *walk), walk, strict=False)
        steps = ((source.image(frame), context.motion(source, before, frame)) for before, frame in pairs)
        if config.propagator == "flow":
            made = propagate_flow(self.style, source.image(key), steps)
        else:
            made = propagate_patchmatch(self.style, source.image(key), steps, preset=config.preset, seed=context.seed)
        return zip(walk, made, strict=True)


@dataclass(frozen=True)
class Blend:
    """The finished frames of one interval, out of those of its units, which are then removed."""

    interval: Interval
    target: Path

    @property
    def name(self) -> str:
        return f"{self.interval}, blend"

    def run(self, context: Context, step: Callable[[], None]) -> None:
        if not self.target.is_file():  # else a worker died while tidying up
            self._blend(context, step)
        for what in ("source", *self.interval.keys):
            context.path(self.interval, what).unlink(missing_ok=True)

    def _blend(self, context: Context, step: Callable[[], None]) -> None:
        figures: dict[str, list[float]] = {"patch_error": [], "backward": [], "seams": []}
        made: dict[Direction, Callable[[int], Made]] = {}
        with contextlib.ExitStack() as stack:
            source = stack.enter_context(FrameArchive(context.path(self.interval, "source")))
            for way in self.interval.keys:
                made[way] = partial(_read, stack.enter_context(FrameArchive(context.path(self.interval, way))))
            result = stack.enter_context(new_archive(self.target))
            config, motion = context.config, partial(context.motion, source)
            blended = blend(self.interval, made, motion, how=config.blend, poisson=config.poisson)
            for frame, one in zip(self.interval.frames, blended, strict=True):
                result.put(frame, one.image)
                for name, values in figures.items():
                    values.append(getattr(one, name))
                step()
            result.put_bytes(FIGURES, json.dumps(figures).encode())


def _read(archive: FrameArchive, frame: int) -> Made:
    return Made(archive.image(frame), archive.error(frame))


def _jobs(
    frames: Iterable[np.ndarray],
    keyframes: Mapping[int, np.ndarray],
    targets: Mapping[Interval, Path],
    context: Context,
) -> Iterator[Job]:
    """Units in the order of the clip. The source frames of an interval are put on disk just before its first unit."""
    numbered = enumerate(frames)
    index, frame = next(numbered)
    for interval, target in targets.items():
        with new_archive(context.path(interval, "source")) as archive:
            for wanted in interval.span:  # which may begin with the last frame of the interval before
                while index < wanted:
                    index, frame = next(numbered)
                archive.put_raw(index, frame)
        made = context.made(interval)
        for direction, key in interval.keys.items():
            if direction not in made:
                yield Unit(interval, direction, keyframes[key], target)
        if len(made) == len(interval.keys):
            yield Blend(interval, target)


def _follow(context: Context, job: Unit | Blend) -> list[Blend]:
    """The blend of an interval, once all its directions are there."""
    whole = len(context.made(job.interval)) == len(job.interval.keys)
    return [Blend(job.interval, job.target)] if isinstance(job, Unit) and whole else []
