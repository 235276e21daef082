"""The page of a comparative run: ``index.html``, one file that asks nothing of the network.

The answer comes first: means with intervals of the headline metrics, edit strength beside all others, and what can be
told apart. Then the videos of each edit side by side, all figures, and how they came about.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from videoedit.evaluation.page.plots import Curve, over_frames
from videoedit.evaluation.page.summary import all_figures, clouds, findings, published, short_table
from videoedit.evaluation.page.videos import Cut, Film, load_films
from videoedit.evaluation.page.view import Method, View, counted
from videoedit.evaluation.results import Results, UnitResult
from videoedit.evaluation.statistics import ALL, editing_methods
from videoedit.evaluation.tables import best
from videoedit.pages.html import flatten, render
from videoedit.runs.folder import write_text

PAGE = "index.html"
TEMPLATES = Path(__file__).parent / "templates"


def write_page(results: Results, folder: Path) -> Path:
    """Write ``index.html`` into the results' folder and return its path.

    Videos are taken from the places that the results name; one that is missing leaves a gap that says so.
    """
    view = View(results)
    films = load_films(_cuts(results, folder), folder)
    context = {
        "head": _head(results),
        "methods": view.methods,
        "answer": short_table(view, [ALL], best(view.pairs, editing_methods(results))),
        "findings": findings(view),
        "clouds": clouds(view),
        "kinds": short_table(view, view.kinds, {}),
        "failures": [unit for unit in results.units if unit.status == "failed"],
        "groups": _groups(view, films, folder),
        "films": {film.id: film.data for film in films.values() if film.data},
        "linked": any(film.link and not film.data for film in films.values()),
        "figures": all_figures(view),
        "published": published(view),
        "skipped": _skipped(results),
        "settings": _settings(view),
        "licences": {"videoedit": "Apache-2.0"}
        | {name: info.licence for name, info in results.methods.items() if info.licence},
        "environment": flatten(results.environment),
        "command": _command(results),
    }
    styles, scripts = ("base.css", "bench.css"), ("player.js", "bench.js")
    write_text(folder / PAGE, render("bench.html.j2", context, styles=styles, scripts=scripts, folder=TEMPLATES))
    return folder / PAGE


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
            counted(len({unit.clip for unit in units}), "clip"),
            counted(len(edits), "edit") + (f" ({kinds})" if kinds else ""),
            counted(len(editing_methods(results)), "method") + " and the sanity rows",
            f"{counted(len(units), 'unit')}: {len(units) - failed} done, {failed} failed",
            f"{partial} cover only part of their clip" if partial else "",
            f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}" if seeds else "",
            results.created.replace("T", " ")[:16] + " UTC" if results.created else "",
        ],
    }


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


def _groups(view: View, films: Mapping[Cut, Film], folder: Path) -> list[dict[str, Any]]:
    """A row of videos for each (clip, edit, seed); a method that ran with one seed stands in the rows of all."""
    units = view.results.units
    seeds = sorted({unit.seed for unit in units})
    seeded = {name: {unit.seed for unit in view.units_of(name)} for name in view.methods}
    groups: dict[tuple[str, str, int], dict[str, UnitResult]] = {}
    for unit in units:
        for seed in seeds if len(seeded[unit.method]) == 1 else [unit.seed]:
            groups.setdefault((unit.clip, unit.edit, seed), {})[unit.method] = unit
    return [
        {"anchor": f"edit-{number}", "seed": name[2] if len(seeds) > 1 else None, **_group(view, made, films, folder)}
        for number, (name, made) in enumerate(groups.items(), 1)
    ]


def _group(view: View, units: Mapping[str, UnitResult], films: Mapping[Cut, Film], folder: Path) -> dict[str, Any]:
    """One row: source, ground truth, and what each method made of it."""
    first = next((unit for unit in units.values() if unit.source), next(iter(units.values())))
    given = [_Shown(title, film=films[cut]) for title, cut in _given(first, folder).items()]
    there = [(method, units[name]) for name, method in view.methods.items() if name in units]
    series = [name for name in view.metrics if any(unit.series.get(name) for _, unit in there)]
    steady = [name for name in view.headline if view.results.metrics[name].group == "consistency"]
    shown = [name for name in series if name in steady] or series[:2]
    return {
        "clip": first.clip,
        "edit": first.edit,
        "type": first.type,
        "prompt": first.prompt,
        "fps": float(next(filter(None, (_rate(unit) for _, unit in there)), 8)),
        "videos": given + [_edited(view, method, unit, films, folder) for method, unit in there],
        "plots": _plots(view, there, shown),
        "more_plots": _plots(view, there, [name for name in series if name not in shown]),
    }


def _rate(unit: UnitResult) -> Fraction:
    """Frames a second of the frames that were asked for; 0 if unknown."""
    return Fraction(unit.fps) * unit.frames[1] / max(1, unit.asked[1])


def _edited(view: View, method: Method, unit: UnitResult, films: Mapping[Cut, Film], folder: Path) -> _Shown:
    shown = _Shown(method.name, method.name, method.colour)
    if unit.status == "failed":
        shown.problem = f"Failed: {unit.reason}"
        return shown
    shown.film = films[Cut(folder / unit.video)] if unit.video else None
    shown.problem = "" if shown.film else "There is no video."
    first, step, _ = unit.asked
    if rate := _rate(unit):
        shown.start = float((unit.frames[0] - first) / (rate * max(1, step)))
    if unit.is_partial:
        every = f", every {_ordinal(unit.frames[1] // step)}" if unit.frames[1] > step else ""
        shown.remarks.append(f"{unit.frames[2]} of {unit.asked[2]} frames{every}")
    shown.remarks += unit.notes
    for name in view.headline:
        if name in unit.figures:
            text, title = view.words[name].text(unit.figures[name]), view.results.metrics[name].title
            shown.figures.append({"title": title, "text": text, "why": unit.remarks.get(name, "")})
    return shown


def _ordinal(number_of: int) -> str:
    ending = "th" if number_of % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number_of % 10, "th")
    return f"{number_of}{ending}"


def _plots(view: View, units: Sequence[tuple[Method, UnitResult]], names: Iterable[str]) -> list[dict[str, Any]]:
    """One box for each of these metrics, its values frame by frame, all methods in it."""
    done = [(method, unit) for method, unit in units if unit.status == "done"]
    total = max((unit.asked[2] or unit.frames[2] for _, unit in done), default=0)
    drawn = []
    for name in names:
        # No frame comes before the first: a change there is given as 0, a calm that nobody measured.
        skip = int(view.results.metrics[name].group == "consistency")
        curves = [
            Curve(method.name, method.colour, *_spread(unit, values[skip:] if values[0] == 0 else values))
            for method, unit in done
            if (values := unit.series.get(name))
        ]
        drawn.append(over_frames(view.title(name), curves, total))
    return [plot for plot in drawn if plot]


def _spread(unit: UnitResult, values: Sequence[float]) -> tuple[list[int], Sequence[float], list[int]]:
    """Where a unit's values and key frames stand among the frames asked for; values of pairs at the later frame."""
    start, stride, count = unit.frames
    first, step, _ = unit.asked if unit.asked[2] else unit.frames
    places = [(start + stride * i - first) // max(1, step) for i in range(count)]
    values = values[:count]
    return places[count - len(values) :], values, [places[key] for key in unit.keyframes if 0 <= key < count]


# ------------------------------------------------------------------------------------------- how it was made


def _skipped(results: Results) -> dict[str, list[str]]:
    """Reason -> the metrics that were left out for it."""
    reasons: dict[str, list[str]] = {}
    for name, reason in results.skipped.items():
        reasons.setdefault(reason, []).append(name)
    return reasons


def _settings(view: View) -> list[dict[str, Any]]:
    shown = []
    for name, method in view.methods.items():
        info = view.results.methods[name]
        made = {"made": "elsewhere; only measured here"} if info.imported else {}
        model = {"model": info.model} if info.model else {}
        shown.append({"method": method, "rows": made | model | flatten(info.settings)})
    return shown


def _command(results: Results) -> str:
    ours = [name for name in editing_methods(results) if not results.methods[name].imported]
    words = ["videoedit", "bench", "run", "suite.yaml"]
    words += ["--methods", ",".join(ours)] if ours else []
    for name in editing_methods(results):
        words += ["--results", f"{name}=FOLDER"] if results.methods[name].imported else []
    return shlex.join([*words, "-o", "OUT"])
