"""The deterministic DDIM sampling loop, with a seam on either side of the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from videoedit.diffusion.ddim import Schedule, predict_eps, predict_x0, signal_and_noise, widen

Denoiser = Callable[[Tensor, int], Tensor]  # (noisy latents, timestep) -> what the network predicts, same shape


@dataclass(frozen=True)
class StepInfo:
    """The place at which a loop is."""

    step: int  # 0, 1, … in the order the loop visits
    t: int  # timestep of the network call
    # sqrt(1 - ᾱ_prev) * eps of the previous step, the noise part of this step's incoming latents: they are
    # sqrt(ᾱ_t) * x0 + direction for the previous step's (edited) x0. None at the first step and in inversion.
    direction: Tensor | None


EditLatents = Callable[[Tensor, StepInfo], Tensor]


@torch.no_grad()
def ddim_sample(
    denoise: Denoiser,
    latents: Tensor,
    scheduler: Any,
    num_inference_steps: int,
    edit_x0: EditLatents | None = None,
    edit_latents: EditLatents | None = None,
    callback: Callable[[StepInfo], None] | None = None,
    *,
    start: int = 0,
    direction: Tensor | None = None,
) -> Tensor:
    """Denoise `latents` (any shape, usually [B, F, C, h, w]) with eta 0; DDIM Eq. 12.

    Each step: `edit_latents(latents, info)` may change the noisy latents; `denoise(latents, t)` predicts eps, v or
    x0 (the scheduler's `prediction_type` says which); the predicted x0 is clipped if the config asks for it;
    `edit_x0(x0, info)` may change it; then the direction sqrt(1 - ᾱ_prev) * eps is added, with the eps that belongs
    to the prediction as it was before clipping and editing; `callback(info)` runs last.

    `start` is the first step that runs, with `latents` as noisy as it expects and, if another run stopped there, that
    run's `direction`: going on from a step's `latents` and `info.direction` gives what the whole run gives, to the bit.

    `scheduler` is a diffusers scheduler or its config. The dtype of `latents` is kept: give float32 (or float64),
    even when the network runs in 16 bits. Returns the clean latents, in the shape of `latents`.
    """
    schedule = Schedule.from_scheduler(scheduler, num_inference_steps)
    for step, t in enumerate(schedule.timesteps[start:], start):
        info = StepInfo(step, t, direction)
        if edit_latents is not None:
            latents = edit_latents(latents, info)
        output = widen(denoise(latents, t).to(latents.dtype))
        alpha_bar, alpha_bar_prev = schedule.alpha_bar(t), schedule.alpha_bar_prev(t)
        x0 = predict_x0(widen(latents), output, alpha_bar, schedule.prediction_type)
        eps = predict_eps(widen(latents), output, alpha_bar, schedule.prediction_type)
        x0 = schedule.constrain_x0(x0)
        if edit_x0 is not None:
            x0 = edit_x0(x0, info)
        signal, noise = signal_and_noise(alpha_bar_prev, eps.dtype)
        direction = noise * eps
        latents = (signal * x0 + direction).to(latents.dtype)
        if callback is not None:
            callback(info)
    return latents
