"""One page that plots every result: ``python benchmarks/page.py`` writes ``benchmarks/results/index.html``.

Self-contained: bars are SVG, there is no script and nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from results_schema import RESULTS, Result, Row, read_result, result_files

from videoedit.runs.folder import write_text

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
        """What a pointer that rests on the bar says."""
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


def charts(rows: Sequence[Row]) -> Iterator[Chart]:
    """The rows of one group as charts of at most MOST_COLUMNS measures."""
    measures = unique(row.measure for row in rows)
    for first in range(0, len(measures), MOST_COLUMNS):
        shown = measures[first : first + MOST_COLUMNS]
        names = unique(row.name for row in rows if row.measure in shown)
        places = {name: TOP + i * LINE for i, name in enumerate(names)}
        width = (WIDTH - NAMES) / min(len(measures), MOST_COLUMNS)
        columns = [
            column([row for row in rows if row.measure == measure], places, NAMES + i * width, width)
            for i, measure in enumerate(shown)
        ]
        yield Chart(TOP + len(names) * LINE, tuple((y, name) for name, y in places.items()), tuple(columns))


def column(rows: Sequence[Row], places: dict[str, int], left: float, width: float) -> Column:
    """The bars of one measure, on one scale that begins at zero and holds what they are compared with."""
    outside = {row.against.name for row in rows if row.against} - places.keys()
    extent = [0.0, *(value for row in rows for value in (row.value, *row.values))]
    extent += [row.against.value for row in rows if row.against and row.against.name in outside]
    low, high = min(extent), max(extent)
    scale = (width - LABEL) / ((high - low) or 1)

    def at(value: float) -> float:
        return round(left + (value - low) * scale, 1)

    marks = []
    for row in rows:
        against = row.against
        ends = sorted((at(0), at(row.value)))
        goal = against.wanted * against.value if against and against.wanted else None
        spread = (at(min(row.values)), at(max(row.values))) if len(row.values) > 1 else None
        marks.append(
            Mark(
                row,
                x=ends[0],
                y=places[row.name],
                width=max(1, round(ends[1] - ends[0], 1)),
                label_x=max(ends[1], spread[1] if spread else 0) + 5,
                reference=any(one.against and one.against.name == row.name for one in rows),
                spread=spread,
                line=at(against.value) if against and against.name in outside else None,
                goal=at(goal) if goal is not None and low <= goal <= high else None,
            )
        )
    better = {"lower": "lower is better", "higher": "higher is better", "one": "best at 1", "none": ""}[rows[0].better]
    compared = {row.against.name for row in rows if row.against and row.against.ratio is not None}
    of = [*(["grey"] if compared & places.keys() else []), *sorted(compared & outside)]
    note = ", ".join(filter(None, [better, f"× of {' or '.join(of)}" if of else ""]))
    head = rows[0].measure + f", {rows[0].unit}" * bool(rows[0].unit)
    return Column(left, head, note, at(0), tuple(marks))


def groups(result: Result) -> list[tuple[str, list[Chart]]]:
    """(name, charts) of each group of rows."""
    return [
        (name, list(charts([r for r in result.rows if r.group == name])))
        for name in unique(r.group for r in result.rows)
    ]


def number(value: float) -> str:
    """With three digits or as a whole number."""
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.2g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def unique(items: Iterable[str]) -> list[str]:
    """In the order of their first appearance."""
    return list(dict.fromkeys(items))


def in_order(results: Iterable[Result]) -> list[Result]:
    """The suites from the smallest part to the whole, then the others by name."""

    def place(result: Result) -> tuple[int, str]:
        first = [i for i, name in enumerate(ORDER) if result.suite.startswith(name)]
        return first[0] if first else len(ORDER), result.suite

    return sorted(results, key=place)


def write_page(results: Iterable[Result], path: Path) -> Path:
    """Write the page of `results` to `path`."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html.j2")
    suites = [(result, groups(result)) for result in in_order(results)]
    write_text(path, template.render(suites=suites, width=WIDTH, names=NAMES, line=LINE, bar=BAR, most=MOST_CHARTS))
    return path


def main() -> None:
    print(write_page(map(read_result, result_files()), RESULTS / "index.html"))


if __name__ == "__main__":
    main()
