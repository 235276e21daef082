"""The parts of a run that choose its key frames, and that carry them to every frame of its clip."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rerender import keyframes as choosing
from rerender.config import KeyframesConfig, PropagateConfig
from rerender.propagation.interval import Interval, Settings, intervals
from rerender.propagation.units import count_steps, make_frames, read_figures, stitch
from videoedit.config import deciding
from videoedit.media.video import stretch_frames, write_clip
from videoedit.metrics.streams import FrameMeasures
from videoedit.motion.cache import FlowCache
from videoedit.motion.estimators import FlowEstimator, flow_pair, load_flow
from videoedit.runs.folder import Run, digest, write_text
from videoedit.types import Video

# -------------------------------------------------------------------------------------------------- choosing


@dataclass(frozen=True)
class Chosen:
    """Which frames of a clip are key frames."""

    indices: tuple[int, ...]
    cuts: tuple[int, ...]  # first frames of the shots after the first


def choose_keyframes(
    config: KeyframesConfig, video: Video, run: Run, *, size: tuple[int, int], clip_key: str
) -> Chosen:
    """Find scene cuts and choose key frames of a streamed clip; to ``keyframes.json`` and the run's record.

    Frames are compared at `size` (width, height). `clip_key` is a hash of all that decides the clip's frames.
    """
    target = run.path("keyframes.json")
    with run.stage("key frames", digest([clip_key, size, deciding(config)]), [target]) as needed:
        if needed:
            chosen = _choose(config, video.num_frames, lambda: (stretch_frames(frame, size) for frame in video.frames))
            write_text(target, json.dumps({"indices": chosen.indices, "cuts": chosen.cuts}))
    found = json.loads(target.read_text())
    chosen = Chosen(tuple(found["indices"]), tuple(found["cuts"]))
    if chosen.cuts:
        run.note(f"Scene cuts before frames {list(chosen.cuts)}: nothing is carried over them.")
    if config.interval is None and len(chosen.indices) > config.most:
        run.note(
            f"There are {len(chosen.indices)} key frames, more than keyframes.most = {config.most}: "
            f"the first and the last frame of each of {len(chosen.cuts) + 1} shots."
        )
    run.record["keyframes"] = list(chosen.indices)
    return chosen


def _choose(config: KeyframesConfig, count: int, frames: Callable[[], Iterator[np.ndarray]]) -> Chosen:
    cuts = choosing.scene_cuts(frames()) if config.scene_cuts else ()
    if config.indices is not None:
        return Chosen(choosing.explicit(count, config.indices, cuts), cuts)
    if config.adaptive:
        changes = choosing.changes(frames())

    def rule(interval: int) -> tuple[int, ...]:
        if config.adaptive:
            return choosing.adaptive(changes, (interval + 1) // 2, interval, cuts)
        return choosing.uniform(count, interval, cuts)

    if config.interval is None:
        return Chosen(choosing.at_most(config.most, count, rule), cuts)
    return Chosen(rule(config.interval), cuts)


# ----------------------------------------------------------------------------------------------- propagating


def propagate(
    config: PropagateConfig,
    video: Video,
    run: Run,
    *,
    keyframes: Mapping[int, np.ndarray],
    cuts: Sequence[int],
    target: Path,
    key: str,
    name: str,
    size: tuple[int, int],
    output_size: tuple[int, int],
    seed: int,
) -> dict[str, list[float]]:
    """Carry edited key frames to every frame of a streamed clip and write the video `target`, `name` being its stage.

    `keyframes` are uint8 [H, W, 3] at `size` (width, height), by index; `output_size` is that of the video, which has
    the frame count, rate and sound of `video`. `key` is a hash of all that decides the clip and the key frames.
    Returns the figures of every frame: warp error, colour drift, sharpness, patch error, share taken from the later
    key frame, seams.
    """
    made = Propagation(run, video, size, output_size, keyframes, cuts, config, seed, name)
    return made.make(target, digest([key, cuts, made.identity]))


class Measures(Protocol):
    """Takes figures of frames that pass by."""

    def watch(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]: ...

    def series(self) -> dict[str, list[float]]:
        """One value a frame, by the figure's name."""
        ...


def watch(
    frames: Iterator[np.ndarray], *measures: Measures
) -> tuple[Iterator[np.ndarray], Callable[[], dict[str, list[float]]]]:
    """The frames, on their way past all `measures`, and what gives all series once they have passed."""
    for one in measures:
        frames = one.watch(frames)
    return frames, lambda: {name: values for one in measures for name, values in one.series().items()}


@dataclass
class Propagation:
    """A streamed clip and its edited key frames, on the way to a video."""

    run: Run
    video: Video
    size: tuple[int, int]  # (width, height) to work at
    output_size: tuple[int, int]  # to write
    keyframes: Mapping[int, np.ndarray]  # edited, by index
    cuts: Sequence[int]
    config: PropagateConfig
    seed: int
    name: str = "propagate"  # of the stage

    @property
    def identity(self) -> list[Any]:
        """How the frames are made: all that decides them besides the clip and the key frames."""
        return [deciding(self.config), self.estimator.name, self.size, self.output_size, self.seed]

    @cached_property
    def intervals(self) -> tuple[Interval, ...]:
        return intervals(self.video.num_frames, self.keyframes, self.cuts)

    @cached_property
    def estimator(self) -> FlowEstimator:
        return load_flow(self.config.flow)

    def frames(self) -> Iterator[np.ndarray]:
        """The source's frames at the working size, uint8 [H, W, 3] each, in order, from the first at each call."""
        return (stretch_frames(frame, self.size) for frame in self.video.frames)

    def measures(self) -> FrameMeasures:
        """Figures of one version of the clip, on the flow that the run has kept."""
        motion = partial(flow_pair, self.estimator, cache=FlowCache(self.run.path("flow"), self.estimator.name))
        return FrameMeasures(motion, self.frames(), self.cuts)

    def make(self, target: Path, key: str, *measures: Measures) -> dict[str, list[float]]:
        """Make all frames and write the video; what is finished on the way stays in a folder till then.

        Returns the figures of every frame, those of `measures` too, by name. `key` is a hash of all that the video
        depends on.
        """
        work = self.run.path(f"propagation-{key}.work")
        with self.run.stage(self.name, key, [target]) as needed:
            if needed:
                watched, series = watch(self.made(work), self.measures(), *measures)
                write_clip(target, watched, self.video, self.output_size)
                figures = read_figures(self.video.num_frames, self.intervals, work)
                self.run.results[self.name] = series() | figures
        shutil.rmtree(work, ignore_errors=True)
        found: dict[str, list[float]] = self.run.results[self.name]
        return found

    def made(self, work: Path) -> Iterator[np.ndarray]:
        """All frames of the clip in order, uint8 [H, W, 3]; what `work` does not hold yet is made there first."""
        c = self.config
        settings = Settings(c.propagator, c.preset, c.blend, c.poisson, self.seed)
        done = count_steps(self.intervals, work)
        with self.run.progress.stage(self.name, count_steps(self.intervals), done) as advance:
            make_frames(
                self.frames(),
                self.keyframes,
                self.intervals,
                settings,
                self.estimator,
                work,
                flow_folder=self.run.path("flow"),
                workers=c.workers,
                advance=advance,
            )
        return stitch(self.video.num_frames, self.keyframes, self.intervals, work)
