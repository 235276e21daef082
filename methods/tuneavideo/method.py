"""Tune-A-Video from frames to edited videos: encode, tune, invert, sample, write."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tuneavideo.checkpoint import load_adapter, save_adapter
from tuneavideo.config import TuneAVideoConfig
from tuneavideo.official import load_inv_latents
from tuneavideo.tuning import tune
from tuneavideo.video_unet import VideoUNet
from videoedit import latents as codec
from videoedit.errors import ShapeError
from videoedit.guidance import guided
from videoedit.inversion import ddim_invert
from videoedit.metrics import measure_edit, psnr
from videoedit.planning import working_size
from videoedit.prompts import encode_prompts
from videoedit.run import Run, atomic_path, digest
from videoedit.sampling import ddim_sample
from videoedit.types import EditResult, Models, Video
from videoedit.video import read_video, stretch_frames, write_video

if TYPE_CHECKING:
    from collections.abc import Callable


TRUTH = "ground truth: "  # before the prompt, in the names of videos and figures


def edit(config: TuneAVideoConfig, models: Models, video: Video, run: Run) -> EditResult:
    """Tune on `video`, invert it, and write one edited video for each prompt into the run's folder.

    The videos have the frame count, rate and audio of `video`, and the source's size (or the model's,
    if `video.output_size` says so). Each stage's artefacts are reused when nothing they depend on changed.
    """
    job = _Job(config, models, video, run)
    if video.num_frames == 1:
        run.note("The clip has one frame: it is edited as a still.")
    if config.invert.steps != config.sample.steps:
        run.note(
            f"Inversion takes {config.invert.steps} steps but sampling {config.sample.steps}: "
            "they end at different noise levels, so motion is kept less well."
        )
    job.encode()
    job.tune()
    job.invert()
    job.reconstruct()
    for number in range(1, len(config.prompts) + 1):
        job.sample(number)
    job.compare()
    return EditResult(
        videos={prompt: job.edit_path(i) for i, prompt in enumerate(config.prompts, 1)},
        metrics=run.record["metrics"],
        artefacts={"adapter": run.path("adapter.safetensors"), "inverted": run.path("inverted.safetensors")},
    )


@dataclass
class _Job:
    """One run's inputs, and its stages in order. Every stage leaves files; the next one reads them."""

    config: TuneAVideoConfig
    models: Models
    video: Video
    run: Run

    # -- what the stages share -------------------------------------------------------------------------

    @cached_property
    def size(self) -> tuple[int, int]:
        """(width, height) that the model works at."""
        factor = codec.spatial_factor(self.models.vae)
        config: Any = self.models.unet.config  # type: ignore[attr-defined]
        side = config.sample_size or 64
        side = side if isinstance(side, int) else max(side)
        source = (self.video.width, self.video.height)
        return working_size(source, self.config.video.size, factor=factor, native=side * factor)

    @cached_property
    def frames(self) -> np.ndarray:
        """uint8 [F, H, W, 3] at the working size."""
        return stretch_frames(self.video.frames, self.size)

    @cached_property
    def keys(self) -> dict[str, str]:
        """A hash for each stage of all that its files depend on."""
        c = self.config
        base = [self.run.record["identity"]["input"], self.models.fingerprint, str(self.models.dtype),
                self.models.device.type, c.video.model_dump(mode="json"), self.size]  # fmt: skip
        encode = digest(base)
        tuned = digest([encode, c.network.model_dump(), c.tune.model_dump(exclude={"checkpoint_every"}),
                        c.source_prompt, c.seed, str(c.adapter)])  # fmt: skip
        inverted = digest([tuned, c.invert.model_dump(mode="json")])
        sampled = digest([inverted, c.sample.model_dump(), c.negative_prompt])
        return {"encode": encode, "tune": tuned, "invert": inverted, "sample": sampled}

    @cached_property
    def embeds(self) -> dict[str, Tensor]:
        """Text features [1, L, D] of every prompt of the run."""
        c = self.config
        texts = list(dict.fromkeys([c.source_prompt, "", c.negative_prompt, *c.prompts]))
        return dict(zip(texts, encode_prompts(self.models, texts).split(1), strict=True))

    @cached_property
    def posterior(self) -> codec.Posterior:
        """Mean and std [1, F, C, h, w] in float32."""
        saved = load_file(self.run.path("posterior.safetensors"), device=str(self.models.device))
        return codec.Posterior(saved["mean"], saved["std"])

    @cached_property
    def unet(self) -> VideoUNet:
        """The video network, tuned once the tuning stage is done."""
        network = self.config.network
        unet = VideoUNet(
            self.models.unet,
            group_norm=network.group_norm,
            init=network.init,
            temporal_mask=network.temporal_mask,
            attention=network.attention,
            lora_rank=network.lora_rank,
            generator=torch.Generator().manual_seed(self.config.seed),
        )
        if self.config.adapter:
            load_adapter(self.config.adapter, unet)
        return unet

    @cached_property
    def tuned_unet(self) -> VideoUNet:
        load_adapter(self.run.path("adapter.safetensors"), self.unet)
        return self.unet.eval()

    @cached_property
    def inverted(self) -> Tensor:
        """The clip's noise latents [1, F, C, h, w]."""
        return load_file(self.run.path("inverted.safetensors"), device=str(self.models.device))["latents"]

    def denoiser(self, prompt: str, guidance_scale: float = 1.0) -> Callable[[Tensor, int], Tensor]:
        """The tuned network under a prompt."""
        return guided(self.tuned_unet, self.embeds[prompt], self.embeds[self.config.negative_prompt], guidance_scale)

    def edit_path(self, number: int) -> Path:
        """Where the edit by prompt `number` (from 1) goes: ``2-a-purple-elephant.mp4``."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.config.prompts[number - 1].lower()).strip("-")[:48]
        return self.run.path(f"{number}-{slug or 'edit'}.mp4")

    # -- the stages ------------------------------------------------------------------------------------

    def encode(self) -> None:
        """Frames to the autoencoder's posterior; also the autoencoder's own round trip."""
        files = [self.run.path("posterior.safetensors"), self.run.path("source.mp4")]
        with self.run.stage("encode", self.keys["encode"], files) as needed:
            if needed:
                posterior = codec.encode_posterior(self.models.vae, self.pixels)
                _save(files[0], mean=posterior.mean, std=posterior.std)
                self.write(files[1], self.video.frames)

    def tune(self) -> None:
        """One-shot tuning on the source prompt; the tuned tensors go to ``adapter.safetensors``."""
        adapter = self.run.path("adapter.safetensors")
        state = self.run.path("tune.state.safetensors")
        with self.run.stage("tune", self.keys["tune"], [adapter]) as needed:
            if needed:
                settings = self.config.tune.model_dump()
                with self.run.progress.stage("tune", settings["steps"]) as advance:
                    shown = 0

                    def show(step: int, loss: float) -> None:
                        nonlocal shown
                        advance(step - shown, note=f"loss {loss:.4f}")  # a resumed tuning starts further on
                        shown = step

                    result = tune(
                        self.unet,
                        self.posterior,
                        self.embeds[self.config.source_prompt],
                        self.models.scheduler,
                        **settings,
                        empty_embeds=self.embeds[""],
                        seed=self.config.seed,
                        state_path=state,
                        fingerprint=self.keys["tune"],
                        callback=show,
                    )
                self.run.record["plots"]["loss"] = result.losses
                self.run.record["tuning"] = {
                    "seconds": result.seconds,
                    "overhead": result.overhead,
                    "resumed_from": result.resumed_from,
                }
                save_adapter(adapter, self.unet, self.metadata())
        state.unlink(missing_ok=True)

    def invert(self) -> None:
        """DDIM inversion with the tuned network on the empty prompt (official: no guidance)."""
        target = self.run.path("inverted.safetensors")
        with self.run.stage("invert", self.keys["invert"], [target]) as needed:
            if needed:
                _save(target, latents=self._inverted_latents())

    def _inverted_latents(self) -> Tensor:
        given = self.config.invert.latents
        if given is not None:
            latents = load_inv_latents(given)
            if latents.shape != self.posterior.mean.shape:
                raise ShapeError(
                    f"{given} holds latents of shape {list(latents.shape)} (batch, frames, channels, height, "
                    f"width), this run needs {list(self.posterior.mean.shape)}; set frames and size to match"
                )
            return latents
        steps = self.config.invert.steps
        with self.run.progress.stage("invert", steps) as advance:
            trajectory = ddim_invert(
                self.denoiser(""), self.posterior.mean, self.models.scheduler, steps, callback=lambda _: advance()
            )
        return trajectory[-1]

    def reconstruct(self) -> None:
        """Sample back from the inverted latent without guidance: how much of the clip survives inversion."""
        target = self.run.path("reconstruction.mp4")
        with self.run.stage("reconstruct", self.keys["invert"], [target]) as needed:
            if needed:
                frames = self._decode(self._sample("reconstruct", self.denoiser("")))
                round_trip = self._decode(self.posterior.mean)
                self.run.record["metrics"]["reconstruction"] = {
                    "reconstruction_psnr@1": psnr(self.frames, frames),
                    "autoencoder_psnr@1": psnr(self.frames, round_trip),
                }
                self.write(target, frames)

    def sample(self, number: int) -> None:
        """One edit: guided DDIM sampling from the inverted latent."""
        prompt = self.config.prompts[number - 1]
        target = self.edit_path(number)
        with self.run.stage(f"edit {number}", digest([self.keys["sample"], prompt]), [target]) as needed:
            if needed:
                denoise = self.denoiser(prompt, self.config.sample.guidance_scale)
                frames = self._decode(self._sample(f"edit {number}", denoise))
                truth, with_clip = self.truth(number), self.models.name == "mini"
                measured = measure_edit(self.frames, frames, prompt, truth, with_clip=with_clip)
                self.run.record["metrics"][prompt] = measured
                if truth is not None:
                    reference = measure_edit(self.frames, truth, prompt, truth, with_clip=with_clip)
                    self.run.record["metrics"][f"{TRUTH}{prompt}"] = reference
                self.write(target, frames)

    def compare(self) -> None:
        """Tell the report which videos belong together."""
        c = self.config
        videos = [_entry("source", c.source_prompt, "source.mp4")]
        videos.append(_entry("reconstruction", "", "reconstruction.mp4"))
        for number, prompt in enumerate(c.prompts, 1):
            videos.append(_entry("edit", prompt, self.edit_path(number).name))
            if c.truth:
                target = self.run.path(f"truth-{number}.mp4")
                self.write(target, self.truth(number))
                videos.append(_entry("truth", prompt, target.name))
        self.run.record["videos"] = videos

    # -- small steps -----------------------------------------------------------------------------------

    @property
    def pixels(self) -> Tensor:
        return codec.frames_to_pixels(self.frames).to(self.models.device, self.models.dtype)

    def truth(self, number: int) -> np.ndarray | None:
        """What edit `number` should look like, uint8 [F, H, W, 3] at the working size, if known."""
        if not self.config.truth:
            return None
        c = self.config.video
        path = self.config.truth[number - 1]
        video = read_video(path, start=c.start, stride=c.stride, num_frames=self.video.num_frames)
        return stretch_frames(video.frames, self.size)

    def _sample(self, label: str, denoise: Callable[[Tensor, int], Tensor]) -> Tensor:
        steps = self.config.sample.steps
        with self.run.progress.stage(label, steps) as advance:
            return ddim_sample(denoise, self.inverted, self.models.scheduler, steps, callback=lambda _: advance())

    def _decode(self, latents: Tensor) -> np.ndarray:
        return codec.pixels_to_frames(codec.decode(self.models.vae, latents))

    def write(self, path: Path, frames: np.ndarray | None) -> None:
        """Write frames at the output size with the source's rate and sound."""
        assert frames is not None
        source = (self.video.width, self.video.height)
        frames = stretch_frames(frames, source if self.config.video.output_size == "source" else self.size)
        write_video(path, frames, self.video.fps, audio_from=self.video if self.video.has_audio else None)

    def metadata(self) -> dict[str, Any]:
        """What the adapter file says about itself."""
        return {
            "base_model": self.models.name,
            "base_fingerprint": self.models.fingerprint,
            "network": self.config.network.model_dump(),
            "tune": self.config.tune.model_dump(),
            "source_prompt": self.config.source_prompt,
            "seed": self.config.seed,
            "frames": self.video.num_frames,
            "fps": str(self.video.fps),
            "size": list(self.size),
            "versions": self.run.record["versions"],
        }


def _save(path: Path, **tensors: Tensor) -> None:
    with atomic_path(path) as temporary:
        save_file({name: value.float().cpu().contiguous() for name, value in tensors.items()}, temporary)


def _entry(role: str, prompt: str, file: str) -> dict[str, str]:
    label = {"edit": prompt, "truth": f"{TRUTH}{prompt}"}.get(role, role)
    return {"label": label, "role": role, "prompt": prompt, "file": file}
