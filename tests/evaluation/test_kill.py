"""A comparative run killed at random moments ends with what a calm one ends with, and leaves nothing lying about."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLS = 10
TIMES = re.compile(r"(seconds|memory|created|elapsed|cpu|speed|_at$|key$)")


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
    suite = tint_suite(metrics=["strength", "psnr", "flicker_ratio"])
    plugin = Path(__file__).with_name("plugin")
    command = [sys.executable, "-m", "videoedit", "bench", "run", str(suite), "--methods", "tint,tintall", "-o"]

    def start(folder: Path) -> subprocess.Popen:
        script = f"import sys; sys.path.insert(0, {str(plugin)!r}); from videoedit.cli import main; main(sys.argv[1:])"
        return subprocess.Popen([sys.executable, "-c", script, *command[3:], str(folder)], stderr=subprocess.PIPE)

    began = time.monotonic()
    calm = start(tmp_path / "calm")
    assert calm.wait() == 0, calm.stderr.read()
    length = time.monotonic() - began
    rng = random.Random(5)
    kills = 0
    while kills < KILLS:
        folder = tmp_path / f"killed-{kills}"
        while True:
            child = start(folder)
            try:
                child.wait(timeout=rng.uniform(0.3, 0.95) * length)
                break
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                kills += 1
            if kills >= KILLS:
                assert start(folder).wait() == 0
                break
        assert outcome(folder) == outcome(tmp_path / "calm")
        left = [path for path in folder.rglob(".*") if path.name not in (".lock", ".bench.json")]
        assert left == []
    assert kills >= KILLS
