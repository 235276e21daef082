"""The deterministic DDIM sampling loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from videoedit.diffusion.ddim import Schedule, ddim_step

Denoiser = Callable[[Tensor, int], Tensor]  # (noisy latents, timestep) -> what the network predicts, same shape


@dataclass(frozen=True)
class StepInfo:
    """The place at which a loop is."""

    step: int  # 0, 1, … in the order the loop visits
    t: int  # timestep of the network call
    latents: Tensor | None = None  # of a sampling loop, after the step


def steps_within(window: tuple[float, float], count: int) -> range:
    """The steps, from 0, that a window touches, given as fractions of `count` steps."""
    first, end = (round(edge * count, 9) for edge in window)  # 0.7 * 10 is 7.000000000000001
    return range(math.floor(first), math.ceil(end))


@torch.no_grad()
def ddim_sample(
    denoise: Denoiser,
    latents: Tensor,
    scheduler: Any,
    num_inference_steps: int,
    callback: Callable[[StepInfo], None] | None = None,
    *,
    start: int = 0,
) -> Tensor:
    """Denoise `latents` (any shape, usually [B, F, C, h, w]) with eta 0; DDIM Eq. 12.

    Each step: `denoise(latents, t)` predicts eps, v or x0 (the scheduler's `prediction_type` says which); the
    predicted x0 is clipped if the config asks for it; then the direction sqrt(1 - ᾱ_prev) * eps is added, with the eps
    that belongs to the prediction as it was before clipping; `callback(StepInfo)` runs last.

    `start` is the first step that runs, with `latents` as noisy as it expects: going on from a step's latents gives
    what the whole run gives, to the bit.

    `scheduler` is a diffusers scheduler or its config. The dtype of `latents` is kept: give float32 (or float64),
    even when the network runs in 16 bits. Returns the clean latents, in the shape of `latents`.
    """
    schedule = Schedule.from_scheduler(scheduler, num_inference_steps)
    for step, t in enumerate(schedule.timesteps[start:], start):
        latents = ddim_step(schedule, latents, denoise(latents, t), t)
        if callback is not None:
            callback(StepInfo(step, t, latents))
    return latents
