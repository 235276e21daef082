from __future__ import annotations

import json
import ntpath
import os
import subprocess
import sys
from pathlib import Path

import pytest

from videoedit.errors import OutputError
from videoedit.files import atomic_path, file_stem, relative, write_text
from videoedit.runs.folder import latest_call, open_workspace, read_workspace


def opened(folder: Path, *, method: str = "m", fresh: bool = False, **clip):
    return open_workspace(folder, method=method, fresh=fresh, **clip)


@pytest.mark.parametrize(
    ("text", "stem"),
    [
        ("a red car", "a-red-car"),
        ("a red, car", "a-red-car-"),
        ("A red car", "a-red-car-"),
        ("a-red car", "a-red-car-"),
        ("雪", ""),
        ("", ""),
        ("a" * 300, "a" * 48 + "-"),
        ("con", "con-"),  # a device of Windows, as is the next one
        ("lpt1", "lpt1-"),
    ],
)
def test_texts_make_file_names_of_their_own(text: str, stem: str):
    assert file_stem(text).startswith(stem) and len(file_stem(text)) <= 55
    assert file_stem(text) == stem or len(file_stem(text)) == len(stem) + 6


def test_a_path_to_another_drive_is_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert relative(tmp_path / "a/b.mp4", tmp_path / "c") == "../a/b.mp4"
    monkeypatch.setattr(os.path, "relpath", ntpath.relpath)
    assert relative(Path("D:/b.mp4"), Path("C:/c")).endswith("/D:/b.mp4")


def test_a_folder_belongs_to_one_method_and_one_clip(tmp_path: Path):
    clip, other = Path("a.mp4"), Path("b.mp4")
    with opened(tmp_path / "r", clip=clip, sha256="1") as workspace:
        workspace.save()
    for moved_or_replaced in ({"clip": other, "sha256": "1"}, {"clip": other, "sha256": "2"}):
        with opened(tmp_path / "r", **moved_or_replaced) as workspace:
            workspace.save()
    with pytest.raises(OutputError, match="runs of m, not of other"), opened(tmp_path / "r", method="other"):
        pass
    with (
        pytest.raises(OutputError, match=r"runs on another clip \(b\.mp4\)"),
        opened(tmp_path / "r", clip=clip, sha256="3"),
    ):
        pass
    with opened(tmp_path / "r", method="other", fresh=True) as workspace:
        assert workspace.steps == {}


@pytest.mark.parametrize(
    "text",
    ["[1]", "{", "{}", '{"format": 1, "stages": {}}', '{"format": 2, "method": "m", "clip": {}, "steps": [], "calls": []}',
     '{"format": 2, "method": "m", "clip": {}, "steps": {"a": {"key": "1", "files": []}}, "calls": []}',
     "[" * 100_000],
)  # fmt: skip
def test_a_damaged_or_foreign_record_is_one_clear_line(text: str, tmp_path: Path):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(OutputError, match=r"choose another (folder )?with -o") as caught:
        read_workspace(tmp_path)
    assert "\n" not in str(caught.value)


def test_nothing_outside_the_folder_is_deleted_or_cut(tmp_path: Path):
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    folder = tmp_path / "r"
    step = {"key": "1", "needs": {}, "files": {"../victim.txt": ["", 0, 0]}}
    record = {"format": 2, "method": "m", "clip": {"path": "", "sha256": ""}, "steps": {"a": step}, "calls": []}
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(OutputError, match="not the name of a file inside the folder"), opened(folder):
        pass
    with opened(folder, fresh=True) as workspace:
        assert workspace.steps == {}
    (folder / ".lock").unlink()
    (folder / ".lock").symlink_to(victim)
    with pytest.raises(OutputError, match="is a link"), opened(folder):
        pass
    assert victim.read_text() == "precious"


def test_the_latest_call_shows_its_own_steps():
    steps = {"a": {"key": "1", "seconds": 2.0}, "b": {"key": "2", "seconds": 3.0}}
    calls = [{"config": 1, "steps": {"a": "made: not there yet"}}, {"config": {"x": 2}, "steps": {"b": "kept"}}]
    shown = latest_call({"steps": steps, "calls": calls})
    assert list(shown["stages"]) == ["b"] and shown["stages"]["b"]["reused"] and shown["config"] == {"x": 2}


def test_foreign_folders_and_files_are_left_alone(tmp_path: Path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r/thesis.tex").write_text("x")
    with pytest.raises(OutputError, match="not empty"), opened(tmp_path / "r"):
        pass
    with pytest.raises(OutputError, match="is a file"), opened(tmp_path / "r/thesis.tex"):
        pass
    assert [p.name for p in (tmp_path / "r").iterdir()] == ["thesis.tex"]


def test_two_runs_cannot_share_a_folder(tmp_path: Path):
    with (
        opened(tmp_path / "r"),
        pytest.raises(OutputError, match="another videoedit is working"),
        opened(tmp_path / "r"),
    ):
        pass


def test_atomic_path_leaves_nothing_half_written(tmp_path: Path):
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_path(target) as path:
        path.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    "write",
    [
        "write_text(target, 'x' * 5000)",
        "import torch; from safetensors.torch import save_file\n"
        "    with atomic_path(target) as path: save_file({'a': torch.zeros(5000)}, path)",
    ],
    ids=["text", "tensors"],
)
def test_no_space_is_one_clear_error(write, tmp_path: Path):
    """A file size limit gives EFBIG where a full disk gives ENOSPC; both are told alike."""
    resource = pytest.importorskip("resource")
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from videoedit.files import atomic_path, write_text\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.RLIM_INFINITY}))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "target = Path(sys.argv[1])\n"
        f"try:\n    {write}\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.out")], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("OutputError no space left to write")
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_run_are_swept(tmp_path: Path):
    script = (
        "import sys, time; from pathlib import Path; from videoedit.files import atomic_path\n"
        "from videoedit.runs.folder import open_workspace\n"
        "with open_workspace(Path(sys.argv[1]), method='m') as run:\n"
        "    with atomic_path(run.path('a.bin')) as path:\n"
        "        path.write_text('half'); print('ready', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "r")], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.kill()
    assert any(".part" in p.name for p in (tmp_path / "r").iterdir())
    (tmp_path / "r/flow").mkdir()
    (tmp_path / "r/flow/.tmpPsQrmj").write_text("half")  # safetensors writes into such a file, and renames it
    with opened(tmp_path / "r"):
        assert not any(".part" in p.name for p in (tmp_path / "r").iterdir())
        assert list((tmp_path / "r/flow").iterdir()) == []
