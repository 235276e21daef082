"""Propagation as units of work, (interval, direction), that can be killed at any moment and taken up again.

In the work folder an interval is a few `FrameArchive`s: its source frames, and what was made of them in each direction.
Once its finished frames are in an archive of their own, these are removed. A file appears whole, the same whoever made
it.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rerender.propagation.archive import FrameArchive, new_archive
from rerender.propagation.cost import worthwhile_workers
from rerender.propagation.interval import (
    Direction,
    Interval,
    Made,
    Settings,
    blend,
    propagate_flow,
    propagate_patchmatch,
)
from rerender.propagation.workers import Job, run_jobs
from videoedit.errors import ConfigError
from videoedit.motion.cache import FlowCache
from videoedit.motion.estimators import FlowEstimator, FlowPair, flow_pair

FIGURES = "figures.json"


def make_frames(
    frames: Iterable[np.ndarray],  # uint8 [H, W, 3] each, all of the clip in order, once through
    keyframes: Mapping[int, np.ndarray],
    targets: Mapping[Interval, Path],
    settings: Settings,
    estimator: FlowEstimator,
    work: Path,
    *,
    flow_folder: Path | None = None,
    workers: int | None = None,
    advance: Callable[[int], None] = lambda steps: None,
) -> None:
    """Make the frames of intervals, each into its archive; those that are there already are kept.

    `workers` processes share the units: by default one for each core, fewer for little work. `frames` is read
    just ahead of them, so that neither a long clip nor its key frames are ever in memory as a whole. What is unfinished
    lies in the folder `work`, and flow is kept in `flow_folder`, by default there too. `advance` is told of steps done,
    of `count_steps` in all.

    Raises the first error of a unit, and ToolError if two workers die over the same one.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"{workers} workers were asked for; expected at least 1")
    todo = {interval: path for interval, path in targets.items() if not path.is_file()}
    if not todo:
        return
    work.mkdir(parents=True, exist_ok=True)
    for part in work.glob(".*.part*"):  # left by a killed worker
        part.unlink()
    context = Context(work, flow_folder or work / "flow", settings, estimator)
    units = sum(len(interval.directions) for interval in todo)
    run_jobs(
        _jobs(frames, keyframes, todo, work),
        context,
        workers=min(workers or _usual_workers(todo, keyframes, settings), units),
        follow=lambda job: job.follow(work),
        advance=advance,
    )


def _usual_workers(todo: Iterable[Interval], keyframes: Mapping[int, np.ndarray], settings: Settings) -> int:
    height, width, _ = next(iter(keyframes.values())).shape
    steps = sum(len(interval.directions) * len(interval.frames) for interval in todo)
    return worthwhile_workers(steps, width * height, settings.propagator, settings.preset)


def count_steps(targets: Mapping[Interval, Path], work: Path | None = None) -> int:
    """Steps of `make_frames`: one for each frame and direction, and one for its blend; only those done, with `work`."""
    total = 0
    for interval, path in targets.items():
        whole = work is None or path.is_file()
        made = len(interval.directions) + 1 if whole else len(_made(work, interval)) if work else 0
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
            for name, values in json.loads(archive.text(FIGURES)).items():
                figures.setdefault(name, [0.0] * num_frames)[interval.start : interval.stop] = values
    return figures


def _path(folder: Path, interval: Interval, what: str) -> Path:
    return folder / f"{interval.start:06d}-{interval.stop - 1:06d}.{what}.zip"


def _made(folder: Path, interval: Interval) -> list[Direction]:
    """The directions that are done."""
    return [way for way in interval.directions if _path(folder, interval, way).is_file()]


# -------------------------------------------------------------------------------------------------- the jobs


@dataclass(frozen=True)
class Context:
    """All that every worker knows."""

    folder: Path
    flow_folder: Path
    settings: Settings
    estimator: FlowEstimator

    @contextlib.contextmanager
    def source(self, interval: Interval) -> Iterator[tuple[FrameArchive, Motion]]:
        """The source frames of an interval and the motion between them."""
        with FrameArchive(_path(self.folder, interval, "source")) as source:
            yield source, Motion(source, self.estimator, FlowCache(self.flow_folder, self.estimator.name))


@dataclass(frozen=True)
class Motion:
    """The flow between two neighbouring source frames, from the cache or estimated now."""

    source: FrameArchive
    estimator: FlowEstimator
    cache: FlowCache

    def __call__(self, before: int, after: int) -> FlowPair:
        """`fwd` from frame `before` to frame `after`, `bwd` back; either may be the earlier one in the clip."""
        first, second = sorted((before, after))
        images = self.source.image(first), self.source.image(second)
        pair = flow_pair(self.estimator, *images, self.cache, indices=(first, second))
        return pair if before < after else FlowPair(pair.bwd, pair.fwd, pair.occ_bwd, pair.occ_fwd)


@dataclass(frozen=True)
class Unit:
    """The frames of one interval, made from one of its key frames."""

    interval: Interval
    direction: Direction
    style: np.ndarray  # uint8 [H, W, 3], that key frame, edited
    target: Path  # of the finished interval

    @property
    def name(self) -> str:
        return f"{self.interval}, {self.direction} from key frame {self.interval.key(self.direction)}"

    def run(self, context: Context, step: Callable[[], None]) -> None:
        walk = self.interval.walk(self.direction)
        target = _path(context.folder, self.interval, self.direction)
        with context.source(self.interval) as (source, motion), new_archive(target) as archive:
            for frame, made in zip(walk, self._make(source, motion, context.settings), strict=True):
                archive.put(frame, made.image, made.error)
                step()

    def _make(self, source: FrameArchive, motion: Motion, settings: Settings) -> Iterator[Made]:
        walk, key = self.interval.walk(self.direction), self.interval.key(self.direction)
        steps = (
            (source.image(frame), motion(before, frame)) for before, frame in zip((key, *walk), walk, strict=False)
        )
        if settings.propagator == "flow":
            return propagate_flow(self.style, source.image(key), steps)
        return propagate_patchmatch(self.style, source.image(key), steps, preset=settings.preset, seed=settings.seed)

    def follow(self, folder: Path) -> list[Job]:
        """The blend, once all directions are there."""
        done = _made(folder, self.interval)
        return [Blend(self.interval, self.target)] if len(done) == len(self.interval.directions) else []


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
        for what in ("source", *self.interval.directions):
            _path(context.folder, self.interval, what).unlink(missing_ok=True)

    def _blend(self, context: Context, step: Callable[[], None]) -> None:
        figures: dict[str, list[float]] = {"patch_error": [], "backward": [], "seams": []}
        with contextlib.ExitStack() as stack:
            _, motion = stack.enter_context(context.source(self.interval))
            made: dict[Direction, Callable[[int], Made]] = {
                way: functools.partial(
                    _read_made, stack.enter_context(FrameArchive(_path(context.folder, self.interval, way)))
                )
                for way in self.interval.directions
            }
            result = stack.enter_context(new_archive(self.target))
            blended = blend(self.interval, made, motion, context.settings)
            for frame, one in zip(self.interval.frames, blended, strict=True):
                result.put(frame, one.image)
                for name, values in figures.items():
                    values.append(getattr(one, name))
                step()
            result.put_text(FIGURES, json.dumps(figures))

    def follow(self, folder: Path) -> list[Job]:
        return []


def _read_made(archive: FrameArchive, frame: int) -> Made:
    return Made(archive.image(frame), archive.error(frame))


def _jobs(
    frames: Iterable[np.ndarray], keyframes: Mapping[int, np.ndarray], targets: Mapping[Interval, Path], folder: Path
) -> Iterator[Job]:
    """Units in the order of the clip. The source frames of an interval are put on disk just before its first unit."""
    reader = _Reader(frames)
    for interval, target in targets.items():
        with new_archive(_path(folder, interval, "source")) as archive:
            for index, frame in reader.read(interval.span):
                archive.put(index, frame)
        made = _made(folder, interval)
        for direction in interval.directions:
            if direction not in made:
                yield Unit(interval, direction, keyframes[interval.key(direction)], target)
        if len(made) == len(interval.directions):
            yield Blend(interval, target)


class _Reader:
    """Spans of frames out of one pass over a clip; each may begin with the last frame of the one before."""

    def __init__(self, frames: Iterable[np.ndarray]) -> None:
        self._frames = enumerate(frames)
        self._index, self._frame = next(self._frames)

    def read(self, span: range) -> Iterator[tuple[int, np.ndarray]]:
        for index in span:
            while self._index < index:
                self._index, self._frame = next(self._frames)
            yield self._index, self._frame
