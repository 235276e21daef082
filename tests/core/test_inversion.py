"""DDIM inversion: equality with diffusers' inverse scheduler and exact round trips."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler

from videoedit import ddim_invert, ddim_sample
from videoedit.errors import ConfigError
from videoedit.testing import SD_SCHEDULER as SD
from videoedit.testing import tiny_unet


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def smooth(latents, t):
    """Depends on its input and on the timestep, as a network does."""
    return torch.tanh(latents.roll(1, -1) + t / 500) + 0.1 * latents


def diffusers_trajectory(denoise, latents, config, steps):
    inverse = DDIMInverseScheduler.from_config(DDIMScheduler(**config).config)
    inverse.set_timesteps(steps)
    trajectory = [latents]
    for t in inverse.timesteps:
        trajectory.append(inverse.step(denoise(trajectory[-1], int(t)), int(t), trajectory[-1]).prev_sample)
    return torch.stack(trajectory)


@pytest.mark.parametrize("steps", [20, 50])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize(("offset", "spacing"), [(0, "leading"), (1, "leading"), (1, "trailing")])
def test_equals_diffusers_inverse_scheduler(steps, prediction, offset, spacing):
    config = SD | {"prediction_type": prediction, "steps_offset": offset, "timestep_spacing": spacing}
    latents = noise(1, 3, 4, 8, 8)
    ours = ddim_invert(smooth, latents, DDIMScheduler(**config), steps)
    theirs = diffusers_trajectory(smooth, latents, config, steps)
    assert ours.shape == (steps + 1, 1, 3, 4, 8, 8)
    assert torch.equal(ours[0], latents)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_equals_diffusers_with_a_real_network_and_alpha_one():
    unet = tiny_unet()
    text = noise(3, 6, 16, seed=1)

    def denoise(latents, t):
        return unet(latents, t, encoder_hidden_states=text).sample

    for extra in ({}, {"set_alpha_to_one": True, "steps_offset": 0}):
        latents = noise(3, 4, 8, 8)
        ours = ddim_invert(denoise, latents, SD | extra, 20)
        with torch.no_grad():
            theirs = diffusers_trajectory(denoise, latents, SD | extra, 20)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 5e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("to_one", [False, True])
def test_round_trip_with_a_constant_eps_denoiser(dtype, bound, spacing, to_one):
    config = SD | {"timestep_spacing": spacing, "set_alpha_to_one": to_one}
    latents, eps = noise(1, 4, 4, 16, 16, dtype=dtype), noise(1, 4, 4, 16, 16, seed=1, dtype=dtype)
    trajectory = ddim_invert(lambda x, t: eps, latents, config, 50)
    back = ddim_sample(lambda x, t: eps, trajectory[-1], config, 50)
    assert (trajectory[-1] - latents).abs().max() > 0.5
    assert (back - latents).abs().max() < bound


def test_round_trip_passes_through_the_same_latents():
    eps = noise(2, 3, dtype=torch.float64)
    trajectory = ddim_invert(lambda x, t: eps, noise(2, 3, seed=1, dtype=torch.float64), SD, 20)
    seen = []

    def denoise(x, t):
        seen.append(x)
        return eps

    ddim_sample(denoise, trajectory[-1], SD, 20)
    torch.testing.assert_close(torch.stack(seen), trajectory[1:].flip(0), rtol=0, atol=1e-13)


def test_timesteps_ascend_and_callback_follows():
    visited, reported = [], []

    def denoise(latents, t):
        assert isinstance(t, int)
        visited.append(t)
        return latents

    ddim_invert(denoise, noise(2, 3), SD, 50, callback=lambda info: reported.append((info.step, info.t)))
    assert visited[:2] == [1, 21] and visited[-1] == 981
    assert reported == list(enumerate(visited))


def test_records_no_gradients_but_results_can_be_trained_on():
    weight = torch.ones(3, requires_grad=True)
    trajectory = ddim_invert(lambda x, t: x * weight, noise(2, 3), SD, 5)
    assert not trajectory.requires_grad and not trajectory.is_inference()
    (trajectory[-1] * weight).sum().backward()
    assert weight.grad is not None


def test_keeps_the_latents_dtype_under_autocast():
    linear = torch.nn.Linear(3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        trajectory = ddim_invert(lambda x, t: linear(x), noise(2, 3), SD, 5)
    assert trajectory.dtype == torch.float32


def test_x0_prediction_at_a_clean_latent_is_refused():
    config = SD | {"prediction_type": "sample", "set_alpha_to_one": True, "steps_offset": 0}
    with pytest.raises(ConfigError, match="set_alpha_to_one"):
        ddim_invert(smooth, noise(2, 3), config, 10)
