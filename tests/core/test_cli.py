from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from videoedit.cli import main


def call(*arguments: str, capsys) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out, out.err


def test_help_is_instant_and_loads_no_torch():
    """Under 0.4 s of CPU; asserted on the imports, which decide it, and loosely on the time."""
    script = (
        "import sys, time; sys.argv = ['videoedit', '--help']\n"
        "import videoedit.cli\n"
        "try: videoedit.cli.main()\n"
        "except SystemExit: pass\n"
        "print('loaded', [m for m in ('torch', 'diffusers', 'numpy', 'cv2', 'pydantic') if m in sys.modules])\n"
        "print('cpu', time.process_time())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "Usage: videoedit" in done.stdout
    assert "loaded []" in done.stdout
    assert float(done.stdout.rsplit("cpu", 1)[1]) < 0.4


def test_run_help_lists_the_methods_flags(capsys):
    code, out, _ = call("run", "tuneavideo", "--help", capsys=capsys)
    assert code == 0
    for flag in ("--source-prompt", "--prompt", "--steps", "--frames", "--size", "--seed", "--config", "--set",
                 "--dry-run", "--fresh", "--debug"):  # fmt: skip
        assert flag in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "tuneavideo"], "no clip was given"),
        (["run", "tuneavideo", "no-such-clip.mp4", "--prompt", "x"], "no-such-clip.mp4"),
        (["run", "tuneavideo", "a.mp4", "--promt", "x"], "--prompt"),
        (["run", "tuneavideo", "a.mp4", "--frames", "many"], "--frames"),
        (["run", "tuneavideo", "a.mp4", "--set", "sample.stepz=3"], "did you mean 'sample.steps'"),
        (["run", "tuneavideo", "a.mp4", "--config", "none.yaml"], "none.yaml"),
        (["run", "tuneawideo", "a.mp4"], "tuneawideo"),
        (["show-config", "tuneawideo"], "did you mean 'tuneavideo'"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_mistakes_give_one_line_and_exit_code_2(arguments, expected, capsys, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*arguments, capsys=capsys)
    assert code == 2
    assert expected in err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_show_config_prints_a_config_that_reads_back(capsys, tmp_path: Path):
    code, out, _ = call("show-config", "tuneavideo", "--set", "seed=7", capsys=capsys)
    assert code == 0 and "seed: 7" in out and "# Optimiser steps" in out
    (tmp_path / "c.yaml").write_text(out)
    again = call("show-config", "tuneavideo", "--config", str(tmp_path / "c.yaml"), capsys=capsys)
    assert again[0] == 0 and "seed: 7" in again[1]


def test_methods_and_version(capsys):
    assert "tuneavideo" in call("methods", capsys=capsys)[1]
    assert "videoedit 0" in call("--version", capsys=capsys)[1]
