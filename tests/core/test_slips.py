"""Slips of the command line: each gives one line that says what to do, and writes nothing."""

from __future__ import annotations

import pytest

from videoedit.cli import main

SLIPS = {
    "run rerender x.mp4 --prompt a --prompt b": "--prompt is given 2 times; give it once",
    "run rerender x.mp4 --prompt a --seed 1 --seed=2": "--seed is given 2 times",
    "run framewise x.mp4 --prompt a -o one --out two": "--out is given 2 times",
    "run tuneavideo x.mp4 --model mini --model mini --prompt a --prompt b": "--model is given 2 times",
}


@pytest.mark.parametrize("more", ["", " --dry-run"])
@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_one_line_and_writes_nothing(slip, more, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main((slip + more).split())
    line = capsys.readouterr().err
    assert stop.value.code == 2
    assert SLIPS[slip] in line
    assert line.count("\n") == 1
    assert not list(tmp_path.iterdir())
