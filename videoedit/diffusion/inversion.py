"""DDIM inversion: which noise would a deterministic sampler have turned into this latent?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from videoedit.diffusion.ddim import Schedule, ddim_inverse_step
from videoedit.diffusion.sampling import Denoiser, StepInfo
from videoedit.errors import ConfigError


@torch.no_grad()
def ddim_invert(
    denoise: Denoiser,
    latents: Tensor,
    scheduler: Any,
    num_inference_steps: int,
    callback: Callable[[StepInfo], None] | None = None,
) -> Tensor:
    """Walk `latents` (any shape, usually [B, F, C, h, w]) up to noise; DDIM Eq. 12 read backwards.

    `denoise(latents, t)` returns what the model predicts (eps, v or x0; the scheduler's `prediction_type` says
    which) in the shape of `latents`. A step to t starts from the latent one stride below and evaluates the network
    there with timestep t, as Tune-A-Video and diffusers' `DDIMInverseScheduler` do.

    `scheduler` is a diffusers scheduler or its config. The dtype of `latents` is kept: give float32 (or float64),
    even when the network runs in 16 bits. `callback(StepInfo)` runs after each step.

    Returns the trajectory [S+1, *latents.shape]: its first entry is `latents`, its last the noise to sample from.
    """
    schedule = Schedule.from_scheduler(scheduler, num_inference_steps)
    _check_invertible(schedule)
    trajectory = latents.new_empty((len(schedule.timesteps) + 1, *latents.shape))
    trajectory[0] = latents
    for step, t in enumerate(reversed(schedule.timesteps)):
        below = trajectory[step]
        trajectory[step + 1] = ddim_inverse_step(schedule, below, denoise(below, t), t)
        if callback is not None:
            callback(StepInfo(step, t))
    return trajectory


def _check_invertible(schedule: Schedule) -> None:
    if schedule.prediction_type == "sample" and schedule.alpha_bar_prev(schedule.timesteps[-1]) == 1.0:
        raise ConfigError(
            "a model that predicts x0 says nothing about the noise in a clean latent (set_alpha_to_one is true); "
            "set set_alpha_to_one to false in the scheduler's config"
        )
