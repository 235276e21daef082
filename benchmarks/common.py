"""What the suites share: a piece of work measured in a process of its own, and a result file written.

A suite is a script that yields rows and ends with ``publish(...)``.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from inspect import cleandoc
from pathlib import Path
from typing import Any, NamedTuple

from results_schema import RESULTS, Hardware, Result, Row, as_text

from videoedit.files import write_text

ROOT = Path(__file__).parents[1]
PACKAGES = ("videoedit", "torch", "diffusers", "transformers", "numpy", "opencv-python-headless", "numba", "scipy")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
GIB = 2**30


class Cost(NamedTuple):
    """CPU seconds of each call but the first, and the memory above the level with everything loaded."""

    seconds: tuple[float, ...]
    peak_gib: float

    @property
    def best(self) -> float:
        return min(self.seconds)


def measure(work: Callable[[], object], repeats: int) -> Cost:
    """Call `work` once to warm up and then `repeats` times."""
    reset_peak()
    level = rss()
    seconds = []
    for _ in range(repeats + 1):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return Cost(tuple(seconds[1:]), max(0.0, peak_rss() - level) / GIB)


def measure_alone(prepare: Callable[..., Callable[[], object]], *arguments: Any, repeats: int) -> Cost:
    """`measure` what ``prepare(*arguments)`` returns, in a fresh process on one thread; `prepare` is a top-level name.

    The process is forked from one that has imported the script and done nothing else: memory starts from one level.
    """
    os.environ.update(ONE_THREAD)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([Path(sys.argv[0]).stem])
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_prepare_and_measure, prepare, arguments, repeats).result()


def _prepare_and_measure(
    prepare: Callable[..., Callable[[], object]], arguments: tuple[Any, ...], repeats: int
) -> Cost:
    return measure(prepare(*arguments), repeats)


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


def publish(
    suite: str, title: str, rows: Iterable[Row], *, method: str, settings: Mapping[str, Any] | None = None
) -> Path:
    """Measure (`rows` may be a generator), show each row as it comes, and write ``results/SUITE.json``."""
    where = surroundings()
    done = []
    for one in rows:
        print(shown(one), flush=True)
        done.append(one)
    result = Result(
        suite=suite, title=title, method=cleandoc(method), settings=dict(settings or {}), rows=done, **where
    )
    path = RESULTS / f"{suite}.json"
    write_text(path, as_text(result))
    print(path)
    return path


def shown(one: Row) -> str:
    """A row as a line of text."""
    line = f"{one.group:<34} {one.name:<34} {one.measure:<22} {one.value:>9.4g} {one.unit:<4}"
    if one.against and one.against.ratio is not None:
        line += f" {one.against.ratio:.3g} of {one.against.name}"
    return line


def surroundings() -> dict[str, Any]:
    """Time, commit, versions, hardware, and how busy the machine is."""
    return {
        "date": datetime.now(UTC).replace(microsecond=0),
        "commit": commit(),
        "versions": {"python": platform.python_version()} | {name: installed(name) for name in PACKAGES},
        "hardware": Hardware(cpu=cpu_line("model name"), cores=os.cpu_count() or 0, flags=cpu_flags()),
        "load_average": tuple(round(x, 2) for x in os.getloadavg()),
    }


def commit() -> str:
    """The commit of the working tree, marked if it has changes."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def installed(package: str) -> str:
    """The version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def cpu_line(key: str) -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(key):
            return line.split(":", 1)[1].strip()
    return "unknown"


def cpu_flags() -> tuple[str, ...]:
    """Those that decide how fast matrices are multiplied."""
    wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    return tuple(flag for flag in cpu_line("flags").split() if flag in wanted)
