"""Results as tables for other programs: CSV with a row for each unit, LaTeX for papers (booktabs)."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from videoedit.errors import ConfigError
from videoedit.evaluation.statistics import ALL, SANITY, Paired, Row, compare_all, editing_methods, summarize

if TYPE_CHECKING:
    from videoedit.evaluation.results import MetricInfo, Results

GROUPS = ("strength", "alignment", "consistency", "fidelity", "motion", "parity", "cost")
"""Kinds of metrics in the order of columns: how much was edited stands before how smooth it is."""
FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{"
"""Shrinks what follows if it is wider than the page."""
UNIT_COLUMNS = ("clip", "edit", "type", "prompt", "method", "seed", "status", "reason", "start", "stride", "count",
                "fps", "video")  # fmt: skip


def to_csv(results: Results) -> str:
    """A row for each unit: what it was, how it went, then a column for each metric id; no figure is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*UNIT_COLUMNS, *results.metrics], lineterminator="\n")
    writer.writeheader()
    for unit in results.units:
        start, stride, count = unit.frames
        values = unit.model_dump(include=set(UNIT_COLUMNS)) | {"start": start, "stride": stride, "count": count}
        for name in results.metrics:
            figure = unit.figures.get(name)
            if figure is not None and not math.isnan(figure):
                values[name] = figure
        writer.writerow(values)
    return text.getvalue()


def to_latex(results: Results, *, types: str = ALL, metrics: Sequence[str] | None = None) -> str:
    """A ``table`` for ``\\usepackage{booktabs,graphicx}``: methods by metrics, means with 95 % intervals.

    `metrics`: the headline metrics. Whatever is chosen, the measures of edit strength stand first: an edit that does
    nothing is perfectly smooth. The sanity rows stand apart, above the methods. A figure is bold only if its method
    beats every other one in the paired test, corrected over the pairs of its column.
    """
    columns = table_metrics(results, metrics)
    rows = summarize(results, types=types)
    partial = _partial(results, types)
    sanity: list[str] = []
    edited: list[str] = []
    for method, line in _lines(results, types, columns, rows, partial).items():
        (sanity if method in SANITY else edited).append(line)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_caption(results, types, columns, rows, bool(partial))}}}",
            rf"\label{{tab:{_label(results.suite)}}}",
            FIT + rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
            r"\toprule",
            " & ".join(["Method", *(_heading(results.metrics[name]) for name in columns)]) + r" \\",
            r"\midrule",
            *sanity,
            *([r"\midrule"] if sanity and edited else []),
            *edited,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def _lines(
    results: Results, kind: str, columns: Sequence[str], rows: Sequence[Row], partial: set[str]
) -> dict[str, str]:
    """Method -> its line of the table."""
    bold = best(compare_all(results, columns, kind), editing_methods(results))
    lines: dict[str, str] = {}
    for method, info in results.methods.items():
        lines[method] = escape(info.label) + (r"$^\dagger$" if method in partial else "")
    for column in columns:
        of_column, means = [], []
        for row in rows:
            if row.metric == column:
                of_column.append(row)
                means.append(row.mean)
        digits = _digits(means)
        for row in of_column:
            lines[row.method] += f" & {_cell(row, digits, bold.get(column) == row.method)}"
    for method in lines:
        lines[method] += r" \\"
    return lines


def table_metrics(results: Results, metrics: Sequence[str] | None = None) -> list[str]:
    """Columns of a short table, by group: those given, else the headline metrics; always with edit strength.

    Raises ConfigError for a metric that the results do not hold.
    """
    for name in metrics or ():
        if name not in results.metrics:
            raise ConfigError(f"metric {name!r} is not in these results; there are {', '.join(results.metrics)}")
    headline, strength = [], []
    for name, info in results.metrics.items():
        if info.headline:
            headline.append(name)
        if info.group == "strength":
            strength.append(name)
    chosen = list(metrics or headline or results.metrics)
    if set(chosen).isdisjoint(strength):
        chosen += [name for name in strength if name in headline] or strength
    return sorted(dict.fromkeys(chosen), key=lambda name: _group(results.metrics[name]))


def _group(info: MetricInfo) -> int:
    return GROUPS.index(info.group) if info.group in GROUPS else len(GROUPS)


def best(pairs: Sequence[Paired], methods: Sequence[str]) -> dict[str, str]:
    """Metric -> the method that beats every other one in the paired tests; a metric without one is left out."""
    wins = Counter((pair.metric, pair.winner) for pair in pairs)
    found: dict[str, str] = {}
    for (metric, method), count in wins.items():
        if method in methods and count == len(methods) - 1:
            found[metric] = method
    return found


def _partial(results: Results, kind: str) -> set[str]:
    methods = set()
    for unit in results.units:
        if unit.is_partial and kind in (ALL, unit.type):
            methods.add(unit.method)
    return methods


def _digits(means: Sequence[float | None]) -> int:
    """Decimals that show three significant digits of the largest mean of a column."""
    largest = 0.0
    for mean in means:
        if mean is not None and math.isfinite(mean):
            largest = max(largest, abs(mean))
    return min(6, max(0, 2 - math.floor(math.log10(largest)))) if largest > 0 else 2


def _cell(row: Row, digits: int, bold: bool) -> str:
    if row.mean is None:
        return "--"
    mean = _number(row.mean, digits)
    text = rf"\textbf{{{mean}}}" if bold else mean
    if row.low is None or row.high is None or row.low == row.high:
        return text
    return rf"{text} {{\scriptsize [{_number(row.low, digits)}, {_number(row.high, digits)}]}}"


def _number(value: float, digits: int) -> str:
    if math.isinf(value):
        return r"$\infty$" if value > 0 else r"$-\infty$"
    text = f"{value:.{digits}f}"
    return f"${text}$" if text.startswith("-") else text


def _heading(info: MetricInfo) -> str:
    arrow = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", "one": r" $\to 1$", "none": ""}[info.better]
    return escape(info.title) + (f" ({escape(info.unit)})" if info.unit else "") + arrow


def _caption(results: Results, kind: str, columns: Sequence[str], rows: Sequence[Row], partial: bool) -> str:
    """Say in whole sentences what the table shows: suite, kind of edits, numbers, ids, intervals, bold, marks."""
    counts: set[int] = set()
    failed: dict[str, str] = {}
    for row in rows:
        if row.metric in columns and row.n:
            counts.add(row.n)
        if row.failed:
            failed[row.method] = f"{escape(results.methods[row.method].label)} {row.failed}"
    low, high = min(counts, default=0), max(counts, default=0)
    edits = f"{low}--{high}" if low < high else f"{low}"
    what = "all edits" if kind == ALL else f"edits of type {kind}"
    sentences = [
        rf"Suite \texttt{{{escape(results.suite)}}}, {what} ($n$ = {edits}): means with 95\% bootstrap intervals.",
        "Metrics: " + ", ".join(rf"\texttt{{{escape(name)}}}" for name in columns) + ".",
        r"Bold: better than every other method (paired Wilcoxon signed-rank test, Holm by column, $p < 0.05$).",
    ]
    if failed:
        sentences.append(f"Failed units, left out: {', '.join(failed.values())}.")
    if partial:
        sentences.append(r"$^\dagger$Covers only part of the frames.")
    return " ".join(sentences)


def _label(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", text)


_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "[": "{[}",
        "]": "{]}",
        "\n": " ",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
    }
)


def escape(text: str) -> str:
    """Plain text as LaTeX shows it: no character has a special meaning afterwards."""
    return text.translate(_ESCAPES)
