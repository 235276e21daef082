"""The tables of a results page: the answer, by kind of edit, all figures, and published numbers beside ours."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from videoedit.evaluation.page.plots import Spot, cloud
from videoedit.evaluation.page.view import ARROWS, GROUPS, View, Words, counted, coverage
from videoedit.evaluation.published import obstacle, read_published
from videoedit.evaluation.statistics import ALL, Row, editing_methods
from videoedit.pages.html import number


def short_table(
    view: View,
    types: Sequence[str],
    leaders: Mapping[str, str],  # metric -> the method that beats all others
) -> dict[str, Any]:
    """Methods x headline metrics, a body for each type; intervals of one column are drawn on one scale."""
    names = view.headline
    found = {(row.type, row.method, row.metric): row for row in view.rows if row.type in types}
    scales = {name: _scale([row for row in found.values() if row.metric == name]) for name in names}
    columns = [view.column(name) for name in names]
    for column, before in zip(columns, [None, *columns], strict=False):
        column["starts"] = before is None or before["group"] != column["group"]
    spans = Counter(column["group"] for column in columns)
    bodies = []
    for kind in types:
        edits = len({(unit.clip, unit.edit) for unit in view.results.units if kind in (ALL, unit.type)})
        lines = []
        for method in view.methods.values():
            units = view.units_of(method.name, kind)
            cells = [_cell(found[kind, method.name, name], view.words[name], scales[name], edits) for name in names]
            for cell, column in zip(cells, columns, strict=True):
                leads = leaders.get(column["id"]) == method.name
                cell |= {"of": column["title"], "starts": column["starts"], "leads": leads}
            failed = sum(unit.status == "failed" for unit in units)
            lines.append({
                "method": method,
                "partial": coverage(units),
                "failed": f"{failed} of {len(units)} failed" if failed else "",
                "cells": cells,
            })  # fmt: skip
        bodies.append({"title": kind, "edits": counted(edits, "edit"), "rows": lines})
    return {
        "columns": columns,
        "groups": [{"title": GROUPS.get(group, group), "span": span} for group, span in spans.items()],
        "bodies": bodies,
        "leaders": bool(leaders),
    }


def _scale(rows: Iterable[Row]) -> tuple[float, float]:
    values = [v for row in rows for v in (row.mean, row.low, row.high) if v is not None and math.isfinite(v)]
    return (min(values), max(values)) if values else (0.0, 0.0)


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
    """What the paired tests tell apart: for each headline metric its best method against each other one."""
    found = []
    for name in view.headline:
        better = view.results.metrics[name].better
        means = {method: view.overall[method, name].mean for method in editing_methods(view.results)}
        there = {method: mean for method, mean in means.items() if mean is not None}
        if better == "none" or len(there) < 2:
            continue
        badness = {method: _badness(mean, better) for method, mean in there.items()}
        leader = min(badness, key=badness.__getitem__)
        against = []
        for pair in (p for p in view.pairs if p.metric == name and leader in (p.first, p.second) and p.n):
            sign = 1 if pair.first == leader else -1
            low, high = (pair.low, pair.high) if sign == 1 else (_minus(pair.high), _minus(pair.low))
            against.append({
                "other": view.methods[pair.second if sign == 1 else pair.first],
                "winner": pair.winner,
                "difference": view.words[name].signed(sign * (pair.difference or 0.0)),
                "range": view.words[name].interval(low, high),
                "p": _p(pair.p),
                "n": pair.n,
            })  # fmt: skip
        if against:
            value = view.words[name].text(there[leader])
            found.append(
                {"metric": view.column(name), "best": view.methods[leader], "value": value, "against": against}
            )
    return found


def _badness(value: float, better: str) -> float:
    return {"higher": -value, "lower": value, "one": abs(value - 1)}[better]


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def _p(p: float | None) -> str:
    return "" if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def clouds(view: View) -> list[dict[str, Any]]:
    """Edit strength across; up, the first headline metric of steadiness and of match to the prompt."""
    first = {view.results.metrics[name].group: name for name in reversed(view.headline)}
    across = first.get("strength")
    drawn = []
    for group in ("consistency", "alignment"):
        up = first.get(group)
        if across is None or up is None:
            continue
        spots = [
            Spot(method.name, method.colour, x.mean, y.mean, _range(x), _range(y))
            for method in view.methods.values()
            if (x := view.overall[method.name, across]).mean is not None and math.isfinite(x.mean)
            and (y := view.overall[method.name, up]).mean is not None and math.isfinite(y.mean)
        ]  # fmt: skip
        if plot := cloud(spots, view.title(across), view.title(up)):
            drawn.append(plot)
    return drawn


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
    return [{"title": title, "rows": lines} for title, lines in bodies.items()]


def published(view: View) -> dict[str, Any] | None:
    """The published table that the suite names, our own means of the same metrics above it, in their units."""
    results = view.results
    if results.published is None:
        return None
    table = read_published(results.published)
    metrics = list(table.metrics.values())
    why = {number_of.metric.name: obstacle(number_of, table, results) for number_of in table.numbers}
    means = {place: row.mean for place, row in view.overall.items() if row.mean is not None}
    lines: list[dict[str, Any]] = []
    for method in view.methods.values():
        ours = [means.get((method.name, metric.ours or "")) for metric in metrics]
        cells = ["" if m is None else number(m / metric.factor) for m, metric in zip(ours, metrics, strict=True)]
        if any(cells):
            lines.append({"method": method.name, "colour": method.colour, "cells": cells, "source": "this run"})
    for name, source in dict.fromkeys((n.method, n.source) for n in table.numbers):
        printed = {n.metric.name: n for n in table.numbers if (n.method, n.source) == (name, source)}
        cells = [number(printed[metric.name].value) if metric.name in printed else "" for metric in metrics]
        notes = dict.fromkeys(n.note for n in printed.values() if n.note)
        lines.append({"method": name, "colour": "", "cells": cells, "source": "; ".join([source.name, *notes])})
    return {
        "title": table.title,
        "protocol": table.protocol,
        "columns": [
            {"title": m.name, "arrow": ARROWS[m.better], "meaning": m.meaning, "id": m.ours, "why": why.get(m.name)}
            for m in metrics
        ],
        "rows": lines,
        "notes": table.notes,
        "sources": list(dict.fromkeys(n.source for n in table.numbers)),
    }
