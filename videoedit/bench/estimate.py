"""What a comparative run would do and cost, as text for a person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
