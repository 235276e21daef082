"""Estimates by what runs of a kind took."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from videoedit import edit, plan
from videoedit.config import CLIPS, build_config
from videoedit.plugins import get_method
from videoedit.runs import history
from videoedit.runs.planning import Plan, StagePlan
from videoedit.runs.progress import KEPT, NEW

PIXELS = 64 * 48


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VIDEOEDIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/history.jsonl"


def planned(frames: int, prompts: list[str], steps: int = 10, status: dict[str, str] | None = None) -> Plan:
    edits = [StagePlan(f"edit {i}", "", amount=steps * frames * PIXELS) for i, _ in enumerate(prompts, 1)]
    stages = (StagePlan("tune", "", amount=5 * frames * PIXELS), *edits)
    return Plan("", frames, (64, 48), (64, 48), stages, 0.0, status=status or {})


def taken(frames: int, prompts: list[str], steps: int = 10) -> dict[str, dict[str, float]]:
    """What a machine takes whose costs are a fixed part and one for each pixel."""
    costs = {"source": 0.1 + 0.01 * frames, "tune": 2 + 0.5 * frames}
    for prompt in prompts:
        costs |= {f"edit {prompt}": 1 + 0.02 * steps * frames, f"measure {prompt}": 0.1 * frames}
    return {
        name: {"seconds": cost, "cpu_seconds": 2 * cost, "peak_memory_mb": 500 + 10 * frames}
        for name, cost in costs.items()
    }


def run(frames: int, prompts: list[str], steps: int = 10, kind: str = "a", rest: float = 5.0) -> None:
    made = taken(frames, prompts, steps)
    whole = sum(step["seconds"] for step in made.values())
    status = dict.fromkeys(made, NEW)
    history.remember(kind, planned(frames, prompts, steps), made, status, whole + rest, 2 * whole + rest, prompts)


def test_the_next_run_is_on_the_line_through_those_before():
    for frames in (4, 8, 12):
        run(frames, ["a cat"])
    prompts = ["a dog", "a blue car 2"]
    wanted = taken(20, prompts, 30)
    guess = history.estimate("a", planned(20, prompts, 30), prompts)
    assert guess and guess.runs == 3
    whole = sum(step["seconds"] for step in wanted.values())
    assert guess.seconds == pytest.approx(whole + 5, abs=0.02)
    assert guess.cpu_seconds == pytest.approx(2 * whole + 5, abs=0.02)
    assert guess.memory_mb == pytest.approx(700)


def test_one_run_is_a_proportion_and_its_memory():
    run(8, ["a cat"], rest=0.0)
    guess = history.estimate("a", planned(16, ["a cat"]), ["a cat"])
    assert guess and guess.memory_mb == 580
    assert guess.seconds == pytest.approx(2 * sum(step["seconds"] for step in taken(8, ["a cat"]).values()))


def test_what_is_kept_costs_nothing():
    run(8, ["a cat"])
    status = {"source": KEPT, "tune": KEPT, "edit a cat": KEPT, "measure a cat": KEPT, "edit a dog": NEW}
    guess = history.estimate("a", planned(8, ["a cat", "a dog"], status=status), ["a cat", "a dog"])
    made = taken(8, ["a dog"])
    assert guess and guess.seconds == pytest.approx(
        5 + made["edit a dog"]["seconds"] + made["measure a dog"]["seconds"]
    )


def test_another_kind_says_nothing_and_only_whole_runs_count(file: Path):
    run(8, ["a cat"])
    assert history.estimate("b", planned(8, ["a cat"]), ["a cat"]) is None
    made = taken(8, ["a cat"])
    history.remember("b", planned(8, ["a cat"]), made, dict.fromkeys(made, KEPT), 9.0, 9.0, ["a cat"])
    assert history.estimate("b", planned(8, ["a cat"]), ["a cat"]) is None
    with file.open("a") as lines:
        lines.write('[1]\n{"kind": "a"}\n{"kind": "a", "steps": [["x", 1]]}\n{"kind": "a", "steps": [1]}\n\0\n')
    guess = history.estimate("a", planned(8, ["a cat"]), ["a cat"])
    assert guess and guess.runs == 1


def test_the_file_stays_small(file: Path, monkeypatch):
    monkeypatch.setattr(history, "MOST", 10)
    for frames in range(1, 30):
        run(frames, ["a cat"])
        assert len(file.read_text().splitlines()) <= 10
    assert json.loads(file.read_text().splitlines()[-1])["steps"][0][1] == 29 * PIXELS


def test_choices_make_the_kind_and_numbers_the_amounts():
    schema = get_method("tuneavideo").load("config")

    def kind(**settings) -> str:
        return history.kind_of(build_config(schema, settings), "tuneavideo", "cpu")

    same = [{"prompts": ["x"]}, {"clip": "b.mp4"}, {"seed": 4}, {"tune": {"steps": 3}}, {"video": {"num_frames": 4}}]
    other = [
        {"model": "x"},
        {"dtype": "bfloat16"},
        {"tune": {"precision": "bf16"}},
        {"network": {"group_norm": "clip"}},
    ]
    assert {kind(**settings) for settings in same} == {kind()}
    assert len({kind(), *(kind(**settings) for settings in other)}) == len(other) + 1


def test_a_run_is_remembered_once(file: Path, tmp_path: Path):
    asked = {"prompts": ["a blue car"], "sample": {"steps": 2}, "video": {"num_frames": 2}}
    assert plan("framewise", CLIPS / "car-grass.mp4", out=tmp_path / "r", **asked).known is None
    edit("framewise", CLIPS / "car-grass.mp4", out=tmp_path / "r", **asked)
    edit("framewise", CLIPS / "car-grass.mp4", out=tmp_path / "r", **asked)  # all is kept
    (line,) = file.read_text().splitlines()
    works = {row[0]: row[1:] for row in json.loads(line)["steps"]}
    assert set(works) == {"source", "write *", "measure *", history.REST}
    assert works["write *"][0] == 2 * 1 * 2 * 128 * 128  # frames, the steps that run, the batch of guidance
    record = json.loads((tmp_path / "r/run.json").read_text())
    assert works["measure *"][2] == record["steps"]["measure a blue car"]["cpu_seconds"]
    known = plan("framewise", CLIPS / "car-grass.mp4", out=tmp_path / "other", **asked).known
    assert known and known.runs == 1 and known.cpu_seconds == pytest.approx(sum(row[2] for row in works.values()))
