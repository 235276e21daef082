"""SDEdit on each frame by itself: noise it to a strength, denoise it by the prompt (Meng et al., ICLR 2022)."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from framewise.config import FramewiseConfig, SampleConfig
from videoedit.deliver import StreamedEdit
from videoedit.diffusion import latents as codec
from videoedit.diffusion.ddim import Schedule, add_noise
from videoedit.diffusion.guidance import guided
from videoedit.diffusion.prompts import encode_prompts
from videoedit.diffusion.sampling import Denoiser, ddim_sample
from videoedit.files import file_stem
from videoedit.media.images import read_image, write_image
from videoedit.runs.clip import Clip
from videoedit.runs.steps import Step, Steps
from videoedit.types import Models


def edits(config: FramewiseConfig, models: Models, clip: Clip, steps: Steps) -> Iterator[StreamedEdit]:
    """Edit each frame by each prompt; frames are made and kept one by one."""
    whole = {"clip": clip.sha256, "size": clip.size, "model": models, "sample": config.sample, "seed": config.seed}
    for prompt in config.prompts:
        one = {**whole, "prompt": prompt, "negative_prompt": config.negative_prompt}
        needs = {f"{number:06d}": {**one, "frame": number} for number in clip.numbers}
        file = f"frames/{file_stem(prompt)}/{{}}.png"
        drawn = steps.parts(f"edit {prompt}", file, needs, partial(_draw, config, models, clip, steps, prompt))
        yield StreamedEdit(
            prompt, partial(_read, drawn), {"frames": drawn}, f"edit-{file_stem(prompt)}.mp4",
            prompt=prompt, reference=config.truth_of(prompt),
        )  # fmt: skip


@torch.no_grad()
def _draw(
    config: FramewiseConfig, models: Models, clip: Clip, steps: Steps, prompt: str, missing: Mapping[str, Path]
) -> None:
    """Write the frames that are missing, by their numbers in the file."""
    unet: Any = models.unet
    negative, positive = (encode_prompts(models, [text]) for text in (config.negative_prompt, prompt))
    denoise = guided(lambda x, t, embeds: unet(x, t, embeds).sample, positive, negative, config.sample.guidance_scale)
    paths = {clip.numbers.index(int(number)): path for number, path in missing.items()}
    with steps.progress.stage("edit", clip.num_frames, clip.num_frames - len(paths)) as advance:
        for index, frame in clip.pick(paths):
            write_image(paths[index], sdedit(models, frame, denoise, config.sample, config.seed))
            advance()


def sdedit(models: Models, frame: np.ndarray, denoise: Denoiser, sample: SampleConfig, seed: int) -> np.ndarray:
    """A frame, uint8 [H, W, 3], noised to `sample.strength` and denoised from there: SDEdit's algorithm 1, by DDIM.

    Every frame gets the same noise, that of the seed: where nothing moves nothing changes, and no flicker is chance's.
    """
    schedule = Schedule.from_scheduler(models.scheduler, sample.steps)
    start = min(sample.first_step, len(schedule.timesteps) - 1)
    latents = codec.encode(models.vae, codec.frames_to_pixels(frame[None]))[0]
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed)).to(latents.device)
    noisy = add_noise(latents, noise, schedule.alpha_bar(schedule.timesteps[start]))
    clean = ddim_sample(denoise, noisy, models.scheduler, sample.steps, start=start)
    return codec.pixels_to_frames(codec.decode(models.vae, clean[None]))[0]


def _read(drawn: Step) -> Iterator[np.ndarray]:
    return map(read_image, drawn.paths.values())
