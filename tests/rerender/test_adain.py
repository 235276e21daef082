from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from rerender.translation.fusion import EPS, adain, statistics

GOLDEN = load_file(Path(__file__).parents[1] / "data" / "rerender" / "adain.safetensors")


def anchor(step: int) -> torch.Tensor:
    """What the golden run held for the anchor at `step`."""
    return GOLDEN["x0_first"] + 0.01 * step


def latents(seed: int = 0, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 4, 6, 5, generator=torch.Generator().manual_seed(seed)) * 2 + 1


def test_statistics_are_the_official_ones():
    mean, std = statistics(anchor(16))
    assert_close(mean, GOLDEN["style_mean_step16"], rtol=0, atol=1e-6)
    assert_close(std, GOLDEN["style_std_step16"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("step", [16, 19])
def test_result_is_the_official_one(step):
    out = adain(GOLDEN["x0_current"], *statistics(anchor(step)))
    assert_close(out, GOLDEN[f"out_step{step}"], rtol=0, atol=1e-6)


def test_result_has_the_wanted_statistics():
    mean, std = statistics(latents(1))
    got_mean, got_std = statistics(adain(latents(2), mean, std))
    assert_close(got_mean, mean)
    assert_close(got_std, std, rtol=0.02, atol=0)  # the biased variance divides, the unbiased one multiplies


def test_own_statistics_change_almost_nothing():
    x = latents()
    assert_close(adain(x, *statistics(x)), x, rtol=0.03, atol=0.05)


def test_each_item_of_a_batch_is_normalised_by_itself():
    mean, std = statistics(latents(3))
    batch = latents(batch=2)
    assert_close(adain(batch, mean, std)[1:], adain(batch[1:], mean, std))


@pytest.mark.parametrize("size", [(3, 3), (1, 1)])
def test_constant_latents_have_no_deviation_but_stay_finite(size):
    x = torch.full((1, 4, *size), 2.5)
    mean, std = statistics(x)
    assert_close(mean, torch.full((1, 4, 1, 1), 2.5))
    assert_close(std, torch.full((1, 4, 1, 1), EPS**0.5))
    assert_close(adain(x, mean + 1, std), x + 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_dtype_is_kept_and_16_bits_are_computed_wide(dtype):
    mean, std = statistics(latents(1).to(dtype))
    out = adain(latents(2).to(dtype), mean, std)
    assert mean.dtype == std.dtype == out.dtype == dtype
    expected = adain(latents(2), *statistics(latents(1)))
    assert_close(out.float(), expected, rtol=0.03, atol=0.03)
