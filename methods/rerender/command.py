"""`videoedit propagate`: key frames that were edited in any program, carried to every frame of a clip."""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from rerender.config import PropagateRunConfig
from rerender.keyframes import scene_cuts
from rerender.plan import propagation_stage
from rerender.propagation.interval import intervals
from rerender.propagation.keyfiles import find_keyframes
from rerender.stage import Propagation, watch
from videoedit.media.images import Pictures, contact_rows, write_image
from videoedit.media.video import iter_frames, stretch_frames, write_clip
from videoedit.metrics import psnr, ssim
from videoedit.runs.folder import Run, digest, file_sha256, write_text
from videoedit.runs.planning import Plan, choose_frames
from videoedit.types import EditResult, Video

if TYPE_CHECKING:
    from videoedit.media.video import VideoInfo

RESULT, SOURCE = "propagated.mp4", "source.mp4"
BY_FLOW, HELD, TRUTH, OF = "propagated (flow)", "the nearest key frame", "truth", ", "
FIGURES = ("psnr", "ssim", "warp_error", "sharpness", "patch_error")
SAME = 60.0  # dB; what a plot shows for identical frames
SHOWN = 8  # key frames in the report's picture


def plan(config: PropagateRunConfig, info: VideoInfo, *, estimate: bool = False) -> Plan:
    """Check the key frames against the clip and say what will be done; writes nothing."""
    count = choose_frames(info.frames, config, most=None)
    source = (info.width, info.height)
    size = config.video.size or source
    keys = find_keyframes(config.keyframes, selected_frames(config, count), size)
    intervals(count, keys, config.cuts if config.cuts != "auto" else ())
    return Plan(
        frames=f"{count} of {info.frames} frames, {len(keys)} of them key frames, "
        f"{float(info.fps / config.video.stride):g} fps{', with sound' if info.has_audio else ''}",
        size=size,
        output_size=source if config.video.output_size == "source" else size,
        stages=(propagation_stage(config.propagate, count, len(keys), size),),
        weights_mb=0.0,
    )


def selected_frames(config: PropagateRunConfig, count: int) -> range:
    """Numbers in the clip of the `count` frames that are edited."""
    start, stride = config.video.start, config.video.stride
    return range(start, start + count * stride, stride)


def edit(config: PropagateRunConfig, models: None, video: Video, run: Run) -> EditResult:
    """Carry the key frames to every frame of `video`, whose frames are a stream; writes ``propagated.mp4``.

    It has the frame count, rate, size and sound of `video`. With a `truth`, the result, the truth itself and the
    nearest key frame held still are measured against it.
    """
    job = _Job(config, video, run)
    job.write_source()
    job.find_cuts()
    job.make()
    job.compare()
    job.show()
    return EditResult(videos={config.label: run.path(RESULT)}, metrics=run.record["metrics"])


@dataclass
class _Job:
    """One run's inputs, and its stages in order."""

    config: PropagateRunConfig
    video: Video
    run: Run

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) at which frames are propagated."""
        return self.config.video.size or (self.video.width, self.video.height)

    @cached_property
    def keyframes(self) -> Pictures:
        selected = selected_frames(self.config, self.video.num_frames)
        return Pictures(find_keyframes(self.config.keyframes, selected, self.size))

    @cached_property
    def output_size(self) -> tuple[int, int]:
        return (self.video.width, self.video.height) if self.config.video.output_size == "source" else self.size

    @cached_property
    def propagation(self) -> Propagation:
        c = self.config
        return Propagation(
            self.run, self.video, self.size, self.output_size, self.keyframes, self.cuts, c.propagate, c.seed
        )

    @cached_property
    def source_key(self) -> str:
        return digest([self.run.record["identity"]["input"], self.config.video.model_dump(mode="json")])

    @cached_property
    def result_key(self) -> str:
        """A hash of all that the result depends on."""
        c = self.config
        pictures = {index: file_sha256(path) for index, path in self.keyframes.paths.items()}
        truth = file_sha256(c.truth) if c.truth else None
        return digest([self.source_key, self.cuts, pictures, self.propagation.identity, truth])

    @cached_property
    def cuts(self) -> list[int]:
        found: list[int] = json.loads(self.run.path("cuts.json").read_text())
        return found

    def write_source(self) -> None:
        """The selected frames as a video of their own, for comparing."""
        target = self.run.path(SOURCE)
        with self.run.stage("source", self.source_key, [target]) as needed:
            if needed:
                write_clip(target, iter(self.video.frames), self.video, self.output_size)

    def find_cuts(self) -> None:
        """First frames of the shots after the first, to ``cuts.json``."""
        target = self.run.path("cuts.json")
        with self.run.stage("scene cuts", digest([self.source_key, self.config.cuts]), [target]) as needed:
            if needed:
                cuts = scene_cuts(iter(self.video.frames)) if self.config.cuts == "auto" else self.config.cuts
                write_text(target, json.dumps(sorted(cuts)))
        if self.cuts:
            self.run.note(f"Scene cuts before frames {self.cuts}: no key frame serves across them.")

    def make(self) -> None:
        """The video, and figures of its frames."""
        self.run.record["plots"] |= self.propagation.make(self.run.path(RESULT), self.result_key, *self.closeness())
        self.run.record["metrics"][self.config.label] = self.means()

    def compare(self) -> None:
        """With a truth: figures of the flow propagator, of the nearest key frame held still, and of the truth."""
        if not self.config.truth:
            return
        work = self.run.path(f"propagation-{self.result_key}-flow.work")
        with self.run.stage("compare", self.result_key, [self.run.path(RESULT)]) as needed:
            if needed:
                versions: dict[str, Callable[[], Iterator[np.ndarray]]] = {HELD: self.held, TRUTH: self.truth}
                if self.config.propagate.propagator != "flow":
                    settings = self.config.propagate.model_copy(update={"propagator": "flow"})
                    by_flow = replace(self.propagation, config=settings)
                    versions = {BY_FLOW: partial(by_flow.made, work), **versions}
                for label, frames in versions.items():
                    passing, series = watch(frames(), self.propagation.measures(), *self.closeness())
                    deque(passing, maxlen=0)
                    self.run.record["plots"] |= {f"{name}{OF}{label}": values for name, values in series().items()}
                    self.run.record["metrics"][label] = self.means(label)
        shutil.rmtree(work, ignore_errors=True)

    def show(self) -> None:
        """Videos and pictures for the report."""
        videos = [("source", "source", SOURCE), (self.config.label, "edit", RESULT)]
        if self.config.truth:
            target = self.run.path("truth.mp4")
            write_clip(target, self.truth(), self.video, self.output_size)
            videos.append((TRUTH, "truth", target.name))
        self.run.record["videos"] = [
            {"label": label, "role": role, "prompt": "", "file": file} for label, role, file in videos
        ]
        indices = list(self.keyframes)[:: max(1, -(-len(self.keyframes) // SHOWN))]
        picked = self.video.frames.pick(indices)  # type: ignore[attr-defined]
        sources = [stretch_frames(frame, self.size) for _, frame in picked]
        sheet = contact_rows(sources, [self.keyframes[index] for index in indices])
        write_image(self.run.path("keys.png"), sheet)
        caption = f"Key frames {', '.join(map(str, indices))}: of the clip, and as they were given."
        self.run.record["pictures"] = [{"title": "Key frames", "file": "keys.png", "caption": caption}]

    # -- small steps -----------------------------------------------------------------------------------

    def truth(self) -> Iterator[np.ndarray]:
        """What the frames should look like, at the working size."""
        c = self.config
        assert c.truth
        frames = iter_frames(c.truth, start=c.video.start, stride=c.video.stride, num_frames=self.video.num_frames)
        return (stretch_frames(frame, self.size) for frame in frames)

    def held(self) -> Iterator[np.ndarray]:
        """The nearest key frame of the shot in the place of every frame."""
        nearest = {index: index for index in self.keyframes}
        for interval in self.propagation.intervals:
            for frame in interval.frames:
                backward = interval.backward_weight(frame) > 0.5
                nearest[frame] = interval.key("backward" if backward else "forward")
        return (self.keyframes[nearest[frame]] for frame in range(self.video.num_frames))

    def closeness(self) -> list[Closeness]:
        return [Closeness(self.truth())] if self.config.truth else []

    def means(self, label: str = "") -> dict[str, float]:
        """Means, over the frames that were made, of the plots of one version of the clip."""
        made = [frame for interval in self.propagation.intervals for frame in interval.frames]
        plots, suffix = self.run.record["plots"], f"{OF}{label}" if label else ""
        series = {name: plots[name + suffix] for name in FIGURES if name + suffix in plots}
        return {f"{name}@1": float(np.mean([values[i] for i in made or [0]])) for name, values in series.items()}


class Closeness:
    """PSNR (dB, at most `SAME`) and SSIM of every frame that passes, against the frames of `truth`."""

    def __init__(self, truth: Iterator[np.ndarray]) -> None:
        self._truth = truth
        self._series: dict[str, list[float]] = {"psnr": [], "ssim": []}

    def watch(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for frame, true in zip(frames, self._truth, strict=True):
            self._series["psnr"].append(min(psnr(frame[None], true[None]), SAME))
            self._series["ssim"].append(ssim(frame[None], true[None]))
            yield frame

    def series(self) -> dict[str, list[float]]:
        return self._series
