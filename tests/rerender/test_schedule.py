"""The steps that each constraint takes: the official sets exactly, and windows that live at every strength."""

from __future__ import annotations

import logging

import pytest
from pydantic import ValidationError

from rerender.config import TranslateConfig
from rerender.translation.schedule import CONSTRAINTS, step_schedule

INJECTION = {0.95: 1, 0.9: 1, 0.85: 3, 0.8: 3, 0.75: 5, 0.7: 6, 0.6: 8}  # measured on the official code


@pytest.mark.parametrize(("strength", "step"), INJECTION.items())
def test_official_steps(strength, step):
    steps = step_schedule(TranslateConfig(compat="official", strength=strength), 20)
    assert (steps.start, steps.inject, steps.fork, steps.evaluations) == (0, step, 0, 40)
    assert steps.attention == set(range(20))
    assert steps.shape == {0, 1, 2}
    assert steps.fusion == {11, 12, 13, 14, 15}
    assert steps.adain == {16, 17, 18, 19}


@pytest.mark.parametrize(("strength", "step"), [(0.95, 1), (0.9, 2), (0.8, 4), (0.75, 5), (0.01, 19), (1.0, 0)])
def test_our_steps_start_at_the_injection_rounded(strength, step):
    steps = step_schedule(TranslateConfig(strength=strength), 20)
    assert steps.start == steps.inject == step


def test_pure_noise_starts_at_the_beginning():
    steps = step_schedule(TranslateConfig(strength=None), 20)
    assert (steps.start, steps.inject) == (0, None)


@pytest.mark.parametrize("num_steps", [1, 2, 7, 20, 50])
def test_every_window_is_live_at_every_strength(num_steps, caplog):
    for percent in range(1, 101):
        steps = step_schedule(TranslateConfig(strength=percent / 100), num_steps)
        for name in CONSTRAINTS:
            assert getattr(steps, name) and min(getattr(steps, name)) >= steps.start, (percent, name)
        assert max(steps.adain) == num_steps - 1
    assert not caplog.records


def test_evaluations_at_the_default_strength():
    steps = step_schedule(TranslateConfig(), 20)
    assert steps.evaluations == 15 + 8 <= 0.62 * 40
    assert step_schedule(TranslateConfig(fusion_window=None), 20).evaluations == 15
    assert step_schedule(TranslateConfig(fusion_window=None, compat="official"), 20).evaluations == 20


def test_a_window_without_a_live_step_is_named(caplog):
    with caplog.at_level(logging.WARNING):
        step_schedule(TranslateConfig(compat="official", strength=0.75), 20)
    assert [r.getMessage() for r in caplog.records] == [
        "shape_window [0.0, 0.1] has no effect: its steps run before the source is put in at step 5"
    ]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        step_schedule(TranslateConfig(compat="official", strength=0.95, adain_window=(1.0, 1.0)), 20)
        step_schedule(TranslateConfig(fusion_window=None), 10)
    assert [r.getMessage() for r in caplog.records] == ["adain_window [1.0, 1.0] has no effect: it holds no step"]


@pytest.mark.parametrize("window", [(0.5, 0.2), (-0.1, 0.5), (0.5, 1.1)])
def test_impossible_windows_are_refused(window):
    with pytest.raises(ValidationError, match="0 <= first <= last <= 1"):
        TranslateConfig(fusion_window=window)
