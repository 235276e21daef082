"""SDEdit on each frame by itself: noise it to a strength, denoise it by the prompt (Meng et al., ICLR 2022)."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, cast

import numpy as np
import torch
from pydantic import Field

from videoedit.config import EditsConfig, Section
from videoedit.deliver import StreamedEdit
from videoedit.diffusion import ddim, guidance, latents, prompts, sampling
from videoedit.files import file_stem
from videoedit.runs.clip import Clip
from videoedit.runs.planning import Scene, StagePlan
from videoedit.runs.steps import Steps
from videoedit.types import Models


class SampleConfig(Section):
    """DDIM sampling of a frame that was noised part of the way."""

    steps: int = Field(default=50, ge=1)
    """Steps from pure noise; `strength` says how many of them run."""
    guidance_scale: float = Field(default=7.5, ge=0)
    """Classifier-free guidance; 1: none."""
    strength: float = Field(default=0.6, gt=0, le=1)
    """Share of noise at the start: near 0 all of a frame is kept, at 1 hardly anything."""


class FramewiseConfig(EditsConfig):
    """Everything a framewise run depends on."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"mini": {"sample": {"steps": 30, "guidance_scale": 3.0}}}

    sample: SampleConfig = SampleConfig()


def first_step(sample: SampleConfig) -> int:
    """The first of the steps that runs; at least the last one does."""
    return min(round(sample.steps * (1 - sample.strength)), sample.steps - 1)


def plan(config: FramewiseConfig, scene: Scene) -> tuple[list[StagePlan], list[str]]:
    """Frames, steps and operations of an edit, for each prompt."""
    run, batch = config.sample.steps - first_step(config.sample), 1 if config.sample.guidance_scale == 1 else 2
    one = scene.known_shape.operations(scene.size, batch) if scene.known_shape else 0.0
    what = f"{scene.frames} frames x {run} DDIM steps"
    amount = scene.frames * run * batch * scene.size[0] * scene.size[1]
    return [
        StagePlan(f"write {prompt}", what, scene.frames * run * one, amount=amount) for prompt in config.prompts
    ], []


def edits(config: FramewiseConfig, models: Models, clip: Clip, steps: Steps) -> Iterator[StreamedEdit]:
    """Edit each frame by each prompt, while the video is written."""
    for prompt in config.prompts:
        texts = {"prompt": prompt, "negative_prompt": config.negative_prompt}
        needs = {"clip": clip, "model": models, "sample": config.sample, "seed": config.seed, **texts}
        frames = partial(sdedit, config, models, clip, steps, prompt)
        yield StreamedEdit(
            prompt, frames, needs, f"edit-{file_stem(prompt)}.mp4", prompt=prompt, reference=config.truth_of(prompt)
        )


@torch.no_grad()
def sdedit(config: FramewiseConfig, models: Models, clip: Clip, steps: Steps, prompt: str) -> Iterator[np.ndarray]:
    """Frames, uint8 [H, W, 3], noised to the strength and denoised from there: SDEdit's algorithm 1, by DDIM.

    Every frame gets the same noise, that of the seed: where nothing moves nothing changes, and no flicker is chance's.
    """
    sample, unet = config.sample, cast(Any, models.unet)
    positive, negative = (prompts.encode_prompts(models, [text]) for text in (prompt, config.negative_prompt))
    denoise = guidance.guided(lambda x, t, text: unet(x, t, text).sample, positive, negative, sample.guidance_scale)
    schedule = ddim.Schedule.from_scheduler(models.scheduler, sample.steps)
    start = min(first_step(sample), len(schedule.timesteps) - 1)
    with steps.progress.stage("edit", clip.num_frames) as advance:
        for frame in clip.stream():
            x0 = latents.encode(models.vae, latents.frames_to_pixels(frame[None]))[0]
            noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(config.seed)).to(x0.device)
            noisy = ddim.add_noise(x0, noise, schedule.alpha_bar(schedule.timesteps[start]))
            edited = sampling.ddim_sample(denoise, noisy, models.scheduler, sample.steps, start=start)
            yield latents.pixels_to_frames(latents.decode(models.vae, edited[None]))[0]
            advance()
