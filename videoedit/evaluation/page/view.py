"""Results as people read them: methods with their colours, figures in words, columns in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from videoedit.evaluation.results import Results, UnitResult
from videoedit.evaluation.statistics import ALL, SANITY, Paired, Row, compare_all, editing_methods, fooled, summarize
from videoedit.evaluation.tables import table_metrics
from videoedit.pages.html import BETTER, duration, memory, number

COLORS = 8  # classes c0 to c7 of the style
ARROWS = {"higher": "↑", "lower": "↓", "one": "→\N{NO-BREAK SPACE}1", "none": ""}
GROUPS = {  # in the order of the columns: strength leads, so that nothing is read without it
    "strength": "How much changed",
    "alignment": "Match to the prompt",
    "consistency": "Steadiness",
    "fidelity": "Fidelity",
    "motion": "Motion",
    "parity": "Same shape as the clip",
    "cost": "Cost",
}


@dataclass(frozen=True)
class Method:
    """A row of the tables."""

    name: str
    label: str  # what it is, in a few words; empty if its name says it
    color: str  # class of the style
    sanity: bool
    partial: str  # what it covers, if not all frames


@dataclass(frozen=True)
class Words:
    """The form of one metric's figures: all with as many decimals, so that a column can be read down."""

    unit: str
    decimals: int

    def text(self, value: float | None) -> str:
        """With its unit; – where there was nothing to measure."""
        if value is None or math.isnan(value):
            return "–"
        if self.unit == "s" and value >= 60:
            return duration(value)
        if self.unit == "MB":
            return memory(value)
        return self.bare(value) + {"": "", "x": "×"}.get(self.unit, f" {self.unit}")

    def bare(self, value: float) -> str:
        """Without its unit."""
        if not math.isfinite(value):
            return number(value)
        text = f"{value:.{self.decimals}f}"
        return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")

    def signed(self, value: float) -> str:
        return ("+" if value > 0 else "") + self.bare(value)

    def interval(self, low: float | None, high: float | None) -> str:
        if low is None or high is None:
            return ""
        write = self.text if self.unit == "MB" or (self.unit == "s" and high >= 60) else self.bare
        return f"{write(low)} to {write(high)}"


class View:
    """Results, and what several parts of a page say about them."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.rows = summarize(results)
        self.headline = table_metrics(results)

    @cached_property
    def methods(self) -> dict[str, Method]:
        """Those that edit, in the results' order, then the sanity rows."""
        edit = list(editing_methods(self.results))
        methods = {}
        for name in [*edit, *SANITY]:
            if name not in self.results.methods:
                continue
            label = self.results.methods[name].label
            methods[name] = Method(
                name,
                label if label != name else "",
                name if name in SANITY else f"c{edit.index(name) % COLORS}",
                name in SANITY,
                coverage(self.units_of(name)),
            )
        return methods

    @cached_property
    def words(self) -> dict[str, Words]:
        """By metric: two digits of the smallest mean of a method that edits, but three to five of the largest."""
        counted = editing_methods(self.results) or tuple(self.results.methods)
        means: dict[str, list[float]] = {}
        for (method, name), row in self.overall.items():
            if method in counted and row.mean and math.isfinite(row.mean):
                means.setdefault(name, []).append(abs(row.mean))
        words = {}
        for name, metric in self.results.metrics.items():
            sizes = means.get(name, [1.0])
            least, most = min(sizes), max(sizes)
            top = 2 - math.floor(math.log10(most))
            decimals = min(max(1 - math.floor(math.log10(least)), top), top + 2)
            words[name] = Words(metric.unit, min(max(decimals, 0), 8))
        return words

    @cached_property
    def found(self) -> dict[tuple[str, str, str], Row]:
        """(type of edits, method, metric) -> its row."""
        return {(row.type, row.method, row.metric): row for row in self.rows}

    @cached_property
    def overall(self) -> dict[tuple[str, str], Row]:
        """(method, metric) -> its row over all edits."""
        rows = {}
        for row in self.rows:
            if row.type == ALL:
                rows[row.method, row.metric] = row
        return rows

    @cached_property
    def pairs(self) -> list[Paired]:
        """The paired tests of the headline metrics."""
        return compare_all(self.results, self.headline) if len(editing_methods(self.results)) > 1 else []

    @cached_property
    def metrics(self) -> list[str]:
        """All metrics by group; within a group as the results have them."""
        metrics, order = self.results.metrics, list(GROUPS)

        def place(name: str) -> int:
            return order.index(metrics[name].group) if metrics[name].group in order else len(order)

        return sorted(metrics, key=place)

    @cached_property
    def fooled(self) -> dict[str, list[str]]:
        """Metric -> rows that no one would take for an edit and that it puts before the methods."""
        return fooled(self.results)

    @property
    def kinds(self) -> list[str]:
        """The types of edits that there are."""
        return list(dict.fromkeys(unit.type for unit in self.results.units))

    def units_of(self, method: str, kind: str = ALL) -> list[UnitResult]:
        units = []
        for unit in self.results.units:
            if unit.method == method and kind in (ALL, unit.type):
                units.append(unit)
        return units

    def column(self, name: str) -> dict[str, Any]:
        """The head of a metric's column or row."""
        metric = self.results.metrics[name]
        return {
            "id": name, "title": metric.title, "group": metric.group, "meaning": metric.meaning,
            "arrow": ARROWS[metric.better], "better": BETTER[metric.better],
            "fooled": " and ".join(self.fooled.get(name, [])),
        }  # fmt: skip

    def title(self, name: str) -> str:
        """A metric's title with its arrow."""
        metric = self.results.metrics[name]
        return f"{metric.title} {ARROWS[metric.better]}".strip()


def coverage(units: Sequence[UnitResult]) -> str:
    """Such as "30 % of the frames of 3 edits" where a method covered fewer than were asked for."""
    done = partial = covered = asked = 0
    for unit in units:
        done += unit.status == "done"
        if unit.is_partial:
            partial += 1
            covered += unit.frames[2]
            asked += unit.asked[2]
    if not partial:
        return ""
    whole = "" if partial == done else f" of {partial} edits"
    return f"{100 * covered / asked:.0f} % of the frames{whole}"


def counted(number_of: int, thing: str) -> str:
    return f"{number_of} {thing}{'' if number_of == 1 else 's'}"
