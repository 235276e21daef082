"""Kill a run with SIGKILL at random moments until it was killed N times; compare with a calm run.

Usage: killer.py METHOD SETTINGS_AS_JSON WORK_FOLDER KILLS. Children are forked, so that imports are paid once; their
workers are fresh processes as always.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import torch

from videoedit.config import ClipConfig, build_config
from videoedit.pipeline import run_method
from videoedit.plugins import get_method

torch.set_num_threads(1)
TIMED = ("run.json", "report.json", "report.html")  # these tell how long things took


def outputs(folder: Path) -> dict[str, str]:
    """Hashes of all that a run makes, also what it should have tidied up, except records of time."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in (*TIMED, ".lock")]
    hashes = {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    record = json.loads((folder / "run.json").read_text())
    return hashes | {part: json.dumps(record[part]) for part in ("metrics", "plots", "notes")}


def start(method: str, config: ClipConfig, folder: Path) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run_method(method, config, folder)
            code = 0
        finally:
            os._exit(code)
    return child


def moment(folder: Path) -> str:
    """How far a killed run had come."""
    record = folder / "run.json"
    stages = list(json.loads(record.read_text())["steps"]) if record.exists() else []
    work = any(folder.glob("*.work")) or any(folder.glob("*.state.safetensors"))
    return f"after {stages[-1] if stages else 'the start'}{', in the middle of work' if work else ''}"


def main(method: str, settings: str, work: Path, wanted: int) -> None:
    spec = get_method(method)
    spec.load("edits")
    config = build_config(spec.load("config"), json.loads(settings))
    began = time.monotonic()
    assert os.waitpid(start(method, config, work / "calm"), 0)[1] == 0
    length = time.monotonic() - began
    calm = outputs(work / "calm")
    left = [name for name in calm if re.search(r"(^|/)\.|\.work/|\.state\.safetensors$", name)]
    assert not left, left
    rng = random.Random(5)
    kills = rounds = 0
    during: dict[str, int] = {}
    while kills < wanted:
        folder = work / f"killed-{rounds}"
        while True:
            child = start(method, config, folder)
            deadline = time.monotonic() + rng.uniform(0.02, 0.9) * length
            while time.monotonic() < deadline and os.waitpid(child, os.WNOHANG)[0] == 0:
                time.sleep(0.005)
            try:
                os.kill(child, signal.SIGKILL)
                finished = os.waitpid(child, 0)[1] == 0
            except (ProcessLookupError, ChildProcessError):
                finished = True
            if finished:
                break
            kills += 1
            during[moment(folder)] = during.get(moment(folder), 0) + 1
            if kills == wanted:
                assert os.waitpid(start(method, config, folder), 0)[1] == 0
                break
        assert outputs(folder) == calm, f"round {rounds} ended with other bytes"
        rounds += 1
    sys.stdout.write(f"{kills} kills in {rounds} runs of {length:.1f} s: {during}; all ended with the same bytes\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
