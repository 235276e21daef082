"""`videoedit propagate`: key frames that were edited in any program, carried to every frame of a clip."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rerender.config import PropagateRunConfig
from rerender.fit import misplaced
from rerender.keyfiles import find_keyframes, sizes_note, table
from rerender.keyframes import scene_cuts
from rerender.pictures import key_picture, shown_of
from rerender.propagation.cost import propagation_stage
from rerender.propagation.interval import intervals
from rerender.propagation.units import stitch
from rerender.stream import Propagation
from videoedit.deliver import REFERENCE, Findings, StreamedEdit, Watcher, series_of, watch
from videoedit.files import file_sha256
from videoedit.media.images import Pictures, has_transparency
from videoedit.media.video import stretch_frames
from videoedit.metrics import psnr, ssim
from videoedit.runs.clip import Clip
from videoedit.runs.planning import Scene, StagePlan
from videoedit.runs.steps import Steps

RESULT = "propagated.mp4"
BY_FLOW, HELD = "propagated (flow)", "the nearest key frame"
FIGURES = ("psnr", "ssim", "warp_error", "sharpness", "patch_error")
SAME = 60.0  # dB; what a plot shows for identical frames


def plan(config: PropagateRunConfig, scene: Scene) -> tuple[list[StagePlan], list[str]]:
    """Check the key frames against the clip and say what will be done; writes nothing."""
    start, stride = config.video.start, config.video.stride
    selected = range(start, start + scene.frames * stride, stride)
    keys = find_keyframes(config.keyframes, selected, scene.size, config.keyframe)
    intervals(scene.frames, keys, config.cuts if config.cuts != "auto" else ())
    stage = propagation_stage(config.propagate, scene.frames, len(keys), scene.size)
    return [stage], [f"{len(keys)} of the frames are key frames.", table(keys, selected), *sizes_note(keys, scene.size)]


def edits(config: PropagateRunConfig, models: None, clip: Clip, steps: Steps) -> Iterator[StreamedEdit | Findings]:
    """Carry the key frames to every frame of the clip.

    With a reference (`truth`), the result, the flow propagator's, the reference itself and the nearest key frame held
    still are measured against it.
    """
    files = find_keyframes(config.keyframes, clip.numbers, clip.size, config.keyframe)
    steps.progress.say(table(files, clip.numbers))
    contents = {index: file_sha256(path) for index, path in files.items()}
    _look_at(files, contents, clip, steps)
    cuts = find_cuts(config, clip, steps)
    result = Propagation(config.propagate, clip, steps, files, contents, cuts, config.seed)
    edit = result.edit(config.label, RESULT, reference=config.truth)
    if any(map(has_transparency, files.values())):
        edit = _with_alpha(edit, result)
        steps.note("The key frames are transparent in parts: the mp4 shows them over white, --format png as they are.")
    needs = {**edit.needs, "truth": config.truth}
    watchers, means = partial(_watchers, config, result), partial(_means, result)
    yield replace(edit, needs=needs, watchers=watchers, means=means)
    if config.truth:
        yield Findings(**steps.keep("compare", lambda: _compare(config, result), needs={**needs, "clip": clip}).value)
    needs = {"clip": clip, "keyframes": contents}
    rows = "of the clip, and as they were given"
    yield Findings(pictures=[key_picture(clip, shown_of(list(files)), lambda: result.pictures, rows, needs)])


def _with_alpha(edit: StreamedEdit, result: Propagation) -> StreamedEdit:
    """The edit with the opacity of the key frames, which the flow carries."""
    by_flow = result.config.model_copy(update={"propagator": "flow"})
    opacity = replace(result, config=by_flow, name="propagate alpha", alpha=True)

    def alpha() -> Iterator[np.ndarray]:
        return stitch(result.clip.num_frames, opacity.pictures, opacity.archives)

    return replace(edit, alpha=alpha, needs={**edit.needs, "alpha": opacity.step})


def _look_at(files: Mapping[int, Path], contents: Mapping[int, str], clip: Clip, steps: Steps) -> None:
    """Say what is to be known of key frames: which are shrunk, and which seem to show another frame of the clip."""
    for note in sizes_note(files, clip.size):
        steps.note(note)

    def compare() -> dict[str, int]:
        found = misplaced(Pictures(files, clip.size), clip.stream())
        return {str(clip.numbers[key]): clip.numbers[frame] for key, frame in found.items()}

    step = steps.keep("compare key frames", compare, needs={"clip": clip, "keyframes": contents})
    for key, frame in step.value.items() if not steps.dry else ():
        steps.note(f"The key frame for frame {key} looks more like frame {frame} of the clip: was it counted from 0?")


def find_cuts(config: PropagateRunConfig, clip: Clip, steps: Steps) -> list[int]:
    """First frames of the shots after the first."""
    if config.cuts == "auto":
        step = steps.keep("scene cuts", lambda: list(scene_cuts(iter(clip.video.frames))), needs={"clip": clip})
        cuts: list[int] = step.value
    else:
        cuts = sorted(config.cuts)
    if cuts:
        steps.note(f"Scene cuts before frames {cuts}: no key frame serves across them.")
    return cuts


def _compare(config: PropagateRunConfig, result: Propagation) -> dict[str, Any]:
    """Figures and curves of the flow propagator, of the nearest key frame held still, and of the reference."""
    versions: dict[str, Callable[[], Iterator[np.ndarray]]] = {HELD: partial(_held, result)}
    versions[REFERENCE] = partial(_reference, config, result.clip)
    if config.propagate.propagator != "flow":
        versions = {BY_FLOW: partial(_by_flow, result), **versions}
    found: dict[str, Any] = {"plots": {}, "figures": {}}
    for label, frames in versions.items():
        watchers = _watchers(config, result)
        deque(watch(frames(), watchers), maxlen=0)
        series = series_of(watchers)
        for name, values in series.items():
            found["plots"][f"{name}, {label}"] = values
        found["figures"][label] = _means(result, series)
    return found


def _by_flow(result: Propagation) -> Iterator[np.ndarray]:
    """The frames that the flow propagator makes of the same key frames."""
    config = result.config.model_copy(update={"propagator": "flow"})
    by_flow = replace(result, config=config, name="propagate by flow")
    work = result.steps.scratch(".work")
    targets = {interval: work / f"{interval.start:06d}.zip" for interval in by_flow.intervals}
    by_flow.make_archives(targets, work / "unfinished")
    return stitch(result.clip.num_frames, result.pictures, targets)


def _held(result: Propagation) -> Iterator[np.ndarray]:
    """The nearest key frame of the shot in the place of every frame."""
    nearest = dict(zip(result.keyframes, result.keyframes, strict=True))
    for interval in result.intervals:
        for frame in interval.frames:
            backward = interval.backward_weight(frame) > 0.5
            nearest[frame] = interval.keys["backward" if backward else "forward"]
    for frame in range(result.clip.num_frames):
        yield result.pictures[nearest[frame]]


def _reference(config: PropagateRunConfig, clip: Clip) -> Iterator[np.ndarray]:
    """The frames as they should look, at the working size."""
    assert config.truth
    return (stretch_frames(frame, clip.size) for frame in clip.same_frames(config.truth))


def _watchers(config: PropagateRunConfig, result: Propagation) -> list[Watcher]:
    """All that measures one version of the clip, also against the reference, if there is one."""
    closeness = [Closeness(_reference(config, result.clip))] if config.truth else []
    return [result.measures(), *closeness]


def _means(result: Propagation, series: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Means, over the frames that were made, of the series of one version of the clip."""
    made = list(itertools.chain.from_iterable(interval.frames for interval in result.intervals))
    means = {}
    for name in FIGURES:
        if name in series:
            means[f"{name}@1"] = float(np.asarray(series[name])[made or [0]].mean())
    return means


class Closeness:
    """PSNR (dB, at most `SAME`) and SSIM of every frame that passes, against the frames of `truth`."""

    def __init__(self, truth: Iterator[np.ndarray]) -> None:
        self._truth = truth
        self._series: dict[str, list[float]] = {"psnr": [], "ssim": []}

    def watch(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for frame, true in zip(frames, self._truth, strict=True):
            self._series["psnr"].append(min(psnr(frame[None], true[None]), SAME))
            self._series["ssim"].append(ssim(frame[None], true[None]))
            yield frame

    def series(self) -> dict[str, list[float]]:
        return self._series
