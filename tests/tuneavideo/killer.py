"""Kill a run with SIGKILL at random moments until it has been killed N times; compare with an undisturbed one.

Usage: killer.py MODEL_FOLDER CLIP WORK_FOLDER KILLS. Children are forked, so that imports are paid once.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from tuneavideo import method as _method  # noqa: F401 - imported before forking
from tuneavideo.config import TuneAVideoConfig
from videoedit import models as _models  # noqa: F401
from videoedit.config import build_config
from videoedit.pipeline import run_method

torch.set_num_threads(1)


def outputs(folder: Path) -> dict[str, str]:
    files = [*folder.glob("*.mp4"), *folder.glob("*.safetensors"), folder / "config.yaml"]
    hashes = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    record = json.loads((folder / "run.json").read_text())
    return hashes | {"metrics": json.dumps(record["metrics"]), "loss": json.dumps(record["plots"]["loss"])}


def start(config: TuneAVideoConfig, folder: Path) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run_method("tuneavideo", config, folder)
            code = 0
        finally:
            os._exit(code)
    return child


def main(model: str, clip: str, work: Path, wanted: int) -> None:
    settings = {
        "clip": clip, "model": model, "device": "cpu", "source_prompt": "a square",
        "prompts": ["a red square", "snow"], "tune": {"steps": 40, "checkpoint_every": 7},
        "invert": {"steps": 30}, "sample": {"steps": 30},
    }  # fmt: skip
    config = build_config(TuneAVideoConfig, settings)
    began = time.monotonic()
    assert os.waitpid(start(config, work / "calm"), 0)[1] == 0
    length = time.monotonic() - began
    calm = outputs(work / "calm")
    rng = random.Random(5)
    kills = rounds = 0
    during: dict[str, int] = {}
    while kills < wanted:
        folder = work / f"killed-{rounds}"
        while True:
            child = start(config, folder)
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
            record = folder / "run.json"
            stage = "start" if not record.exists() else f"after {len(json.loads(record.read_text())['stages'])} stages"
            during[stage] = during.get(stage, 0) + 1
            if kills == wanted:
                assert os.waitpid(start(config, folder), 0)[1] == 0
                break
        assert outputs(folder) == calm, f"round {rounds} ended with other bytes"
        rounds += 1
    sys.stdout.write(f"{kills} kills in {rounds} runs of {length:.1f} s: {during}; all ended with the same bytes\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
