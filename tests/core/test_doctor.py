"""The doctor: every check answers, none raises, and the known failure of mixed torch builds is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from videoedit import doctor


def test_diagnose_answers_offline_and_finds_this_installation_sound(tmp_path: Path) -> None:
    checks = {check.name: check for check in doctor.diagnose(folder=tmp_path)}
    for name in ("Python", "torch and torchvision", "diffusers", "transformers", "video encoders", "disk"):
        assert checks[name].ok, checks[name]
    assert all(check.advice for check in checks.values() if check.ok is False)
    assert all("\n" not in check.found for check in checks.values())


def test_a_torchvision_for_another_torch_is_named(tmp_path: Path) -> None:
    """A real import failure: a torchvision that registers a kernel for an operator that its library lacks."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import torch\n@torch.library.register_fake('torchvision::nms')\ndef nms(*args): ...\n"
    )
    script = (
        "from videoedit.doctor import check_torch\n"
        "check = check_torch()\n"
        "print(check.ok, check.found, check.advice, sep='\\n')\n"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(doctor.__file__).parents[1])])
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    ok, found, advice = done.stdout.splitlines()[-3:]
    assert ok == "False"
    assert "operator torchvision::nms does not exist" in found
    assert "install both from one place" in advice and "PreTrainedModel" in advice


def test_advice_names_the_index_of_the_torch_that_is_there() -> None:
    assert "whl/cpu" in doctor._matching_advice("2.13.0+cpu")
    assert "--index-url" not in doctor._matching_advice("2.13.0")


def test_a_check_that_breaks_becomes_a_finding() -> None:
    def broken() -> doctor.Check:
        raise RuntimeError("no such\nthing")

    check = doctor._guarded("x", broken)
    assert check.ok is False and check.found == "no such" and check.advice


def test_versions_outside_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    check = doctor.check_version(Requirement("numpy>=99"))
    assert check.ok is False and check.advice == 'pip install "numpy>=99"'
    assert doctor.check_version(Requirement("no-such-package>=1")).found == "not installed"
    for version, fine in (("2.14.1+cpu", True), ("2.14.1rc1", True), ("2.13", False), ("3.0", False)):
        monkeypatch.setattr(doctor, "_version", lambda name, version=version: version)
        assert doctor.check_version(Requirement("torch>=2.14.1rc0,<3")).ok is fine


def test_the_versions_are_those_that_pip_was_told() -> None:
    assert {"torch", "torchvision", "diffusers", "av"} <= doctor.requirements().keys()
    assert "5.3" in doctor.requirements()["transformers"].specifier
    assert "4.57" not in doctor.requirements()["transformers"].specifier


def test_damaged_weights_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    monkeypatch.setattr(doctor, "MINI", tmp_path)
    assert "lacks unet" in doctor.check_mini().found
    for part in doctor.PARTS:
        (tmp_path / part).mkdir()
        save_file({"a": np.ones(64, np.float32), "b": np.ones(2, np.float16)}, tmp_path / part / "model.safetensors")
    assert doctor.check_mini().ok
    assert "10 tensors" in doctor.check_mini().found
    weights = tmp_path / "vae" / "model.safetensors"
    for damaged in (weights.read_bytes()[:-8], b"", b"<html>not found</html>"):
        weights.write_bytes(damaged)
        check = doctor.check_mini()
        assert check.ok is False and check.found.startswith("vae/model.safetensors")


def test_disk_looks_at_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert str(tmp_path) in doctor.check_disk(tmp_path / "a" / "b").found


def test_a_report_of_a_defect_states_all_and_survives_what_is_broken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VIDEOEDIT_CACHE", str(tmp_path))
    done = subprocess.run([sys.executable, "-m", "videoedit", "env", "--json"], capture_output=True, check=True)
    facts = json.loads(done.stdout)
    assert facts["versions"]["torch"] and facts["machine"]["cores"] >= 1 and facts["device"]
    assert facts["cache"] == {"folder": str(tmp_path), "weights": []}
    assert facts["plugins"]["videoedit.methods"].keys() >= {"rerender", "tuneavideo"}
    monkeypatch.setattr(doctor, "hardware", lambda: 1 / 0)
    assert doctor.installation()["machine"] == "not known: division by zero"


def test_missing_flow_weights_are_no_fault(monkeypatch, tmp_path):
    monkeypatch.setenv("VIDEOEDIT_CACHE", str(tmp_path))
    check = doctor.check_flow()
    assert check.ok is None and "fetch raft-sintel" in check.advice
