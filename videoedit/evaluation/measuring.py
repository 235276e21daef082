"""Measuring a unit: the metrics (`choose_metrics`), the sample they take (`sample_of`), its figures (`figures_of`)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videoedit.errors import InputError, VideoEditError
from videoedit.evaluation.entries import read_frames
from videoedit.evaluation.results import UnitResult
from videoedit.evaluation.suite import Suite, nearest
from videoedit.evaluation.units import Output, Unit
from videoedit.media.images import read_image
from videoedit.media.shown import PICTURES
from videoedit.media.video import read_video, stretch_frames
from videoedit.metrics import Metric, all_metrics, full_id, measure, why_skipped
from videoedit.metrics.sample import Facts, Sample


def choose_metrics(suite: Suite, weights_dir: Path | None) -> tuple[dict[str, Metric], dict[str, str], list[str]]:
    """The suite's metrics by full id, those that lack their weights with the reason, and problems, a line each."""
    chosen, problems = _named_metrics(suite)
    blank = np.zeros((1, 1, 1, 3), np.uint8)
    sample = Sample(frames=blank, source=blank, flow=suite.flow)
    metrics: dict[str, Metric] = {}
    skipped: dict[str, str] = {}
    for metric in chosen:
        try:
            name = full_id(metric, sample)
        except VideoEditError as error:  # there is no such estimator, or its weights are not here
            return {}, {}, [*problems, f"flow {suite.flow!r}: {error}"]
        if reason := why_skipped(metric, weights_dir):
            skipped[name] = reason
        else:
            metrics[name] = metric
    return metrics, skipped, problems


def _named_metrics(suite: Suite) -> tuple[list[Metric], list[str]]:
    """The metrics that the suite names (by id or name), by default all; and a line for each that is not known."""
    known: dict[str, Metric] = {}
    for name, metric in all_metrics().items():
        if metric.measure:
            known[name] = metric
    if suite.metrics is None:
        return list(known.values()), []
    by_name: dict[str, Metric] = {}
    for metric in known.values():
        by_name.setdefault(metric.name, metric)  # the first of a name, as `describe`
    chosen: list[Metric] = []
    problems: list[str] = []
    for name in dict.fromkeys(suite.metrics):
        if found := known.get(name.partition("/")[0]) or by_name.get(name):
            chosen.append(found)
        else:
            problems.append(f"there is no metric {name!r}; {nearest(name, [*known, *by_name], 'there are')}")
    return chosen, problems


def figures_of(
    metrics: Mapping[str, Metric], sample: Sample, known: UnitResult | None, advance: Callable[[], None]
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
            if name in known.series:
                series[name] = known.series[name]
            continue
        figure = measure(metric, sample)
        figures[name] = float(figure.value) if math.isfinite(figure.value) else None
        if figures[name] is None:
            remarks[name] = figure.reason or f"the value is {figure.value}"
        if figure.series is not None:
            series[name] = list(map(float, figure.series))
    return {"figures": figures, "remarks": remarks, "series": series}


def sample_of(
    suite: Suite, unit: Unit, output: Output, cost: Mapping[str, float], folder: Path, weights_dir: Path | None
) -> Sample:
    """The edit, all that it is held against, and its cost; everything at the suite's size, else the clip's."""
    info, clip = unit.info, unit.clip
    size = suite.size or (info.width, info.height)
    files = list(map(Path, output.files)) or [folder / output.video]
    start, stride, count = output.frames
    frames = _stack(itertools.islice(read_frames(files), count), size)
    numbers = range(start, start + len(frames) * stride, stride)
    wanted = _wanted(unit)
    return Sample(
        frames=frames,
        source=_read_same(clip.path, numbers, size),
        prompt=unit.edit.prompt,
        source_prompt=clip.prompt,
        kind=unit.edit.type,
        truth=_read_same(unit.edit.truth, numbers, size) if unit.edit.truth else None,
        boxes=np.array([clip.boxes[i] for i in numbers], np.float64) * (size * 2) if clip.boxes else None,
        mask=_read_mask(clip.mask, numbers, size) if clip.mask else None,
        keyframes=tuple(position for position in output.keyframes if position < len(frames)),
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


def _read_same(path: Path, numbers: range, size: tuple[int, int]) -> np.ndarray:
    """The frames of these `numbers`, at `size`."""
    video = read_video(path, start=numbers.start, stride=numbers.step, num_frames=len(numbers))
    return stretch_frames(video.frames, size)


def _read_mask(path: Path, numbers: range, size: tuple[int, int]) -> np.ndarray:
    """bool [F, H, W], True where a mask's picture is bright."""
    if path.is_dir():
        pictures = []
        for file in sorted(path.iterdir()):
            if file.suffix.lower() in PICTURES:
                pictures.append(file)
        if len(pictures) <= numbers[-1]:
            raise InputError(f"{path} holds {len(pictures)} masks, expected one for each frame up to {numbers[-1]}")
        masks = _stack(map(read_image, pictures[numbers.start : numbers.stop : numbers.step]), size)
    else:
        masks = _read_same(path, numbers, size)
    bright: np.ndarray = masks.mean(axis=-1) > 127
    return bright


def _wanted(unit: Unit) -> Facts:
    """Facts of a video that shows all frames asked for, as the clip does."""
    info, frames = unit.info, unit.frames
    return Facts(
        frames=len(frames),
        fps=info.fps / frames.step,
        size=(info.width, info.height),
        audio=info.has_audio,
        seconds=len(frames) * frames.step / info.fps,
    )


def _facts(files: Sequence[Path], wanted: Facts) -> Facts:
    """Of the output: of a video as it is; pictures have no rate of their own and no sound."""
    if len(files) == 1:
        return Facts.of(files[0])
    height, width = read_image(files[0]).shape[:2]
    return Facts(len(files), wanted.fps, (width, height), False, len(files) / wanted.fps)
