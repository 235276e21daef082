"""What a stranger's folders and files may not do; docs/security.md names these tests.

Each attack goes through the command line beside a canary: files that nothing may change, and that links and paths in
what the stranger sent lead to.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from videoedit.cli import main
from videoedit.files import file_sha256
from videoedit.media.video import write_video
from videoedit.testing import other_colors, panning

FRAMES = panning(5, (64, 48))
needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links want a privilege on Windows")


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder beside the work that must be as it was when the test ends; the present folder is ``work``."""
    folder = tmp_path / "canary"
    (folder / "keys").mkdir(parents=True)
    for name in ("victim.txt", "run.json", "keys/a.png", "edit.mp4"):
        (folder / name).write_text(f"precious {name}")
    before = _state(folder)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield folder
    assert _state(folder) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["canary", "work"]


def _state(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): f"{file_sha256(path)} {path.stat().st_mtime_ns} {path.is_symlink()}" for path in files}


def propagate(*more: str) -> int:
    """Give the command of a small run, whole and quick; its exit code."""
    if not Path("clip.mp4").exists():
        write_video(Path("clip.mp4"), FRAMES, 8)
        Path("keys").mkdir()
        for index in (0, 4):
            Image.fromarray(other_colors(FRAMES)[index]).save(f"keys/{index:04d}.png")
    command = ["propagate", "clip.mp4", "--keyframes", "keys", "-o", "run", "--set", "propagate.propagator=flow"]
    return call(*command, "--set", "propagate.flow=dis", "--set", "propagate.workers=1", *more)


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line with which a call is refused."""
    capsys.readouterr()
    assert call(*arguments) == 2
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in error, error
    return lines[0]


def results(folder: str = "run") -> dict[str, str]:
    return {path.name: file_sha256(path) for path in sorted(Path(folder).glob("*.mp4"))}


# ------------------------------------------------------------------------------------------- run folders

OUTSIDE = [
    "../canary/victim.txt",
    "{canary}/victim.txt",
    "sub/../../canary/victim.txt",
    "..\\canary\\victim.txt",
    "a\0b",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_record_that_names_files_outside_deletes_none(name: str, canary: Path, capsys) -> None:
    assert propagate() == 0
    record = json.loads(Path("run/run.json").read_text())
    some = next(step for step in record["steps"].values() if step["files"])
    some["files"][name.format(canary=canary)] = ["", 0, 0]
    Path("run/run.json").write_text(json.dumps(record))
    for command in (["check", "run"], ["report", "run"]):
        assert call(*command) in (0, 1, 2)
    assert propagate() == 2
    assert propagate("--fresh") == 0  # the record is forgotten, its files that are elsewhere are left


@pytest.mark.slow
@needs_links
@pytest.mark.parametrize("name", [".lock", "propagated.mp4", "run.json", "report.html", "config.yaml", "source.mp4"])
def test_a_link_in_a_run_folder_is_never_written_through(name: str, canary: Path) -> None:
    assert propagate() == 0
    Path("run", name).unlink(missing_ok=True)
    Path("run", name).symlink_to(canary / "victim.txt")
    assert propagate() in (0, 2)
    assert propagate("--set", "propagate.blend=select", "--fresh") in (0, 2)


@needs_links
def test_a_linked_folder_in_a_run_is_not_emptied(canary: Path) -> None:
    assert propagate() == 0
    Path("run/flow").rename("run/flow-elsewhere")
    Path("run/flow").symlink_to(canary, target_is_directory=True)
    Path("run/frames-link").symlink_to(canary, target_is_directory=True)
    for more in ([], ["--fresh"]):
        assert propagate(*more) in (0, 2)
    Path("run/flow").unlink()


@pytest.mark.parametrize(
    "text",
    ["[1]", "null", "{}", "{", '"text"', "[" * 100_000, '{"format": 2}', '{"format": 2, "steps": 5, "calls": 5}',
     '{"format": 2, "method": [], "clip": 3, "steps": {"a": 1}, "calls": [1]}', "1" * 5000, "\0"],
)  # fmt: skip
def test_a_record_of_another_shape_is_refused_in_a_line(text: str, canary: Path, capsys) -> None:
    Path("run").mkdir()
    Path("run/run.json").write_text(text)
    refused(capsys, "check", "run")
    assert call("report", "run") in (0, 2) and "Traceback" not in capsys.readouterr().err
    assert propagate() == 2
    assert Path("run/run.json").read_text() == text


@needs_links
def test_pictures_and_videos_outside_stay_out_of_the_page(canary: Path) -> None:
    assert propagate() == 0
    record = json.loads(Path("run/run.json").read_text())
    (canary / "victim.txt").read_bytes()
    for name in ("../canary/keys/a.png", str(canary / "edit.mp4"), "link.mp4"):
        Path("run/link.mp4").unlink(missing_ok=True)
        Path("run/link.mp4").symlink_to(canary / "edit.mp4")
        record["pictures"] = [{"title": "x", "caption": "x", "file": name}]
        record["videos"] = {"x": {"file": name, "role": "edit"}}
        Path("run/run.json").write_text(json.dumps(record))
        code = call("report", "run")
        page = Path("run/report.html").read_text()
        assert code == 2 or ("precious" not in page and "cHJlY2lvdX" not in page)  # as it is, and in base64


# ---------------------------------------------------------------------------------------------- damage


@pytest.mark.slow
def test_every_damaged_file_of_a_run_is_healed(canary: Path) -> None:
    """Half of it cut away, a byte flipped, emptied, removed: the same command makes the same files again."""
    assert propagate() == 0
    wanted = results()
    rng = np.random.default_rng(0)
    kept = [
        path for path in sorted(Path("run").rglob("*")) if path.is_file() and path.name not in (".lock", "run.json")
    ]
    assert len(kept) > 5
    for path in kept:
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[rng.integers(len(whole))] ^= 0xFF
        damages = [whole[: len(whole) // 2], bytes(flipped)] if path.suffix != ".html" else [b""]
        for damage in damages:
            path.write_bytes(damage)
            assert propagate() == 0, path
            assert results() == wanted, path
        path.unlink()
        assert propagate() == 0 and results() == wanted, path


def test_a_cut_record_is_refused_and_nothing_is_lost(canary: Path, capsys) -> None:
    assert propagate() == 0
    wanted, record = results(), Path("run/run.json").read_bytes()
    for part in (0.1, 0.5, 0.9):
        Path("run/run.json").write_bytes(record[: int(part * len(record))])
        assert propagate() == 2
        assert results() == wanted
    Path("run/run.json").write_bytes(record)
    assert propagate() == 0 and results() == wanted


# ------------------------------------------------------------------------------------- files and names


def bomb(levels: int = 12) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text", [bomb(), "[" * 5000, "a: &a [*a]", "a: !!python/object/apply:os.getcwd []", "? " * 5000]
)
def test_a_bomb_in_yaml_is_one_line(text: str, canary: Path, capsys) -> None:
    Path("bomb.yaml").write_text(text)
    refused(capsys, "run", "framewise", "--config", "bomb.yaml")
    refused(capsys, "bench", "run", "bomb.yaml")
    refused(capsys, "show-config", "framewise", "--config", "bomb.yaml")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize(
    "command",
    ["run framewise PIPE --prompt car", "run framewise --config PIPE", "propagate clip.mp4 --keyframes PIPE",
     "propagate clip.mp4 --keyframe 1=PIPE", "bench run PIPE", "run framewise clip.mp4 --prompt car --model PIPE"],
)  # fmt: skip
def test_a_pipe_is_refused_and_never_waited_for(command: str, canary: Path) -> None:
    write_video(Path("clip.mp4"), FRAMES, 8)
    os.mkfifo("pipe-0001.png")
    arguments = command.replace("PIPE", "pipe-0001.png").split()
    ended = subprocess.run([sys.executable, "-m", "videoedit", *arguments], capture_output=True, text=True, timeout=100)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and "pipe-0001.png" in ended.stderr


@pytest.mark.parametrize("name", ["x" * 300, "a/" + "y" * 300, "bad\udcff", "tab\there", "line\nbreak", "esc\x1b[31m"])
def test_a_name_that_no_folder_has_is_refused_before_any_work(name: str, canary: Path, capsys) -> None:
    write_video(Path("clip.mp4"), FRAMES, 8)
    line = refused(capsys, "run", "framewise", "clip.mp4", "--prompt", "car", "--frames", "1", "-o", name)
    assert len(line) < 700 and line.isprintable()
    assert [path.name for path in Path().iterdir()] == ["clip.mp4"]


def test_no_escape_code_of_a_log_reaches_a_terminal(canary: Path) -> None:
    program = "import logging, sys; from videoedit.cli import main\n"
    program += "sys.argv = ['videoedit', 'methods']\ntry: main()\nexcept SystemExit: pass\n"
    program += r"logging.getLogger('videoedit').warning('a %s', '\x1b[31mred')"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert r"warning: a \x1b[31mred" in ended.stderr and "\x1b" not in ended.stderr


@needs_links
def test_hard_links_and_links_as_clips_and_keys_are_only_read(canary: Path) -> None:
    assert propagate() == 0
    wanted = results()
    Path("clip.mp4").rename(canary.parent / "work/real.mp4")
    Path("clip.mp4").symlink_to("real.mp4")
    assert propagate() == 0 and results() == wanted


# ------------------------------------------------------------------------------------------- comparisons


def compare() -> int:
    """Compare no method but the sanity rows, on one edit of a small clip, into ``results``."""
    edits = {"e": {"prompt": "cat", "type": "subject"}}
    suite = {"name": "s", "title": "t", "clips": {"c": {"path": "clip.mp4", "prompt": "car", "edits": edits}}}
    if not Path("suite.yaml").exists():
        write_video(Path("clip.mp4"), FRAMES, 8)
        Path("suite.yaml").write_text(yaml.safe_dump(suite))
    return call("bench", "run", "suite.yaml", "--methods", "identity", "-o", "results")


def test_results_that_name_places_outside_are_exported_nowhere(canary: Path, capsys) -> None:
    assert compare() == 0
    good = json.loads(Path("results/results.json").read_text())
    assert call("bench", "export", "results", "v2vbench", "exported") == 0 and any(Path("exported").rglob("*.png"))
    shutil.rmtree("exported")
    for key in ("method", "clip", "edit", "video"):
        for value in ("../../canary", f"{canary}/victim.txt", "..\\..\\canary", "C:\\x", "a/../../../canary"):
            results = copy.deepcopy(good)
            results["units"][0][key] = value
            Path("results/results.json").write_text(json.dumps(results))
            for layout in ("tgve", "v2vbench"):
                line = refused(capsys, "bench", "export", "results", layout, "exported")
                assert f"{key}" in line and "results.json" in line, line
                assert not Path("exported").exists()
            assert key in refused(capsys, "bench", "report", "results")


@needs_links
def test_videos_of_results_that_are_links_are_not_exported(canary: Path, capsys) -> None:
    assert compare() == 0
    unit = next(unit for unit in json.loads(Path("results/results.json").read_text())["units"] if unit["video"])
    video = Path("results", unit["video"])
    video.unlink()
    video.symlink_to(canary / "edit.mp4")
    assert "is a link" in refused(capsys, "bench", "export", "results", "v2vbench", "exported")
    assert "is a link" in refused(capsys, "bench", "run", "suite.yaml", "--methods", "identity", "-o", "results")


@pytest.mark.parametrize("text", ["[1]", "null", "{}", '{"units": 3}', "[" * 100_000, '{"version": 99, "units": []}'])
def test_results_of_another_shape_are_refused_in_a_line(text: str, canary: Path, capsys) -> None:
    Path("results").mkdir()
    Path("results/results.json").write_text(text)
    for command in (
        ["report", "results"],
        ["export", "results", "tgve", "x"],
        ["compare", "results", "lpips", "a", "b"],
    ):
        refused(capsys, "bench", *command)


def test_what_a_killed_comparison_left_half_written_is_swept(canary: Path) -> None:
    assert compare() == 0
    leftovers = [Path("results/.results.123.part.json"), Path("results/runs/.x.9.part.mp4")]
    for path in leftovers:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    assert compare() == 0
    assert not any(path.exists() for path in leftovers)


def test_a_hash_of_the_canary_would_notice(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    before = _state(tmp_path)
    (tmp_path / "a").write_text("y")
    assert _state(tmp_path) != before and hashlib.sha256(b"y").hexdigest() in str(_state(tmp_path))
