"""Tune-A-Video on one clip: learn it, then draw it by other prompts (Wu et al., ICCV 2023, figure 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property, partial
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tuneavideo.adapter import load_adapter, save_adapter
from tuneavideo.config import EditFramesConfig, SampleConfig, TuneAVideoConfig
from tuneavideo.controls import ControlledUNet
from tuneavideo.structure import beside_source, structure_sites
from tuneavideo.tuning import tune
from tuneavideo.unet_folder import load_inv_latents
from tuneavideo.video_unet import VideoUNet
from videoedit.config import build_config
from videoedit.controls.controlnets import Controls, ControlSpec, controls_identity, load_controls
from videoedit.deliver import Edit, Findings
from videoedit.diffusion import latents as codec
from videoedit.diffusion.ddim import Schedule
from videoedit.diffusion.guidance import guided
from videoedit.diffusion.inversion import ddim_invert
from videoedit.diffusion.prompts import encode_prompts
from videoedit.diffusion.sampling import Denoiser, StepInfo, ddim_sample, steps_within
from videoedit.errors import ShapeError
from videoedit.files import file_stem
from videoedit.metrics import psnr
from videoedit.runs.clip import Clip
from videoedit.runs.machine import environment
from videoedit.runs.steps import Step, Steps, temporary_steps
from videoedit.types import Models


class TuneAVideo(AbstractContextManager["TuneAVideo"]):
    """Edits a clip's frames jointly: ``TuneAVideo(models).fit(frames, "a red car").edit("a blue car")``.

    The UNet of `models` is changed while this lives; `close`, or the end of a ``with`` block, gives it back. What is
    made is kept by `steps`, without them in a temporary folder. Without `config` the settings are those that suit the
    model: the paper's, but for the embedded one.
    """

    def __init__(
        self,
        models: Models,
        config: EditFramesConfig | None = None,
        *,
        seed: int = 33,
        steps: Steps | None = None,
    ) -> None:
        self.models = models
        self.config = config or EditFramesConfig.model_validate(EditFramesConfig.presets.get(models.name, {}))
        self.specs = [ControlSpec.parse(text) for text in self.config.controls]
        self.seed = seed
        self._tuned_by = ""  # the key of the tuning that the network holds
        self._walked: Tensor | None = None  # the trajectory of an inversion made in this call, if it will be read
        self._stack = ExitStack()
        self.steps = steps or self._stack.enter_context(temporary_steps("tuneavideo"))

    def close(self) -> None:
        """Give the UNet back as it was, and forget what was kept in a temporary folder."""
        self._release()
        self._stack.close()

    def _release(self) -> None:
        if "unet" in vars(self):
            self.unet.detach()
            del self.unet
        self._tuned_by = ""

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- the paper -------------------------------------------------------------------------------------

    def fit(self, frames: np.ndarray | Clip, source_prompt: str) -> Self:
        """Learn a clip, uint8 [F, H, W, 3] RGB with sides that fit the model, that `source_prompt` describes."""
        c, steps = self.config, self.steps
        self._release()
        self.clip = frames if isinstance(frames, Clip) else Clip.of(frames)
        self.source_prompt = source_prompt
        needs: dict[str, Any] = {"clip": self.clip, "model": self.models}
        self.encoded = steps.tensors("encode", "posterior.safetensors", self._encode, needs=needs)
        needs = {"encode": self.encoded, "network": c.network, "tune": c.tune, "adapter": c.adapter,
                 "source_prompt": source_prompt, "seed": self.seed}  # fmt: skip
        self.tuned = steps.keep("tune", self._tune, needs=needs, files=["adapter.safetensors"])
        needs = {"tune": self.tuned, "invert": c.invert}
        self.noise = steps.tensors("invert", "inverted.safetensors", self._invert, needs=needs)
        self._walked = None
        return self

    @property
    def losses(self) -> list[float]:
        """The tuning's loss at each step; empty in a dry walk that would make it."""
        return [] if self.tuned.unmade else list(self.tuned.value["loss"])

    def edit(self, prompt: str, *, negative_prompt: str = "", **sample: Any) -> np.ndarray:
        """The clip by another prompt, uint8 [F, H, W, 3]; `sample` overrides settings (``guidance_scale=5``)."""
        settings = build_config(SampleConfig, self.config.sample.model_dump() | sample)
        return self.decoded(self.sample(prompt, negative_prompt, settings))

    def sample(self, prompt: str, negative_prompt: str, settings: SampleConfig, label: str = "edit") -> Step:
        """One edit's latents: guided DDIM sampling from the inverted noise, to ``edit-PROMPT.safetensors``.

        With `config.structure` the source's features take part, and sampling may start later on its trajectory.
        """
        structure = self.config.structure
        structure.check(self.config.invert, settings.steps)
        needs = {"invert": self.noise, "sample": settings, "negative_prompt": negative_prompt, "prompt": prompt}
        needs |= {"structure": structure, "source_prompt": self.source_prompt}
        if self.specs:
            needs |= {"controls": self._control_identity(), "control_window": self.config.control_window}
        trajectory = self._trajectory() if structure.reads_trajectory else None
        if trajectory:
            needs["trajectory"] = trajectory

        def make() -> dict[str, Tensor]:
            walked = trajectory.tensors["latents"].to(self.models.device) if trajectory else None
            if structure.beside:
                denoise = self._beside_source(prompt, negative_prompt, settings, walked)
            else:
                network, scale = self._network(settings.steps), settings.guidance_scale
                denoise = guided(network, self._embed(prompt), self._embed(negative_prompt), scale)
            first = structure.first_step(settings.steps)
            return {"latents": self._sample(label, denoise, settings.steps, first, walked)}

        return self.steps.tensors(f"edit {prompt}", f"edit-{file_stem(prompt)}.safetensors", make, needs=needs)

    def reconstruct(self) -> np.ndarray:
        """Sample back from the noise without guidance: how much of the clip survives inversion; uint8 [F, H, W, 3]."""
        return self._decode(self._sample("reconstruct", self.denoiser(""), self.config.sample.steps))

    # -- its steps -------------------------------------------------------------------------------------

    def _encode(self) -> dict[str, Tensor]:
        pixels = codec.frames_to_pixels(self.clip.frames).to(self.models.device, self.models.dtype)
        posterior = codec.encode_posterior(self.models.vae, pixels)
        return {"mean": posterior.mean, "std": posterior.std}

    def _tune(self) -> dict[str, Any]:
        """One-shot tuning on the source prompt; the tuned tensors go to ``adapter.safetensors``."""
        settings = self.config.tune.model_dump()
        with self.steps.progress.stage("tune", settings["steps"]) as advance:
            shown = 0

            def show(step: int, loss: float) -> None:
                nonlocal shown
                advance(step - shown, note=f"loss {loss:.4f}")  # a resumed tuning starts further on
                shown = step

            prompt, scheduler = self._embed(self.source_prompt), self.models.scheduler
            settings |= {"empty_embeds": self._embed(""), "seed": self.seed}
            state = self.steps.scratch(".state.safetensors")
            result = tune(self.unet, self.posterior, prompt, scheduler, **settings, state_path=state, callback=show)
        save_adapter(self.steps.path("adapter.safetensors"), self.unet, self._metadata())
        timing = {"seconds": result.seconds, "overhead": result.overhead, "resumed_from": result.resumed_from}
        return {"loss": result.losses, **timing}

    def _invert(self) -> dict[str, Tensor]:
        """DDIM inversion with the tuned network on the empty prompt (official: no guidance)."""
        settings, mean = self.config.invert, self.posterior.mean
        if settings.latents is not None:
            given = load_inv_latents(settings.latents, allow_pickle=self._allow_pickle)
            if given.shape != mean.shape:
                raise ShapeError(
                    f"{settings.latents} holds latents of shape {list(given.shape)} (batch, frames, channels, height, "
                    f"width), this run needs {list(mean.shape)}; set frames and size to match"
                )
            return {"latents": given}
        with self.steps.progress.stage("invert", settings.steps) as advance:
            denoise, scheduler = self.denoiser(""), self.models.scheduler
            trajectory = ddim_invert(denoise, mean, scheduler, settings.steps, callback=lambda _: advance())
        self._walked = trajectory if self.config.structure.reads_trajectory else None
        return {"latents": trajectory[-1]}

    def _trajectory(self) -> Step:
        """The source at each step of its inversion [S+1, 1, F, C, h, w]; kept apart: only structure control reads it.

        Inverts again if the call that asks for it is not the one that inverted.
        """

        def make() -> dict[str, Tensor]:
            if self._walked is None:
                self._invert()
            assert self._walked is not None
            return {"latents": self._walked}

        needs = {"tune": self.tuned, "invert": self.noise}
        return self.steps.tensors("trajectory", "trajectory.safetensors", make, needs=needs)

    def _beside_source(
        self, prompt: str, negative_prompt: str, settings: SampleConfig, trajectory: Tensor | None
    ) -> Denoiser:
        """The tuned network under a prompt, with the source's features for as long as `config.structure` says."""
        unet, structure = self._tuned_unet(), self.config.structure
        return beside_source(
            self._network(settings.steps),
            Schedule.from_scheduler(self.models.scheduler, settings.steps),
            structure_sites(unet, structure, settings.steps),
            self._embed(prompt),
            self._embed(negative_prompt),
            self._embed(self.source_prompt),
            settings.guidance_scale,
            trajectory if structure.source == "trajectory" else None,
        )

    def _sample(
        self, label: str, denoise: Denoiser, steps: int, first: int = 0, trajectory: Tensor | None = None
    ) -> Tensor:
        noise = self.noise.tensors["latents"].to(self.models.device)
        if trajectory is not None:
            noise = trajectory[steps - first]
        with self.steps.progress.stage(label, steps - first) as advance:

            def done(step: StepInfo) -> None:
                advance()
                self.steps.preview.show(lambda: self._first_frame(step))

            return ddim_sample(denoise, noise, self.models.scheduler, steps, callback=done, start=first)

    def _first_frame(self, step: StepInfo) -> np.ndarray:
        """The first frame of noisy latents, uint8 [H, W, 3], for a look at unfinished work."""
        assert step.latents is not None
        return codec.pixels_to_frames(codec.decode(self.models.vae, step.latents[:, :1]))[0]

    # -- what they share -------------------------------------------------------------------------------

    @cached_property
    def unet(self) -> VideoUNet:
        """The video network as it is before the tuning."""
        generator = torch.Generator().manual_seed(self.seed)
        unet = VideoUNet(self.models.unet, **self.config.network.model_dump(), generator=generator)
        if self.config.adapter:
            load_adapter(self.config.adapter, unet, allow_pickle=self._allow_pickle)
        return unet

    @property
    def posterior(self) -> codec.Posterior:
        """Mean and std [1, F, C, h, w] in float32, on the models' device."""
        saved = self.encoded.tensors
        return codec.Posterior(saved["mean"].to(self.models.device), saved["std"].to(self.models.device))

    def denoiser(self, prompt: str, negative_prompt: str = "", guidance_scale: float = 1.0) -> Denoiser:
        """The tuned network under a prompt."""
        return guided(self._tuned_unet(), self._embed(prompt), self._embed(negative_prompt), guidance_scale)

    def _network(self, steps: int) -> VideoUNet | ControlledUNet:
        """The tuned network as edits see it: under ControlNets, if there are some, in their window of `steps`."""
        unet = self._tuned_unet()
        if not self.specs:
            return unet
        timesteps = Schedule.from_scheduler(self.models.scheduler, steps).timesteps
        within = [timesteps[step] for step in steps_within(self.config.control_window, len(timesteps))]
        return ControlledUNet(unet, self.controls, self.clip.frames, within)

    @cached_property
    def controls(self) -> Controls:
        """The ControlNets and their detectors, loaded."""
        return load_controls(self.specs, self.models, allow_pickle=self._allow_pickle)

    def _control_identity(self) -> dict[str, str]:
        """All that decides what the controls say; refuses those that are not here."""
        fetch = not self.steps.dry
        return controls_identity(self.specs, self.models, allow_pickle=self._allow_pickle, fetch=fetch)

    @property
    def _allow_pickle(self) -> bool:
        return bool(getattr(self.config, "allow_pickle", False))

    def _tuned_unet(self) -> VideoUNet:
        if self._tuned_by != self.tuned.key:
            load_adapter(self.tuned.paths["adapter.safetensors"], self.unet)
            self._tuned_by = self.tuned.key
        return self.unet.eval()

    def _embed(self, text: str) -> Tensor:
        """Text features [1, L, D], each text by itself: no edit depends on its company."""
        return encode_prompts(self.models, [text])

    def decoded(self, step: Step) -> np.ndarray:
        """The frames of a step's latents, uint8 [F, H, W, 3]."""
        return self._decode(step.tensors["latents"])

    def _decode(self, latents: Tensor) -> np.ndarray:
        return codec.pixels_to_frames(codec.decode(self.models.vae, latents.to(self.models.device)))

    def closeness(self, reconstruction: np.ndarray) -> dict[str, float]:
        """PSNR (dB) of the reconstruction, and of the autoencoder alone, which bounds it."""
        pairs = {"reconstruction_psnr@1": reconstruction, "autoencoder_psnr@1": self._decode(self.posterior.mean)}
        return {name: psnr(self.clip.frames, frames) for name, frames in pairs.items()}

    def _metadata(self) -> dict[str, Any]:
        """The adapter file's words about itself."""
        return {
            "base_model": self.models.name,
            "base_fingerprint": self.models.fingerprint,
            "network": self.config.network.model_dump(),
            "tune": self.config.tune.model_dump(),
            "source_prompt": self.source_prompt,
            "seed": self.seed,
            "frames": self.clip.num_frames,
            "fps": str(self.clip.fps),
            "size": list(self.clip.size),
            "versions": environment(),
        }


def edits(config: TuneAVideoConfig, models: Models, clip: Clip, steps: Steps) -> Iterator[Edit | Findings]:
    """Tune on the clip, invert it, and draw it by each prompt; a folder takes further prompts, which share the tuning.

    First comes a reconstruction, sampled back without guidance: what inversion loses, no edit can keep.
    """
    taken, asked = config.invert.steps, config.sample.steps
    if taken != asked:
        steps.note(f"Inversion takes {taken} steps but sampling {asked}: "
                   "they end at different noise levels, so motion is kept less well.")  # fmt: skip
    with TuneAVideo(models, config, seed=config.seed, steps=steps) as tuned:
        tuned.fit(clip, config.source_prompt)
        needs = {"invert": tuned.noise, "steps": config.sample.steps}
        yield Edit("", tuned.reconstruct, needs, role="reconstruction", figures=tuned.closeness)
        for number, prompt in enumerate(config.prompts, 1):
            latents = tuned.sample(prompt, config.negative_prompt, config.sample, f"edit {number}")
            yield Edit(prompt, partial(tuned.decoded, latents), {"edit": latents}, reference=config.truth_of(prompt))
        yield Findings(plots={"loss": tuned.losses})


def edit_frames(
    config: EditFramesConfig,
    models: Models,
    clip: Clip,
    steps: Steps,
    *,
    source_prompt: str,
    prompts: Sequence[str],
    negative_prompt: str,
    seed: int,
) -> tuple[list[float], dict[str, tuple[Step, Callable[[], np.ndarray]]]]:
    """Tune on the frames of `clip`, which need not follow each other at an even pace, and edit them by each prompt.

    Returns the losses of the tuning, and by prompt the step of an edit's latents and what decodes them: uint8
    [F, H, W, 3]. One tuning and inversion serve all prompts, earlier calls' too.
    """
    tuned = TuneAVideo(models, config, seed=seed, steps=steps).fit(clip, source_prompt)
    edits: dict[str, tuple[Step, Callable[[], np.ndarray]]] = {}
    for number, prompt in enumerate(prompts, 1):
        latents = tuned.sample(prompt, negative_prompt, config.sample, f"edit {number}")
        edits[prompt] = latents, partial(tuned.decoded, latents)
    return tuned.losses, edits
