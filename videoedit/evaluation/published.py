"""Numbers that others published, to stand beside ours: each with its source, its protocol and how it was read.

They are data in ``published.yaml``. A published number is never averaged, tested or ranked with ours; `obstacle`
says why one may not even be set against one of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from videoedit.config import read_yaml
from videoedit.errors import ConfigError
from videoedit.evaluation.suite import nearest

if TYPE_CHECKING:
    from videoedit.evaluation.results import Results

PUBLISHED = Path(__file__).parent / "published.yaml"

Read = Literal["paper", "leaderboard", "second hand"]
"""The place of a number: the paper that measured it, the benchmark's own board, or somebody else who quotes it."""


@dataclass(frozen=True)
class Source:
    """The publication that printed a number; `name` is short enough for a table."""

    name: str
    title: str
    read: Read
    address: str = ""


@dataclass(frozen=True)
class PublishedMetric:
    """A metric as its benchmark defines it."""

    name: str  # as they call it
    meaning: str
    better: Literal["higher", "lower", "one", "none"]
    ours: str | None  # full id of our metric with the same definition; None: there is none
    reason: str = ""  # why there is none
    factor: float = 1.0  # times their number gives the unit of ours


@dataclass(frozen=True)
class Number:
    """One published number."""

    method: str
    metric: PublishedMetric
    value: float  # as printed
    source: Source
    note: str = ""


@dataclass(frozen=True)
class Table:
    """All that was published about one benchmark."""

    name: str
    title: str
    protocol: str
    numbers: tuple[Number, ...]
    edits: int | None = None  # how many edits its numbers are means over; None: not known
    notes: tuple[str, ...] = ()
    metrics: Mapping[str, PublishedMetric] = field(default_factory=dict)


def obstacle(number: Number, table: Table, results: Results) -> str | None:
    """The reason, one clause, if a published number may not be set against ours; None: same metric, clips, edits."""
    if number.metric.ours is None:
        return number.metric.reason
    if number.metric.ours not in results.metrics:
        return f"not measured here: it would be {number.metric.ours}"
    if results.published != table.name:
        return f"other clips and edits: ours are of suite {results.suite!r}"
    edits = len({(unit.clip, unit.edit) for unit in results.units})
    if table.edits is not None and edits != table.edits:
        return f"only {edits} of its {table.edits} edits were run here"
    return None


def read_published(name: str) -> Table:
    """A table of published numbers; ConfigError, naming the nearest, for an unknown one."""
    tables = _tables()
    if name not in tables:
        raise ConfigError(f"no table of published numbers is called {name!r}; {nearest(name, tables, 'there are')}")
    return tables[name]


@cache
def _tables() -> dict[str, Table]:
    return {name: _table(name, data) for name, data in read_yaml(PUBLISHED).items()}


def _table(name: str, data: dict[str, Any]) -> Table:
    metrics: dict[str, PublishedMetric] = {}
    for key, fields in data["metrics"].items():
        metrics[key] = PublishedMetric(name=key, **fields)
        assert bool(metrics[key].ours) != bool(metrics[key].reason), (name, key)
    sources: dict[str, Source] = {}
    for key, fields in data["sources"].items():
        sources[key] = Source(name=key, **fields)
        assert sources[key].read in get_args(Read), (name, key)
    numbers: list[Number] = []
    for row in data["rows"]:
        source, note = sources[row["source"]], row.get("note", "")
        for key, value in row["values"].items():
            numbers.append(Number(row["method"], metrics[key], float(value), source, note))
    return Table(
        name,
        data["title"],
        data["protocol"],
        tuple(numbers),
        edits=data.get("edits"),
        notes=tuple(data.get("notes", ())),
        metrics=metrics,
    )
