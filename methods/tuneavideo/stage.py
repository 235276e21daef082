"""The part of a run that edits frames jointly: encode, tune, invert, and sample by each prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tuneavideo.adapter import load_adapter, save_adapter
from tuneavideo.config import EditFramesConfig
from tuneavideo.official import load_inv_latents
from tuneavideo.tuning import tune
from tuneavideo.video_unet import VideoUNet
from videoedit.config import deciding
from videoedit.diffusion import latents as codec
from videoedit.diffusion.guidance import guided
from videoedit.diffusion.inversion import ddim_invert
from videoedit.diffusion.prompts import encode_prompts
from videoedit.diffusion.sampling import ddim_sample
from videoedit.errors import ShapeError
from videoedit.media.video import stretch_frames
from videoedit.runs.folder import Run, atomic_path, digest, digest_frames, file_stem
from videoedit.types import Models, Video


def edit_frames(
    config: EditFramesConfig,
    models: Models,
    video: Video,
    run: Run,
    *,
    source_prompt: str,
    prompts: Sequence[str],
    negative_prompt: str,
    seed: int,
    size: tuple[int, int],
) -> dict[str, np.ndarray]:
    """Tune on the frames of `video` (an array), invert them, and edit them jointly by each prompt.

    The frames need not follow each other at an even pace. `size` is (width, height) to work at. Returns, by prompt,
    uint8 [F, H, W, 3] at that size. What the run's folder holds of the same frames is reused: one tuning and inversion
    serve all prompts, earlier calls' too.
    """
    frames = stretch_frames(video.frames, size)
    joint = JointEdit(config, models, frames, video.fps, run, source_prompt, tuple(prompts), negative_prompt, seed)
    joint.encode()
    joint.tune()
    joint.invert()
    for prompt in prompts:
        joint.edit(prompt)
    return {prompt: joint.edited(prompt) for prompt in prompts}


@dataclass
class JointEdit:
    """Frames on the way to their edits, stage by stage. Every stage leaves files; the next one reads them."""

    config: EditFramesConfig
    models: Models
    frames: np.ndarray  # uint8 [F, H, W, 3] at the working size
    fps: Fraction
    run: Run
    source_prompt: str
    prompts: tuple[str, ...]
    negative_prompt: str
    seed: int

    # -- what the stages share -------------------------------------------------------------------------

    @cached_property
    def keys(self) -> dict[str, str]:
        """A hash for each stage of all that its files depend on; of the clip, that is what the frames show."""
        c, models = self.config, self.models
        encode = digest([digest_frames(self.frames), models.fingerprint, str(models.dtype), models.device.type])
        tuned = digest([encode, deciding(c.network), deciding(c.tune), self.source_prompt, self.seed, str(c.adapter)])
        inverted = digest([tuned, deciding(c.invert)])
        sampled = digest([inverted, deciding(c.sample), self.negative_prompt])
        return {"encode": encode, "tune": tuned, "invert": inverted, "sample": sampled}

    def edit_key(self, prompt: str) -> str:
        """The same for one edit."""
        return digest([self.keys["sample"], prompt])

    @cached_property
    def embeds(self) -> dict[str, Tensor]:
        """Text features [1, L, D] of every text of the run, each by itself: no edit depends on its company."""
        texts = dict.fromkeys([self.source_prompt, "", self.negative_prompt, *self.prompts])
        return {text: encode_prompts(self.models, [text]) for text in texts}

    @cached_property
    def posterior(self) -> codec.Posterior:
        """Mean and std [1, F, C, h, w] in float32."""
        saved = self._load("posterior.safetensors")
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
            generator=torch.Generator().manual_seed(self.seed),
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
        """The frames' noise latents [1, F, C, h, w]."""
        return self._load("inverted.safetensors")["latents"]

    def denoiser(self, prompt: str, guidance_scale: float = 1.0) -> Callable[[Tensor, int], Tensor]:
        """The tuned network under a prompt."""
        return guided(self.tuned_unet, self.embeds[prompt], self.embeds[self.negative_prompt], guidance_scale)

    def edit_path(self, prompt: str) -> Path:
        """Where the latents of an edit go."""
        return self.run.path(f"edit-{file_stem(prompt)}.safetensors")

    # -- the stages ------------------------------------------------------------------------------------

    def encode(self) -> None:
        """Frames to the autoencoder's posterior."""
        target = self.run.path("posterior.safetensors")
        with self.run.stage("encode", self.keys["encode"], [target]) as needed:
            if needed:
                pixels = codec.frames_to_pixels(self.frames).to(self.models.device, self.models.dtype)
                posterior = codec.encode_posterior(self.models.vae, pixels)
                self._save(target, mean=posterior.mean, std=posterior.std)

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
                        self.embeds[self.source_prompt],
                        self.models.scheduler,
                        **settings,
                        empty_embeds=self.embeds[""],
                        seed=self.seed,
                        state_path=state,
                        fingerprint=self.keys["tune"],
                        callback=show,
                    )
                self.run.record["plots"]["loss"] = result.losses
                self.run.results["tune"] = {
                    "seconds": result.seconds,
                    "overhead": result.overhead,
                    "resumed_from": result.resumed_from,
                }
                save_adapter(adapter, self.unet, self._metadata())
        state.unlink(missing_ok=True)

    def invert(self) -> None:
        """DDIM inversion with the tuned network on the empty prompt (official: no guidance)."""
        target, c = self.run.path("inverted.safetensors"), self.config
        if c.invert.steps != c.sample.steps:
            self.run.note(
                f"Inversion takes {c.invert.steps} steps but sampling {c.sample.steps}: "
                "they end at different noise levels, so motion is kept less well."
            )
        with self.run.stage("invert", self.keys["invert"], [target]) as needed:
            if needed:
                self._save(target, latents=self._inverted_latents())

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

    def edit(self, prompt: str) -> None:
        """One edit: guided DDIM sampling from the inverted latent; its latents go to `edit_path`."""
        target = self.edit_path(prompt)
        with self.run.stage(f"edit {prompt}", self.edit_key(prompt), [target]) as needed:
            if needed:
                denoise = self.denoiser(prompt, self.config.sample.guidance_scale)
                label = f"edit {self.prompts.index(prompt) + 1}"
                self._save(target, latents=self.sample(label, denoise))

    # -- small steps -----------------------------------------------------------------------------------

    def edited(self, prompt: str) -> np.ndarray:
        """A finished edit: uint8 [F, H, W, 3] at the working size."""
        return self.decode(self._load(self.edit_path(prompt).name)["latents"])

    def sample(self, label: str, denoise: Callable[[Tensor, int], Tensor]) -> Tensor:
        """DDIM sampling from the inverted latent: [1, F, C, h, w]."""
        steps = self.config.sample.steps
        with self.run.progress.stage(label, steps) as advance:
            return ddim_sample(denoise, self.inverted, self.models.scheduler, steps, callback=lambda _: advance())

    def decode(self, latents: Tensor) -> np.ndarray:
        """uint8 [F, H, W, 3]."""
        return codec.pixels_to_frames(codec.decode(self.models.vae, latents))

    def _load(self, name: str) -> dict[str, Tensor]:
        return load_file(self.run.path(name), device=str(self.models.device))

    def _save(self, path: Path, **tensors: Tensor) -> None:
        with atomic_path(path) as temporary:
            save_file({name: value.float().cpu().contiguous() for name, value in tensors.items()}, temporary)

    def _metadata(self) -> dict[str, Any]:
        """What the adapter file says about itself."""
        frames, height, width = self.frames.shape[:3]
        return {
            "base_model": self.models.name,
            "base_fingerprint": self.models.fingerprint,
            "network": self.config.network.model_dump(),
            "tune": self.config.tune.model_dump(),
            "source_prompt": self.source_prompt,
            "seed": self.seed,
            "frames": frames,
            "fps": str(self.fps),
            "size": [width, height],
            "versions": self.run.record["versions"],
        }
