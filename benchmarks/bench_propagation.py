"""Propagation as a whole: what two workers gain, and memory of a long clip against a short one.

    python benchmarks/bench_propagation.py workers   # seconds with one and with two workers, an otherwise idle machine
    python benchmarks/bench_propagation.py memory    # 60 and 300 frames of 640x360, preset preview, through the CLI

The clip is a textured wall that the camera passes; the key frames are every tenth frame, inverted. Memory is the peak
of the sum of the proportional set sizes of the command and its workers.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import psutil
from common import publish
from results_schema import Row, row

from videoedit.media.video import write_video
from videoedit.testing import panning

INTERVAL = 10


def main() -> None:
    what = sys.argv[1]
    title = {"workers": "Rerender: what a second worker gains", "memory": "Rerender: memory of a long clip"}[what]
    settings = {"interval": INTERVAL, "flow": "dis"}
    with tempfile.TemporaryDirectory() as folder:
        rows = {"workers": workers, "memory": memory}[what](Path(folder))
        publish(f"propagation-{what}", title, rows, method=__doc__, settings=settings)


def workers(folder: Path) -> Iterator[Row]:
    """Wall seconds of the propagation step; the machine should have nothing else to do."""
    clip = make(folder, 61, (256, 144))
    one, two = (run(clip, folder / f"w{count}", "default", count)["seconds"] for count in (1, 2))
    group = "61 frames of 256x144, preset default"
    yield row("1 worker", "wall time", one, "s", "lower", group=group)
    yield row("2 workers", "wall time", two, "s", "lower", group=group, against=("1 worker", one), wanted=1 / 1.7)


def memory(folder: Path) -> Iterator[Row]:
    short, long = (
        run(make(folder / str(count), count, (640, 360)), folder / f"m{count}", "preview", 2)["peak_mb"]
        for count in (60, 300)
    )
    group = "640x360, preset preview, 2 workers"
    yield row("60 frames", "peak memory", short, "MB", "lower", group=group)
    yield row("300 frames", "peak memory", long, "MB", "lower", group=group, against=("60 frames", short), wanted=1.3)


def make(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """A clip and its key frames in ``keys/`` beside it."""
    (folder / "keys").mkdir(parents=True, exist_ok=True)
    frames = panning(count, size)
    for index in {*range(0, count, INTERVAL), count - 1}:
        cv2.imwrite(str(folder / f"keys/{index:04d}.png"), 255 - frames[index][..., ::-1])
    write_video(folder / "clip.mp4", frames, 25)
    return folder / "clip.mp4"


def run(clip: Path, out: Path, preset: str, count: int) -> dict[str, float]:
    """Run the command; the step's seconds and the peak memory of all its processes, MiB."""
    command = [sys.executable, "-m", "videoedit", "propagate", str(clip), "--keyframes", str(clip.parent / "keys"),
               "--preset", preset, "--workers", str(count), "--set", "propagate.flow=dis", "-o", str(out)]  # fmt: skip
    began, peak = time.monotonic(), 0.0
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        parent = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, sum(proportional(one) for one in (parent, *children(parent))))
            time.sleep(0.5)
    assert process.returncode == 0
    step = json.loads((out / "run.json").read_text())["steps"]["propagate"]
    return {"seconds": step["seconds"], "peak_mb": peak, "all_seconds": time.monotonic() - began}


def children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def proportional(process: psutil.Process) -> float:
    """Proportional set size, MiB; 0 for one that has just ended."""
    try:
        return float(process.memory_full_info().pss) / 2**20
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return 0.0


if __name__ == "__main__":
    main()
