from __future__ import annotations

import subprocess
import sys

import pytest

from videoedit.errors import MethodError
from videoedit.plugins import COMMANDS, MethodSpec, all_methods, get_method


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
        assert callable(spec.load("edit")) and callable(spec.load("plan"))


def test_unknown_and_broken_methods_are_named():
    with pytest.raises(MethodError, match="did you mean 'tuneavideo'"):
        get_method("tune-a-video")
    broken = MethodSpec("broken", "", config="no.such:Thing", edit="", plan="")
    with pytest.raises(MethodError, match=r"no\.such:Thing"):
        broken.load("config")
