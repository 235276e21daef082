"""The page of a comparative run: ``index.html``, one file that asks nothing of the network.

The answer comes first: means with intervals of the headline metrics, edit strength beside all others, and what can be
told apart. Then the videos of each edit side by side, all figures, and how they came about.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from videoedit.bench.films import Cut, Film, load_films
from videoedit.bench.plots import Curve, Spot, cloud, over_frames
from videoedit.bench.published import obstacle, read_published
from videoedit.bench.results import MetricInfo, Results, UnitResult
from videoedit.bench.statistics import ALL, SANITY, Paired, Row, compare_all, contestants, summarise
from videoedit.bench.tables import best, table_metrics
from videoedit.html import BETTER, duration, flatten, memory, number, render
from videoedit.run import write_text

PAGE = "index.html"
TEMPLATES = Path(__file__).parent / "templates"
COLOURS = 8  # classes c0 to c7 of the style
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


def write_page(results: Results, folder: Path) -> Path:
    """Write ``index.html`` into the results' folder and return its path.

    Videos are taken from the places that the results name; one that is missing leaves a gap that says so.
    """
    methods = _methods(results)
    rows = summarise(results)
    pairs = compare_all(results, table_metrics(results)) if len(contestants(results)) > 1 else []
    words = _words(results, rows)
    films = load_films(_cuts(results, folder), folder)
    groups = _groups(results, methods, words, films, folder)
    context = {
        "head": _head(results),
        "methods": methods,
        "answer": _table(results, methods, [ALL], rows, words, best(pairs, contestants(results))),
        "findings": _findings(results, methods, rows, words, pairs),
        "clouds": _clouds(results, methods, rows),
        "kinds": _table(results, methods, _kinds(results), rows, words, {}),
        "failures": _failures(results),
        "groups": groups,
        "films": {film.id: film.data for film in films.values() if film.data},
        "linked": any(film.link and not film.data for film in films.values()),
        "figures": _all_figures(results, methods, rows, words),
        "published": _published(results, methods, rows),
        "skipped": _skipped(results),
        "settings": _settings(results, methods),
        "licences": {"videoedit": "Apache-2.0"}
        | {name: info.licence for name, info in results.methods.items() if info.licence},
        "environment": flatten(results.environment),
        "commands": _commands(results),
    }
    page = folder / PAGE
    scripts = ("player.js", "bench.js")
    text = render("bench.html.j2", context, styles=("base.css", "bench.css"), scripts=scripts, folder=TEMPLATES)
    write_text(page, text)
    return page


# ---------------------------------------------------------------------------------------- methods and heading


@dataclass(frozen=True)
class _Method:
    """A row of the tables."""

    name: str
    label: str  # what it is, in a few words; empty if its name says it
    colour: str  # class of the style
    sanity: bool
    partial: str  # what it covers, if not all frames


def _methods(results: Results) -> dict[str, _Method]:
    """Those that edit, in the results' order, then the sanity rows."""
    edit = list(contestants(results))
    methods = {}
    for name in [*edit, *(name for name in SANITY if name in results.methods)]:
        methods[name] = _Method(
            name,
            label if (label := results.methods[name].label) != name else "",
            name if name in SANITY else f"c{edit.index(name) % COLOURS}",
            name in SANITY,
            _coverage([unit for unit in results.units if unit.method == name]),
        )
    return methods


def _coverage(units: Sequence[UnitResult]) -> str:
    """ "30 % of the frames of 3 edits" where a method covered fewer than were asked for."""
    partial = [unit for unit in units if unit.is_partial]
    if not partial:
        return ""
    share = sum(unit.frames[2] for unit in partial) / sum(unit.asked[2] for unit in partial)
    whole = "" if len(partial) == sum(unit.status == "done" for unit in units) else f" of {len(partial)} edits"
    return f"{100 * share:.0f} % of the frames{whole}"


def _head(results: Results) -> dict[str, Any]:
    units = results.units
    edits = {(unit.clip, unit.edit): unit.type for unit in units}
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(edits.values()).items())
    failed = sum(unit.status == "failed" for unit in units)
    partial = sum(unit.is_partial for unit in units)
    seeds = sorted({unit.seed for unit in units})
    return {
        "title": results.title or results.suite,
        "suite": results.suite,
        "facts": [
            _count(len({unit.clip for unit in units}), "clip"),
            _count(len(edits), "edit") + (f" ({kinds})" if kinds else ""),
            _count(len(contestants(results)), "method") + " and the sanity rows",
            f"{_count(len(units), 'unit')}: {len(units) - failed} done, {failed} failed",
            f"{partial} cover only part of their clip" if partial else "",
            f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}" if seeds else "",
            results.created.replace("T", " ")[:16] + " UTC" if results.created else "",
        ],
    }


def _count(number_of: int, thing: str) -> str:
    return f"{number_of} {thing}{'' if number_of == 1 else 's'}"


def _kinds(results: Results) -> list[str]:
    return list(dict.fromkeys(unit.type for unit in results.units))


# ------------------------------------------------------------------------------------------------- the answer


def _table(
    results: Results,
    methods: Mapping[str, _Method],
    types: Sequence[str],
    rows: Sequence[Row],
    words: Mapping[str, _Words],
    leaders: Mapping[str, str],  # metric -> the method that beats all others
) -> dict[str, Any]:
    """Methods x headline metrics, a body for each type; intervals of one column are drawn on one scale."""
    names = table_metrics(results)
    found = {(row.type, row.method, row.metric): row for row in rows if row.type in types}
    scales = {name: _scale([row for row in found.values() if row.metric == name]) for name in names}
    columns = [_column(name, results.metrics[name]) for name in names]
    for column, before in zip(columns, [None, *columns], strict=False):
        column["starts"] = before is None or before["group"] != column["group"]
    spans = Counter(column["group"] for column in columns)
    bodies = []
    for kind in types:
        edits = len({(unit.clip, unit.edit) for unit in results.units if kind in (ALL, unit.type)})
        lines = []
        for method in methods.values():
            units = [unit for unit in results.units if unit.method == method.name and kind in (ALL, unit.type)]
            cells = [_cell(found[kind, method.name, name], words[name], scales[name], edits) for name in names]
            for cell, column in zip(cells, columns, strict=True):
                leads = leaders.get(column["id"]) == method.name
                cell |= {"of": column["title"], "starts": column["starts"], "leads": leads}
            failed = sum(unit.status == "failed" for unit in units)
            lines.append({
                "method": method,
                "partial": _coverage(units),
                "failed": f"{failed} of {len(units)} failed" if failed else "",
                "cells": cells,
            })  # fmt: skip
        bodies.append({"title": kind, "edits": _count(edits, "edit"), "rows": lines})
    return {
        "columns": columns,
        "groups": [{"title": GROUPS.get(group, group), "span": span} for group, span in spans.items()],
        "bodies": bodies,
        "leaders": bool(leaders),
    }


def _column(name: str, metric: MetricInfo) -> dict[str, Any]:
    return {
        "id": name, "title": metric.title, "group": metric.group, "meaning": metric.meaning, "unit": metric.unit,
        "arrow": ARROWS[metric.better], "better": BETTER[metric.better],
    }  # fmt: skip


def _scale(rows: Iterable[Row]) -> tuple[float, float]:
    values = [v for row in rows for v in (row.mean, row.low, row.high) if v is not None and math.isfinite(v)]
    return (min(values), max(values)) if values else (0.0, 0.0)


def _cell(row: Row, words: _Words, scale: tuple[float, float], edits: int) -> dict[str, Any]:
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


@dataclass(frozen=True)
class _Words:
    """How the figures of one metric are written: all with as many decimals, so that a column can be read down."""

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
        return f"{value:.{self.decimals}f}".replace("-", "−")

    def signed(self, value: float) -> str:
        return ("+" if value > 0 else "") + self.bare(value)

    def interval(self, low: float | None, high: float | None) -> str:
        if low is None or high is None:
            return ""
        write = self.text if self.unit == "MB" or (self.unit == "s" and high >= 60) else self.bare
        return f"{write(low)} to {write(high)}"


def _words(results: Results, rows: Iterable[Row]) -> dict[str, _Words]:
    """Decimals by metric: two digits of the smallest mean of a method that edits, but three to five of the largest."""
    counted = contestants(results) or tuple(results.methods)
    means: dict[str, list[float]] = {name: [] for name in results.metrics}
    for row in rows:
        if row.type == ALL and row.method in counted and row.mean and math.isfinite(row.mean):
            means[row.metric].append(abs(row.mean))
    words = {}
    for name, metric in results.metrics.items():
        least, most = min(means[name], default=1.0), max(means[name], default=1.0)
        top = 2 - math.floor(math.log10(most))
        decimals = min(max(1 - math.floor(math.log10(least)), top), top + 2)
        words[name] = _Words(metric.unit, min(max(decimals, 0), 8))
    return words


def _findings(
    results: Results,
    methods: Mapping[str, _Method],
    rows: Sequence[Row],
    words: Mapping[str, _Words],
    pairs: Sequence[Paired],
) -> list[dict[str, Any]]:
    """What the paired tests tell apart: for each headline metric its best method against each other one."""
    means = {(row.method, row.metric): row.mean for row in rows if row.type == ALL and row.mean is not None}
    findings = []
    for name in table_metrics(results):
        metric = results.metrics[name]
        there = [method for method in contestants(results) if (method, name) in means]
        if metric.better == "none" or len(there) < 2:
            continue
        leader = min(there, key=lambda method: _badness(means[method, name], metric.better))
        against = []
        for pair in (p for p in pairs if p.metric == name and leader in (p.first, p.second) and p.n):
            sign = 1 if pair.first == leader else -1
            low, high = (pair.low, pair.high) if sign == 1 else (_minus(pair.high), _minus(pair.low))
            against.append({
                "other": methods[pair.second if sign == 1 else pair.first],
                "wins": pair.winner == leader,
                "difference": words[name].signed(sign * (pair.difference or 0.0)),
                "range": words[name].interval(low, high),
                "p": _p(pair.p),
                "n": pair.n,
            })  # fmt: skip
        if against:
            value = words[name].text(means[leader, name])
            findings.append(
                {"metric": _column(name, metric), "best": methods[leader], "value": value, "against": against}
            )
    return findings


def _badness(value: float, better: str) -> float:
    return {"higher": -value, "lower": value, "one": abs(value - 1)}[better]


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def _p(p: float | None) -> str:
    return "" if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _clouds(results: Results, methods: Mapping[str, _Method], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Edit strength across; up, the first headline metric of steadiness and of match to the prompt."""
    first = {results.metrics[name].group: name for name in reversed(table_metrics(results))}
    across = first.get("strength")
    found = {(row.method, row.metric): row for row in rows if row.type == ALL}
    clouds = []
    for group in ("consistency", "alignment"):
        up = first.get(group)
        if across is None or up is None:
            continue
        spots = [
            Spot(method.name, method.colour, x.mean, y.mean, _range(x), _range(y))
            for method in methods.values()
            if (x := found[method.name, across]).mean is not None and math.isfinite(x.mean)
            and (y := found[method.name, up]).mean is not None and math.isfinite(y.mean)
        ]  # fmt: skip
        axes = [f"{results.metrics[n].title} {ARROWS[results.metrics[n].better]}".strip() for n in (across, up)]
        if drawn := cloud(spots, *axes):
            clouds.append(drawn)
    return clouds


def _range(row: Row) -> tuple[float, float] | None:
    if row.low is None or row.high is None or not math.isfinite(row.low + row.high):
        return None
    return row.low, row.high


def _failures(results: Results) -> list[dict[str, str]]:
    return [
        {"where": f"{unit.clip} / {unit.edit}", "method": unit.method, "seed": str(unit.seed), "reason": unit.reason}
        for unit in results.units
        if unit.status == "failed"
    ]


# ------------------------------------------------------------------------------------------------- the videos


@dataclass
class _Shown:
    """One video of a row, or the reason why there is none."""

    title: str
    method: str = ""  # empty for source and truth
    colour: str = ""
    film: Film | None = None
    start: float = 0.0  # seconds into the row
    problem: str = ""
    remarks: list[str] = field(default_factory=list)
    figures: list[dict[str, str]] = field(default_factory=list)


def _cuts(results: Results, folder: Path) -> Iterable[Cut]:
    for unit in results.units:
        yield from _given(unit, folder).values()
        if unit.video:
            yield Cut(folder / unit.video)


def _given(unit: UnitResult, folder: Path) -> dict[str, Cut]:
    """Source and ground truth of a unit's edit, the frames that were asked for."""
    files = {"Source": unit.source, "Ground truth": unit.truth}
    frames = unit.asked if unit.asked[2] else None
    return {title: Cut(folder / file, frames) for title, file in files.items() if file}


def _groups(
    results: Results,
    methods: Mapping[str, _Method],
    words: Mapping[str, _Words],
    films: Mapping[Cut, Film],
    folder: Path,
) -> list[dict[str, Any]]:
    """A row of videos for each (clip, edit, seed); a method that ran with one seed stands in the rows of all."""
    seeds = sorted({unit.seed for unit in results.units})
    seeded = {name: {unit.seed for unit in results.units if unit.method == name} for name in methods}
    groups: dict[tuple[str, str, int], dict[str, UnitResult]] = {}
    for unit in results.units:
        if unit.method in methods:
            for seed in seeds if len(seeded[unit.method]) == 1 else [unit.seed]:
                groups.setdefault((unit.clip, unit.edit, seed), {})[unit.method] = unit
    return [
        _group(results, f"edit-{number_of}", units, methods, words, films, folder, seed if len(seeds) > 1 else None)
        for number_of, ((_, _, seed), units) in enumerate(groups.items(), 1)
    ]


def _group(
    results: Results,
    anchor: str,
    units: Mapping[str, UnitResult],
    methods: Mapping[str, _Method],
    words: Mapping[str, _Words],
    films: Mapping[Cut, Film],
    folder: Path,
    seed: int | None,
) -> dict[str, Any]:
    first = next((unit for unit in units.values() if unit.source), next(iter(units.values())))
    given = [_Shown(title, film=films[cut]) for title, cut in _given(first, folder).items()]
    there = [(method, units[name]) for name, method in methods.items() if name in units]
    rate = next((_rate(unit) for _, unit in there if _rate(unit)), Fraction(8))
    series = [name for name in _ordered(results) if any(unit.series.get(name) for _, unit in there)]
    shown = [n for n in series if results.metrics[n].group == "consistency" and results.metrics[n].headline] or series[
        :2
    ]
    edited = [_edited(results, method, unit, words, films, folder, rate) for method, unit in there]
    return {
        "anchor": anchor,
        "clip": first.clip,
        "edit": first.edit,
        "type": first.type,
        "prompt": first.prompt,
        "seed": seed,
        "fps": float(rate),
        "videos": given + edited,
        "plots": _plots(results, there, [name for name in series if name in shown]),
        "more_plots": _plots(results, there, [name for name in series if name not in shown]),
        "failed": sum(unit.status == "failed" for unit in units.values()),
    }


def _rate(unit: UnitResult) -> Fraction:
    """Frames a second of the frames that were asked for; 0 if unknown."""
    return Fraction(unit.fps) * unit.frames[1] / max(1, unit.asked[1])


def _edited(
    results: Results,
    method: _Method,
    unit: UnitResult,
    words: Mapping[str, _Words],
    films: Mapping[Cut, Film],
    folder: Path,
    rate: Fraction,
) -> _Shown:
    shown = _Shown(method.name, method.name, method.colour)
    if unit.status == "failed":
        shown.problem = f"Failed: {unit.reason}"
        return shown
    shown.film = films[Cut(folder / unit.video)] if unit.video else None
    shown.problem = "" if shown.film else "There is no video."
    shown.start = float((unit.frames[0] - unit.asked[0]) / (rate * unit.asked[1])) if unit.asked[2] else 0.0
    if unit.is_partial:
        step = f", every {_ordinal(unit.frames[1] // max(1, unit.asked[1]))}" if unit.frames[1] > unit.asked[1] else ""
        shown.remarks.append(f"{unit.frames[2]} of {unit.asked[2]} frames{step}")
    shown.remarks += unit.notes
    for name in table_metrics(results):
        if name in unit.figures:
            text = words[name].text(unit.figures[name])
            title = results.metrics[name].title
            shown.figures.append({"title": title, "text": text, "why": unit.remarks.get(name, "")})
    return shown


def _ordinal(number_of: int) -> str:
    ending = "th" if number_of % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number_of % 10, "th")
    return f"{number_of}{ending}"


def _plots(results: Results, units: Sequence[tuple[_Method, UnitResult]], names: Iterable[str]) -> list[dict[str, Any]]:
    """One box for each of these metrics, its values frame by frame, all methods in it."""
    done = [(method, unit) for method, unit in units if unit.status == "done"]
    total = max((unit.asked[2] or unit.frames[2] for _, unit in done), default=0)
    drawn = []
    for name in names:
        curves = [
            Curve(method.name, method.colour, *_spread(unit, unit.series[name]))
            for method, unit in done
            if unit.series.get(name)
        ]
        metric = results.metrics[name]
        drawn.append(over_frames(f"{metric.title} {ARROWS[metric.better]}".strip(), curves, total))
    return [plot for plot in drawn if plot]


def _spread(unit: UnitResult, values: Sequence[float]) -> tuple[list[int], Sequence[float], list[int]]:
    """Where a unit's values and key frames stand among the frames asked for; values of pairs at the later frame."""
    start, stride, count = unit.frames
    first, step, _ = unit.asked if unit.asked[2] else unit.frames
    places = [(start + stride * i - first) // max(1, step) for i in range(count)]
    values = values[:count]
    return places[count - len(values) :], values, [places[key] for key in unit.keyframes if 0 <= key < count]


# ------------------------------------------------------------------------------------------- all figures, sources


def _ordered(results: Results) -> list[str]:
    """All metrics by group; within a group as the results have them."""
    order = list(GROUPS)
    groups = {name: metric.group for name, metric in results.metrics.items()}
    return sorted(groups, key=lambda name: order.index(groups[name]) if groups[name] in order else len(order))


def _all_figures(
    results: Results, methods: Mapping[str, _Method], rows: Sequence[Row], words: Mapping[str, _Words]
) -> list[dict[str, Any]]:
    """Every metric, by group, one row each with the mean and interval of every method."""
    found = {(row.method, row.metric): row for row in rows if row.type == ALL}
    bodies: dict[str, list[dict[str, Any]]] = {}
    for name in _ordered(results):
        metric = results.metrics[name]
        cells = []
        for method in methods.values():
            row = found[method.name, name]
            text = "" if row.mean is None else words[name].text(row.mean)
            cells.append({"method": method, "text": text, "range": words[name].interval(row.low, row.high), "n": row.n})
        bodies.setdefault(GROUPS.get(metric.group, metric.group), []).append(_column(name, metric) | {"cells": cells})
    return [{"title": title, "rows": lines} for title, lines in bodies.items()]


def _published(results: Results, methods: Mapping[str, _Method], rows: Sequence[Row]) -> dict[str, Any] | None:
    """The published table that the suite names, our own means of the same metrics above it, in their units."""
    if results.published is None:
        return None
    table = read_published(results.published)
    metrics = list(table.metrics.values())
    why = {number_of.metric.name: obstacle(number_of, table, results) for number_of in table.numbers}
    means = {(row.method, row.metric): row.mean for row in rows if row.type == ALL and row.mean is not None}
    lines: list[dict[str, Any]] = []
    for method in methods.values():
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


def _skipped(results: Results) -> dict[str, list[str]]:
    """Reason -> the metrics that were left out for it."""
    reasons: dict[str, list[str]] = {}
    for name, reason in results.skipped.items():
        reasons.setdefault(reason, []).append(name)
    return reasons


def _settings(results: Results, methods: Mapping[str, _Method]) -> list[dict[str, Any]]:
    shown = []
    for name, method in methods.items():
        info = results.methods[name]
        facts = {
            "model": info.model,
            "made": "elsewhere; only measured here" if info.imported else "",
        }
        shown.append({"method": method, "rows": {k: v for k, v in facts.items() if v} | flatten(info.settings)})
    return shown


def _commands(results: Results) -> list[str]:
    ours = [name for name in contestants(results) if not results.methods[name].imported]
    words = ["videoedit", "bench", "run", "suite.yaml"]
    words += ["--methods", ",".join(ours)] if ours else []
    for name in contestants(results):
        words += ["--results", f"{name}=FOLDER"] if results.methods[name].imported else []
    return [shlex.join([*words, "-o", "OUT"])]
