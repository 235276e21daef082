"""The page of a run: ``report.html``, one file that asks nothing of the network, and ``report.json`` beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from videoedit.errors import InputError
from videoedit.files import write_text
from videoedit.metrics import METRICS, describe
from videoedit.pages.embed import ROLES, ShownVideo, contact_strip, group_videos, load_picture, load_videos
from videoedit.pages.html import BETTER, duration, flatten, memory, number, render, round_ticks, svg_path
from videoedit.runs.steps import KEPT

STYLES, SCRIPTS = ("base.css", "report.css"), ("player.js", "report.js")
LICENCES = {  # what a run was made with -> the terms a user should know of
    "videoedit": "Apache-2.0",
    "tuneavideo": "Own implementation of Tune-A-Video (Wu et al., ICCV 2023; official code Apache-2.0).",
    "rerender": "Own implementation of Rerender-A-Video (Yang et al., SIGGRAPH Asia 2023; official code S-Lab 1.0, "
    "non-commercial: none of it is used here). Its propagation follows EbSynth, on which Adobe holds patents.",
    "hybrid": "Own implementation of parts of Tune-A-Video (official code Apache-2.0) and of Rerender-A-Video "
    "(official code S-Lab 1.0, non-commercial: none of it is used here). Its propagation follows EbSynth, on which "
    "Adobe holds patents.",
    "propagate": "Follows EbSynth (public domain), whose PatchMatch Adobe has patented (US 8,861,869); "
    "the flow propagator does without it.",
    "mini": "Apache-2.0, trained on pictures made from Fluent Emoji (MIT, Microsoft); see its model card.",
    "other": "See the card of the model. Stable Diffusion's weights carry use restrictions (CreativeML OpenRAIL-M) "
    "that a network tuned from them inherits.",
}


def write_report(folder: Path) -> Path:
    """Write ``report.json`` and ``report.html`` for a run folder; returns the page's path.

    Reads ``run.json`` and the videos it names; a video that is missing leaves a gap that says so. Raises
    InputError if the folder holds no run or a damaged one.
    """
    record = read_record(folder)
    videos = load_videos(folder, record)
    context = {
        "page": _page(record, videos),
        "groups": (groups := group_videos(videos)),
        "columns": min(4, sum(len(group) for group in groups)),
        "playable": any(video.src for video in videos),
        "linked": any(video.linked for video in videos),
        "metrics": _metrics(record, videos),
        "strips": [strip for video in videos if (strip := contact_strip(video))],
        "pictures": [shown for one in record.get("pictures") or [] if (shown := load_picture(folder, one))],
        "plots": [
            _plot(name, values, record.get("keyframes") or ())
            for name, values in record.get("plots", {}).items()
            if _is_series(values)
        ],
        "stages": _stages(record),
        "tables": _tables(record),
    }
    write_text(folder / "report.json", json.dumps(_data(record, videos), indent=2, ensure_ascii=False))
    page = folder / "report.html"
    write_text(page, render("report.html.j2", context, styles=STYLES, scripts=SCRIPTS))
    return page


def read_record(folder: Path) -> dict[str, Any]:
    """``run.json`` of a run folder. Raises InputError with one line if it is not there or cannot be read."""
    path = folder / "run.json"
    if not path.is_file():
        raise InputError(f"no run in {folder}: expected run.json; give the folder that `videoedit run` wrote to")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read ({error}); run the edit again with --fresh") from error
    if not isinstance(record, dict):
        raise InputError(f"{path} is not the record of a run: expected an object, got {type(record).__name__}")
    return record


# ---------------------------------------------------------------------------------------- tables and plots


def _page(record: Mapping[str, Any], videos: Sequence[ShownVideo]) -> dict[str, Any]:
    given = record.get("input") or {}
    model = record.get("model") or {}
    rate = next((video.fps for video in videos if video.fps), 0.0) or 8.0
    facts = [
        f"{given['frames']} frames" if given.get("frames") else "",
        f"{_rate(given['fps'])} frames per second" if given.get("fps") else "",
        f"{_size(given['size'])} pixels" if given.get("size") else "",
        "with sound" if given.get("audio") else "",
        f"model {model.get('name') if isinstance(model, Mapping) else model}" if model else "",
        f"seed {record['seed']}" if record.get("seed") is not None else "",
    ]
    status = str(record.get("status", "finished"))
    banner = "" if status in ("finished", "done", "complete") else f"This run is not finished (status: {status})."
    return {
        "title": str(record.get("title") or "Video edit"),
        "method": str(record.get("method") or ""),
        "facts": [fact for fact in facts if fact],
        "banner": banner,
        "fps": rate,
        "notes": [str(note) for note in record.get("notes") or []],
    }


def _metrics(record: Mapping[str, Any], videos: Sequence[ShownVideo]) -> dict[str, Any]:
    """Rows of measures, columns of videos; measures that are not in the catalogue appear by their bare name."""
    given = {str(k): v for k, v in (record.get("metrics") or {}).items() if isinstance(v, Mapping) and v}
    order = [key for video in videos for key in (video.label, video.prompt) if key in given]
    columns = list(dict.fromkeys([*order, *given]))
    figures = {column: {_canonical(name): value for name, value in given[column].items()} for column in columns}
    names = set().union(*figures.values()) if figures else set()
    catalogue = list(METRICS)
    rows = []
    for name in sorted(names, key=lambda n: (catalogue.index(n) if n in catalogue else len(catalogue), n)):
        metric = describe(name)
        unit = f" {metric.unit}" if metric and metric.unit else ""
        cells = [number(figures[column].get(name)) for column in columns]
        rows.append({
            "id": name,
            "title": metric.title if metric else name.split("@")[0].replace("_", " ").capitalize(),
            "better": BETTER[metric.better] if metric else "",
            "meaning": metric.meaning if metric else "",
            "cells": [cell + unit if cell not in ("", "–", "∞") else cell for cell in cells],
        })  # fmt: skip
    return {"columns": [ROLES.get(column, column) for column in columns], "rows": rows}


def _canonical(name: str) -> str:
    """The versioned name of a measure of the catalogue; other names unchanged."""
    metric = describe(name)
    return metric.id if metric else name


def _rate(fps: Any) -> str:
    try:
        return f"{float(Fraction(str(fps))):.5g}"
    except (ValueError, ZeroDivisionError):
        return str(fps)


def _size(size: Any) -> str:
    return " × ".join(str(side) for side in (size.split("x") if isinstance(size, str) else size))


def _stages(record: Mapping[str, Any]) -> dict[str, Any]:
    calls, known = record.get("calls") or [], record.get("steps") or {}
    given = [
        {"name": name, "reused": status == KEPT, **known[name]}
        for name, status in (calls[-1].get("steps") or {} if calls else {}).items()
        if name in known
    ]
    rows = [
        {
            "name": str(stage.get("name", "")),
            "seconds": duration(stage.get("seconds")),
            "cpu": duration(stage.get("cpu_seconds")),
            "memory": memory(stage.get("peak_memory_mb")),
            "reused": bool(stage.get("reused")),
        }
        for stage in given
    ]
    peaks = [stage["peak_memory_mb"] for stage in given if stage.get("peak_memory_mb") is not None]
    return {
        "rows": rows,
        "seconds": duration(sum(stage.get("seconds") or 0 for stage in given)),
        "cpu": duration(sum(stage.get("cpu_seconds") or 0 for stage in given)),
        "memory": memory(max(peaks) if peaks else None),
    }


def _tables(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Settings, input, versions and licences, as titles and rows of text."""
    config = flatten((record.get("calls") or [{}])[-1].get("config") or {})
    given = {**flatten(record.get("input") or {}), **flatten({"model": record.get("model") or {}})}
    versions = flatten((record.get("calls") or [{}])[-1].get("versions") or {})
    tables = [
        ("Settings", config),
        ("Input and model", given),
        ("Versions", versions),
        ("Licences", _licences(record)),
    ]
    return [{"title": title, "rows": list(rows.items())} for title, rows in tables if rows]


def _licences(record: Mapping[str, Any]) -> dict[str, str]:
    known = {"videoedit": LICENCES["videoedit"]}
    method, model = record.get("method"), record.get("model")
    name = model.get("name") if isinstance(model, Mapping) else model
    if method in LICENCES:
        known[str(method)] = LICENCES[str(method)]
    if name:
        known[f"model {name}"] = LICENCES["mini" if name == "mini" else "other"]
    return known | {str(key): str(value) for key, value in (record.get("licences") or {}).items()}


def _is_series(values: Any) -> bool:
    return (
        isinstance(values, list) and len(values) >= 2
        and all(isinstance(v, int | float) and math.isfinite(v) for v in values)
    )  # fmt: skip


def _plot(name: str, values: Sequence[float], keyframes: Sequence[int] = ()) -> dict[str, Any]:
    """A curve as SVG paths in a 720 x 220 box: the values, and their running mean where they are many.

    The loss goes by steps, all others by frames; there `keyframes` are marked.
    """
    data = np.asarray(values, float)
    window = max(1, len(data) // 20)
    smooth = np.convolve(
        np.pad(data, (window // 2, window - 1 - window // 2), "edge"), np.ones(window) / window, "valid"
    )
    low, high = float(data.min()), float(np.quantile(data, 0.995) if len(data) > 200 else data.max())
    high = high if high > low else low + max(abs(low), 1) * 0.1
    ticks = round_ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def y(value: float) -> float:
        return round(190 - 178 * (min(value, high) - low) / (high - low), 1)

    def x(index: float) -> float:
        return round(56 + 656 * index / (len(data) - 1), 1)

    title = name.replace("_", " ").capitalize()
    unit = "steps" if name == "loss" else "frames"
    marks = [x(number) for number in keyframes if unit == "frames" and number < len(data)]
    first, last = number(float(smooth[: window or 1].mean())), number(float(smooth[-window:].mean()))
    return {
        "title": "Loss while tuning" if name == "loss" else title,
        "raw": svg_path((x(i), y(v)) for i, v in enumerate(data)),
        "smooth": svg_path((x(i), y(v)) for i, v in enumerate(smooth)) if window > 1 else "",
        "marks": marks,
        "y_ticks": [{"at": y(tick), "text": f"{tick:g}"} for tick in ticks],
        "x_ticks": [{"at": x(i), "text": str(i + 1)} for i in sorted({0, (len(data) - 1) // 2, len(data) - 1})],
        "alt": f"{title} over {len(data)} {unit}, from {first} to {last}",
        "caption": f"{len(data)} {unit}"
        + (f"; the bold line averages {window} of them" if window > 1 else "")
        + ("; upright lines are key frames." if marks else "."),
    }  # fmt: skip


def _data(record: Mapping[str, Any], videos: Sequence[ShownVideo]) -> dict[str, Any]:
    """What report.json holds: the record, what each measure means, and how the videos are shown."""
    names = {
        name for figures in (record.get("metrics") or {}).values() if isinstance(figures, Mapping) for name in figures
    }
    meanings = {
        name: {"id": metric.id, "title": metric.title, "meaning": metric.meaning, "better": metric.better}
        for name in sorted(names)
        if (metric := describe(name))
    }
    shown = [
        {"label": v.label, "prompt": v.prompt, "role": v.role, "file": v.path.name, "frames": v.num_frames,
         "fps": v.fps, "size": [v.width, v.height], "problem": v.problem, "remark": v.remark}
        for v in videos
    ]  # fmt: skip
    data = {**record, "videos": shown, "measures": meanings, "licences": _licences(record)}
    cleaned: dict[str, Any] = _plain(data)
    return cleaned


def _plain(value: Any) -> Any:
    """JSON without NaN and Infinity, which strict readers refuse: null and "inf" instead."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
