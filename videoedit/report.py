"""The page of a run: ``report.html``, one file that asks nothing of the network, and ``report.json`` beside it.

Also pictures for people: `contact_sheet` and `compare_video`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np

from videoedit.errors import InputError
from videoedit.html import (
    BETTER,
    SMALL,
    data_uri,
    duration,
    flatten,
    memory,
    number,
    preview,
    render,
    round_ticks,
    svg_path,
    thumbnail,
)
from videoedit.metrics import METRICS, describe
from videoedit.run import write_text

EMBED_LIMIT = 30 * 2**20  # bytes of video inside one page
PREVIEW_SIDE = 480  # longer side, pixels, of a preview that stands in for a video over the limit
STRIP_FRAMES = 8
STYLES, SCRIPTS = ("base.css", "report.css"), ("player.js", "report.js")
ROLES = {"source": "Source", "reconstruction": "Reconstruction", "edit": "Edit", "truth": "Ground truth"}
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
    videos = _load_videos(folder, record)
    context = {
        "page": _page(record, videos),
        "groups": (groups := _groups(videos)),
        "columns": _columns(groups),
        "playable": any(video.src for video in videos),
        "linked": any(video.linked for video in videos),
        "metrics": _metrics(record, videos),
        "strips": [strip for video in videos if (strip := _strip(video))],
        "pictures": [shown for one in record.get("pictures") or [] if (shown := _picture(folder, one))],
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


# ------------------------------------------------------------------------------------------------ videos


@dataclass
class _Shown:
    """A video of the run as the page shows it."""

    label: str
    prompt: str
    role: str
    path: Path
    frames: np.ndarray | None = None  # up to STRIP_FRAMES of them, uint8 [N, H, W, 3]
    num_frames: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    src: str = ""
    linked: bool = False  # src is a file beside the page
    link: str = ""  # the full video, where the page holds a preview
    remark: str = ""
    problem: str = ""

    @property
    def role_name(self) -> str:
        return ROLES.get(self.role, self.role.capitalize() or "Video")

    @property
    def small(self) -> bool:
        return 0 < self.width <= SMALL


def _load_videos(folder: Path, record: Mapping[str, Any]) -> list[_Shown]:
    videos = [
        _Shown(
            str(v.get("label", "")),
            str(v.get("prompt") or ""),
            str(v.get("role", "")),
            folder / str(v.get("file", "")),
        )
        for v in record.get("videos", [])
    ]
    there = [video for video in videos if video.path.is_file()]
    for video in videos:
        if video not in there:
            video.problem = f"{video.path.name or 'The video'} is not in the run folder."
    total = sum(video.path.stat().st_size for video in there)
    share = EMBED_LIMIT if total <= EMBED_LIMIT else EMBED_LIMIT // max(1, len(there))
    for video in there:
        try:
            _inspect(video)
        except InputError as error:
            video.problem = f"{video.path.name} cannot be read: {error}"
            continue
        _embed(video, folder, share)
    return videos


def _inspect(video: _Shown) -> None:
    """Fill in sizes, rate and some frames."""
    from videoedit.video import iter_frames, probe

    info = probe(video.path)
    video.fps, video.width, video.height = float(info.fps), info.width, info.height
    wanted = set(np.linspace(0, max(0, info.frames - 1), STRIP_FRAMES).round().astype(int).tolist())
    kept, count = [], 0
    for index, frame in enumerate(iter_frames(video.path, start=0, stride=1, num_frames=None)):
        count = index + 1
        if index in wanted:
            kept.append(thumbnail(frame))
    video.num_frames, video.frames = count, np.stack(kept) if kept else None


def _embed(video: _Shown, folder: Path, share: int) -> None:
    """Put a video into the page, or a smaller copy of it, or a link if even that is over its share of bytes."""
    size = video.path.stat().st_size
    name = os.path.relpath(video.path, folder)
    if size <= share:
        video.src = data_uri("video/mp4", video.path.read_bytes())
        return
    smaller = preview(video.path, share, PREVIEW_SIDE)
    video.link = quote(name)
    if smaller is not None:
        video.src = data_uri("video/mp4", smaller)
        video.remark = f"A smaller preview: the video has {size / 2**20:.0f} MiB."
    else:
        video.src, video.linked = quote(name), True
        video.remark = f"Not inside this page ({size / 2**20:.0f} MiB): keep it beside it."


def _groups(videos: Sequence[_Shown]) -> list[list[_Shown]]:
    """Source, then each edit with its ground truth beside it, then the rest; where there are many, in pairs."""
    sources = [video for video in videos if video.role == "source"]
    edits = [video for video in videos if video.role == "edit"]
    others = [video for video in videos if video.role not in ("source", "edit")]
    groups = [[source] for source in sources]
    for edit in edits:
        mates = [v for v in others if v.role == "truth" and edit.prompt and v.prompt == edit.prompt]
        others = [v for v in others if v not in mates[:1]]
        groups.append([edit, *mates[:1]])
    if len(videos) > 4 and len(sources) == 1 and others and others[0].role == "reconstruction":
        groups[0].append(others.pop(0))
    return groups + [[video] for video in others]


def _columns(groups: Sequence[Sequence[Any]]) -> int:
    total = sum(len(group) for group in groups)
    return total if total <= 4 else 4


def _strip(video: _Shown) -> dict[str, Any] | None:
    """The contact strip of a video: frames side by side with a thin gap."""
    if video.frames is None:
        return None
    count, height, width = video.frames.shape[:3]
    gap = max(1, width // 48)
    strip = np.zeros((height, STRIP_FRAMES * (width + gap) - gap, 4), np.uint8)
    for index, frame in enumerate(video.frames):
        left = index * (width + gap)
        strip[:, left : left + width, :3], strip[:, left : left + width, 3] = frame[..., ::-1], 255
    way = ".png" if video.small else ".webp"
    options = [] if video.small else [cv2.IMWRITE_WEBP_QUALITY, 80]
    data = cv2.imencode(way, strip, options)[1].tobytes()
    caption = video.prompt or (video.label if video.label.lower() != video.role_name.lower() else "")
    return {
        "src": data_uri(f"image/{way[1:]}", data), "role_name": video.role_name, "caption": caption,
        "alt": f"{count} frames of {video.num_frames} of {video.role_name.lower()} {caption}".strip(),
        "width": strip.shape[1], "height": height, "small": video.small,
    }  # fmt: skip


def _picture(folder: Path, entry: Mapping[str, str]) -> dict[str, Any] | None:
    """A picture of the run: ``{"title": ..., "file": a png or webp in the folder, "caption": ...}``."""
    path = folder / entry["file"]
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        return None
    source = data_uri(f"image/{path.suffix[1:]}", path.read_bytes())
    return {**entry, "src": source, "width": image.shape[1], "height": image.shape[0]}


# ---------------------------------------------------------------------------------------- tables and plots


def _page(record: Mapping[str, Any], videos: Sequence[_Shown]) -> dict[str, Any]:
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


def _metrics(record: Mapping[str, Any], videos: Sequence[_Shown]) -> dict[str, Any]:
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
    given = record.get("stages") or []
    if isinstance(given, Mapping):
        given = [{"name": name, **values} for name, values in given.items()]
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
    config = flatten(record.get("config") or {})
    given = {**flatten(record.get("input") or {}), **flatten({"model": record.get("model") or {}})}
    versions = flatten(record.get("versions") or {})
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


def _data(record: Mapping[str, Any], videos: Sequence[_Shown]) -> dict[str, Any]:
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


# ------------------------------------------------------------------------------------- pictures for people


def contact_sheet(
    videos: Mapping[str, np.ndarray], columns: int = STRIP_FRAMES, *, side: int = 128, dark: bool = False
) -> np.ndarray:
    """One labelled row of evenly spaced frames per video; uint8 [H, W, 3], RGB.

    `videos` maps a label to frames uint8 [F, H, W, 3]; `columns` is the most frames in a row, `side` the longer
    side of a frame in the sheet. Small frames are enlarged with hard pixels.
    """
    if not videos or columns < 1:
        raise InputError("a contact sheet needs at least one video and one column")
    rows = []
    for label, frames in videos.items():
        chosen = np.linspace(0, len(frames) - 1, min(columns, len(frames))).round().astype(int)
        cells = [_fit(frames[index], side) for index in chosen]
        gap = np.full((cells[0].shape[0], 4, 3), _paper(dark), np.uint8)
        row = np.concatenate([part for cell in cells for part in (gap, cell)][1:], axis=1)
        rows.append((label, row))
    margin = max(8, side // 12)
    width = max(row.shape[1] for _, row in rows)
    parts = [np.full((margin, width, 3), _paper(dark), np.uint8)]
    for label, row in rows:
        padding = np.full((row.shape[0], width - row.shape[1], 3), _paper(dark), np.uint8)
        parts += [_caption(label, width, dark), np.concatenate([row, padding], axis=1)]
        parts.append(np.full((margin, width, 3), _paper(dark), np.uint8))
    sheet = np.concatenate(parts)
    return np.pad(sheet, ((0, 0), (margin, margin), (0, 0)), constant_values=_paper(dark))


def compare_video(videos: Mapping[str, np.ndarray], *, side: int = 256, dark: bool = False) -> np.ndarray:
    """Videos side by side, each under its label; uint8 [F, H, W, 3] with even sides, as long as the shortest."""
    if not videos:
        raise InputError("a comparison needs at least one video")
    count = min(len(frames) for frames in videos.values())
    fitted = [[_fit(frame, side) for frame in frames[:count]] for frames in videos.values()]
    height = max(cells[0].shape[0] for cells in fitted)
    columns = []
    for label, cells in zip(videos, fitted, strict=True):
        caption = _caption(label, cells[0].shape[1], dark)
        stack = np.stack(cells)
        below = ((0, 0), (0, height - stack.shape[1]), (0, 0), (0, 0))
        stack = np.pad(stack, below, constant_values=_paper(dark))
        columns.append((np.broadcast_to(caption, (count, *caption.shape)), stack))
    top = max(caption.shape[1] for caption, _ in columns)
    parts = []
    for caption, stack in columns:
        lines = np.pad(caption, ((0, 0), (top - caption.shape[1], 0), (0, 0), (0, 0)), constant_values=_paper(dark))
        parts += [
            np.full((count, top + height, 6, 3), _paper(dark), np.uint8),
            np.concatenate([lines, stack], axis=1),
        ]
    whole = np.concatenate(parts[1:], axis=2)
    odd = [(0, size % 2) for size in whole.shape[1:3]]
    return np.pad(whole, ((0, 0), *odd, (0, 0)), constant_values=_paper(dark))


def _paper(dark: bool) -> int:
    return 24 if dark else 255


def _fit(frame: np.ndarray, side: int) -> np.ndarray:
    """The frame with its longer side at `side`; whole multiples of small frames keep hard pixels."""
    height, width = frame.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    way = cv2.INTER_NEAREST if scale >= 1.5 else cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(frame, size, interpolation=way))


def _caption(text: str, width: int, dark: bool, *, size: int = 14) -> np.ndarray:
    """Text on paper, uint8 [H, width, 3], wrapped at words to the width."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size)
    lines: list[str] = []
    line = ""
    for word in text.split() or [""]:
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > width:
            lines, line = [*lines, line], word
        else:
            line = longer
    lines.append(line)
    step = round(size * 1.3)
    image = Image.new("RGB", (width, step * len(lines) + 6), (_paper(dark),) * 3)
    ImageDraw.Draw(image).multiline_text(
        (0, 1), "\n".join(lines), fill=(225,) * 3 if dark else (40,) * 3, font=font, spacing=step - size
    )
    return np.asarray(image)
