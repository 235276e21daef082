from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from videoedit.errors import OutputError
from videoedit.runs.folder import atomic_path, file_stem, open_run, write_text


def opened(folder: Path, *, fresh: bool = False, **identity):
    return open_run(folder, identity={"method": "m", **identity}, record={"method": "m"}, fresh=fresh)


def do_stage(run, name: str, key: str) -> bool:
    """Run a stage that writes one file; returns whether it had to run."""
    file = run.path(f"{name}.txt")
    with run.stage(name, key, [file]) as needed:
        if needed:
            write_text(file, key)
    return needed


def test_stages_are_reused_only_for_the_same_key(tmp_path: Path):
    with opened(tmp_path / "r") as run:
        assert do_stage(run, "a", "1")
        run.finish()
    with opened(tmp_path / "r") as run:
        assert not do_stage(run, "a", "1")
        assert do_stage(run, "a", "2")
        run.path("a.txt").unlink()
        assert do_stage(run, "a", "2")


def test_stages_of_other_calls_are_kept_apart_and_taken_up_again(tmp_path: Path):
    with opened(tmp_path / "r") as run:
        with run.stage("a", "1", []):
            run.results["a"] = {"psnr": 30.5}
        do_stage(run, "b", "1")
    with opened(tmp_path / "r") as run:
        do_stage(run, "c", "1")
        assert list(run.record["stages"]) == ["c"]
    with opened(tmp_path / "r") as run:
        assert not do_stage(run, "b", "1")
        with run.stage("a", "1", []) as needed:
            assert not needed and run.results["a"] == {"psnr": 30.5}
        assert {name: stage["reused"] for name, stage in run.record["stages"].items()} == {"b": True, "a": True}
        assert list(run.record["earlier"]) == ["c"]
    with opened(tmp_path / "r", fresh=True):
        assert not list((tmp_path / "r").glob("*.txt"))


def test_a_stage_counts_the_time_of_its_children(tmp_path: Path):
    burn = "import time\nwhile time.process_time() < 0.4: pass"
    with opened(tmp_path / "r") as run:
        with run.stage("a", "1", []):
            subprocess.run([sys.executable, "-c", burn], check=True)
        assert run.record["stages"]["a"]["cpu_seconds"] >= 0.4


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
    ],
)
def test_texts_make_file_names_of_their_own(text: str, stem: str):
    assert file_stem(text).startswith(stem) and len(file_stem(text)) <= 55
    assert file_stem(text) == stem or len(file_stem(text)) == len(stem) + 6


def test_a_failed_stage_is_not_done(tmp_path: Path):
    with opened(tmp_path / "r") as run:
        with pytest.raises(RuntimeError), run.stage("a", "1", []):
            raise RuntimeError
        assert "a" not in run.record["stages"]


def test_another_run_is_refused_and_named(tmp_path: Path):
    with opened(tmp_path / "r", config={"seed": 1}):
        pass
    with pytest.raises(OutputError, match=r"config\.seed"), opened(tmp_path / "r", config={"seed": 2}):
        pass
    with opened(tmp_path / "r", fresh=True, config={"seed": 2}) as run:
        assert run.record["stages"] == {}


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
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from videoedit.runs.folder import atomic_path, write_text\n"
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
        "import sys, time; from pathlib import Path; from videoedit.runs.folder import open_run, atomic_path\n"
        "with open_run(Path(sys.argv[1]), identity={'method': 'm'}, record={}, fresh=False) as run:\n"
        "    with atomic_path(run.path('a.bin')) as path:\n"
        "        path.write_text('half'); print('ready', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "r")], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        os.kill(child.pid, signal.SIGKILL)
    assert any(".part" in p.name for p in (tmp_path / "r").iterdir())
    with opened(tmp_path / "r"):
        assert not any(".part" in p.name for p in (tmp_path / "r").iterdir())
