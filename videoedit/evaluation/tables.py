"""Results as tables for other programs: CSV with a row for each unit, LaTeX for papers (booktabs)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from videoedit.errors import ConfigError
from videoedit.evaluation.statistics import ALL, SANITY, Paired, Row, compare_all, contestants, summarise

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
        figures = {name: value for name in results.metrics if _is_figure(value := unit.figures.get(name))}
        writer.writerow({**values, **figures})
    return text.getvalue()


def _is_figure(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def to_latex(results: Results, *, types: str = ALL, metrics: Sequence[str] | None = None) -> str:
    """A ``table`` for ``\\usepackage{booktabs,graphicx}``: methods by metrics, means with 95 % intervals.

    `metrics`: the headline metrics. Whatever is chosen, the measures of edit strength stand first: an edit that does
    nothing is perfectly smooth. The sanity rows stand apart, above the methods. A figure is bold only if its method
    beats every other one in the paired test, corrected over the whole table.
    """
    columns = table_metrics(results, metrics)
    rows = {(row.method, row.metric): row for row in summarise(results, types=types)}
    bold = best(compare_all(results, columns, types), contestants(results))
    marks = _partial(results, types)
    digits = {m: _digits([row.mean for (_, name), row in rows.items() if name == m]) for m in columns}

    def line(method: str) -> str:
        cells = [_cell(rows[method, m], results.metrics[m], digits[m], bold.get(m) == method) for m in columns]
        mark = r"$^\dagger$" if method in marks else ""
        return " & ".join([escape(results.methods[method].label) + mark, *cells]) + r" \\"

    sanity = [line(method) for method in results.methods if method in SANITY]
    edited = [line(method) for method in contestants(results)]
    head = " & ".join(["Method", *(_heading(results.metrics[m]) for m in columns)])
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_caption(results, types, columns, list(rows.values()), bool(marks))}}}",
            rf"\label{{tab:{_label(results.suite)}}}",
            FIT + rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
            r"\toprule",
            rf"{head} \\",
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


def table_metrics(results: Results, metrics: Sequence[str] | None = None) -> list[str]:
    """Columns of a short table, by group: those given, else the headline metrics; always with edit strength.

    Raises ConfigError for a metric that the results do not hold.
    """
    for name in metrics or ():
        if name not in results.metrics:
            raise ConfigError(f"metric {name!r} is not in these results; there are {', '.join(results.metrics)}")
    chosen = metrics or [name for name, info in results.metrics.items() if info.headline] or list(results.metrics)
    strength = [name for name, info in results.metrics.items() if info.group == "strength"]
    if not any(name in chosen for name in strength):
        chosen = [*([name for name in strength if results.metrics[name].headline] or strength), *chosen]
    return sorted(dict.fromkeys(chosen), key=lambda name: _group(results.metrics[name]))


def _group(info: MetricInfo) -> int:
    return GROUPS.index(info.group) if info.group in GROUPS else len(GROUPS)


def best(pairs: Sequence[Paired], methods: Sequence[str]) -> dict[str, str]:
    """Metric -> the method that beats every other one in the paired tests; a metric without one is left out."""
    wins: dict[str, list[str]] = {}
    for pair in pairs:
        wins.setdefault(pair.metric, []).append(pair.winner)
    return {
        metric: method
        for metric, winners in wins.items()
        for method in methods
        if len(methods) > 1 and winners.count(method) == len(methods) - 1
    }


def _partial(results: Results, kind: str) -> set[str]:
    return {unit.method for unit in results.units if unit.is_partial and kind in (ALL, unit.type)}


def _digits(means: Sequence[float | None]) -> int:
    """Decimals that show three significant digits of the largest mean of a column."""
    largest = max((abs(mean) for mean in means if mean is not None and math.isfinite(mean)), default=0.0)
    return min(6, max(0, 2 - math.floor(math.log10(largest)))) if largest > 0 else 2


def _cell(row: Row, info: MetricInfo, digits: int, bold: bool) -> str:
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
    """What the table shows, in whole sentences: suite, kind of edits, numbers, ids, intervals, bold, marks."""
    counts = sorted({row.n for row in rows if row.metric in columns and row.n})
    edits = f"{counts[0]}--{counts[-1]}" if len(counts) > 1 else f"{counts[0] if counts else 0}"
    failed = {row.method: row.failed for row in rows if row.failed}
    what = "all edits" if kind == ALL else f"edits of type {kind}"
    sentences = [
        rf"Suite \texttt{{{escape(results.suite)}}}, {what} ($n$ = {edits}): means with 95\% bootstrap intervals.",
        "Metrics: " + ", ".join(rf"\texttt{{{escape(name)}}}" for name in columns) + ".",
        r"Bold: better than every other method (paired Wilcoxon signed-rank test, Holm-corrected, $p < 0.05$).",
    ]
    if failed:
        parts = (f"{escape(results.methods[name].label)} {number}" for name, number in failed.items())
        sentences.append(f"Failed units, left out: {', '.join(parts)}.")
    if partial:
        sentences.append(r"$^\dagger$Covers only part of the frames.")
    return " ".join(sentences)


def _label(text: str) -> str:
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-.") else "-" for letter in text)


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
        **{letter: f"\\{letter}" for letter in "&%$#_"},
    }
)


def escape(text: str) -> str:
    """Plain text as LaTeX shows it: no character has a special meaning afterwards."""
    return text.translate(_ESCAPES)
