"""What a unit is measured with (`choose_metrics`) and from (`material_of`), and its figures (`figures_of`)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videoedit.errors import InputError, VideoEditError
from videoedit.evaluation.entries import read_frames
from videoedit.evaluation.layouts.imported import PICTURES
from videoedit.evaluation.results import UnitResult
from videoedit.evaluation.suite import Suite, nearest
from videoedit.evaluation.units import Made, Unit
from videoedit.media.images import read_image
from videoedit.media.video import read_video, stretch_frames
from videoedit.metrics import Metric, all_metrics, full_id, measure, why_skipped
from videoedit.metrics.sample import Facts, Material


def choose_metrics(suite: Suite, weights_dir: Path | None) -> tuple[dict[str, Metric], dict[str, str], list[str]]:
    """The suite's metrics by full id, those that lack their weights with the reason, and problems, a line each."""
    known = {name: metric for name, metric in all_metrics().items() if metric.measure}
    short = {metric.name: metric for metric in reversed(known.values())}  # the first of a name, as `describe`
    asked = known if suite.metrics is None else suite.metrics
    chosen = {name: known.get(name.partition("/")[0]) or short.get(name) for name in asked}
    problems = [
        f"there is no metric {name!r}; {nearest(name, [*known, *short], 'there are')}"
        for name, metric in chosen.items()
        if metric is None
    ]
    blank = np.zeros((1, 1, 1, 3), np.uint8)
    material = Material(frames=blank, source=blank, flow=suite.flow)
    metrics: dict[str, Metric] = {}
    skipped: dict[str, str] = {}
    for metric in filter(None, chosen.values()):
        try:
            name = full_id(metric, material)
        except VideoEditError as error:  # there is no such estimator, or its weights are not here
            return {}, {}, [*problems, f"flow {suite.flow!r}: {error}"]
        if reason := why_skipped(metric, weights_dir):
            skipped[name] = reason
        else:
            metrics[name] = metric
    return metrics, skipped, problems


def figures_of(
    metrics: Mapping[str, Metric], material: Material, known: UnitResult | None, advance: Callable[[], None]
) -> dict[str, Any]:
    """`UnitResult`'s figures, remarks and series; those in `known` are taken over, but what depends on the cost.

    `advance` is called for each.
    """
    figures: dict[str, float | None] = {}
    remarks: dict[str, str] = {}
    series: dict[str, list[float]] = {}
    for name, metric in metrics.items():
        advance()
        if known and known.figures.get(name) is not None and "cost" not in metric.needs:
            figures[name] = known.figures[name]
            series |= {name: known.series[name]} if name in known.series else {}
            continue
        figure = measure(metric, material)
        figures[name] = float(figure.value) if math.isfinite(figure.value) else None
        if figures[name] is None:
            remarks[name] = figure.reason or f"the value is {figure.value}"
        if figure.series is not None:
            series[name] = [float(value) for value in figure.series]
    return {"figures": figures, "remarks": remarks, "series": series}


def material_of(
    suite: Suite, unit: Unit, made: Made, cost: Mapping[str, float], folder: Path, weights_dir: Path | None
) -> Material:
    """The edit, what it is held against, and what it took; all at the suite's size, else the clip's."""
    info, clip = unit.info, unit.clip
    size = suite.size or (info.width, info.height)
    files = [Path(file) for file in made.files] or [folder / made.video]
    start, stride, count = made.frames
    frames = _stack(itertools.islice(read_frames(files), count), size)
    numbers = range(start, start + len(frames) * stride, stride)

    def same(path: Path) -> np.ndarray:
        video = read_video(path, start=start, stride=stride, num_frames=len(frames))
        return stretch_frames(video.frames, size)

    wanted = Facts(
        frames=len(unit.frames),
        fps=info.fps / unit.frames.step,
        size=(info.width, info.height),
        audio=info.has_audio,
        seconds=len(unit.frames) * unit.frames.step / info.fps,
    )
    return Material(
        frames=frames,
        source=same(clip.path),
        prompt=unit.edit.prompt,
        source_prompt=clip.prompt,
        kind=unit.edit.type,
        truth=same(unit.edit.truth) if unit.edit.truth else None,
        boxes=np.array([clip.boxes[i] for i in numbers], np.float64) * (size * 2) if clip.boxes else None,
        mask=_read_mask(clip.mask, numbers, size) if clip.mask else None,
        keyframes=tuple(position for position in made.keyframes if position < len(frames)),
        numbers=numbers,
        output=_facts(files, wanted),
        wanted=wanted,
        cost=cost,
        flow=suite.flow,
        flow_cache=folder / "flow" / clip.id,
        weights_dir=weights_dir,
    )


def _stack(frames: Iterable[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    return np.stack([stretch_frames(frame, size) for frame in frames])


def _read_mask(path: Path, numbers: range, size: tuple[int, int]) -> np.ndarray:
    """bool [F, H, W], True where a mask's picture is bright."""
    if path.is_dir():
        pictures = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES)
        if len(pictures) <= numbers[-1]:
            raise InputError(f"{path} holds {len(pictures)} masks, expected one for each frame up to {numbers[-1]}")
        masks = _stack((read_image(pictures[number]) for number in numbers), size)
    else:
        video = read_video(path, start=numbers.start, stride=numbers.step, num_frames=len(numbers))
        masks = _stack(video.frames, size)
    bright: np.ndarray = masks.mean(axis=-1) > 127
    return bright


def _facts(files: Sequence[Path], wanted: Facts) -> Facts:
    """Of the output: of a video as it is; pictures have no rate of their own and no sound."""
    if len(files) == 1:
        return Facts.of(files[0])
    height, width = read_image(files[0]).shape[:2]
    return Facts(len(files), wanted.fps, (width, height), False, len(files) / wanted.fps)
