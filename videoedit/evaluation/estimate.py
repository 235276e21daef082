"""What a comparative run would do and about how long it would take; writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from videoedit.evaluation.entries import InstalledMethod
from videoedit.evaluation.request import Job, reason_of
from videoedit.evaluation.suite import Suite
from videoedit.evaluation.units import Contestant, Unit
from videoedit.runs.planning import EFFICIENCY, Plan, measure_throughput


def forecast(
    suite: Suite | str | Path,
    contestants: Sequence[Contestant] | Sequence[str] | None = None,
    folder: str | Path | None = None,
    *,
    subset: Iterable[str] = (),
    seeds: Iterable[int] | None = None,
    weights_dir: Path | None = None,
) -> Forecast:
    """What `run_suite` would do and about how long it would take; writes nothing."""
    return forecast_of(Job(suite, contestants, folder, subset, seeds, weights_dir))


@dataclass
class Share:
    """One contestant's part in the work."""

    method: str
    units: int = 0
    reused: int = 0
    failing: int = 0
    seconds: float | None = None  # None: too little to be estimated, or not known
    memory_mb: float = 0.0

    @property
    def left(self) -> int:
        return self.units - self.reused - self.failing


@dataclass
class Forecast:
    """What a run would do; `text` says it to a person."""

    title: str
    folder: Path
    shares: list[Share]
    problems: dict[str, int]
    """Why units cannot succeed -> how many."""
    notes: tuple[str, ...]
    metrics: tuple[str, ...]
    skipped: dict[str, str]

    @property
    def seconds(self) -> float:
        return sum(share.seconds or 0.0 for share in self.shares)

    def text(self) -> str:
        head = f"{'method':<20} {'units':>6} {'reused':>7} {'to do':>6} {'about':>10} {'memory':>9}"
        rows = [
            f"{share.method:<20} {share.units:>6} {share.reused:>7} {share.left:>6} "
            f"{clock(share.seconds):>10} {f'{share.memory_mb:.0f} MB' if share.memory_mb else '-':>9}"
            for share in self.shares
        ]
        left, known = sum(share.left for share in self.shares), clock(self.seconds or None)
        lines = [self.title, f"into {self.folder}", head, *rows]
        told = f"{plural(left, 'unit')} to make{f', about {known}' if known != '-' else ''}; measuring comes on top"
        lines += [told if left else "all is made"]
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"will fail: {plural(count, 'unit')}: {problem}" for problem, count in self.problems.items()]
        lines += [f"{plural(len(self.metrics), 'metric')} for each, {len(self.skipped)} skipped"]
        lines += [f"  {', '.join(names)}: {reason}" for reason, names in self._skipped_by_reason().items()]
        return "\n".join(lines)

    def _skipped_by_reason(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        for name, reason in self.skipped.items():
            names.setdefault(reason, []).append(name)
        return names


def forecast_of(job: Job) -> Forecast:
    """What is to be done. Work of the same kind is planned once."""
    prices = _Prices()
    shares = {contestant.name: Share(contestant.name) for contestant in job.contestants}
    problems: Counter[str] = Counter()
    notes: dict[str, None] = {}
    for contestant, clip, seed, edits in job.batches:
        share = shares[contestant.name]
        share.units += len(edits)
        todo: list[Unit] = []
        for edit in edits:
            try:
                unit = job.unit(clip, edit, seed)
                if job.known(contestant, unit):
                    share.reused += 1
                else:
                    todo.append(unit)
            except Exception as error:
                problems[reason_of(error)] += 1
                share.failing += 1
        try:
            plan = prices.plan(contestant, todo) if todo else None
        except Exception as error:
            problems[reason_of(error)] += len(todo)
            share.failing += len(todo)
            continue
        if plan:
            notes |= {f"{contestant.name}: {note}": None for note in plan.notes}
            share.seconds = (share.seconds or 0.0) + prices.seconds(contestant, plan)
            share.memory_mb = max(share.memory_mb, plan.memory_mb)
    edits_in_all = sum(len(clip.edits) for clip in job.wanted.clips)
    counts = ((len(job.wanted.clips), "clip"), (edits_in_all, "edit"), (len(job.seeds), "seed"))
    return Forecast(
        title=f"{job.suite.name}: {', '.join(plural(*count) for count in counts)}",
        folder=job.folder,
        shares=list(shares.values()),
        problems=dict(problems),
        notes=tuple(notes),
        metrics=tuple(job.metrics),
        skipped=job.skipped,
    )


@dataclass
class _Prices:
    """Plans, and what they take on this machine; each is found once."""

    plans: dict[tuple[str, int, int, int, int], Plan | None] = field(default_factory=dict)
    speeds: dict[str | None, float] = field(default_factory=dict)
    """Device -> floating point operations a second."""

    def plan(self, contestant: Contestant, units: Sequence[Unit]) -> Plan | None:
        """The plan of these units, or of as many others on a clip of the same measures."""
        info = units[0].info
        kind = (contestant.name, info.width, info.height, len(units[0].frames), len(units))
        if kind not in self.plans:
            self.plans[kind] = contestant.plan(units)
        return self.plans[kind]

    def seconds(self, contestant: Contestant, plan: Plan) -> float:
        device = getattr(contestant.settings, "device", None) if isinstance(contestant, InstalledMethod) else None
        if device not in self.speeds:
            self.speeds[device] = EFFICIENCY * measure_throughput(device)
        return sum(stage.flops / self.speeds[device] + stage.seconds for stage in plan.stages)


def clock(seconds: float | None) -> str:
    """``12 min`` and the like; ``-`` if unknown."""
    if seconds is None:
        return "-"
    for longest, unit, name in ((100, 1, "s"), (6000, 60, "min")):
        if seconds < longest:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 3600:.1f} h"


def plural(count: int, thing: str) -> str:
    """``1 clip``, ``2 clips``."""
    return f"{count} {thing}{'' if count == 1 else 's'}"
