"""Whole runs of every demo (``methods/*/demo.yaml``) through the command line, and where their time goes.

Times and memory of the steps are those that a run records in its ``run.json``; "loading, report" is the rest of what
the process and its workers took: Python, the models, reading, the report. Each process has one thread. The ratios are
shares of the whole run's CPU time.

Usage: python benchmarks/bench_end_to_end.py [--full]. Without `--full` all numbers of steps are a fifth of the demos',
which takes about two minutes; propagating, measuring and loading then weigh more than in a full run.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import ONE_THREAD, ROOT, publish
from results_schema import Row, row

from videoedit.pipeline import demo_config

LESS = 5
REST = "loading, report"


def fewer_steps(settings: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """``--set`` arguments that divide every number of steps in a config."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from fewer_steps(value, f"{prefix}{key}.")
        elif key == "steps":
            yield from ("--set", f"{prefix}steps={max(1, round(value / LESS))}")


def run(method: str, folder: Path, *, full: bool) -> Iterator[Row]:
    """Run a demo; a row for each step's CPU and wall seconds and peak memory, and for the whole."""
    command = [sys.executable, "-m", "videoedit", "demo", method, "--out", str(folder)]
    command += [] if full else fewer_steps(demo_config(method).model_dump(mode="json"))
    wall, cpu = time.perf_counter(), children_seconds()
    subprocess.run(command, env=os.environ | ONE_THREAD, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wall, cpu = time.perf_counter() - wall, children_seconds() - cpu
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    steps = record["steps"]
    rest = {
        "cpu_seconds": cpu - sum(step["cpu_seconds"] for step in steps.values()),
        "seconds": wall - sum(step["seconds"] for step in steps.values()),
    }
    prompts = record["calls"][-1]["config"].get("prompts", [])
    group = f"{method}, {record['input']['frames']} frames"
    yield row("whole run", "CPU time", cpu, "s", "lower", group=group)
    yield row("whole run", "wall time", wall, "s", "lower", group=group)
    for full_name, step in (steps | {REST: rest}).items():
        name = numbered(full_name, prompts)
        yield row(name, "CPU time", step["cpu_seconds"], "s", "lower", group=group, against=("whole run", cpu))
        yield row(name, "wall time", step["seconds"], "s", "lower", group=group)
        if name != REST:
            yield row(name, "peak memory", step["peak_memory_mb"], "MB", "lower", group=group)


def numbered(step: str, prompts: list[str]) -> str:
    """A step's name with the number of the edit in the place of its prompt."""
    for i, prompt in sorted(enumerate(prompts, 1), key=lambda pair: -len(pair[1])):
        step = step.replace(prompt, str(i))
    return step


def children_seconds() -> float:
    """CPU seconds of all finished processes that this one started, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def rows(*, full: bool) -> Iterator[Row]:
    for config in sorted((ROOT / "methods").glob("*/demo.yaml")):
        with tempfile.TemporaryDirectory() as folder:
            yield from run(config.parent.name, Path(folder) / "run", full=full)


def main() -> None:
    full = "--full" in sys.argv[1:]
    settings = {"steps": "the demos'" if full else f"1/{LESS} of the demos'"}
    publish("end_to_end", "Whole runs of the demos", rows(full=full), method=__doc__, settings=settings)


if __name__ == "__main__":
    main()
