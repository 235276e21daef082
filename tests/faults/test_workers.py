"""Workers of a real propagation that are killed: their work is done once more, or one line says so."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from videoedit.media.images import write_image
from videoedit.media.video import write_video
from videoedit.testing import other_colors, panning

pytestmark = pytest.mark.slow


def propagate(folder: Path, out: str, kills: int) -> subprocess.CompletedProcess[str]:
    """The command, of whose workers the first so many are killed once they have worked for a moment."""
    command = [sys.executable, "-m", "videoedit", "propagate", str(folder / "clip.mp4"), "--preset", "preview"]
    command += ["--keyframes", str(folder / "keys"), "--workers", "2", "-o", str(folder / out)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, **pipes) as parent:
        killed: set[int] = set()
        while parent.poll() is None and len(killed) < kills:
            for worker in psutil.Process(parent.pid).children() if parent.poll() is None else ():
                if worker.pid not in killed and len(killed) < kills and _has_begun(worker):
                    worker.kill()
                    killed.add(worker.pid)
            time.sleep(0.02)
        out_text, err = parent.communicate()
    assert len(killed) == kills, "it ended before its workers could be killed"
    return subprocess.CompletedProcess(command, parent.returncode, out_text, err)


def _has_begun(worker: psutil.Process) -> bool:
    """Whether a worker is past its imports: it reads the archive of what is unfinished of an interval."""
    try:
        return any(file.path.endswith(".zip") for file in worker.open_files())
    except psutil.Error:
        return False


@pytest.fixture
def work(tmp_path: Path) -> Path:
    frames = panning(24, (192, 128))
    write_video(tmp_path / "clip.mp4", frames, 8)
    for number in (0, 12, 23):
        write_image(tmp_path / "keys" / f"{number:04d}.png", other_colors(frames[number : number + 1])[0])
    return tmp_path


def test_killed_workers_change_no_byte(work: Path) -> None:
    calm = propagate(work, "calm", 0)
    assert calm.returncode == 0, calm.stderr
    one = propagate(work, "one", 1)
    assert "Traceback" not in one.stderr and one.returncode in (0, 2), one.stderr
    if one.returncode:
        assert len([line for line in one.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert propagate(work, "one", 0).returncode == 0
    assert (work / "one/propagated.mp4").read_bytes() == (work / "calm/propagated.mp4").read_bytes()
