"""Steps: made once, kept under a key of all that they need, checked when they are reused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from videoedit.config import ClipConfig, VideoConfig
from videoedit.errors import InputError, MethodError, WeightsError
from videoedit.files import write_text
from videoedit.runs.folder import open_workspace
from videoedit.runs.steps import KEPT, Steps, UnmadeError, differences, flatten, temporary_steps


@contextmanager
def opened(folder: Path, *, dry: bool = False) -> Iterator[Steps]:
    with open_workspace(folder / "r", method="m") as workspace:
        yield Steps(workspace, dry=dry)


def keep(steps: Steps, name: str = "a", **needs) -> str:
    """A step that writes its needs into a file; returns its status."""
    steps.keep(name, lambda: write_text(steps.path(f"{name}.txt"), str(needs)), needs=needs, files=[f"{name}.txt"])
    return steps.status[name]


def test_a_step_is_kept_under_its_key_and_the_reason_is_said(tmp_path: Path):
    with opened(tmp_path) as steps:
        assert keep(steps, scale=12.5, seed=1) == "made: not there yet"
        assert keep(steps, scale=12.5, seed=1) == KEPT
    with opened(tmp_path) as steps:
        assert keep(steps, scale=12.5, seed=1) == KEPT
        assert keep(steps, scale=5.0, seed=1) == "made: scale 12.5 → 5"
        assert keep(steps, scale=5.0, seed=2) == "made: seed 1 → 2"


@pytest.mark.parametrize("harm", ["cut", "flip", "remove"])
def test_a_damaged_file_is_made_again_and_said_so(harm: str, tmp_path: Path):
    with opened(tmp_path) as steps:
        keep(steps, x=1)
        path = steps.path("a.txt")
        whole = path.read_bytes()
    broken = {"cut": whole[: len(whole) // 2], "flip": bytes([whole[0] ^ 1]) + whole[1:], "remove": b""}[harm]
    path.unlink() if harm == "remove" else path.write_bytes(broken)
    os.utime(path.parent) if harm == "remove" else os.utime(path, (1, 1))
    with opened(tmp_path) as steps:
        expected = "made: a.txt is missing" if harm == "remove" else "made: a.txt was damaged or changed"
        assert keep(steps, x=1) == expected
        assert path.read_bytes() == whole and keep(steps, x=1) == KEPT


def test_a_file_that_was_only_touched_is_kept(tmp_path: Path):
    with opened(tmp_path) as steps:
        keep(steps, x=1)
        os.utime(steps.path("a.txt"), (1, 1))
        assert keep(steps, x=1) == KEPT


@pytest.mark.parametrize(("part", "value"), [("value", 2), ("notes", ["psst"]), ("needs", {"x": 1, "y": 2})])
def test_a_step_whose_record_was_changed_is_made_again_and_said_so(part: str, value, tmp_path: Path):
    with opened(tmp_path) as steps:
        steps.keep("a", lambda: 1, needs={"x": 1})
    record = json.loads((tmp_path / "r/run.json").read_text())
    record["steps"]["a"][part] = value
    (tmp_path / "r/run.json").write_text(json.dumps(record))
    with opened(tmp_path) as steps:
        assert steps.keep("a", lambda: 1, needs={"x": 1}).value == 1
        assert steps.status["a"] == "made: its record was damaged or changed"


def test_tensors_that_are_damaged_are_one_line(tmp_path: Path):
    with opened(tmp_path) as steps:
        step = steps.tensors("t", "t.safetensors", lambda: {"x": torch.ones(2)}, needs={})
        path = steps.path("t.safetensors")
        path.write_bytes(path.read_bytes()[:-3])
        with pytest.raises(WeightsError, match="safetensors is damaged"):
            _ = step.tensors


def test_steps_follow_from_other_steps_and_from_the_contents_of_files(tmp_path: Path):
    given = tmp_path / "given.bin"
    given.write_bytes(b"1")

    def walk(seed: int) -> dict[str, str]:
        with opened(tmp_path) as steps:
            first = steps.keep("first", lambda: 1, needs={"seed": seed})
            steps.keep("second", lambda: 2, needs={"first": first})
            steps.keep("third", lambda: 3, needs={"given": given})
            return steps.status

    walk(1)
    assert set(walk(1).values()) == {KEPT}
    assert walk(2) == {"first": "made: seed 1 → 2", "second": "made: first is made again", "third": KEPT}
    given.write_bytes(b"2")
    assert walk(2) == {"first": KEPT, "second": KEPT, "third": "made: the contents of given changed"}
    given.unlink()
    with pytest.raises(InputError, match="there is no file"):
        walk(2)


def test_a_failed_step_is_not_kept_and_one_that_writes_nothing_is_named(tmp_path: Path):
    def fail() -> None:
        raise RuntimeError

    with opened(tmp_path) as steps:
        with pytest.raises(RuntimeError):
            steps.keep("a", fail, needs={})
        assert steps.workspace.steps == {}
        with pytest.raises(MethodError, match=r"step 'b' was to write .*b\.txt"):
            steps.keep("b", lambda: None, needs={}, files=["b.txt"])


def test_tensors_come_back_as_float32(tmp_path: Path):
    with opened(tmp_path) as steps:
        made = {"x": torch.arange(6, dtype=torch.bfloat16).view(2, 3).T}
        step = steps.tensors("t", "t.safetensors", lambda: made, needs={})
        assert torch.equal(step.tensors["x"], made["x"].float()) and list(step.contents) == ["t.safetensors"]


def test_a_dry_walk_says_the_same_and_writes_nothing(tmp_path: Path):
    with opened(tmp_path) as steps:
        keep(steps, "a", x=1)
        keep(steps, "b", x=1)
        steps.workspace.save()
    before = {path: path.read_bytes() for path in (tmp_path / "r").iterdir()}
    with opened(tmp_path, dry=True) as steps:
        assert keep(steps, "a", x=1) == KEPT and keep(steps, "b", x=2) == "made: x 1 → 2"
        step = steps.keep("c", lambda: 1, needs={})
        with pytest.raises(UnmadeError, match="c"):
            _ = step.value
    assert before == {path: path.read_bytes() for path in (tmp_path / "r").iterdir()}


def test_notes_of_a_kept_step_are_said_again(tmp_path: Path):
    for _ in range(2):
        with opened(tmp_path) as steps:
            steps.keep("a", lambda steps=steps: steps.note("careful"), needs={})
            assert steps.notes == ["careful"]


def test_the_files_of_an_earlier_version_are_removed_but_not_what_others_share(tmp_path: Path):
    def walk(count: int) -> list[str]:
        with opened(tmp_path) as steps:
            names = [f"{i}.txt" for i in range(count)]
            make = lambda: [write_text(steps.path(name), "x") for name in names] and None  # noqa: E731
            steps.keep("a", make, needs={"count": count}, files=names)
            if count == 3:
                steps.keep("b", lambda: None, needs={}, files=["2.txt"])
        return sorted(path.name for path in (tmp_path / "r").glob("*.txt"))

    assert walk(4) == ["0.txt", "1.txt", "2.txt", "3.txt"]
    assert walk(3) == ["0.txt", "1.txt", "2.txt"]
    assert walk(1) == ["0.txt", "2.txt"]


def test_unfinished_work_is_found_again_and_removed_when_done(tmp_path: Path):
    def make(steps: Steps, fail: bool) -> str:
        state = steps.scratch(".state.safetensors")
        went_on = state.exists()
        state.write_text("half")
        if fail:
            raise KeyboardInterrupt
        return f"went on: {went_on}"

    for x, expected in ((1, "went on: True"), (2, "went on: False")):  # what was begun for other needs is no use
        with opened(tmp_path) as steps, pytest.raises(KeyboardInterrupt):
            steps.keep("a", lambda steps=steps: make(steps, True), needs={"x": 1 if x == 1 else 3})
        with opened(tmp_path) as steps:
            assert steps.keep("a", lambda steps=steps: make(steps, False), needs={"x": x}).value == expected
            assert not list(steps.workspace.folder.glob("*.state.safetensors"))


def test_only_the_parts_that_a_change_touches_are_made_again(tmp_path: Path):
    def walk(**values) -> tuple[list[str], str, list[str]]:
        made: list[str] = []

        def make(missing: dict[str, Path]) -> None:
            for name, path in missing.items():
                made.append(name)
                write_text(path, values[name])

        with opened(tmp_path) as steps:
            needs = {name: {"value": value} for name, value in values.items()}
            step = steps.parts("p", "parts/{}.txt", needs, make)
            return made, steps.status["p"], [path.read_text() for path in step.paths.values()]

    assert walk(a="1", b="2", c="3") == (["a", "b", "c"], "made: not there yet", ["1", "2", "3"])
    assert walk(a="1", b="2", c="3") == ([], KEPT, ["1", "2", "3"])
    assert walk(a="1", b="4", c="3") == (["b"], "made: 1 of 3: b: value 2 → 4", ["1", "4", "3"])
    assert walk(a="1", c="3", d="5") == (["d"], "made: 1 of 3: d: new", ["1", "3", "5"])
    assert walk(a="1") == ([], KEPT, ["1"])
    assert len(list((tmp_path / "r/parts").iterdir())) == 1
    path = next((tmp_path / "r/parts").iterdir())
    path.write_text("")
    assert walk(a="1") == (["a"], f"made: 1 of 1: a: parts/{path.name} was damaged or changed", ["1"])


def test_parts_that_a_killed_call_could_not_tell_of_are_told_of_by_the_next(tmp_path: Path):
    def walk(*, dry: bool, makes: bool = False) -> tuple[str, bool]:
        def make(missing: dict[str, Path]) -> None:
            assert makes
            for path in missing.values():
                write_text(path, "x")

        with opened(tmp_path) as steps:
            steps.dry = dry
            step = steps.parts("p", "parts/{}.txt", {"a": {"value": 1}}, make)
            return steps.status["p"], step.unmade

    walk(dry=False, makes=True)
    with opened(tmp_path) as steps:
        del steps.workspace.steps["p"]
        steps.workspace.save()
    assert walk(dry=True) == (KEPT, True)
    assert walk(dry=False) == (KEPT, False)
    assert walk(dry=True) == (KEPT, False)


def test_parts_that_nobody_knows_are_swept(tmp_path: Path):
    def write(missing: dict[str, Path]) -> None:
        for path in missing.values():
            write_text(path, "")

    with opened(tmp_path) as steps:
        steps.parts("p", "parts/{}.txt", {"a": {}}, write)
        write_text(steps.path("parts/orphan.txt"), "")
        write_text(steps.path("other.txt"), "")
        steps.sweep()
        assert len(list(steps.path("parts").iterdir())) == 1 and steps.path("other.txt").exists()


def test_needs_are_flattened_and_settings_of_manner_left_out():
    config = ClipConfig(seed=3, video=VideoConfig(size=(64, 48)))
    flat = flatten({"config": config, "x": {"y": 1}, "z": (1, 2)})
    assert flat["config.seed"] == 3 and flat["config.video.size"] == "64x48"
    assert flat["x.y"] == 1 and flat["z"] == [1, 2]


def test_differences_are_short_and_name_causes_before_consequences():
    old = {"a": 1, "b": None, "c": "step 1", "d": "contents 1", "e": "x" * 80}
    new = {"a": 2, "b": 0.5, "c": "step 2", "d": "contents 2", "e": "y" * 80}
    assert differences(old, new) == "a 1 → 2, b none → 0.5, and 2 more"
    assert differences(old, new, most=9).endswith("the contents of d changed, e changed")
    assert differences({"c": "step 1"}, {"c": "step 2"}) == "c is made again"


def test_a_step_counts_the_time_of_its_children(tmp_path: Path):
    burn = "import time\nwhile time.process_time() < 0.4: pass"
    with opened(tmp_path) as steps:
        step = steps.keep("a", lambda: subprocess.run([sys.executable, "-c", burn], check=True) and None, needs={})
        assert step.record["cpu_seconds"] >= 0.4


def test_temporary_steps_leave_nothing():
    with temporary_steps("m") as steps:
        keep(steps, x=1)
        folder = steps.workspace.folder
        assert folder.exists()
    assert not folder.exists()
