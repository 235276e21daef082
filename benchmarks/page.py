"""One page that plots every result: ``python benchmarks/page.py`` writes ``benchmarks/results/index.html``.

Self-contained: bars are SVG, there is no script and nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from results_schema import RESULTS, Result, Row, read_result, result_files

from videoedit.files import write_text
from videoedit.pages.html import render
from videoedit.pages.plots import Scale

ORDER = (
    "attention",
    "tuneavideo",
    "tuning",
    "inversion",
    "flow",
    "patchmatch",
    "blend",
    "propagation",
    "end_to_end",
    "hybrid",
)
WIDTH, NAMES, LABEL = 1000, 230, 118  # of a chart, its names, and the number behind a bar
TOP, LINE, BAR = 30, 22, 12  # height of a chart's head, of a line, of a bar
MOST_COLUMNS, MOST_CHARTS = 4, 6  # beside each other; before the rest is folded away


@dataclass(frozen=True)
class Mark:
    """A bar with all that is drawn at it; lengths are in the chart's units."""

    row: Row
    x: float
    y: float
    width: float
    label_x: float
    reference: bool  # others are compared with it
    spread: tuple[float, float] | None  # from the least to the most of its values
    line: float | None  # where the value that it is compared with lies, if that is no row
    goal: float | None  # where the value that was wanted lies

    @property
    def met(self) -> bool:
        against = self.row.against
        return bool(against and against.ratio is not None and against.wanted and against.ratio <= against.wanted)

    @property
    def text(self) -> str:
        return number(self.row.value)

    @property
    def beside(self) -> str:
        """The ratio."""
        against = self.row.against
        if against is None or against.ratio is None:
            return ""
        return f"{against.ratio:.2f}×" if abs(against.ratio) >= 0.1 else f"{against.ratio:.2g}×"

    @property
    def title(self) -> str:
        """Shown to a pointer that rests on the bar."""
        row, against = self.row, self.row.against
        lines = [f"{row.name}: {row.measure} {number(row.value)} {row.unit}"]
        if against:
            lines.append(f"{against.name}: {number(against.value)} {row.unit}")
        if against and against.ratio is not None:
            lines.append(f"ratio {against.ratio:.3g}" + (f", wanted {against.wanted:.3g}" if against.wanted else ""))
        if len(row.values) > 1:
            lines.append(f"{len(row.values)} values from {number(min(row.values))} to {number(max(row.values))}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Column:
    """One measure of a chart."""

    x: float
    head: str
    note: str  # which way is better, what the lines stand for
    zero: float
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Chart:
    """Some measures of one group: a line for each name."""

    height: int
    names: tuple[tuple[int, str], ...]
    columns: tuple[Column, ...]


def groups(result: Result) -> list[tuple[str, list[Chart]]]:
    """(name, charts) of each group of rows."""
    found: dict[str, list[Row]] = {}
    for row in result.rows:
        found.setdefault(row.group, []).append(row)
    return [(name, list(charts(rows))) for name, rows in found.items()]


def charts(rows: Sequence[Row]) -> Iterator[Chart]:
    """The rows of one group as charts of at most MOST_COLUMNS measures."""
    measures: dict[str, list[Row]] = {}
    for row in rows:
        measures.setdefault(row.measure, []).append(row)
    names = list(measures)
    for first in range(0, len(names), MOST_COLUMNS):
        yield chart(rows, {name: measures[name] for name in names[first : first + MOST_COLUMNS]}, len(names))


def chart(rows: Sequence[Row], measures: Mapping[str, Sequence[Row]], total: int) -> Chart:
    """Some measures of a group, of which it has `total`, as columns beside each other."""
    places: dict[str, int] = {}
    for row in rows:
        if row.measure in measures and row.name not in places:
            places[row.name] = TOP + LINE * len(places)
    width = (WIDTH - NAMES) / min(total, MOST_COLUMNS)
    columns = []
    for number_of, shown in enumerate(measures.values()):
        columns.append(column(shown, places, NAMES + number_of * width, width))
    lines = tuple(zip(places.values(), places, strict=True))
    return Chart(TOP + len(places) * LINE, lines, tuple(columns))


def column(rows: Sequence[Row], places: Mapping[str, int], left: float, width: float) -> Column:
    """The bars of one measure, on one scale that begins at zero and holds what they are compared with."""
    extent, compared = [0.0], set()
    for row in rows:
        extent += [row.value, *row.values]
        if row.against:
            compared.add(row.against.name)
            extent += [row.against.value] if row.against.name not in places else []
    at = Scale(min(extent), max(extent), left, left + width - LABEL)
    marks = tuple(mark(row, places, at, is_reference=row.name in compared) for row in rows)
    head = rows[0].measure + f", {rows[0].unit}" * bool(rows[0].unit)
    return Column(left, head, _note(rows, places), at(0), marks)


def mark(row: Row, places: Mapping[str, int], at: Scale, *, is_reference: bool) -> Mark:
    """The bar of one row."""
    against = row.against
    start, end = sorted((at(0), at(row.value)))
    spread = (at(min(row.values)), at(max(row.values))) if len(row.values) > 1 else None
    goal = against.wanted * against.value if against and against.wanted else None
    return Mark(
        row,
        x=start,
        y=places[row.name],
        width=max(1, round(end - start, 1)),
        label_x=max(end, spread[1] if spread else 0) + 5,
        reference=is_reference,
        spread=spread,
        line=at(against.value) if against and against.name not in places else None,
        goal=at(goal) if goal is not None and at.low <= goal <= at.high else None,
    )


def _note(rows: Sequence[Row], places: Mapping[str, int]) -> str:
    """The way that is better, and what ratios are of: the grey bar, or what has no bar."""
    better = {"lower": "lower is better", "higher": "higher is better", "one": "best at 1", "none": ""}[rows[0].better]
    of = set()
    for row in rows:
        if row.against and row.against.ratio is not None:
            of.add("" if row.against.name in places else row.against.name)
    names = " or ".join(name or "grey" for name in sorted(of))
    return ", ".join(filter(None, [better, f"× of {names}" if of else ""]))


def number(value: float) -> str:
    """With three digits or as a whole number."""
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.2g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def in_order(results: Iterable[Result]) -> list[Result]:
    """The suites from the smallest part to the whole, then the others by name."""

    def place(result: Result) -> tuple[int, str]:
        first = next((i for i, name in enumerate(ORDER) if result.suite.startswith(name)), len(ORDER))
        return first, result.suite

    return sorted(results, key=place)


def write_page(results: Iterable[Result], path: Path) -> Path:
    """Write the page of `results` to `path`."""
    suites = [(result, groups(result)) for result in in_order(results)]
    context = {"suites": suites, "width": WIDTH, "names": NAMES, "line": LINE, "bar": BAR, "most": MOST_CHARTS}
    write_text(path, render("page.html.j2", context, styles=(), scripts=(), folder=Path(__file__).parent))
    return path


def main() -> None:
    print(write_page(map(read_result, result_files()), RESULTS / "index.html"))


if __name__ == "__main__":
    main()
