"""Which steps each constraint takes: the official sets exactly, and windows that live at every strength."""

from __future__ import annotations

import logging

import pytest
from pydantic import ValidationError

from rerender.config import TranslateConfig
from rerender.translation.schedule import CONSTRAINTS, timetable

INJECTION = {0.95: 1, 0.9: 1, 0.85: 3, 0.8: 3, 0.75: 5, 0.7: 6, 0.6: 8}  # measured on the official code


@pytest.mark.parametrize(("strength", "step"), INJECTION.items())
def test_official_steps(strength, step):
    table = timetable(TranslateConfig(compat="official", strength=strength), 20)
    assert (table.start, table.inject, table.fork, table.evaluations) == (0, step, 0, 40)
    assert table.attention == set(range(20))
    assert table.shape == {0, 1, 2}
    assert table.fusion == {11, 12, 13, 14, 15}
    assert table.adain == {16, 17, 18, 19}


@pytest.mark.parametrize(("strength", "step"), [(0.95, 1), (0.9, 2), (0.8, 4), (0.75, 5), (0.01, 19), (1.0, 0)])
def test_our_steps_start_at_the_injection_rounded(strength, step):
    table = timetable(TranslateConfig(strength=strength), 20)
    assert table.start == table.inject == step


def test_pure_noise_starts_at_the_beginning():
    table = timetable(TranslateConfig(strength=None), 20)
    assert (table.start, table.inject) == (0, None)


@pytest.mark.parametrize("steps", [1, 2, 7, 20, 50])
def test_every_window_is_live_at_every_strength(steps, caplog):
    for percent in range(1, 101):
        table = timetable(TranslateConfig(strength=percent / 100), steps)
        for name in CONSTRAINTS:
            assert getattr(table, name) and min(getattr(table, name)) >= table.start, (percent, name)
        assert max(table.adain) == steps - 1
    assert not caplog.records


def test_evaluations_at_the_default_strength():
    table = timetable(TranslateConfig(), 20)
    assert table.evaluations == 15 + 8 <= 0.62 * 40
    assert timetable(TranslateConfig(fusion_window=None), 20).evaluations == 15
    assert timetable(TranslateConfig(fusion_window=None, compat="official"), 20).evaluations == 20


def test_a_window_without_a_live_step_is_named(caplog):
    with caplog.at_level(logging.WARNING):
        timetable(TranslateConfig(compat="official", strength=0.75), 20)
    assert [r.getMessage() for r in caplog.records] == [
        "shape_window [0.0, 0.1] has no effect: its steps run before the source is put in at step 5"
    ]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        timetable(TranslateConfig(compat="official", strength=0.95, adain_window=(1.0, 1.0)), 20)
        timetable(TranslateConfig(fusion_window=None), 10)
    assert [r.getMessage() for r in caplog.records] == ["adain_window [1.0, 1.0] has no effect: it holds no step"]


@pytest.mark.parametrize("window", [(0.5, 0.2), (-0.1, 0.5), (0.5, 1.1)])
def test_impossible_windows_are_refused(window):
    with pytest.raises(ValidationError, match="0 <= first <= last <= 1"):
        TranslateConfig(fusion_window=window)
