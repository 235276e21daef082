"""The stage of a run that carries key frames to every frame of its clip."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol

import numpy as np

from rerender.config import PropagateConfig
from rerender.propagation import Interval, Settings, intervals
from rerender.units import count_steps, make_frames, read_figures, stitch
from videoedit.flow_models import FlowCache, FlowEstimator, flow_pair, load_flow
from videoedit.frame_measures import FrameMeasures
from videoedit.run import Run
from videoedit.types import Video
from videoedit.video import stretch_frames, write_video


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

    def make(self, target: Path, key: str, *measures: Measures) -> None:
        """Make all frames and write the video; what is finished on the way stays in a folder till then.

        The figures of every frame, those of `measures` too, become plots of the run. `key` is a hash of all that the
        video depends on.
        """
        work = self.run.path(f"propagation-{key}.work")
        with self.run.stage("propagate", key, [target]) as needed:
            if needed:
                watched, series = watch(self.made(work), self.measures(), *measures)
                write_clip(target, watched, self.video, self.output_size)
                figures = read_figures(self.video.num_frames, self.intervals, work)
                self.run.record["plots"] |= series() | figures
        shutil.rmtree(work, ignore_errors=True)

    def made(self, work: Path) -> Iterator[np.ndarray]:
        """All frames of the clip in order, uint8 [H, W, 3]; what `work` does not hold yet is made there first."""
        c = self.config
        settings = Settings(c.propagator, c.preset, c.blend, c.poisson, self.seed)
        done = count_steps(self.intervals, work)
        with self.run.progress.stage("propagate", count_steps(self.intervals), done) as advance:
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


def write_clip(path: Path, frames: Iterator[np.ndarray], video: Video, size: tuple[int, int]) -> None:
    """Write frames at `size` (width, height) with the rate and sound of `video`."""
    resized = (stretch_frames(frame, size) for frame in frames)
    write_video(path, resized, video.fps, audio_from=video if video.has_audio else None)
