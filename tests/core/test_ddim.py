"""The schedule and the arithmetic, against diffusers' own DDIM scheduler."""

from __future__ import annotations

import itertools

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler

from videoedit.diffusion.ddim import (
    Schedule,
    add_noise,
    as_ddim,
    ddim_inverse_step,
    ddim_step,
    dynamic_threshold,
    predict_eps,
    predict_x0,
)
from videoedit.errors import ConfigError
from videoedit.testing import SD_SCHEDULER as SD

OPTIONS = list(
    itertools.product(("epsilon", "v_prediction", "sample"), ("leading", "trailing", "linspace"), (0, 1), (True, False))
)


def config_of(prediction="epsilon", spacing="leading", offset=1, to_one=False):
    return SD | {
        "prediction_type": prediction,
        "timestep_spacing": spacing,
        "steps_offset": offset,
        "set_alpha_to_one": to_one,
    }


@pytest.mark.parametrize(("prediction", "spacing", "offset", "to_one"), OPTIONS)
def test_ddim_step_equals_diffusers(prediction, spacing, offset, to_one):
    scheduler = DDIMScheduler(**config_of(prediction, spacing, offset, to_one))
    scheduler.set_timesteps(30)
    schedule = Schedule.from_scheduler(scheduler, 30)
    assert schedule.timesteps == tuple(scheduler.timesteps.tolist())
    generator = torch.Generator().manual_seed(0)
    for t in schedule.timesteps:
        sample, output = torch.randn(2, 2, 3, 4, 5, generator=generator)
        ours = ddim_step(schedule, sample, output, t)
        theirs = scheduler.step(output, t, sample).prev_sample
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("extra", [{"clip_sample": True, "clip_sample_range": 0.7}, {"thresholding": True}])
def test_clipping_and_thresholding_are_those_of_diffusers(extra):
    scheduler = DDIMScheduler(**(SD | {"sample_max_value": 1.5} | extra))
    scheduler.set_timesteps(20)
    schedule = Schedule.from_scheduler(scheduler, 20)
    sample, output = torch.randn(2, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    ours, theirs = ddim_step(schedule, sample, output, 501), scheduler.step(output, 501, sample).prev_sample
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert not torch.allclose(ours, ddim_step(Schedule.from_scheduler(SD, 20), sample, output, 501), atol=1e-3)


def test_thresholding_leaves_small_values_as_they_are():
    small = torch.linspace(-0.4, 0.4, 24).view(2, 3, 4)
    assert torch.equal(dynamic_threshold(small, 0.5, 2.0), small)
    large = 10 * small
    limit = torch.quantile(large.abs().flatten(1), 0.5, dim=1).clamp(1, 2).view(2, 1, 1)
    torch.testing.assert_close(dynamic_threshold(large, 0.5, 2.0), large.clamp(-limit, limit) / limit)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_predictions_and_noising_agree_with_each_other(prediction):
    x0, eps = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    alpha_bar = 0.3
    sample = add_noise(x0, eps, alpha_bar)
    output = {"epsilon": eps, "v_prediction": alpha_bar**0.5 * eps - (1 - alpha_bar) ** 0.5 * x0, "sample": x0}
    torch.testing.assert_close(predict_x0(sample, output[prediction], alpha_bar, prediction), x0)
    torch.testing.assert_close(predict_eps(sample, output[prediction], alpha_bar, prediction), eps)


def test_steps_down_and_up_undo_each_other_for_the_same_noise():
    schedule = Schedule.from_scheduler(SD, 50)
    sample, eps = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for t in schedule.timesteps:
        back = ddim_step(schedule, ddim_inverse_step(schedule, sample, eps, t), eps, t)
        torch.testing.assert_close(back, sample, rtol=0, atol=1e-14)


def test_sixteen_bit_latents_are_computed_in_float32():
    schedule = Schedule.from_scheduler(SD, 50)
    sample, output = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(3)).bfloat16()
    result = ddim_step(schedule, sample, output, 981)
    assert result.dtype == torch.bfloat16
    assert torch.equal(result, ddim_step(schedule, sample.float(), output.float(), 981).bfloat16())


def test_config_dict_frozen_config_and_scheduler_say_the_same():
    scheduler = DDIMScheduler(**SD)
    expected = Schedule.from_scheduler(scheduler, 20)
    assert expected == Schedule.from_scheduler(scheduler.config, 20)
    assert expected == Schedule.from_scheduler(dict(scheduler.config), 20)
    assert expected == Schedule.from_scheduler(SD, 20)
    assert scheduler.num_inference_steps is None


def test_stable_diffusion_visits_981_to_1():
    schedule = Schedule.from_scheduler(SD, 50)
    assert schedule.timesteps[:2] == (981, 961) and schedule.timesteps[-1] == 1
    assert schedule.alpha_bar_prev(1) == schedule.alpha_bar(0) == schedule.final_alpha
    assert schedule.alpha_bar(0) == pytest.approx(1 - 0.00085, abs=1e-7)


@pytest.mark.parametrize("name", ["PNDMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"])
def test_other_schedulers_are_read_for_their_betas(name):
    known = {key: value for key, value in SD.items() if key not in ("clip_sample", "set_alpha_to_one")}
    scheduler = getattr(diffusers, name)(**known)
    schedule = Schedule.from_scheduler(scheduler.config, 20)
    assert schedule.alphas == Schedule.from_scheduler(SD, 20).alphas
    assert schedule.clip is None
    if name == "PNDMScheduler":
        assert schedule == Schedule.from_scheduler(SD, 20)
        assert schedule == Schedule.from_scheduler(known | {"_class_name": name}, 20)  # as files of old versions say it


def test_what_cannot_be_sampled_is_refused_in_one_line():
    flow = diffusers.FlowMatchEulerDiscreteScheduler()
    for scheduler, steps, said in [
        (flow, 10, "FlowMatchEulerDiscreteScheduler.*no betas"),
        ({"_class_name": "AutoencoderKL"}, 10, "AutoencoderKL.*no betas"),
        (SD | {"prediction_type": "flow_prediction"}, 10, "'flow_prediction'; DDIM needs epsilon"),
        ("ddim", 10, "got str"),
        (SD, 0, "from 1 to 1000"),
        (SD, 1001, "from 1 to 1000"),
        (SD, 2.0, "whole number"),
        (SD, 1000, "start at timestep 1000"),
        (SD | {"beta_schedule": "cubic"}, 10, "beta_schedule is 'cubic'"),
        (SD | {"timestep_spacing": "random"}, 10, "timestep_spacing is 'random'"),
        (SD | {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}, 10, "pure noise"),
    ]:
        with pytest.raises(ConfigError, match=said) as raised:
            Schedule.from_scheduler(scheduler, steps)
        assert "\n" not in str(raised.value)


def test_zero_terminal_snr_works_with_v_prediction():
    config = SD | {
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
        "prediction_type": "v_prediction",
    }
    schedule = Schedule.from_scheduler(config, 10)
    assert schedule.alpha_bar(999) == 0.0
    sample, v = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(4))
    assert torch.isfinite(ddim_step(schedule, sample, v, 999)).all()


@pytest.mark.parametrize("steps", [1, 7, 61, 103, 999])
def test_there_are_as_many_steps_as_asked_for(steps):
    """diffusers' "trailing" makes 62 of 61, the last one at timestep -1."""
    for spacing in ("leading", "trailing", "linspace"):
        timesteps = Schedule.from_scheduler(SD | {"timestep_spacing": spacing}, steps).timesteps
        assert len(timesteps) == steps and min(timesteps) >= 0 and sorted(timesteps, reverse=True) == list(timesteps)


def test_as_ddim_never_hands_back_the_callers_object():
    scheduler = DDIMScheduler(**SD)
    assert as_ddim(scheduler) is not scheduler
