"""Runs of many inputs: worker processes, their limits, what lies outside, and the table at the end."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil

from fuzz.base import build_outside
from fuzz.worker import MEMORY, SECONDS, serve

WALL = 60  # seconds in which a worker on a busy machine has to come back
SETTINGS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}


@dataclass
class Tally:
    """What came of the inputs of a kind."""

    inputs: int = 0
    refused: int = 0
    read: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)
    slowest: float = 0.0
    largest: float = 0.0

    def add(self, result: dict[str, Any]) -> None:
        self.inputs += 1
        self.refused += result["outcome"] == "refused"
        self.read += result["outcome"] == "read"
        self.slowest = max(self.slowest, result.get("seconds", 0.0))
        self.largest = max(self.largest, result.get("megabytes", 0.0))
        if result["outcome"] == "failed":
            self.failures.append(result)


class Worker:
    """A process that reads inputs one after the other; a new one takes the place of one that died or was too slow."""

    def __init__(self, base: Path, root: Path, warm: bool) -> None:
        self.base, self.root, self.warm = base, root, warm
        self.start()

    def start(self) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, self.base, self.root, self.warm), daemon=True)
        self.process.start()
        theirs.close()
        self.pipe.recv()

    def read(self, kind: str, given: Any) -> dict[str, Any]:
        """What came of an input, within the limits."""
        began = time.monotonic()
        used = self._cpu_seconds()
        self.pipe.send((kind, given))
        while not self.pipe.poll(0.2):
            slow = self._cpu_seconds() - used > SECONDS or time.monotonic() - began > WALL
            if slow or not self.process.is_alive():
                return self._lost(slow, time.monotonic() - began)
        try:
            result: dict[str, Any] = self.pipe.recv()
        except EOFError:
            return self._lost(False, time.monotonic() - began)
        if result["megabytes"] > MEMORY / 2**20:
            return result | {"outcome": "failed", "line": f"{result['megabytes']:.0f} MB", "where": "memory"}
        return result

    def _lost(self, slow: bool, seconds: float) -> dict[str, Any]:
        self.stop()
        line = f"not done in {SECONDS} s" if slow else f"the process died ({self.process.exitcode})"
        self.start()
        return {"outcome": "failed", "line": line, "where": line, "seconds": seconds}

    def _cpu_seconds(self) -> float:
        try:
            times = psutil.Process(self.process.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return times.user + times.system

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


@contextlib.contextmanager
def working(base: Path, root: Path, *, warm: bool = True) -> Iterator[Worker]:
    """A worker that reads inputs in folders of `root`; `warm`: with all imported, so that no input pays for that."""
    (root / "inside").mkdir(parents=True, exist_ok=True)
    build_outside(root / "outside")
    kept = {name: os.environ.get(name) for name in SETTINGS}
    os.environ.update(SETTINGS)
    worker = Worker(base, root, warm)
    try:
        yield worker
    finally:
        worker.stop()
        for name, value in kept.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def run_all(worker: Worker, jobs: Iterable[tuple[str, Any]], say: Any = None) -> dict[str, Tally]:
    """Read all inputs, given as (kind, number or dumped input); after each, nothing outside may have changed."""
    found: dict[str, Tally] = defaultdict(Tally)
    before = snapshot(worker)
    for kind, given in jobs:
        result = worker.read(kind, given)
        after = snapshot(worker)
        if changed := sorted(place for place in before.keys() | after.keys() if before.get(place) != after.get(place)):
            result |= {"outcome": "failed", "line": f"changed outside: {changed[0]}", "where": "changed outside"}
            before = after
        found[kind].add(result | {"kind": kind, "given": given})
        if say and result["outcome"] == "failed":
            say(f"{kind} {given if isinstance(given, int) else ''}: {result['line']}\n")
    return found


def snapshot(worker: Worker) -> dict[str, tuple[int, ...]]:
    """All that lies beside the inputs' folders, and what tells of a change to it."""
    found = {}
    for top in (worker.base, worker.root):
        for place, folders, files in os.walk(top):
            if place == str(worker.root / "inside"):
                folders.clear()
                continue
            for name in (*folders, *files):
                path = Path(place, name)
                status = path.lstat()
                is_log = top == worker.root and path.suffix == ".log"
                is_inside = path == worker.root / "inside"
                if not is_log and not is_inside:
                    times = (status.st_mtime_ns,) if path.is_file() else ()
                    found[str(path)] = (status.st_mode, status.st_size, *times)
    return found


def table(found: dict[str, Tally]) -> str:
    """The outcomes, a line for each kind."""
    head = f"{'kind':<18}{'inputs':>8}{'refused':>9}{'read':>8}{'failed':>8}{'slowest s':>11}{'most MB':>9}"
    lines = [head]
    total = Tally()
    for name, one in sorted(found.items()):
        lines.append(_line(name, one))
        total.inputs, total.refused, total.read = (
            total.inputs + one.inputs,
            total.refused + one.refused,
            total.read + one.read,
        )
        total.failures += one.failures
        total.slowest, total.largest = max(total.slowest, one.slowest), max(total.largest, one.largest)
    lines.append(_line("all", total))
    return "\n".join(lines)


def _line(name: str, one: Tally) -> str:
    counts = f"{name:<18}{one.inputs:>8}{one.refused:>9}{one.read:>8}{len(one.failures):>8}"
    return f"{counts}{one.slowest:>11.2f}{one.largest:>9.0f}"


def keep(failures: Iterable[dict[str, Any]], base: Path, folder: Path) -> None:
    """Write one input of each sort of failure where the tests find it."""
    from random import Random

    from fuzz.inputs import KINDS

    seen = set()
    for one in failures:
        if (one["kind"], one["where"]) in seen or not isinstance(one["given"], int):
            continue
        seen.add((one["kind"], one["where"]))
        kind, number = one["kind"], one["given"]
        made = KINDS[kind].make(Random(f"{kind} {number}"), base)
        values = {"kind": kind, "was": one["line"][:200].replace(str(base), ""), **made.dump()}
        text = json.dumps(values, indent=1)
        if len(text) < 100_000:
            (folder / f"{kind.strip('-').replace(' ', '-')}-{number}.json").write_text(text + "\n", encoding="utf-8")
