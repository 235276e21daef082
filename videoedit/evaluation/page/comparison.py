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

from videoedit.evaluation.page.summary import all_figures, findings, published, scatters, short_table
from videoedit.evaluation.page.videos import ClipVideo, load_videos
from videoedit.evaluation.page.view import Method, View, counted
from videoedit.evaluation.results import Results, UnitResult
from videoedit.evaluation.statistics import ALL, editing_methods
from videoedit.evaluation.tables import best
from videoedit.files import write_text
from videoedit.pages.embed import Cut
from videoedit.pages.html import flatten, render
from videoedit.pages.plots import Curve, over_frames

PAGE = "index.html"
TEMPLATES = Path(__file__).parent / "templates"


def write_page(results: Results, folder: Path) -> Path:
    """Write ``index.html`` into the results' folder and return its path.

    Videos are taken from the places that the results name; one that is missing leaves a gap that says so.
    """
    view = View(results)
    videos = load_videos(_cuts(results, folder), folder)
    context = {
        "head": _head(results),
        "methods": view.methods,
        "answer": short_table(view, [ALL], best(view.pairs, editing_methods(results))),
        "findings": findings(view),
        "scatters": scatters(view),
        "kinds": short_table(view, view.kinds, {}),
        "failures": [unit for unit in results.units if unit.status == "failed"],
        "groups": _groups(view, videos, folder),
        "data": {video.id: video.data for video in videos.values() if video.data},
        "linked": any(video.is_linked for video in videos.values()),
        "figures": all_figures(view),
        "published": published(view),
        "skipped": _skipped(results),
        "settings": _settings(view),
        "licences": _licences(results),
        "environment": flatten(results.environment),
        "command": _command(results),
    }
    styles, scripts = ("base.css", "bench.css"), ("player.js", "compare.js", "bench.js")
    write_text(folder / PAGE, render("bench.html.j2", context, styles=styles, scripts=scripts, folder=TEMPLATES))
    return folder / PAGE


def _head(results: Results) -> dict[str, Any]:
    """The title, and what was run, in a few facts."""
    edits: dict[tuple[str, str], str] = {}  # and their types
    clips, seeds, failed, partial = set(), set(), 0, 0
    for unit in results.units:
        edits[unit.clip, unit.edit] = unit.type
        clips.add(unit.clip)
        seeds.add(unit.seed)
        failed += unit.status == "failed"
        partial += unit.is_partial
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(edits.values()).items())
    units = len(results.units)
    return {
        "title": results.title or results.suite,
        "suite": results.suite,
        "facts": [
            counted(len(clips), "clip"),
            counted(len(edits), "edit") + (f" ({kinds})" if kinds else ""),
            counted(len(editing_methods(results)), "method") + " and the sanity rows",
            f"{counted(units, 'unit')}: {units - failed} done, {failed} failed",
            f"{partial} cover only part of their clip" if partial else "",
            f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, sorted(seeds)))}" if seeds else "",
            results.created.replace("T", " ")[:16] + " UTC" if results.created else "",
        ],
    }


# ------------------------------------------------------------------------------------------------- the videos


@dataclass
class _Place:
    """A place in a row: a video, or the reason why there is none."""

    title: str
    method: str = ""  # empty for source and ground truth
    color: str = ""
    video: ClipVideo | None = None
    start: float = 0.0  # seconds into the row
    problem: str = ""
    remarks: list[str] = field(default_factory=list)
    figures: list[dict[str, str]] = field(default_factory=list)


def _cuts(results: Results, folder: Path) -> Iterable[Cut]:
    for unit in results.units:
        yield from given_cuts(unit, folder).values()
        if unit.video:
            yield Cut(folder / unit.video)


def given_cuts(unit: UnitResult, folder: Path) -> dict[str, Cut]:
    """Source and ground truth of a unit's edit, the frames that were asked for."""
    frames = unit.asked if unit.asked[2] else None
    given = {}
    if unit.source:
        given["Source"] = Cut(folder / unit.source, frames)
    if unit.truth:
        given["Ground truth"] = Cut(folder / unit.truth, frames)
    return given


def _groups(view: View, videos: Mapping[Cut, ClipVideo], folder: Path) -> list[dict[str, Any]]:
    """A row of videos for each (clip, edit, seed); a method that ran with one seed stands in the rows of all."""
    seeded: dict[str, set[int]] = {}  # by method
    for unit in view.results.units:
        seeded.setdefault(unit.method, set()).add(unit.seed)
    seeds = sorted(set().union(*seeded.values()))
    rows: dict[tuple[str, str, int], dict[str, UnitResult]] = {}
    for unit in view.results.units:
        for seed in seeds if len(seeded[unit.method]) == 1 else [unit.seed]:
            rows.setdefault((unit.clip, unit.edit, seed), {})[unit.method] = unit
    groups = []
    for number, ((_, _, seed), units) in enumerate(rows.items(), 1):
        named = {"anchor": f"edit-{number}", "seed": seed if len(seeds) > 1 else None}
        groups.append(named | _group(view, units, videos, folder))
    return groups


def _group(
    view: View, units: Mapping[str, UnitResult], videos: Mapping[Cut, ClipVideo], folder: Path
) -> dict[str, Any]:
    """One row: source, ground truth, and what each method made of it."""
    first = next((unit for unit in units.values() if unit.source), next(iter(units.values())))
    places = []
    for title, cut in given_cuts(first, folder).items():
        places.append(_Place(title, video=videos[cut]))
    there, rates = [], []
    for name, method in view.methods.items():
        if name in units:
            there.append((method, units[name]))
            places.append(_edited(view, method, units[name], videos, folder))
            rates.append(_rate(units[name]))
    drawn, more = _series(view, there)
    return {
        "clip": first.clip,
        "edit": first.edit,
        "type": first.type,
        "prompt": first.prompt,
        "fps": float(next(filter(None, rates), 8)),
        "places": places,
        "plots": _plots(view, there, drawn),
        "more_plots": _plots(view, there, more),
    }


def _series(view: View, units: Sequence[tuple[Method, UnitResult]]) -> tuple[list[str], list[str]]:
    """The metrics with values frame by frame: those to show at once, of steadiness where there are such; the others."""
    found, steady = [], []
    for name in view.metrics:
        if any(unit.series.get(name) for _, unit in units):
            found.append(name)
            if name in view.headline and view.results.metrics[name].group == "consistency":
                steady.append(name)
    shown = steady or found[:2]
    return shown, [name for name in found if name not in shown]


def _rate(unit: UnitResult) -> Fraction:
    """Frames a second of the frames that were asked for; 0 if unknown."""
    return Fraction(unit.fps) * unit.frames[1] / max(1, unit.asked[1])


def _edited(view: View, method: Method, unit: UnitResult, videos: Mapping[Cut, ClipVideo], folder: Path) -> _Place:
    shown = _Place(method.name, method.name, method.color)
    if unit.status == "failed":
        shown.problem = f"Failed: {unit.reason}"
        return shown
    shown.video = videos[Cut(folder / unit.video)] if unit.video else None
    shown.problem = "" if shown.video else "There is no video."
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
    drawn = []
    for name in names:
        # No frame comes before the first: a change there is given as 0, a calm that nobody measured.
        skip = int(view.results.metrics[name].group == "consistency")
        total, curves = 0, []
        for method, unit in units:
            if unit.status != "done":
                continue
            total = max(total, unit.asked[2] or unit.frames[2])
            if values := unit.series.get(name):
                measured = values[skip:] if values[0] == 0 else values
                curves.append(Curve(method.name, method.color, *_spread(unit, measured)))
        drawn.append(over_frames(view.title(name), curves, total))
    return list(filter(None, drawn))


def _spread(unit: UnitResult, values: Sequence[float]) -> tuple[list[int], Sequence[float], list[int]]:
    """Places of a unit's values and key frames among the frames asked for; values of pairs at the later frame."""
    start, stride, count = unit.frames
    first, step, _ = unit.asked if unit.asked[2] else unit.frames
    places = []
    for index in range(count):
        places.append((start + stride * index - first) // max(1, step))
    values = values[:count]
    keyframes = []
    for key in unit.keyframes:
        if 0 <= key < count:
            keyframes.append(places[key])
    return places[count - len(values) :], values, keyframes


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


def _licences(results: Results) -> dict[str, str]:
    licences = {"videoedit": "Apache-2.0"}
    for name, info in results.methods.items():
        if info.licence:
            licences[name] = info.licence
    return licences


def _command(results: Results) -> str:
    ours, theirs = [], []
    for name in editing_methods(results):
        if results.methods[name].imported:
            theirs += ["--results", f"{name}=FOLDER"]
        else:
            ours.append(name)
    methods = ["--methods", ",".join(ours)] if ours else []
    return shlex.join(["videoedit", "bench", "run", "suite.yaml", *methods, *theirs, "-o", "OUT"])
