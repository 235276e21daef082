"""The hybrid from a clip to edited clips: choose key frames, edit them jointly, carry each edit to every frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hybrid.config import HybridConfig
from videoedit.media.images import Pictures, contact_rows, write_image
from videoedit.media.video import iter_frames, stretch_frames, write_clip
from videoedit.metrics.streams import TRUTH, measure_files
from videoedit.models.assets import is_embedded
from videoedit.plugins import get_stage
from videoedit.runs.folder import Run, digest, digest_frames, file_sha256, file_stem
from videoedit.runs.planning import size_for
from videoedit.types import EditResult, Models, Video

SOURCE = "source.mp4"
SHOWN = 8  # key frames in the report's picture


def edit(config: HybridConfig, models: Models, video: Video, run: Run) -> EditResult:
    """Tune on key frames of `video`, edit them jointly by each prompt, and carry each edit to every frame.

    Writes one video for each prompt with the frame count, rate, size and sound of `video`, whose frames are a stream,
    and the edited key frames into ``keys/``. Each stage's files are reused when nothing they depend on changed: a
    folder takes further prompts, which share its tuning and inversion.
    """
    job = _Job(config, models, video, run)
    if video.num_frames == 1:
        run.note("The clip has one frame: it is edited as a still.")
    job.write_source()
    job.edit_keys()
    for prompt in config.prompts:
        job.propagate(prompt)
        job.measure(prompt)
    job.show()
    return EditResult(
        videos={prompt: job.edit_path(prompt) for prompt in config.prompts},
        metrics=run.record["metrics"],
        artefacts={"keys": run.path("keys"), "adapter": run.path("adapter.safetensors")},
    )


@dataclass
class _Job:
    """One run's inputs, and its stages in order. Every stage leaves files; the next one reads them."""

    config: HybridConfig
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

    @cached_property
    def clip_key(self) -> str:
        """A hash of all that decides the clip's frames and the size of what is written."""
        return digest([self.run.record["identity"]["input"], self.config.video.model_dump(mode="json"), self.size])

    @cached_property
    def chosen(self) -> Any:
        """`indices` of the key frames and `cuts`, the first frames of the shots after the first."""
        choose = get_stage("rerender", "choose_keyframes").load("run")
        return choose(self.config.keyframes, self.video, self.run, size=self.size, clip_key=self.clip_key)

    @cached_property
    def source_keys(self) -> np.ndarray:
        """The key frames of the clip, uint8 [K, H, W, 3] at the working size."""
        stream: Any = self.video.frames
        return np.stack([stretch_frames(frame, self.size) for _, frame in stream.pick(self.chosen.indices)])

    def edited_keys(self, prompt: str) -> Pictures:
        """The key frames of one edit, read from disk one at a time."""
        folder = self.run.path("keys") / file_stem(prompt)
        return Pictures({index: folder / f"{index:06d}.png" for index in self.chosen.indices})

    def edit_path(self, prompt: str) -> Path:
        """Where the edit by `prompt` goes, whichever others there are: ``edit-a-purple-elephant.mp4``."""
        return self.run.path(f"edit-{file_stem(prompt)}.mp4")

    def truth(self, prompt: str) -> Iterator[np.ndarray] | None:
        """What the edit by `prompt` should show, uint8 [H, W, 3] each, if it is known."""
        path, c = self.config.truth_of(prompt), self.config.video
        if path is None:
            return None
        return iter_frames(path, start=c.start, stride=c.stride, num_frames=self.video.num_frames)

    # -- the stages ------------------------------------------------------------------------------------

    def write_source(self) -> None:
        """The selected frames as a video of their own, for comparing."""
        target = self.run.path(SOURCE)
        with self.run.stage("source", self.clip_key, [target]) as needed:
            if needed:
                write_clip(target, self.video.frames, self.video, self.output_size)

    def edit_keys(self) -> None:
        """Tune on the key frames and edit them jointly by each prompt, to ``keys/PROMPT/``."""
        c, indices = self.config, self.chosen.indices
        pace = Fraction(max(len(indices) - 1, 1), max(indices[-1] - indices[0], 1))
        edits = get_stage("tuneavideo", "edit_frames").load("run")(
            c,
            self.models,
            replace(self.video, frames=self.source_keys, fps=self.video.fps * pace),
            self.run,
            source_prompt=c.source_prompt,
            prompts=c.prompts,
            negative_prompt=c.negative_prompt,
            seed=c.seed,
            size=self.size,
        )
        for prompt, frames in edits.items():
            paths = self.edited_keys(prompt).paths
            with self.run.stage(f"key frames {prompt}", digest_frames(frames), [*paths.values()]) as needed:
                if needed:
                    for path, frame in zip(paths.values(), frames, strict=True):
                        write_image(path, frame)

    def propagate(self, prompt: str) -> None:
        """All frames of one edit from its key frames, to `edit_path`."""
        keys = self.edited_keys(prompt)
        pictures = {index: file_sha256(path) for index, path in keys.paths.items()}
        get_stage("rerender", "propagate").load("run")(
            self.config.propagate,
            self.video,
            self.run,
            keyframes=keys,
            cuts=self.chosen.cuts,
            target=self.edit_path(prompt),
            key=digest([self.clip_key, pictures]),
            name=f"propagate {prompt}",
            size=self.size,
            output_size=self.output_size,
            seed=self.config.seed,
        )

    def measure(self, prompt: str) -> None:
        """Figures of one edit at the working size, and of the truth if there is one."""
        target, truth, stage = self.edit_path(prompt), self.config.truth_of(prompt), f"measure {prompt}"
        key = digest([file_sha256(target), file_sha256(truth) if truth else None])
        with self.run.stage(stage, key, [target]) as needed:
            if needed:
                figures = measure_files(
                    self.run.path(SOURCE),
                    target,
                    prompt,
                    self.truth(prompt),
                    size=self.size,
                    with_clip=is_embedded(self.models.name),
                )
                warp_errors = self.run.results[f"propagate {prompt}"]["warp_error"]
                figures[prompt]["warp_error@1"] = float(np.mean(warp_errors))
                self.run.results[stage] = figures

    def show(self) -> None:
        """Videos, figures and pictures of this call's edits, for the report."""
        c, run = self.config, self.run
        videos = [{"label": "source", "role": "source", "prompt": c.source_prompt, "file": SOURCE}]
        plots = {"loss": run.record["plots"]["loss"]}
        metrics: dict[str, dict[str, float]] = {}
        for prompt in c.prompts:
            videos.append({"label": prompt, "role": "edit", "prompt": prompt, "file": self.edit_path(prompt).name})
            if truth := self.truth(prompt):
                target = run.path(f"truth-{file_stem(prompt)}.mp4")
                write_clip(target, truth, self.video, self.output_size)
                videos.append({"label": TRUTH + prompt, "role": "truth", "prompt": prompt, "file": target.name})
            metrics |= run.results[f"measure {prompt}"]
            suffix = f", {prompt}" if len(c.prompts) > 1 else ""
            plots |= {name + suffix: values for name, values in run.results[f"propagate {prompt}"].items()}
        run.record |= {"videos": videos, "plots": plots, "metrics": metrics, "tuning": run.results["tune"]}
        run.record["pictures"] = [self._key_sheet()]

    def _key_sheet(self) -> dict[str, str]:
        """Some key frames of the clip, and of every edit below them."""
        indices = self.chosen.indices
        step = max(1, -(-len(indices) // SHOWN))
        edits = [[self.edited_keys(prompt)[index] for index in indices[::step]] for prompt in self.config.prompts]
        write_image(self.run.path("keys.png"), contact_rows(list(self.source_keys[::step]), *edits))
        shown = ", ".join(map(str, indices[::step]))
        prompts = "; ".join(self.config.prompts)
        caption = f"Key frames {shown}: of the clip, and edited jointly: {prompts}."
        return {"title": "Key frames", "file": "keys.png", "caption": caption}
