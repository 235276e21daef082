"""Measuring one piece of work in a process of its own: CPU seconds, and memory above a level."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("videoedit", "torch", "diffusers", "transformers", "numpy")
GIB = 2**30


def rss() -> int:
    """Resident memory of this process now, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def reset_peak() -> bool:
    """Let the kernel's record of the highest resident memory start again; False where that is not allowed."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_rss() -> int:
    """Highest resident memory since `reset_peak`, or of the whole process if that is not allowed, bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(work: Callable[[], object], repeats: int) -> dict[str, Any]:
    """CPU seconds of `work` (first call apart, then `repeats` calls) and peak memory above the level before it."""
    reset_peak()
    level = rss()
    seconds = []
    for _ in range(repeats + 1):
        start = time.process_time()
        work()
        seconds.append(round(time.process_time() - start, 3))
    return {
        "cpu_seconds": min(seconds[1:]),
        "cpu_seconds_all": seconds[1:],
        "cpu_seconds_first_call": seconds[0],
        "peak_gib": round((peak_rss() - level) / GIB, 3),
        "level_gib": round(level / GIB, 3),
    }


def in_subprocess(script: str, *arguments: str) -> dict[str, Any]:
    """Run ``script arguments`` on one thread and read the JSON in its last line of output."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, script, *arguments]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def surroundings() -> dict[str, Any]:
    """Commit, versions, hardware, and how busy the machine is."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": {"python": platform.python_version()} | {name: installed(name) for name in PACKAGES},
        "hardware": {"cpu": cpu_model(), "cores": os.cpu_count(), "flags": cpu_flags()},
        "load_average": [round(x, 2) for x in os.getloadavg()],
    }


def commit() -> str:
    """The commit of the working tree, marked if it has changes."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def installed(package: str) -> str:
    """The version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def cpu_lines(key: str) -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(key):
            return line.split(":", 1)[1].strip()
    return "unknown"


def cpu_model() -> str:
    """As the kernel names it."""
    return cpu_lines("model name")


def cpu_flags() -> list[str]:
    """Those that decide how fast matrices are multiplied."""
    wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    return [flag for flag in cpu_lines("flags").split() if flag in wanted]


def write_result(suite: str, result: dict[str, Any], where: dict[str, Any] | None = None) -> Path:
    """Write ``results/<suite>.json``, with the `surroundings` of its start, if given, or of now."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{suite}.json"
    path.write_text(json.dumps((where or surroundings()) | result, indent=2) + "\n")
    return path
