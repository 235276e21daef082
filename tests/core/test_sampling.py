"""The sampling loop: equality with diffusers, and going on from a step."""

from __future__ import annotations

import itertools

import pytest
import torch
from diffusers import DDIMScheduler

from videoedit import StepInfo, ddim_sample
from videoedit.diffusion.ddim import Schedule, add_noise, ddim_step
from videoedit.diffusion.sampling import steps_within
from videoedit.testing import SD_SCHEDULER as SD
from videoedit.testing import tiny_unet

OPTIONS = list(
    itertools.product(("epsilon", "v_prediction", "sample"), ("leading", "trailing", "linspace"), (0, 1), (True, False))
)


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def smooth(latents, t):
    """Depends on its input and on the timestep, as a network does."""
    return torch.tanh(latents.roll(1, -1) + t / 500) + 0.1 * latents


def diffusers_sample(denoise, latents, config, steps):
    scheduler = DDIMScheduler(**config)
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        latents = scheduler.step(denoise(latents, int(t)), int(t), latents).prev_sample
    return latents


@pytest.mark.parametrize(("prediction", "spacing", "offset", "to_one"), OPTIONS)
def test_equals_diffusers(prediction, spacing, offset, to_one):
    config = SD | {
        "prediction_type": prediction,
        "timestep_spacing": spacing,
        "steps_offset": offset,
        "set_alpha_to_one": to_one,
    }
    latents = noise(1, 3, 4, 8, 8)
    ours = ddim_sample(smooth, latents, DDIMScheduler(**config), 20)
    theirs = diffusers_sample(smooth, latents, config, 20)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_equals_diffusers_with_a_real_network_and_clipping():
    unet, text = tiny_unet(), noise(3, 6, 16, seed=1)

    @torch.no_grad()
    def denoise(latents, t):
        return unet(latents, t, encoder_hidden_states=text).sample

    latents = noise(3, 4, 8, 8)
    results = []
    for extra in ({}, {"clip_sample": True, "clip_sample_range": 1.0}):
        results.append(ddim_sample(denoise, latents, SD | extra, 10))
        torch.testing.assert_close(
            results[-1], diffusers_sample(denoise, latents, SD | extra, 10), rtol=1e-5, atol=1e-5
        )
    assert (results[0] - results[1]).abs().max() > 1e-2


def test_is_the_plain_step_repeated():
    schedule, latents = Schedule.from_scheduler(SD, 10), noise(2, 3)
    expected = latents
    for t in schedule.timesteps:
        expected = ddim_step(schedule, expected, smooth(expected, t), t)
    torch.testing.assert_close(ddim_sample(smooth, latents, SD, 10), expected, rtol=0, atol=1e-6)


def test_the_callback_runs_after_each_network_call():
    calls = []

    def denoise(latents, t):
        calls.append(("denoise", t))
        return smooth(latents, t)

    def callback(info):
        assert isinstance(info, StepInfo) and info.step == len(calls) // 2
        calls.append(("callback", info.t))

    ddim_sample(denoise, noise(2, 3), SD, 5, callback)
    assert calls == [(name, t) for t in (801, 601, 401, 201, 1) for name in ("denoise", "callback")]


def test_perfect_noise_prediction_returns_the_clean_latent():
    x0, eps = noise(2, 3, dtype=torch.float64), noise(2, 3, seed=1, dtype=torch.float64)
    schedule = Schedule.from_scheduler(SD | {"set_alpha_to_one": True}, 10)
    noisy = add_noise(x0, eps, schedule.alpha_bar(schedule.timesteps[0]))
    result = ddim_sample(lambda x, t: eps, noisy, SD | {"set_alpha_to_one": True}, 10)
    torch.testing.assert_close(result, x0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_keeps_dtype_and_records_no_gradients(dtype):
    weight = torch.ones(3, requires_grad=True)
    result = ddim_sample(lambda x, t: x.float() * weight, noise(2, 3).to(dtype), SD, 5)
    assert result.dtype == dtype and not result.requires_grad and not result.is_inference()


@pytest.mark.parametrize("fork", [1, 7, 19])
def test_going_on_from_a_step_equals_the_whole_run(fork):
    seen = []

    def remember(latents, t):
        seen.append(latents)
        return smooth(latents, t)

    whole = ddim_sample(remember, noise(1, 4, 8, 8), SD, 20)
    steps = []
    again = ddim_sample(smooth, seen[fork], SD, 20, callback=lambda info: steps.append(info.step), start=fork)
    assert torch.equal(again, whole)
    assert steps == list(range(fork, 20))


@pytest.mark.parametrize(
    ("window", "count", "first", "end"),
    [
        ((0.0, 1.0), 7, 0, 7),
        ((0.5, 0.8), 5, 2, 4),  # all that it touches
        ((0.0, 0.07), 100, 0, 7),  # 7.000000000000001
        ((0.58, 1.0), 100, 58, 100),  # 57.99999999999999
        ((0.3, 0.3), 10, 3, 3),
    ],
)
def test_a_window_holds_the_steps_that_it_touches(window, count, first, end):
    assert steps_within(window, count) == range(first, end)
