"""What runs of a kind took on this machine: the basis of the next one's estimate.

Each finished run that began in a new folder adds a line to ``history.jsonl`` in the cache folder: of every step its
amount of work (pixels worked through), seconds, CPU seconds and peak memory. Runs are of a kind that share method,
model, device and every setting that is a choice; numbers, such as frames and steps, tell in the amounts.
"""

from __future__ import annotations

import contextlib
import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videoedit.config import ClipConfig, Section
from videoedit.errors import OutputError
from videoedit.files import cache_folder, digest, write_text
from videoedit.runs.planning import Plan
from videoedit.runs.progress import KEPT, NEW

LATEST = 12  # runs of a kind that an estimate looks at
MOST = 2_000  # lines of the file, of which the older half is then forgotten
REST = "loading, report"  # what a run takes besides its steps
UNSEEN = frozenset({"clip", "prompt", "prompts", "source_prompt", "negative_prompt", "prompt_suffix", "truth", "seed"})


@dataclass(frozen=True)
class Estimate:
    """What a run will take, by what runs of its kind took."""

    runs: int  # that were looked at
    seconds: float
    cpu_seconds: float
    memory_mb: float


def kind_of(config: ClipConfig, method: str, device: str) -> str:
    """The kind of a run: a hash of the method, the device and the settings that are choices."""
    choices = {name: value for name, value in _flat(config) if isinstance(value, str | bool)}
    return digest({"method": method, "device": device, **choices})[:16]


def _flat(section: Section, prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in section:
        if isinstance(value, Section):
            yield from _flat(value, f"{prefix}{name}.")
        elif prefix or name not in UNSEEN:
            yield f"{prefix}{name}", value


def work_of(step: str, prompts: Sequence[str]) -> str:
    """The work that a step or stage does, whatever the prompt: ``edit a blue car`` and ``edit 2`` are ``edit *``."""
    for prompt in sorted(prompts, key=len, reverse=True):
        if step.endswith(f" {prompt}"):
            return f"{step.removesuffix(prompt)}*"
    return re.sub(r" \d+$", " *", step)


def remember(kind: str, plan: Plan, steps: Mapping[str, Any], status: Mapping[str, str], seconds: float, cpu: float,
             prompts: Sequence[str]) -> None:  # fmt: skip
    """Add a run that made all its steps anew; `steps` are those of its record, `seconds` and `cpu` its whole cost."""
    if not steps or any(why != NEW for why in status.values()):
        return
    made = [(work_of(name, prompts), step) for name, step in steps.items() if name in status]
    rows = [
        [work, amount(plan, work, prompts), step["seconds"], step["cpu_seconds"], step["peak_memory_mb"]]
        for work, step in made
    ]
    rest = [seconds - sum(row[2] for row in rows), cpu - sum(row[3] for row in rows), 0]
    rows.append([REST, amount(plan, REST, prompts), *(max(0.0, round(value, 3)) for value in rest)])
    line = json.dumps({"kind": kind, "pixels": pixels(plan), "steps": rows})
    path = _file()
    with contextlib.suppress(OSError, OutputError):  # a cache that cannot be written to keeps nothing
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        if len(lines) > MOST:
            write_text(path, "".join(lines[MOST // 2 :]))


def amount(plan: Plan, work: str, prompts: Sequence[str]) -> float:
    """The pixels that a work goes through: as its stage says, else those of the clip's frames."""
    for stage in plan.stages:
        if work_of(stage.name, prompts) == work and stage.amount:
            return stage.amount
    return pixels(plan)


def pixels(plan: Plan) -> float:
    """The pixels of the clip's frames: what memory grows with."""
    return float(plan.num_frames * plan.output_size[0] * plan.output_size[1])


def estimate(kind: str, plan: Plan, prompts: Sequence[str]) -> Estimate | None:
    """What a run will take that makes all that `plan` does not keep; None if no run of its kind is known."""
    runs = _runs(kind)
    if not runs:
        return None
    seen: dict[str, list[list[float]]] = {}
    for run in runs:
        for work, *numbers in run["steps"]:
            seen.setdefault(work, []).append([*numbers, run["pixels"]])
    kept = [work_of(name, prompts) for name, why in plan.status.items() if why == KEPT]
    seconds = cpu = memory = 0.0
    for work in dict.fromkeys(row[0] for row in runs[-1]["steps"]):
        times = (len(prompts) if work.endswith(" *") else 1) - kept.count(work)
        size = amount(plan, work, prompts)
        wall, used = (_at(size, [(row[0], row[i]) for row in seen[work]]) for i in (1, 2))
        seconds, cpu = seconds + times * wall, cpu + times * used
        if times:
            memory = max(memory, _at(pixels(plan), [(row[4], row[3]) for row in seen[work]], fixed=True))
    return Estimate(len(runs), seconds, cpu, memory)


def _at(size: float, seen: list[tuple[float, float]], *, fixed: bool = False) -> float:
    """A cost at an amount of work, by costs at others: on the line through them.

    With one other it is in proportion to that; `fixed`: equal to it, as memory mostly is.
    """
    middle: dict[float, float] = {}
    for one in {amount for amount, _ in seen}:
        middle[one] = statistics.median(cost for amount, cost in seen if amount == one)
    if size in middle:
        return middle[size]
    if len(middle) > 1:
        slope, start = statistics.linear_regression(list(middle), list(middle.values()))
        if slope >= 0 and start + slope * size > 0:
            return start + slope * size
    nearest = min(middle, key=lambda one: abs(one - size))
    return middle[nearest] if fixed or not nearest else middle[nearest] * size / nearest


def _runs(kind: str) -> list[dict[str, Any]]:
    """The latest runs of a kind; lines that are none are passed over."""
    found = []
    with contextlib.suppress(OSError):
        for line in _file().read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                run = json.loads(line)
                if run["kind"] == kind and run["pixels"] > 0 and all(map(_is_row, run["steps"])):
                    found.append(run)
    return found[-LATEST:]


def _is_row(row: Any) -> bool:
    return len(row) == 5 and isinstance(row[0], str) and all(isinstance(value, int | float) for value in row[1:])


def _file() -> Path:
    return cache_folder() / "history.jsonl"
