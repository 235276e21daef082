"""Runs killed outright at random moments and called again must end with the bytes of a calm run."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from videoedit.config import ClipConfig, build_config
from videoedit.errors import MethodError
from videoedit.files import file_sha256
from videoedit.pipeline import run_method
from videoedit.plugins import get_method
from videoedit.runs.folder import RECORD, UNFINISHED, read_workspace

ERROR = "error.txt"  # in which the process of a run leaves the line it failed with
TIMED = (RECORD, "report.json", "report.html", ".lock")  # these tell how long things took


def kill_in_process(method: str, settings: Mapping[str, Any], work: Path, kills: int) -> str:
    """`kill_runs` in a fresh process, on one thread; returns the line in which it failed, empty if it did not."""
    script = f"import sys; from {__name__} import main; main(*sys.argv[1:])"
    command = [sys.executable, "-c", script, method, json.dumps(settings), str(work), str(kills)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    lines = done.stderr.strip().splitlines() or [f"a run ends the whole process with code {done.returncode}"]
    return lines[-1] if done.returncode else ""


def kill_runs(method: str, settings: Mapping[str, Any], work: Path, kills: int) -> str:
    """Kill runs of a method in new folders of `work` so many times; returns a line that says so.

    Raises MethodError if a run, called again until it finished, differs from a calm one or leaves unfinished work.
    Linux forks its children, so that imports are paid once: call it in a process without threads.
    """
    spec = get_method(method)
    spec.load("edits")
    config: ClipConfig = build_config(spec.load("config"), settings)
    began = time.monotonic()
    _finish(start(_run, method, config, work / "calm"), work)
    length = time.monotonic() - began
    calm = _outputs(work / "calm")
    endings = "|".join(re.escape(ending) for ending in UNFINISHED)
    if left := [name for name in calm if re.search(rf"(^|/)\.|({endings})(/|$)", name)]:
        raise MethodError(f"a finished run leaves {left[0]}")
    rng, killed, rounds = random.Random(5), 0, 0
    while killed < kills:
        folder = work / f"killed-{rounds}"
        while killed < kills and is_killed(start(_run, method, config, folder), rng.uniform(0.02, 0.9) * length):
            killed += 1
        _finish(start(_run, method, config, folder), work)
        found = _outputs(folder)
        if other := sorted(name for name in calm.keys() | found.keys() if calm.get(name) != found.get(name)):
            raise MethodError(f"a run ends with other bytes in {other[0]}")
        rounds += 1
    return f"{kills} kills in {rounds} runs of {length:.1f} s; all ended with the same bytes"


def start(work: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A process that does some work; where the system allows, it need not import anything again."""
    context: Any = get_context("fork" if sys.platform == "linux" else "spawn")
    process: BaseProcess = context.Process(target=work, args=arguments)
    process.start()
    return process


def is_killed(process: BaseProcess, seconds: float) -> bool:
    """Kill a process after some time; False if it had ended by then."""
    process.join(seconds)
    process.kill()
    process.join()
    return (process.exitcode or 0) < 0


def _run(method: str, config: ClipConfig, folder: Path) -> None:
    try:
        run_method(method, config, folder)
    except BaseException as error:
        (folder.parent / ERROR).write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
        sys.exit(1)


def _finish(process: BaseProcess, work: Path) -> None:
    process.join()
    if process.exitcode:
        raise MethodError(f"a run fails: {(work / ERROR).read_text(encoding='utf-8')}")


def _outputs(folder: Path) -> dict[str, str]:
    """Hashes of all that a run makes, also what it should have tidied up, except records of time."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in TIMED]
    hashes = {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}
    record = read_workspace(folder) or {}
    return hashes | {part: json.dumps(record[part]) for part in ("metrics", "plots", "notes")}


def main(method: str, settings: str, work: str, kills: str) -> None:
    """`kill_runs` as a program: ends with its line, or in failure with that of the error."""
    import torch

    torch.set_num_threads(1)
    try:
        sys.stdout.write(kill_runs(method, json.loads(settings), Path(work), int(kills)) + "\n")
    except MethodError as error:
        sys.exit(str(error))
