"""A disk that is full at any moment: one line, nothing half-written, and the same command goes on once there is room."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from videoedit.errors import OutputError
from videoedit.files import write_text
from videoedit.media.images import write_image
from videoedit.media.video import write_video
from videoedit.testing import other_colors, panning

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits and mounts of Linux")


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """A propagation of ten frames, into `out`."""
    frames = panning(10)
    write_video(tmp_path / "clip.mp4", frames, 8)
    write_image(tmp_path / "0000.png", other_colors(frames)[0])
    keys = ["--keyframes", str(tmp_path / "0000.png"), "--propagator", "flow", "--workers", "1"]
    return [sys.executable, "-m", "videoedit", "propagate", str(tmp_path / "clip.mp4"), *keys, "-o"]


def give(command: list[str], **more) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "VIDEOEDIT_CACHE": str(Path(command[-1]).parent / "c")}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, **more)


def assert_refused(done: subprocess.CompletedProcess[str], folder: Path) -> None:
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert len(lines) == 1 and "no space left to write" in lines[0], done.stderr
    assert not [path for path in folder.rglob("*") if ".part" in path.name]


def _limit_files(most: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


@linux
def test_a_file_that_does_not_fit_leaves_the_one_before(tmp_path: Path) -> None:
    """In a process of its own, since the limit is the whole process's."""
    write_text(tmp_path / "a.txt", "before")
    script = "import sys; from pathlib import Path; from videoedit.files import write_text; " \
             "write_text(Path(sys.argv[1]), 'x' * 9000)"  # fmt: skip
    done = give([sys.executable, "-c", script, str(tmp_path / "a.txt")], preexec_fn=lambda: _limit_files(5000))
    assert OutputError.__name__ in done.stderr and "no space left to write" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "before"


@linux
@pytest.mark.slow
def test_files_that_no_longer_fit(tmp_path: Path, command: list[str]) -> None:
    calm = give([*command, str(tmp_path / "calm")])
    assert calm.returncode == 0, calm.stderr
    for most in (0, 300, 2_000, 8_000, 20_000):
        assert_refused(
            give([*command, str(tmp_path / "out")], preexec_fn=lambda most=most: _limit_files(most)), tmp_path
        )
    done = give([*command, str(tmp_path / "out")])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/propagated.mp4").read_bytes() == (tmp_path / "calm/propagated.mp4").read_bytes()


@linux
@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [4, 40, 120])
def test_a_disk_without_room(kilobytes: int, tmp_path: Path, command: list[str]) -> None:
    """A file system of a few kilobytes, where this user may mount one in a namespace of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    if not shutil.which("unshare"):
        pytest.skip("there is no unshare")
    mount = (
        f'mount -t tmpfs -o size={kilobytes}k none "{place}" || exit 99; "$@"; code=$?; ls -A "{place}"/*; exit $code'
    )
    done = give(["unshare", "-rm", "sh", "-c", mount, "sh", *command, str(place / "out")])
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip("no file system can be mounted here")
    assert_refused(done, place)
    assert ".part" not in done.stdout
