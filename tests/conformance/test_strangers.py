"""`check_method` on methods of strangers: passes the good one, and names what is wrong with the others, a line each."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import videoedit
from videoedit.errors import InputError
from videoedit.media.video import write_video
from videoedit.plugins import get_method
from videoedit.testing import check_method


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).with_name("plugin")))


def test_a_good_method_passes():
    assert check_method(get_method("dim"), kills=1) == []


def test_what_a_careless_method_does_is_named_a_line_each():
    ignored, dropped, outside = sorted(check_method(get_method("careless"), kills=0), key=len)[::-1]
    assert "setting grain decides nothing" in ignored
    assert dropped == "edit.mp4 has other frames than the clip: 5, not 6"
    assert outside == "a run touches ../log.txt, outside of its folder"


def test_schema_plan_and_reuse_are_checked():
    lines = check_method(get_method("forgetful"), {"amount": 0.8}, changes={"amount": 0.95, "amuont": 1}, kills=0)
    expected = [
        "ForgetfulConfig does not derive from RunConfig",
        "setting secret has no docstring",
        "flag --amont sets amont, which is no setting",
        "stage 'dream' of the plan is no step of the run",
        "an unchanged second run makes step 'guess' again",
        "setting amount takes no value that could be derived; give one in `changes` (InputError: this is too bright)",
        "`changes` gives a value of amuont, which is no setting",
    ]
    for text in expected:
        assert any(text in line for line in lines), (text, lines)
    assert not any("\n" in line for line in lines)


@pytest.mark.slow
def test_a_method_that_does_not_survive_a_kill_is_found():
    (killed,) = check_method(get_method("hasty"), kills=9)  # some of them in its moment of weakness
    assert killed.startswith("killed and called again, a run ends with other bytes in ")


def test_a_method_that_fails_or_is_not_installed_is_one_line():
    (line,) = check_method(get_method("dim"), {"amount": 0.5, "video": {"num_frames": 7}})
    assert line.startswith("a dry run fails: InputError: 7 frames were asked for")
    (line,) = check_method(replace(get_method("dim"), name="dimmer"))
    assert line.startswith("there is no entry point dimmer")


def test_the_check_is_found_in_testing_without_being_imported():
    script = (
        "import sys, videoedit.testing as t; print('videoedit.conformance' in sys.modules, t.check_method.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "check_method"]


def test_a_step_made_while_the_clip_was_replaced_is_not_kept(tmp_path: Path):
    for name, light in (("clip.mp4", 50), ("other.mp4", 200)):
        write_video(tmp_path / name, np.full((3, 32, 32, 3), light, np.uint8), 8)
    with pytest.raises(InputError, match="was changed while it was being edited"):
        videoedit.edit("meddling", tmp_path / "clip.mp4", out=tmp_path / "out")
    assert "light" not in json.loads((tmp_path / "out/run.json").read_text())["steps"]
