"""Rerender-A-Video from a clip to an edited clip: choose key frames, translate them, propagate them, write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from rerender.config import RerenderConfig
from rerender.pictures import flow_sheet
from rerender.stage import Chosen, choose_keyframes, propagate
from rerender.translation.conditions import Controls, ControlSpec, load_controls
from rerender.translation.translate import Translator
from videoedit.media.images import Pictures, contact_rows, write_image
from videoedit.media.video import iter_frames, stretch_frames, write_clip
from videoedit.metrics.streams import TRUTH, measure_files
from videoedit.models.assets import is_embedded
from videoedit.motion.cache import FlowCache
from videoedit.motion.estimators import FlowEstimator, flow_pair, load_flow
from videoedit.runs.folder import Run, digest, file_sha256
from videoedit.runs.planning import size_for
from videoedit.types import EditResult, Models, Video

EDIT, SOURCE = "edit.mp4", "source.mp4"


def edit(config: RerenderConfig, models: Models, video: Video, run: Run) -> EditResult:
    """Translate key frames of `video` by the prompt and carry them to every frame.

    Writes ``keys/NNNNNN.png``, and unless `until` says keyframes ``edit.mp4`` with the frame count, rate, size and
    sound of `video`. `video.frames` is a stream. Each stage's files are reused when nothing they depend on changed.
    """
    job = _Job(config, models, video, run)
    if video.num_frames == 1:
        run.note("The clip has one frame: it is translated as a still.")
    job.write_source()
    job.translate()
    if config.until == "video":
        job.propagate()
        job.measure()
    job.show()
    videos = {config.prompt: run.path(EDIT)} if config.until == "video" else {}
    return EditResult(videos=videos, metrics=run.record["metrics"], artefacts={"keys": run.path("keys")})


@dataclass
class _Job:
    """One run's inputs, and its stages in order. Every stage leaves files; the next one reads them."""

    config: RerenderConfig
    models: Models
    video: Video
    run: Run

    # -- what the stages share -------------------------------------------------------------------------

    @cached_property
    def size(self) -> tuple[int, int]:
        """(width, height) that the model works at, and at which frames are propagated."""
        return size_for(self.models, self.video, self.config.video.size)

    @cached_property
    def output_size(self) -> tuple[int, int]:
        return (self.video.width, self.video.height) if self.config.video.output_size == "source" else self.size

    def frames(self) -> Iterator[np.ndarray]:
        """The source's frames at the working size, uint8 [H, W, 3] each, in order, from the first at each call."""
        return (stretch_frames(frame, self.size) for frame in self.video.frames)

    def picked(self, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Some of them with their numbers."""
        stream: Any = self.video.frames
        return ((index, stretch_frames(frame, self.size)) for index, frame in stream.pick(indices))

    @cached_property
    def estimator(self) -> FlowEstimator:
        return load_flow(self.config.propagate.flow, self.models.device)

    @cached_property
    def motion(self) -> Any:
        """Flow between two frames by their numbers, kept in the run's folder."""
        return partial(flow_pair, self.estimator, cache=FlowCache(self.run.path("flow"), self.estimator.name))

    @cached_property
    def controls(self) -> Controls:
        specs = [ControlSpec.parse(text) for text in self.config.controls]
        settings = self.config.translate
        return load_controls(specs, self.models, canny=settings.canny, allow_pickle=self.config.allow_pickle)

    @cached_property
    def translator(self) -> Translator:
        c = self.config
        return Translator(self.models, self.controls, c.translate, self.motion,
                          prompt=c.full_prompt, negative_prompt=c.negative_prompt, seed=c.seed)  # fmt: skip

    @cached_property
    def source_key(self) -> str:
        """A hash of all that decides the clip's frames and the size of what is written."""
        return digest([self.run.record["identity"]["input"], self.config.video.model_dump(mode="json"), self.size])

    @cached_property
    def keys_key(self) -> str:
        """A hash of all that decides the translated key frames."""
        return digest([self.source_key, asdict(self.chosen), self.translator.identity, self.estimator.name,
                       self.models.device.type])  # fmt: skip

    @cached_property
    def chosen(self) -> Chosen:
        return choose_keyframes(self.config.keyframes, self.video, self.run, size=self.size, clip_key=self.source_key)

    @property
    def edited(self) -> Pictures:
        """The translated key frames, read from disk one at a time."""
        return Pictures({index: self.key_path(index) for index in self.chosen.indices})

    def key_path(self, index: int) -> Path:
        return self.run.path(f"keys/{index:06d}.png")

    # -- the stages ------------------------------------------------------------------------------------

    def write_source(self) -> None:
        """The selected frames as a video of their own, for comparing."""
        target = self.run.path(SOURCE)
        with self.run.stage("source", self.source_key, [target]) as needed:
            if needed:
                write_clip(target, iter(self.video.frames), self.video, self.output_size)

    def translate(self) -> None:
        """Key frames by diffusion, to ``keys/``; after each, what the next one depends on is saved."""
        indices = self.chosen.indices
        files = [self.key_path(index) for index in indices]
        state = self.run.path(f"keys-{self.keys_key}.state.safetensors")
        with self.run.stage("translate", self.keys_key, files) as needed:
            if needed:
                if state.is_file():
                    self.translator.load(state)
                last = self.translator.previous.index if self.translator.previous else -1
                todo = [index for index in indices if index > last]
                done = len(indices) - len(todo)
                with self.run.progress.stage("key frames", len(indices), done) as advance:
                    for index, frame in self.picked(todo):
                        if index in (0, *self.chosen.cuts):
                            self.translator.start_shot()
                        result = self.translator.translate(frame, index)
                        write_image(self.key_path(index), result)
                        self.translator.save(state)
                        advance()
        state.unlink(missing_ok=True)

    def propagate(self) -> None:
        """All frames from the key frames, to ``edit.mp4``."""
        self.run.record["plots"] |= propagate(
            self.config.propagate,
            self.video,
            self.run,
            keyframes=self.edited,
            cuts=self.chosen.cuts,
            target=self.run.path(EDIT),
            key=self.keys_key,
            name="propagate",
            size=self.size,
            output_size=self.output_size,
            seed=self.config.seed,
        )

    def measure(self) -> None:
        """Figures of the edit at the working size, and of the truth if there is one."""
        prompt, truth = self.config.prompt, self.config.truth
        key = digest([file_sha256(self.run.path(EDIT)), file_sha256(truth) if truth else None])
        with self.run.stage("measure", key, [self.run.path(EDIT)]) as needed:
            if needed:
                figures = measure_files(
                    self.run.path(SOURCE),
                    self.run.path(EDIT),
                    prompt,
                    self.truth(),
                    size=self.size,
                    with_clip=is_embedded(self.models.name),
                )
                figures[prompt]["warp_error@1"] = float(np.mean(self.run.record["plots"]["warp_error"]))
                self.run.record["metrics"] = figures

    def truth(self) -> Iterator[np.ndarray] | None:
        """What the edit should show, uint8 [H, W, 3] each, if it is known."""
        c = self.config
        if c.truth is None:
            return None
        return iter_frames(c.truth, start=c.video.start, stride=c.video.stride, num_frames=self.video.num_frames)

    def show(self) -> None:
        """Videos and pictures for the report."""
        prompt = self.config.prompt
        videos = [{"label": "source", "role": "source", "prompt": "", "file": SOURCE}]
        if self.config.until == "video":
            videos.append({"label": prompt, "role": "edit", "prompt": prompt, "file": EDIT})
            if truth := self.truth():
                target = self.run.path("truth.mp4")
                write_clip(target, truth, self.video, self.output_size)
                videos.append({"label": TRUTH + prompt, "role": "truth", "prompt": prompt, "file": target.name})
        self.run.record["videos"] = videos
        indices = self.chosen.indices
        shown = indices[:: max(1, -(-len(indices) // 8))]
        sources = [frame for _, frame in self.picked(shown)]
        maps = [self.controls.maps(frame)[0] for frame in sources] if self.controls.controls else []
        edited = [self.edited[index] for index in shown]
        write_image(self.run.path("keys.png"), contact_rows(sources, maps, edited))
        caption = f"Key frames {', '.join(map(str, shown))}: source, what the ControlNet follows, translated."
        pictures = [{"title": "Key frames", "file": "keys.png", "caption": caption}]
        if len(indices) > 1:
            first, second = shown[0], shown[1]
            pair = self.motion(sources[0], sources[1], indices=(first, second))
            write_image(self.run.path("flow.png"), flow_sheet(sources[0], sources[1], edited[0], pair))
            caption = (
                f"From key frame {first} to {second}: the flow back to frame {first} (hue = direction, strength = "
                f"length), where frame {first} shows nothing of it (white), the edited key frame {first} warped."
            )
            pictures.append({"title": "Flow and occlusion", "file": "flow.png", "caption": caption})
        self.run.record["pictures"] = pictures
