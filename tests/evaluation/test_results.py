"""``results.json``: read back as written, checked, and refused if another version wrote it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from videoedit.errors import InputError
from videoedit.evaluation.results import SCHEMA, MethodInfo, MetricInfo, Results, UnitResult, read_results, schema_text
from videoedit.evaluation.results import write_results as write


@pytest.fixture
def results() -> Results:
    unit = UnitResult(
        clip="car",
        edit="snow",
        type="background",
        prompt="a car in the snow",
        method="rerender",
        seed=33,
        status="done",
        video="runs/rerender/car/snow/33/edit.mp4",
        source="../car.mp4",
        frames=(0, 2, 12),
        asked=(0, 1, 24),
        fps="4",
        keyframes=(0, 10),
        figures={"psnr@1": 21.5, "warp_error@1/dis": None},
        remarks={"warp_error@1/dis": "nothing to measure"},
        series={"warp_error@1/dis": [0.0, math.nan, 0.25]},
        key="a-b-c",
    )
    return Results(
        suite="tiny",
        suite_sha256="0" * 64,
        title="Tiny",
        created="2026-11-21T12:00:00+00:00",
        environment={"python": "3.11", "cores": 2},
        methods={"rerender": MethodInfo(label="", settings={"a": 1}, model="mini", licence="", imported=False)},
        metrics={
            "psnr@1": MetricInfo(title="PSNR", meaning="", better="higher", unit="dB", group="fidelity", headline=True)
        },
        units=(unit,),
    )


def test_results_are_read_back_as_written(results: Results, tmp_path: Path):
    path = write(results, tmp_path)
    assert path == tmp_path / "results.json"
    for place in (path, tmp_path):
        again = read_results(place)
        assert again.model_dump(exclude={"units"}) == results.model_dump(exclude={"units"})
        series = again.units[0].series["warp_error@1/dis"]
        assert series[0] == 0 and math.isnan(series[1]) and series[2] == 0.25
        assert again.units[0].is_partial
    assert "NaN" not in path.read_text()
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_the_schema_beside_the_code_is_that_of_the_code():
    """If not: python -c "from videoedit.evaluation.results import *; SCHEMA.write_text(schema_text())" """
    assert SCHEMA.read_text() == schema_text()
    assert json.loads(schema_text())["properties"]["schema_version"]["const"] == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 2}, r"another version of videoedit \(schema 2, expected 1\)"),
        ({"schema_version": None}, "another version"),
        ({"suite": 3}, "is damaged: suite"),
        ({"units": [{"clip": "car"}]}, r"is damaged: units\.0\.edit"),
        ({"extra": 1}, "is damaged: extra"),
    ],
)
def test_what_cannot_be_read_is_one_line(results: Results, tmp_path: Path, change, words):
    path = write(results, tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=words) as caught:
        read_results(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "words"), [("{", "cannot be read"), ("[]", "holds a list"), (None, "no results in")])
def test_other_files_are_no_results(tmp_path: Path, text, words):
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError, match=words):
        read_results(tmp_path)
