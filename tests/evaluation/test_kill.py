"""A comparative run killed at random moments ends with what a calm one ends with, and leaves nothing lying about."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from videoedit.conformance.kills import is_killed, start
from videoedit.evaluation import run_suite

KILLS = 10
TIMES = re.compile(r"(seconds|memory|created|elapsed|cpu|speed|_at$|key$)")


def compare(suite: Path, folder: Path) -> None:
    run_suite(suite, ["tint", "tintall"], folder)


def main(suite: Path, work: Path, wanted: int) -> None:
    """Kill runs of a suite so many times; imports are paid once, before the first."""
    import torch

    import videoedit.deliver
    import videoedit.evaluation.page.comparison
    import videoedit.models.loading  # noqa: F401

    torch.set_num_threads(1)
    began = time.monotonic()
    _finish(start(compare, suite, work / "calm"))
    length, rng, kills, rounds = time.monotonic() - began, random.Random(5), 0, 0
    while kills < wanted:
        folder = work / f"killed-{rounds}"
        while kills < wanted and is_killed(start(compare, suite, folder), rng.uniform(0.02, 0.9) * length):
            kills += 1
        _finish(start(compare, suite, folder))
        rounds += 1
    print(kills, "kills")


def _finish(process: BaseProcess) -> None:
    process.join()
    assert process.exitcode == 0, process.exitcode


def plain(value: object) -> object:
    """The results without times, and without keys, in which costs stand."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items() if not TIMES.search(name)}
    return [plain(one) for one in value] if isinstance(value, list) else value


def outcome(folder: Path) -> tuple[object, dict[str, bytes]]:
    results = json.loads((folder / "results.json").read_text())
    for unit in results["units"]:
        unit["notes"] = []  # that it was interrupted
    videos = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.mp4")}
    return plain(results), videos


@pytest.mark.slow
def test_kill_9_at_random_moments_changes_nothing(tint_suite, tmp_path: Path):
    suite, work = tint_suite(metrics=["strength", "psnr", "flicker_ratio"]), tmp_path / "work"
    path = os.pathsep.join([str(Path(__file__).with_name("plugin")), *filter(None, sys.path)])
    command = [sys.executable, __file__, str(suite), str(work), str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": path})
    assert done.returncode == 0 and f"{KILLS} kills" in done.stdout, done.stderr
    for folder in work.glob("killed-*"):
        assert outcome(folder) == outcome(work / "calm")
        assert [path for path in folder.rglob(".*") if path.name not in (".lock", ".bench.json")] == []


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
