"""The tables of a results page: the answer, by kind of edit, all figures, and published numbers beside ours."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from videoedit.evaluation.page.view import ARROWS, GROUPS, Method, View, Words, counted, coverage
from videoedit.evaluation.published import Table, obstacle, read_published
from videoedit.evaluation.statistics import ALL, Row, editing_methods
from videoedit.pages.html import number
from videoedit.pages.plots import Spot, scatter


def short_table(
    view: View,
    types: Sequence[str],
    leaders: Mapping[str, str],  # metric -> the method that beats all others
) -> dict[str, Any]:
    """Methods x headline metrics, a body for each type; intervals of one column are drawn on one scale."""
    columns = _columns(view, types, leaders)
    spans = Counter(column["group"] for column in columns)
    bodies = []
    for kind in types:
        edits, rows = set(), []
        for unit in view.results.units:
            if kind in (ALL, unit.type):
                edits.add((unit.clip, unit.edit))
        for method in view.methods.values():
            rows.append(_short_row(view, method, kind, columns, len(edits)))
        bodies.append({"title": kind, "edits": counted(len(edits), "edit"), "rows": rows})
    return {
        "columns": columns,
        "groups": [{"title": GROUPS.get(group, group), "span": span} for group, span in spans.items()],
        "bodies": bodies,
        "leaders": bool(leaders),
    }


def _columns(view: View, types: Sequence[str], leaders: Mapping[str, str]) -> list[dict[str, Any]]:
    """The headline metrics: what stands above each, the scale of its intervals, and who leads in it."""
    columns: list[dict[str, Any]] = []
    for name in view.headline:
        column = view.column(name)
        values = []
        for row in view.rows:
            if row.metric != name or row.type not in types:
                continue
            for value in (row.mean, row.low, row.high):
                if value is not None and math.isfinite(value):
                    values.append(value)
        column["scale"] = (min(values), max(values)) if values else (0.0, 0.0)
        column["starts"] = not columns or columns[-1]["group"] != column["group"]
        column["leader"] = leaders.get(name)
        columns.append(column)
    return columns


def _short_row(
    view: View, method: Method, kind: str, columns: Sequence[Mapping[str, Any]], edits: int
) -> dict[str, Any]:
    """A method's means over the edits of one type, of which there are so many."""
    cells = []
    for column in columns:
        cell = _cell(view.found[kind, method.name, column["id"]], view.words[column["id"]], column["scale"], edits)
        leads = column["leader"] == method.name
        cells.append(cell | {"of": column["title"], "starts": column["starts"], "leads": leads})
    units = view.units_of(method.name, kind)
    failed = sum(unit.status == "failed" for unit in units)
    return {
        "method": method,
        "partial": coverage(units),
        "failed": f"{failed} of {len(units)} failed" if failed else "",
        "cells": cells,
    }


def _cell(row: Row, words: Words, scale: tuple[float, float], edits: int) -> dict[str, Any]:
    """A mean, its interval in words, and where both stand on the column's scale, in percent."""
    low, high = scale

    def place(value: float | None) -> float | None:
        if value is None or not math.isfinite(value) or high <= low:
            return None
        return round(100 * (value - low) / (high - low), 1)

    return {
        "text": words.text(row.mean),
        "range": words.interval(row.low, row.high),
        "at": place(row.mean),
        "from": place(row.low),
        "to": place(row.high),
        "few": f"n = {row.n} of {edits}" if 0 < row.n < edits else "",
    }


def findings(view: View) -> list[dict[str, Any]]:
    """Paired tests, in words: for each headline metric, its best method against each other one."""
    found = []
    for name in view.headline:
        means = {}
        for method in editing_methods(view.results):
            mean = view.overall[method, name].mean
            if mean is not None:
                means[method] = mean
        better = view.results.metrics[name].better
        if better == "none" or len(means) < 2:
            continue
        leader = min(means, key=lambda method: _badness(means[method], better))
        if against := _against(view, name, leader):
            best, value = view.methods[leader], view.words[name].text(means[leader])
            found.append({"metric": view.column(name), "best": best, "value": value, "against": against})
    return found


def _against(view: View, name: str, leader: str) -> list[dict[str, Any]]:
    """The tests of one metric in which a method was paired with another."""
    against = []
    for pair in view.pairs:
        if pair.metric != name or leader not in (pair.first, pair.second) or not pair.n:
            continue
        is_first = pair.first == leader
        low, high = (pair.low, pair.high) if is_first else (_minus(pair.high), _minus(pair.low))
        against.append({
            "other": view.methods[pair.second if is_first else pair.first],
            "winner": pair.winner,
            "difference": view.words[name].signed((1 if is_first else -1) * (pair.difference or 0.0)),
            "range": view.words[name].interval(low, high),
            "p": _p(pair.p),
            "n": pair.n,
        })  # fmt: skip
    return against


def _badness(value: float, better: str) -> float:
    return {"higher": -value, "lower": value, "one": abs(value - 1)}[better]


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def _p(p: float | None) -> str:
    return "" if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def scatters(view: View) -> list[dict[str, Any]]:
    """Edit strength across; up, the first headline metric of steadiness and of match to the prompt."""
    first: dict[str, str] = {}
    for name in view.headline:
        first.setdefault(view.results.metrics[name].group, name)
    drawn = []
    for group in ("consistency", "alignment"):
        if "strength" in first and group in first:
            drawn.append(_scatter(view, first["strength"], first[group]))
    return list(filter(None, drawn))


def _scatter(view: View, across: str, up: str) -> dict[str, Any] | None:
    """The means of two metrics against each other, where a method has both."""
    spots = []
    for method in view.methods.values():
        x, y = view.overall[method.name, across], view.overall[method.name, up]
        if x.mean is not None and y.mean is not None and math.isfinite(x.mean + y.mean):
            spots.append(Spot(method.name, method.color, x.mean, y.mean, _range(x), _range(y)))
    return scatter(spots, view.title(across), view.title(up))


def _range(row: Row) -> tuple[float, float] | None:
    if row.low is None or row.high is None or not math.isfinite(row.low + row.high):
        return None
    return row.low, row.high


def all_figures(view: View) -> list[dict[str, Any]]:
    """Every metric, by group, one row each with the mean and interval of every method."""
    bodies: dict[str, list[dict[str, Any]]] = {}
    for name in view.metrics:
        words = view.words[name]
        cells = []
        for method in view.methods.values():
            row = view.overall[method.name, name]
            text = "" if row.mean is None else words.text(row.mean)
            cells.append({"method": method, "text": text, "range": words.interval(row.low, row.high), "n": row.n})
        column = view.column(name)
        bodies.setdefault(GROUPS.get(column["group"], column["group"]), []).append(column | {"cells": cells})
    return [{"title": title, "rows": rows} for title, rows in bodies.items()]


def published(view: View) -> dict[str, Any] | None:
    """The published table that the suite names, our own means of the same metrics above it, in their units."""
    if view.results.published is None:
        return None
    table = read_published(view.results.published)
    why = {}
    for printed in table.numbers:
        why[printed.metric.name] = obstacle(printed, table, view.results)
    columns = []
    for metric in table.metrics.values():
        arrow = ARROWS[metric.better]
        columns.append({
            "title": metric.name, "arrow": arrow, "meaning": metric.meaning, "id": metric.ours,
            "why": why.get(metric.name),
        })  # fmt: skip
    return {
        "title": table.title,
        "protocol": table.protocol,
        "columns": columns,
        "rows": _our_lines(view, table) + _their_lines(table),
        "notes": table.notes,
        "sources": list(dict.fromkeys(printed.source for printed in table.numbers)),
    }


def _our_lines(view: View, table: Table) -> list[dict[str, Any]]:
    """A line for each of our methods that has a figure of the table's."""
    lines = []
    for method in view.methods.values():
        cells = []
        for metric in table.metrics.values():
            row = view.overall.get((method.name, metric.ours or ""))
            cells.append("" if row is None or row.mean is None else number(row.mean / metric.factor))
        if any(cells):
            lines.append({"method": method.name, "color": method.color, "cells": cells, "source": "this run"})
    return lines


def _their_lines(table: Table) -> list[dict[str, Any]]:
    """A line for each method of a source, with the source's notes."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for printed in table.numbers:
        new = {
            "method": printed.method,
            "color": "",
            "cells": [""] * len(table.metrics),
            "source": [printed.source.name],
        }
        line = found.setdefault((printed.method, printed.source.name), new)
        line["cells"][list(table.metrics).index(printed.metric.name)] = number(printed.value)
        if printed.note and printed.note not in line["source"]:
            line["source"].append(printed.note)
    for line in found.values():
        line["source"] = "; ".join(line["source"])
    return list(found.values())
