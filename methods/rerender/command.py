"""`videoedit propagate`: key frames that were edited in any program, carried to every frame of a clip."""

from __future__ import annotations

import itertools
import logging
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from rerender.config import PropagateRunConfig
from rerender.keyframes import scene_cuts
from rerender.pictures import key_picture, shown_of
from rerender.propagation.cost import propagation_stage
from rerender.propagation.interval import intervals
from rerender.propagation.units import stitch
from rerender.stream import Propagation
from videoedit.deliver import REFERENCE, Findings, StreamedEdit, Watcher, series_of, watch
from videoedit.errors import ConfigError, InputError
from videoedit.files import file_sha256
from videoedit.media.video import stretch_frames
from videoedit.metrics import psnr, ssim
from videoedit.runs.clip import Clip, span
from videoedit.runs.planning import Scene, StagePlan
from videoedit.runs.steps import Steps

logger = logging.getLogger("videoedit.rerender")

RESULT = "propagated.mp4"
BY_FLOW, HELD = "propagated (flow)", "the nearest key frame"
FIGURES = ("psnr", "ssim", "warp_error", "sharpness", "patch_error")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # EXIF
COUNTING = "frames count from 0 (FFmpeg numbers files from 1: give it -start_number 0)"
SAME = 60.0  # dB; what a plot shows for identical frames


def plan(config: PropagateRunConfig, scene: Scene) -> tuple[list[StagePlan], list[str]]:
    """Check the key frames against the clip and say what will be done; writes nothing."""
    start, stride = config.video.start, config.video.stride
    selected = range(start, start + scene.frames * stride, stride)
    keys = find_keyframes(config.keyframes, selected, scene.size)
    intervals(scene.frames, keys, config.cuts if config.cuts != "auto" else ())
    stage = propagation_stage(config.propagate, scene.frames, len(keys), scene.size)
    return [stage], [f"{len(keys)} of the frames are key frames."]


def edits(config: PropagateRunConfig, models: None, clip: Clip, steps: Steps) -> Iterator[StreamedEdit | Findings]:
    """Carry the key frames to every frame of the clip.

    With a reference (`truth`), the result, the flow propagator's, the reference itself and the nearest key frame held
    still are measured against it.
    """
    files = find_keyframes(config.keyframes, clip.numbers, clip.size)
    cuts = find_cuts(config, clip, steps)
    contents = {index: file_sha256(path) for index, path in files.items()}
    result = Propagation(config.propagate, clip, steps, files, contents, cuts, config.seed)
    edit = result.edit(config.label, RESULT, reference=config.truth)
    needs = {**edit.needs, "truth": config.truth}
    watchers, means = partial(_watchers, config, result), partial(_means, result)
    yield replace(edit, needs=needs, watchers=watchers, means=means)
    if config.truth:
        yield Findings(**steps.keep("compare", lambda: _compare(config, result), needs={**needs, "clip": clip}).value)
    needs = {"clip": clip, "keyframes": contents}
    rows = "of the clip, and as they were given"
    yield Findings(pictures=[key_picture(clip, shown_of(list(files)), lambda: result.pictures, rows, needs)])


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


# -------------------------------------------------------------------------------- files of edited key frames


def find_keyframes(given: Sequence[Path], selected: range, size: tuple[int, int]) -> dict[int, Path]:
    """The files of all key frames by index, in order.

    `given` are folders and files; the last number in a file's name (``shot2_0040.png``: 40) is the number of its frame
    in the clip. `selected` are the frame numbers that are edited; the index of a key frame is its place among them.
    `size` (width, height) is that of the clip. Reads no more than the heads of opaque pictures.

    Raises InputError, one line, for a path that is not there, a file that is no picture, has another size or
    transparent parts, no number, one that another file has too, or one outside the clip; ConfigError for none at all.
    """
    if not given:
        raise ConfigError("no key frames were given; name a folder or files with --keyframes")
    found: dict[int, Path] = {}
    for path in itertools.chain.from_iterable(map(_pictures, given)):
        numbers = re.findall(r"\d+", path.stem)
        if not numbers:
            raise InputError(f"{path} has no frame number in its name; call it {path.stem}-0010{path.suffix}, say")
        number = int(numbers[-1])
        if number not in selected:
            raise InputError(f"{path} is for frame {number}, but the edited frames are {span(selected)}; {COUNTING}")
        index = selected.index(number)
        if index in found:
            raise InputError(f"{found[index]} and {path} are both for frame {number}; keep one of them")
        found[index] = path
    _check_sizes(found, size)
    return dict(sorted(found.items()))


def _pictures(place: Path) -> Iterator[Path]:
    """A file itself; of a folder the pictures in it. Other files there are named in a warning."""
    if not place.exists():
        raise InputError(f"there is no {place}; --keyframes takes a folder or files")
    if not place.is_dir():
        if place.suffix.lower() not in SUFFIXES:
            raise InputError(f"{place} is no key frame: expected a png, jpg or webp")
        yield place
        return
    files = [path for path in sorted(place.iterdir()) if path.is_file() and not path.name.startswith(".")]
    pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not pictures:
        raise InputError(f"no key frame is in {place}: expected png, jpg or webp files named by frame, as 0010.png")
    if others := [path.name for path in files if path not in pictures]:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        logger.warning("in %s, %s%s is no png, jpg or webp and was left out", place, others[0], more)
    yield from pictures


def _check_sizes(files: dict[int, Path], size: tuple[int, int]) -> None:
    sizes = {path: _checked_size(path) for path in files.values()}
    wrong = {path: found for path, found in sizes.items() if found != size}
    if not wrong:
        return
    path, found = next(iter(wrong.items()))
    many = f" ({len(wrong)} of {len(sizes)} key frames differ)" if len(sizes) > 1 else ""
    fits = f", or work at theirs with --size {found[0]}x{found[1]}" if set(sizes.values()) == {found} else ""
    raise InputError(
        f"{path} is {found[0]}x{found[1]}, the clip is worked on at {size[0]}x{size[1]}{many}; how they would lie on "
        f"each other is not guessed: export them at {size[0]}x{size[1]}{fits}"
    )


def _checked_size(path: Path) -> tuple[int, int]:
    """(width, height) as displayed, of an opaque picture."""
    try:
        with Image.open(path) as picture:
            if getattr(picture, "n_frames", 1) > 1:
                raise InputError(f"{path} is an animation; give one picture for each key frame")
            if picture.has_transparency_data and np.asarray(picture.convert("RGBA"))[..., 3].min() < 255:
                raise InputError(f"{path} has transparent parts; lay it over its frame and save it without them")
            sideways = picture.getexif().get(ORIENTATION) in SIDEWAYS
            return (picture.height, picture.width) if sideways else picture.size
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} is not a picture that can be read; give a png, jpg or webp") from error
