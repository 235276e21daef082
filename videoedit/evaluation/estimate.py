"""Forecast of a comparative run: the work, and about how long it would take; writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from videoedit.evaluation.entries import InstalledMethod
from videoedit.evaluation.request import Request, reason_of
from videoedit.evaluation.suite import Edit, Suite, SuiteClip
from videoedit.evaluation.units import Entry, Unit
from videoedit.runs.planning import EFFICIENCY, Plan, measure_throughput


def forecast(
    suite: Suite | str | Path,
    entries: Sequence[Entry] | Sequence[str] | None = None,
    folder: str | Path | None = None,
    *,
    subset: Iterable[str] = (),
    seeds: Iterable[int] | None = None,
    weights_dir: Path | None = None,
) -> Forecast:
    """Forecast of what `run_suite` would do and about how long it would take; writes nothing."""
    return forecast_of(Request(suite, entries, folder, subset, seeds, weights_dir))


@dataclass
class Share:
    """One entry's part in the work."""

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
    """The work of a run; `text` says it to a person."""

    title: str
    folder: Path
    shares: list[Share]
    problems: dict[str, int]
    """Reason why units cannot succeed -> how many cannot."""
    notes: tuple[str, ...]
    metrics: tuple[str, ...]
    skipped: dict[str, str]

    @property
    def seconds(self) -> float:
        return sum(share.seconds or 0.0 for share in self.shares)

    def text(self) -> str:
        head = f"{'method':<20} {'units':>6} {'reused':>7} {'to do':>6} {'about':>10} {'memory':>9}"
        lines = [self.title, f"into {self.folder}", head]
        left = 0
        for share in self.shares:
            left += share.left
            counts = f"{share.method:<20} {share.units:>6} {share.reused:>7} {share.left:>6}"
            memory = f"{share.memory_mb:.0f} MB" if share.memory_mb else "-"
            lines.append(f"{counts} {clock(share.seconds):>10} {memory:>9}")
        known = clock(self.seconds or None)
        told = f"{plural(left, 'unit')} to make{f', about {known}' if known != '-' else ''}; measuring comes on top"
        lines.append(told if left else "all is made")
        for note in self.notes:
            lines.append(f"note: {note}")
        for problem, count in self.problems.items():
            lines.append(f"will fail: {plural(count, 'unit')}: {problem}")
        lines.append(f"{plural(len(self.metrics), 'metric')} for each, {len(self.skipped)} skipped")
        for reason, names in self._skipped_by_reason().items():
            lines.append(f"  {', '.join(names)}: {reason}")
        return "\n".join(lines)

    def _skipped_by_reason(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        for name, reason in self.skipped.items():
            names.setdefault(reason, []).append(name)
        return names


def forecast_of(request: Request) -> Forecast:
    """Forecast of the work that a request asks for. Work of the same kind is planned once."""
    prices = _Prices()
    shares = {entry.name: Share(entry.name) for entry in request.entries}
    problems: Counter[str] = Counter()
    notes: dict[str, None] = {}
    for entry, clip, seed, edits in request.batches:
        share = shares[entry.name]
        todo = _todo(request, entry, clip, seed, edits, share, problems)
        try:
            plan = prices.plan(entry, todo) if todo else None
        except Exception as error:
            problems[reason_of(error)] += len(todo)
            share.failing += len(todo)
            continue
        if plan:
            for note in plan.notes:
                notes[f"{entry.name}: {note}"] = None
            share.seconds = (share.seconds or 0.0) + prices.seconds(entry, plan)
            share.memory_mb = max(share.memory_mb, plan.memory_mb)
    clips, edits_in_all = len(request.wanted.clips), len(list(request.wanted.pairs))
    counts = [plural(clips, "clip"), plural(edits_in_all, "edit"), plural(len(request.seeds), "seed")]
    return Forecast(
        title=f"{request.suite.name}: {', '.join(counts)}",
        folder=request.folder,
        shares=list(shares.values()),
        problems=dict(problems),
        notes=tuple(notes),
        metrics=tuple(request.metrics),
        skipped=request.skipped,
    )


def _todo(
    request: Request,
    entry: Entry,
    clip: SuiteClip,
    seed: int,
    edits: Sequence[Edit],
    share: Share,
    problems: Counter[str],
) -> list[Unit]:
    """The units of a batch that are still to be made; the others are counted in `share`, and why they fail."""
    share.units += len(edits)
    todo: list[Unit] = []
    for edit in edits:
        try:
            unit = request.unit(clip, edit, seed)
            if request.known(entry, unit):
                share.reused += 1
            else:
                todo.append(unit)
        except Exception as error:
            problems[reason_of(error)] += 1
            share.failing += 1
    return todo


@dataclass
class _Prices:
    """Plans, and what they take on this machine; each is found once."""

    plans: dict[tuple[str, int, int, int, int], Plan | None] = field(default_factory=dict)
    speeds: dict[str | None, float] = field(default_factory=dict)
    """Device -> floating point operations a second."""

    def plan(self, entry: Entry, units: Sequence[Unit]) -> Plan | None:
        """The plan of these units, or of as many others on a clip of the same measures."""
        info = units[0].info
        kind = (entry.name, info.width, info.height, len(units[0].frames), len(units))
        if kind not in self.plans:
            self.plans[kind] = entry.plan(units)
        return self.plans[kind]

    def seconds(self, entry: Entry, plan: Plan) -> float:
        device = getattr(entry.settings, "device", None) if isinstance(entry, InstalledMethod) else None
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
