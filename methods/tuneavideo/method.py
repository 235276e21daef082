"""Tune-A-Video from frames to edited videos: edit them jointly, write, measure, compare."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tuneavideo.config import TuneAVideoConfig
from tuneavideo.stage import JointEdit
from videoedit.media.video import read_video, stretch_frames, write_clip
from videoedit.metrics import measure_edit, psnr
from videoedit.metrics.streams import TRUTH
from videoedit.models.assets import is_embedded
from videoedit.runs.folder import Run, digest, file_sha256, file_stem
from videoedit.runs.planning import size_for
from videoedit.types import EditResult, Models, Video

SOURCE, RECONSTRUCTION = "source.mp4", "reconstruction.mp4"


def edit(config: TuneAVideoConfig, models: Models, video: Video, run: Run) -> EditResult:
    """Tune on `video`, invert it, and write one edited video for each prompt into the run's folder.

    The videos have the frame count, rate and audio of `video`, and the source's size (or the model's,
    if `video.output_size` says so). Each stage's artefacts are reused when nothing they depend on changed: a folder
    takes further prompts, which share its tuning and inversion.
    """
    job = _Job(config, models, video, run)
    if video.num_frames == 1:
        run.note("The clip has one frame: it is edited as a still.")
    job.write_source()
    job.joint.encode()
    job.joint.tune()
    job.joint.invert()
    job.reconstruct()
    for prompt in config.prompts:
        job.joint.edit(prompt)
        job.measure(prompt)
    job.compare()
    return EditResult(
        videos={prompt: job.edit_path(prompt) for prompt in config.prompts},
        metrics=run.record["metrics"],
        artefacts={"adapter": run.path("adapter.safetensors"), "inverted": run.path("inverted.safetensors")},
    )


@dataclass
class _Job:
    """One run's inputs, and what it does besides editing the frames."""

    config: TuneAVideoConfig
    models: Models
    video: Video
    run: Run

    @cached_property
    def size(self) -> tuple[int, int]:
        """(width, height) that the model works at."""
        return size_for(self.models, self.video, self.config.video.size)

    @cached_property
    def joint(self) -> JointEdit:
        c = self.config
        frames = stretch_frames(self.video.frames, self.size)
        return JointEdit(
            c, self.models, frames, self.video.fps, self.run, c.source_prompt, c.prompts, c.negative_prompt, c.seed
        )

    @cached_property
    def output_key(self) -> str:
        """A hash of what every written video depends on besides its frames."""
        return digest([self.run.record["identity"]["input"], self.config.video.model_dump(mode="json"), self.size])

    def edit_path(self, prompt: str) -> Path:
        """Where the edit by `prompt` goes, whichever others there are: ``edit-a-purple-elephant.mp4``."""
        return self.run.path(f"edit-{file_stem(prompt)}.mp4")

    # -- the stages ------------------------------------------------------------------------------------

    def write_source(self) -> None:
        """The selected frames as a video of their own, for comparing."""
        target = self.run.path(SOURCE)
        with self.run.stage("source", self.output_key, [target]) as needed:
            if needed:
                self.write(target, self.video.frames)

    def reconstruct(self) -> None:
        """Sample back from the inverted latent without guidance: how much of the clip survives inversion."""
        joint, target = self.joint, self.run.path(RECONSTRUCTION)
        key = digest([joint.keys["invert"], self.config.sample.steps, self.output_key])
        with self.run.stage("reconstruct", key, [target]) as needed:
            if needed:
                frames = joint.decode(joint.sample("reconstruct", joint.denoiser("")))
                round_trip = joint.decode(joint.posterior.mean)
                self.run.results["reconstruct"] = {
                    "reconstruction_psnr@1": psnr(joint.frames, frames),
                    "autoencoder_psnr@1": psnr(joint.frames, round_trip),
                }
                self.write(target, frames)

    def measure(self, prompt: str) -> None:
        """Write one edit as a video, and take its figures and those of its truth, if there is one."""
        joint, target, stage = self.joint, self.edit_path(prompt), f"measure {prompt}"
        known = self.config.truth_of(prompt)
        key = digest([joint.edit_key(prompt), self.output_key, file_sha256(known) if known else None])
        with self.run.stage(stage, key, [target]) as needed:
            if needed:
                frames, truth, with_clip = joint.edited(prompt), self.truth(prompt), is_embedded(self.models.name)
                figures = {prompt: measure_edit(joint.frames, frames, prompt, truth, with_clip=with_clip)}
                if truth is not None:
                    reference = measure_edit(joint.frames, truth, prompt, truth, with_clip=with_clip)
                    figures[f"{TRUTH}{prompt}"] = reference
                self.run.results[stage] = figures
                self.write(target, frames)

    def compare(self) -> None:
        """Tell the report which videos belong together, and the figures of this call's edits."""
        c, run = self.config, self.run
        videos = [_entry("source", c.source_prompt, SOURCE), _entry("reconstruction", "", RECONSTRUCTION)]
        run.record["metrics"] = {"reconstruction": run.results["reconstruct"]}
        for prompt in c.prompts:
            videos.append(_entry("edit", prompt, self.edit_path(prompt).name))
            if c.truth:
                target = run.path(f"truth-{file_stem(prompt)}.mp4")
                self.write(target, self.truth(prompt))
                videos.append(_entry("truth", prompt, target.name))
            run.record["metrics"] |= run.results[f"measure {prompt}"]
        run.record["videos"] = videos
        run.record["tuning"] = run.results["tune"]

    # -- small steps -----------------------------------------------------------------------------------

    def truth(self, prompt: str) -> np.ndarray | None:
        """What the edit by `prompt` should look like, uint8 [F, H, W, 3] at the working size, if known."""
        path, c = self.config.truth_of(prompt), self.config.video
        if path is None:
            return None
        video = read_video(path, start=c.start, stride=c.stride, num_frames=self.video.num_frames)
        return stretch_frames(video.frames, self.size)

    def write(self, path: Path, frames: np.ndarray | None) -> None:
        """Write frames at the output size with the source's rate and sound."""
        assert frames is not None
        source = (self.video.width, self.video.height)
        write_clip(path, frames, self.video, source if self.config.video.output_size == "source" else self.size)


def _entry(role: str, prompt: str, file: str) -> dict[str, str]:
    label = {"edit": prompt, "truth": f"{TRUTH}{prompt}"}.get(role, role)
    return {"label": label, "role": role, "prompt": prompt, "file": file}
