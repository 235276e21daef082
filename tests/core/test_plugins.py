from __future__ import annotations

import subprocess
import sys

import pytest

from videoedit.errors import MethodError
from videoedit.plugins import COMMANDS, MethodSpec, StageSpec, all_methods, get_method, get_stage


def test_methods_are_found_without_importing_them():
    script = (
        "import sys; from videoedit.plugins import all_methods; print([m.name for m in all_methods()],"
        "[m for m in ('torch', 'tuneavideo.method', 'tuneavideo.config') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "'tuneavideo'" in done.stdout
    assert done.stdout.strip().endswith("[]")


def test_every_installed_method_loads_and_its_flags_name_settings():
    from videoedit.config import setting_keys

    for spec in (*all_methods(), *all_methods(COMMANDS)):
        keys = set(setting_keys(spec.load("config")))
        assert all(key in keys for flag in spec.flags for key in flag.keys)
        assert callable(spec.load("edits")) and callable(spec.load("plan"))


def test_unknown_and_broken_methods_are_named():
    with pytest.raises(MethodError, match="did you mean 'tuneavideo'"):
        get_method("tune-a-video")
    broken = MethodSpec("broken", "", config="no.such:Thing", edits="", plan="")
    with pytest.raises(MethodError, match=r"no\.such:Thing"):
        broken.load("config")


def test_every_stage_of_every_method_loads():
    from videoedit.config import Section

    stages = {(m.name, name): stage for m in all_methods() for name, stage in m.stages.items()}
    assert {("tuneavideo", "edit_frames"), ("rerender", "choose_keyframes"), ("rerender", "propagate")} <= set(stages)
    for (method, name), stage in stages.items():
        assert get_stage(method, name) is stage
        assert issubclass(stage.load("config"), Section)
        assert callable(stage.load("run")) and callable(stage.load("plan"))


@pytest.mark.parametrize(
    ("method", "stage", "words"),
    [
        ("no-such-method", "edit_frames", "stage 'edit_frames' of method 'no-such-method', which is not installed"),
        ("tuneavideo", "edit_frame", "did you mean 'edit_frames'"),
        ("propagate", "edit_frames", "it has: none"),
    ],
)
def test_a_stage_that_is_not_there_is_one_clear_line(method, stage, words):
    with pytest.raises(MethodError, match=words) as caught:
        get_stage(method, stage)
    assert "\n" not in str(caught.value)


def test_a_broken_stage_is_named():
    broken = StageSpec("", config="no.such:Thing", run="no.such:do", plan="")
    with pytest.raises(MethodError, match=r"stage 'no\.such:do'.*no\.such:Thing"):
        broken.load("config")
