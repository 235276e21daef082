"""`videoedit propagate`: key frames that were edited in any program, carried to every frame of a clip."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from rerender.config import PropagateRunConfig
from rerender.keyframes import scene_cuts
from rerender.propagation.cost import propagation_stage
from rerender.propagation.interval import intervals
from rerender.propagation.keyfiles import find_keyframes
from rerender.propagation.units import stitch
from rerender.stream import Propagation
from videoedit.deliver import REFERENCE, Findings, Picture, StreamedEdit, Watcher, series_of, watch
from videoedit.files import file_sha256
from videoedit.media.images import Pictures, contact_rows
from videoedit.media.video import stretch_frames
from videoedit.metrics import psnr, ssim
from videoedit.runs.clip import Clip
from videoedit.runs.planning import Scene, StagePlan
from videoedit.runs.steps import Steps

RESULT = "propagated.mp4"
BY_FLOW, HELD = "propagated (flow)", "the nearest key frame"
FIGURES = ("psnr", "ssim", "warp_error", "sharpness", "patch_error")
SAME = 60.0  # dB; what a plot shows for identical frames
SHOWN = 8  # key frames in the report's picture


def plan(config: PropagateRunConfig, scene: Scene) -> tuple[list[StagePlan], list[str]]:
    """Check the key frames against the clip and say what will be done; writes nothing."""
    keys = find_keyframes(config.keyframes, selected_frames(config, scene.frames), scene.size)
    intervals(scene.frames, keys, config.cuts if config.cuts != "auto" else ())
    stage = propagation_stage(config.propagate, scene.frames, len(keys), scene.size)
    return [stage], [f"{len(keys)} of the frames are key frames."]


def selected_frames(config: PropagateRunConfig, count: int) -> range:
    """Numbers in the clip of the `count` frames that are edited."""
    start, stride = config.video.start, config.video.stride
    return range(start, start + count * stride, stride)


def edits(config: PropagateRunConfig, models: None, clip: Clip, steps: Steps) -> Iterator[StreamedEdit | Findings]:
    """Carry the key frames to every frame of the clip.

    With a reference (`truth`), the result, the flow propagator's, the reference itself and the nearest key frame held
    still are measured against it.
    """
    files = find_keyframes(config.keyframes, clip.numbers, clip.size)
    cuts = find_cuts(config, clip, steps)
    contents = {index: file_sha256(path) for index, path in files.items()}
    result = Propagation(config.propagate, clip, steps, files, contents, cuts, config.seed)
    made = result.make()

    def watchers() -> Sequence[Watcher]:
        return [result.measures(), *_closeness(config, clip)]

    yield StreamedEdit(
        config.label,
        partial(result.frames, made),
        {"frames": made, "keyframes": contents, "cuts": cuts, "truth": config.truth},
        RESULT,
        tuple(files),
        watchers,
        partial(result.figures, made),
        partial(_means, result),
        reference=config.truth,
    )
    if config.truth:
        compared = steps.keep(
            "compare",
            lambda: _compare(config, result),
            needs={"frames": made, "keyframes": contents, "clip": clip, "truth": config.truth},
        )
        yield Findings(**compared.value)
    yield Findings(pictures=[_key_picture(clip, result.pictures, contents)])


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
        watchers = [result.measures(), *_closeness(config, result.clip)]
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
            nearest[frame] = interval.key("backward" if backward else "forward")
    for frame in range(result.clip.num_frames):
        yield result.pictures[nearest[frame]]


def _reference(config: PropagateRunConfig, clip: Clip) -> Iterator[np.ndarray]:
    """The frames as they should look, at the working size."""
    assert config.truth
    for frame in clip.same_frames(config.truth):
        yield stretch_frames(frame, clip.size)


def _closeness(config: PropagateRunConfig, clip: Clip) -> list[Watcher]:
    return [Closeness(_reference(config, clip))] if config.truth else []


def _means(result: Propagation, series: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Means, over the frames that were made, of the series of one version of the clip."""
    made = list(itertools.chain.from_iterable(interval.frames for interval in result.intervals))
    means = {}
    for name in FIGURES:
        if name in series:
            means[f"{name}@1"] = float(np.asarray(series[name])[made or [0]].mean())
    return means


def _key_picture(clip: Clip, keyframes: Pictures, contents: Mapping[int, str]) -> Picture:
    """Some key frames: of the clip, and as they were given."""
    shown = list(keyframes)[:: max(1, -(-len(keyframes) // SHOWN))]

    def draw() -> np.ndarray:
        return contact_rows(list(dict(clip.pick(shown)).values()), list(map(keyframes.__getitem__, shown)))

    caption = f"Key frames {', '.join(map(str, shown))}: of the clip, and as they were given."
    return Picture("Key frames", caption, "keys.png", draw, {"clip": clip, "keyframes": dict(contents)})


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
