"""Figures in documents come out of result files: each marked span is a block of ``documents.md.j2``, rendered.

python benchmarks/documents.py        writes the spans anew (`make docs`)

A span is ``<!-- figures: NAME -->...<!-- /figures -->``; what stands between is never edited by hand.
"""

from __future__ import annotations

import functools
import json
import re
import statistics
from pathlib import Path
from typing import Any

import jinja2
from results_schema import RESULTS, SIDE_BY_SIDE, read_result

from videoedit.evaluation.results import Results, read_results
from videoedit.evaluation.statistics import Paired, compare, find_metric, summarize
from videoedit.evaluation.statistics import Row as Mean
from videoedit.evaluation.tables import to_latex
from videoedit.files import write_text

ROOT = Path(__file__).parents[1]
MINI = ROOT / "benchmarks/mini"
DOCUMENTS = ("README.md",)
SPAN = re.compile(r"(<!-- figures: (\w+) -->)(.*?)(<!-- /figures -->)", re.S)


@functools.cache
def mini() -> Results:
    """The bundled suite's results."""
    return read_results(MINI)


@functools.cache
def means(kind: str) -> dict[tuple[str, str], Mean]:
    """(method, metric) -> its mean over the edits of a kind ("all")."""
    return {(row.method, row.metric): row for row in summarize(mini(), types=kind)}


def mean(method: str, metric: str, form: str, *, scale: float = 1, kind: str = "all", interval: bool = False) -> str:
    """A mean times `scale`, with its 95 % interval if that is wanted."""
    row = means(kind)[method, find_metric(mini(), metric)]
    assert row.mean is not None, (method, metric, kind)
    text = format(row.mean * scale, form)
    if interval and row.low is not None and row.high is not None:
        text += f" ({row.low * scale:{form}} to {row.high * scale:{form}})"
    return text


def verdict(metric: str, first: str, second: str, scale: float = 1) -> str:
    """Which of two methods is better by `videoedit bench compare`; the difference, its interval and p either way."""
    pair: Paired = compare(mini(), metric, first, second)
    assert pair.difference is not None and pair.low is not None and pair.high is not None and pair.p is not None
    shown = [format(value * scale, "+.2g") for value in (pair.difference, pair.low, pair.high)]
    figures = f"{shown[0]}, {shown[1]} to {shown[2]}, p = {pair.p:.2g}"
    if not pair.winner:
        return f"`{first}` and `{second}` are not told apart ({figures})"
    other = second if pair.winner == first else first
    return f"`{pair.winner}` is better than `{other}` ({first} minus {second} {figures})"


def figure(file: str, group: str, name: str, measure: str, form: str) -> str:
    """A value of ``benchmarks/results/FILE.json``; raises KeyError if there is none."""
    for row in read_result(RESULTS / f"{file}.json").rows:
        if (row.group, row.name, row.measure) == (group, name, measure):
            return form.format(row.value)
    raise KeyError(f"{file}: {group} / {name} / {measure}")


def spread(file: str, name: str, measure: str, form: str, scale: float = 1) -> str:
    """Median, least and most of a row's values times `scale`."""
    for row in read_result(RESULTS / f"{file}.json").rows:
        if (row.name, row.measure) == (name, measure):
            median, least, most = (form.format(scale * f(row.values)) for f in (statistics.median, min, max))
            return f"{median} ({least} to {most})"
    raise KeyError(f"{file}: {name} / {measure}")


def side(work: str) -> dict[str, Any]:
    """A row of the comparison with the official programs, measured apart from this project."""
    rows = json.loads((RESULTS / SIDE_BY_SIDE).read_text(encoding="utf-8"))["rows"]
    return next(row for row in rows if row["work"] == work)


def embedded() -> dict[str, Any]:
    """The figures of the embedded model."""
    return json.loads((ROOT / "videoedit/assets/mini/figures.json").read_text(encoding="utf-8"))


@functools.cache
def blocks() -> jinja2.Template:
    """The template of all spans."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        autoescape=False,
    )
    environment.globals |= {
        "mean": mean,
        "verdict": verdict,
        "figure": figure,
        "spread": spread,
        "side": side,
        "embedded": embedded(),
    }
    return environment.get_template("documents.md.j2")


def rendered(text: str) -> str:
    """A document with every span as its results say; raises KeyError for a span without a block."""
    template = blocks()

    def span(found: re.Match[str]) -> str:
        lines = template.blocks[found[2]](template.new_context())
        return f"{found[1]}\n{''.join(lines).strip()}\n{found[4]}"

    return SPAN.sub(span, text)


def main() -> None:
    for name in DOCUMENTS:
        path = ROOT / name
        write_text(path, rendered(path.read_text(encoding="utf-8")))
        print(path)
    write_text(MINI / "results.tex", to_latex(mini()))


if __name__ == "__main__":
    main()
