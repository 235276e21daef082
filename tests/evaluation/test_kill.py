"""A comparative run killed at random moments ends with what a calm one ends with, and leaves nothing lying about."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = 10
TIMES = re.compile(r"(seconds|memory|created|elapsed|cpu|speed|_at$|key$)")
SCRIPT = """
import os, random, signal, sys, time
from pathlib import Path
import torch
import videoedit.deliver, videoedit.evaluation.page.comparison, videoedit.models.loading
from videoedit.evaluation import run_suite

torch.set_num_threads(1)
suite, work, wanted = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])

def start(folder):  # forked, so that imports are paid once
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run_suite(suite, ["tint", "tintall"], folder)
            code = 0
        finally:
            os._exit(code)
    return child

began = time.monotonic()
assert os.waitpid(start(work / "calm"), 0)[1] == 0
length, rng, kills, rounds = time.monotonic() - began, random.Random(5), 0, 0
while kills < wanted:
    folder, finished = work / f"killed-{rounds}", False
    while not finished:
        child, deadline = start(folder), time.monotonic() + rng.uniform(0.02, 0.9) * length
        while not finished and (kills == wanted or time.monotonic() < deadline):
            pid, code = os.waitpid(child, os.WNOHANG)
            assert code == 0, code
            finished = pid != 0
            time.sleep(0.005)
        if not finished:
            os.kill(child, signal.SIGKILL)
            finished = os.waitpid(child, 0)[1] == 0
            kills += not finished
    rounds += 1
print(kills, "kills")
"""


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
    command = [sys.executable, "-c", SCRIPT, str(suite), str(work), str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": path})
    assert done.returncode == 0 and f"{KILLS} kills" in done.stdout, done.stderr
    for folder in work.glob("killed-*"):
        assert outcome(folder) == outcome(work / "calm")
        assert [path for path in folder.rglob(".*") if path.name not in (".lock", ".bench.json")] == []
