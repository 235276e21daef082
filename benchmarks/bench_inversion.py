"""DDIM inversion with the embedded model: CPU seconds by frames and steps, one thread.

The bundled clip of a red car, encoded; one prompt, no guidance. All three walk the same timesteps:

- "frames together": the toolkit's `ddim_invert` with Tune-A-Video's network, whose frames see each other;
- "frames alone": the same with the image U-Net;
- "frames alone, diffusers": its `DDIMInverseScheduler` around the same image U-Net, which the others are compared with.

The toolkit's keep every step's latents. Each case has a process of its own; time is the best of two calls after a first
one, memory is above the loaded model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from common import measure_alone, publish
from diffusers import DDIMInverseScheduler
from diffusers.utils import logging
from results_schema import Row, row
from torch import Tensor

from tuneavideo import VideoUNet
from videoedit import ddim_invert, load_models, read_video
from videoedit.diffusion.latents import encode_posterior, frames_to_pixels
from videoedit.diffusion.prompts import encode_prompts
from videoedit.types import Models

CLIP = Path(__file__).parents[1] / "videoedit/assets/clips/car-grass.mp4"
PROMPT = "a red car moving on grass"
FRAMES, STEPS = (1, 8, 24), (4, 8)
REFERENCE = "frames alone, diffusers"
CASES = ("frames together", "frames alone", REFERENCE)


@torch.no_grad()
def prepare(case: str, frames: int, steps: int) -> Callable[[], Tensor]:
    """The whole inversion of a case as a function without arguments; loads the model and encodes the clip."""
    models = load_models("mini", device="cpu")
    pixels = frames_to_pixels(read_video(CLIP, num_frames=frames).frames)
    latents = encode_posterior(models.vae, pixels).mean  # [1, F, C, h, w]
    embeds = encode_prompts(models, [PROMPT])
    if case == REFERENCE:
        return lambda: by_diffusers(models, latents, embeds, steps)
    if case == "frames together":
        video = VideoUNet(models.unet)
        return lambda: ddim_invert(lambda x, t: video(x, t, embeds), latents, models.scheduler, steps)
    return lambda: ddim_invert(lambda x, t: one_by_one(models, x, t, embeds), latents, models.scheduler, steps)


def one_by_one(models: Models, latents: Tensor, t: int | Tensor, embeds: Tensor) -> Tensor:
    """The image U-Net on the frames of ``latents [1, F, C, h, w]`` as a batch."""
    text = embeds.expand(latents.shape[1], -1, -1)
    return models.unet(latents[0], t, encoder_hidden_states=text, return_dict=False)[0][None]


@torch.no_grad()
def by_diffusers(models: Models, latents: Tensor, embeds: Tensor, steps: int) -> Tensor:
    logging.set_verbosity_error()  # about keys of the config that it does not know
    scheduler = DDIMInverseScheduler.from_config(models.scheduler.config)
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        latents = scheduler.step(one_by_one(models, latents, t, embeds), t, latents).prev_sample
    return latents


def rows() -> Iterator[Row]:
    for frames in FRAMES:
        for steps in STEPS:
            group = f"{frames} frame{'s' * (frames > 1)}, {steps} steps"
            costs = {case: measure_alone(prepare, case, frames, steps, repeats=2) for case in CASES}
            for case, cost in costs.items():
                against = None if case == REFERENCE else (REFERENCE, costs[REFERENCE].best)
                yield row(case, "CPU time", cost.best, "s", "lower", group=group, values=cost.seconds, against=against)
                yield row(case, "a frame and step", 1000 * cost.best / frames / steps, "ms", "lower", group=group)
                yield row(case, "peak memory", 1024 * cost.peak_gib, "MiB", "lower", group=group)


def main() -> None:
    publish("inversion", "DDIM inversion", rows(), method=__doc__, settings={"model": "mini", "prompt": PROMPT})


if __name__ == "__main__":
    main()
