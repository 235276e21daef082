"""Every figure that a run writes has a name for people, a direction and a meaning in the catalogue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from videoedit.config import build_config, read_yaml
from videoedit.metrics import describe
from videoedit.metrics.catalogue import BY_RUNS, METRICS, Better
from videoedit.pipeline import run_method
from videoedit.plugins import get_method

SMOKE = sorted((Path(__file__).parents[2] / "configs/smoke").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("path", SMOKE, ids=lambda path: path.stem)
def test_the_figures_of_a_run_are_known(path: Path, tmp_path: Path) -> None:
    method = path.stem
    run_method(method, build_config(get_method(method).load("config"), read_yaml(path), path.parent), tmp_path)
    record = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    figures = {name for of_one in record["metrics"].values() for name in of_one}
    assert figures
    for name in figures | set(record["plots"]):
        metric = describe(name)
        assert metric, name
        assert metric.title and metric.meaning.endswith(".") and metric.better in get_args(Better)
    for name in figures:
        if "psnr" in name:
            assert describe(name).unit == "dB"  # type: ignore[union-attr]


def test_figures_of_runs_are_no_part_of_benchmarks() -> None:
    assert not set(BY_RUNS) & set(METRICS)
    titles = [metric.title for metric in (*METRICS.values(), *BY_RUNS.values())]
    assert len(set(titles)) == len(titles)
    for name, metric in BY_RUNS.items():
        assert metric.id == name and not metric.measure and not metric.headline and metric.meaning.endswith(".")
