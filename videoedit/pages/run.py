"""The page of a run: ``report.html``, one file that asks nothing of the network, and ``report.json`` beside it."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from videoedit.errors import InputError, MethodError
from videoedit.files import inside, write_text
from videoedit.metrics import METRICS, Metric, describe
from videoedit.metrics.catalogue import BY_RUNS
from videoedit.models.assets import TERMS, is_embedded
from videoedit.pages.html import BETTER, duration, flatten, memory, number, render
from videoedit.pages.plots import single_curve
from videoedit.pages.videos import ROLES, RunVideo, contact_strip, group_videos, load_picture, load_videos
from videoedit.plugins import get_method
from videoedit.runs.folder import latest_call
from videoedit.runs.record import RECORD, Shown, parse_record

STYLES, SCRIPTS = ("base.css", "report.css"), ("player.js", "compare.js", "report.js")
OTHER_TERMS = (  # of a model that is not the embedded one
    "See the card of the model. Stable Diffusion's weights carry use restrictions (CreativeML OpenRAIL-M) "
    "that a network tuned from them inherits."
)
logger = logging.getLogger(__name__)


def write_report(folder: Path) -> Path:
    """Write ``report.json`` and ``report.html`` for a run folder; returns the page's path.

    Reads ``run.json`` and the videos it names; a video that is missing leaves a gap that says so. Raises
    InputError if the folder holds no run or a damaged one.
    """
    record = read_record(folder)
    videos = load_videos(folder, record)
    context = {
        "page": _page(record, videos),
        **_shown(videos),
        "metrics": _metrics(record, videos),
        "pictures": list(filter(None, map(partial(load_picture, folder), record.get("pictures") or []))),
        "plots": _plots(record),
        "stages": _stages(record),
        "tables": _tables(record),
    }
    write_text(folder / "report.json", json.dumps(_data(record, videos), indent=2, ensure_ascii=False))
    page = folder / "report.html"
    write_text(page, render("report.html.j2", context, styles=STYLES, scripts=SCRIPTS))
    return page


def read_record(folder: Path) -> dict[str, Any]:
    """``run.json`` of a run folder. Raises InputError with one line if it is not there or cannot be read."""
    path = inside(folder, RECORD)
    if not path.is_file():
        raise InputError(f"no run in {folder}: expected run.json; give the folder that `videoedit run` wrote to")
    try:
        record = parse_record(path, Shown)
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path} is not the record of a run ({error}); run the edit again with --fresh") from error
    return record | latest_call(record)


# ------------------------------------------------------------------------------------- the head and the videos


def _page(record: Mapping[str, Any], videos: Sequence[RunVideo]) -> dict[str, Any]:
    status = str(record.get("status", "finished"))
    banner = "" if status in ("finished", "done", "complete") else f"This run is not finished (status: {status})."
    return {
        "title": str(record.get("title") or "Video edit"),
        "method": str(record.get("method") or ""),
        "facts": list(filter(None, _facts(record))),
        "banner": banner,
        "fps": next((video.fps for video in videos if video.fps), 8.0),
        "notes": list(map(str, record.get("notes") or [])),
    }


def _facts(record: Mapping[str, Any]) -> list[str]:
    """The clip, the model and the seed in a few words each; empty where nothing is known."""
    given, model = record.get("input") or {}, _model_name(record)
    return [
        f"{given['frames']} frames" if given.get("frames") else "",
        f"{_rate(given['fps'])} frames per second" if given.get("fps") else "",
        f"{_size(given['size'])} pixels" if given.get("size") else "",
        "with sound" if given.get("audio") else "",
        f"model {model}" if model else "",
        f"seed {record['seed']}" if record.get("seed") is not None else "",
    ]


def _model_name(record: Mapping[str, Any]) -> str:
    model = record.get("model")
    return str((model.get("name") if isinstance(model, Mapping) else model) or "")


def _rate(fps: Any) -> str:
    try:
        return f"{float(Fraction(str(fps))):.5g}"
    except (ValueError, ZeroDivisionError):
        return str(fps)


def _size(size: Any) -> str:
    return " × ".join(map(str, size.split("x") if isinstance(size, str) else size))


def _shown(videos: Sequence[RunVideo]) -> dict[str, Any]:
    """The videos in their groups, and their frames side by side."""
    groups = group_videos(videos)
    return {
        "groups": groups,
        "columns": min(4, sum(map(len, groups))),
        "playable": any(video.src for video in videos),
        "linked": any(video.is_linked for video in videos),
        "strips": list(filter(None, map(contact_strip, videos))),
    }


# ----------------------------------------------------------------------------------------- figures and plots


def _metrics(record: Mapping[str, Any], videos: Sequence[RunVideo]) -> dict[str, Any]:
    """Rows of measures, columns of videos; measures that are not in the catalogue appear by their bare name."""
    figures = _figures(record)
    columns: dict[str, Mapping[str, Any]] = {}  # in the order of the videos, then the others
    for video in videos:
        for key in (video.label, video.prompt):
            if key in figures:
                columns[key] = figures[key]
    columns |= figures
    names = set().union(*columns.values()) if columns else set()
    order = [*METRICS, *BY_RUNS]
    rows = []
    for name in sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name)):
        cells = [figures_of.get(name) for figures_of in columns.values()]
        rows.append(_metric_row(name, describe(name), cells))
    return {"columns": [ROLES.get(column, column) for column in columns], "rows": rows}


def _figures(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The figures of each video that has some, by their versioned names where the catalogue knows them."""
    found: dict[str, dict[str, Any]] = {}
    for label, figures in (record.get("metrics") or {}).items():
        if not isinstance(figures, Mapping):
            continue
        for name, value in figures.items():
            metric = describe(name)
            found.setdefault(str(label), {})[metric.id if metric else name] = value
    return found


def _metric_row(name: str, metric: Metric | None, values: Sequence[Any]) -> dict[str, Any]:
    cells = list(map(number, values))
    for index, cell in enumerate(cells):
        if cell not in ("", "–", "∞") and metric and metric.unit:
            cells[index] = f"{cell} {metric.unit}"
    return {
        "id": name,
        "title": metric.title if metric else _in_words(name.partition("@")[0]),
        "better": BETTER[metric.better] if metric else "",
        "meaning": metric.meaning if metric else "",
        "cells": cells,
    }


def _in_words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _plots(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A curve for each series of the record. The loss goes by steps, all others by frames; there key frames stand."""
    plots = []
    for name, values in record.get("plots", {}).items():
        if not _is_series(values):
            continue
        if name == "loss":
            plots.append(single_curve(_series_title(name), values, "steps"))
        else:
            plots.append(single_curve(_series_title(name), values, keyframes=record.get("keyframes") or ()))
    return plots


def _series_title(name: str) -> str:
    """A figure's title and unit, and of which version of the clip: ``psnr, truth`` is "PSNR (dB), truth"."""
    figure, comma, version = name.partition(",")
    metric = describe(figure)
    if metric is None:
        return _in_words(name)
    return metric.title + (f" ({metric.unit})" if metric.unit else "") + comma + version


def _is_series(values: Any) -> bool:
    if not isinstance(values, list) or len(values) < 2:
        return False
    return all(map(_is_finite, values))


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


# ------------------------------------------------------------------------------------------ how it was made


def _stages(record: Mapping[str, Any]) -> dict[str, Any]:
    given = record.get("stages") or []
    if isinstance(given, Mapping):
        given = [{"name": name, **values} for name, values in given.items()]
    rows, peak = [], None
    seconds = cpu = 0.0
    for stage in given:
        used = stage.get("peak_memory_mb")
        rows.append({
            "name": str(stage.get("name", "")),
            "seconds": duration(stage.get("seconds")),
            "cpu": duration(stage.get("cpu_seconds")),
            "memory": memory(used),
            "reused": bool(stage.get("reused")),
        })  # fmt: skip
        seconds += stage.get("seconds") or 0
        cpu += stage.get("cpu_seconds") or 0
        peak = peak if used is None else max(peak or 0, used)
    return {"rows": rows, "seconds": duration(seconds), "cpu": duration(cpu), "memory": memory(peak)}


def _tables(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Settings, input, versions and licences, as titles and rows of text."""
    found = {
        "Settings": flatten(record.get("config") or {}),
        "Input and model": flatten(record.get("input") or {}) | flatten({"model": record.get("model") or {}}),
        "Versions": flatten(record.get("versions") or {}),
        "Licences": _licences(record),
    }
    tables = []
    for title, rows in found.items():
        if rows:
            tables.append({"title": title, "rows": list(rows.items())})
    return tables


def _licences(record: Mapping[str, Any]) -> dict[str, str]:
    """The terms of everything that the run was made with: ours, the method's, the model's, those of the record."""
    known = {"videoedit": "Apache-2.0"}
    method, model = str(record.get("method") or ""), _model_name(record)
    if licence := _licence_of(method):
        known[method] = licence
    if model:
        known[f"model {model}"] = TERMS if is_embedded(model) else OTHER_TERMS
    for key, value in (record.get("licences") or {}).items():
        known[str(key)] = str(value)
    return known


def _licence_of(method: str) -> str:
    """The licence that a method states; empty if it states none, or is not installed (any more)."""
    try:
        return get_method(method).licence
    except MethodError:
        return ""
    except Exception as error:  # whatever its package does when it is imported
        logger.warning("method %r cannot be asked for its licence: %s", method, error)
        return ""


# ---------------------------------------------------------------------------------------------- report.json


def _data(record: Mapping[str, Any], videos: Sequence[RunVideo]) -> dict[str, Any]:
    """The record, the meaning of each measure, and how the videos are shown."""
    meanings = {}
    for figures in (record.get("metrics") or {}).values():
        for name in figures if isinstance(figures, Mapping) else ():
            if metric := describe(name):
                about = {"id": metric.id, "title": metric.title, "meaning": metric.meaning, "better": metric.better}
                meanings[name] = about
    shown = []
    for v in videos:
        shown.append({
            "label": v.label, "prompt": v.prompt, "role": v.role, "file": v.name, "frames": v.num_frames,
            "fps": v.fps, "size": [v.width, v.height], "problem": v.problem, "remark": v.remark,
        })  # fmt: skip
    measures = dict(sorted(meanings.items()))
    kept = dict(record)
    for name in ("steps", "calls"):
        kept.pop(name, None)
    cleaned: dict[str, Any] = _plain({**kept, "videos": shown, "measures": measures, "licences": _licences(record)})
    return cleaned


def _plain(value: Any) -> Any:
    """JSON without NaN and Infinity, which strict readers refuse: null and "inf" instead."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return list(map(_plain, value))
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
