"""The patch-match engine beside EbSynth: time, likeness, error.

Big Buck Bunny at 512 x 288, ten frames forward from one key frame with EbSynth's guides (`ebsynth_golden`; its pictures
are no part of the project). CPU time is that of frame 5 (256 x 256: a part of it) in one direction on one thread;
EbSynth's C++ took 26.3 and 10.5 CPU seconds on a free core. PSNR and "patch error of EbSynth's" are means over the ten
frames; the truth is the filter applied to the frame, "gain" the PSNR to it less that of EbSynth's own picture. "patch
error of official's" is that of 64 x 64 tiles synthesised alone, beside the preset `official`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from common import publish
from ebsynth_golden import Case, cases
from results_schema import Better, Row, row

from rerender.patchmatch import PRESETS, synthesize

EBSYNTH_SECONDS = {"512x288": 26.3, "256x256": 10.5}
WANTED = {"default": 0.20, "fast": 0.12, "preview": 0.05}
LIKENESS = "likeness, 512x288"
REPEATS = 3
TIMED_FRAME = 5
TILE = 64
TILES = [(y, x) for y in (0, 112, 224) for x in (0, 149, 298, 448)]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Decibels between two uint8 images."""
    return float(cv2.PSNR(a, b))


def part(case: Case, y: int, x: int, height: int, width: int) -> tuple[np.ndarray, list]:
    """Style and guides of a rectangle of a frame."""
    window = slice(y, y + height), slice(x, x + width)
    return case.style[window], [(source[window], target[window], weight) for source, target, weight in case.guides]


def seconds(work: Callable[[], object]) -> list[float]:
    """CPU seconds of some calls."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return times


def timing(case: Case, preset: str) -> Iterator[Row]:
    """CPU seconds at both sizes."""
    inputs = {"512x288": (case.style, case.guides), "256x256": part(case, 16, 128, 256, 256)}
    for size, (style, guides) in inputs.items():
        taken = seconds(lambda style=style, guides=guides: synthesize(style, guides, preset=preset))
        theirs, wanted = ("EbSynth", EBSYNTH_SECONDS[size]), WANTED.get(preset)
        yield row(preset, "CPU time", min(taken), "s", "lower", group=size, values=taken, against=theirs, wanted=wanted)


def likeness(frames: list[Case], preset: str) -> Iterator[Row]:
    """How close the frames come to EbSynth's pictures and, compared with EbSynth, to the truth."""
    made = [synthesize(case.style, case.guides, preset=preset) for case in frames]
    pairs = list(zip(made, frames, strict=True))
    to_truth = [psnr(image, case.truth) for (image, _), case in pairs]
    gains = [ours - psnr(case.ebsynth, case.truth) for ours, case in zip(to_truth, frames, strict=True)]
    to_ebsynth = [psnr(image, case.ebsynth) for (image, _), case in pairs]
    errors = [float(error.mean()) / case.error for (_, error), case in pairs]
    yield mean_row(preset, "PSNR to EbSynth's", to_ebsynth, "dB", "higher")
    yield mean_row(preset, "PSNR to the truth", to_truth, "dB", "higher")
    yield mean_row(preset, "gain over EbSynth", gains, "dB", "higher")
    yield mean_row(preset, "patch error of EbSynth's", errors)


def tile_errors(case: Case, preset: str) -> np.ndarray:
    """Mean error of each tile, synthesised from the tile alone."""
    return np.array([synthesize(*part(case, y, x, TILE, TILE), preset=preset)[1].mean() for y, x in TILES])


def mean_row(preset: str, measure: str, values: list[float], unit: str = "", better: Better = "lower") -> Row:
    return row(preset, measure, float(np.mean(values)), unit, group=LIKENESS, better=better, values=values)


def rows() -> Iterator[Row]:
    frames = list(cases())
    timed = frames[TIMED_FRAME - 1]
    synthesize(*part(timed, 0, 0, 32, 32), preset="preview")  # compiles
    official = tile_errors(timed, "official")  # the bytes of the readable twin, as the tests show
    for preset in PRESETS:
        yield from timing(timed, preset)
        yield from likeness(frames, preset)
        ratios = tile_errors(timed, preset) / official
        yield mean_row(preset, "patch error of official's", ratios.tolist())


def main() -> None:
    publish("patchmatch", "Rerender: patch matching", rows(), method=__doc__, settings={"timed frame": TIMED_FRAME})


if __name__ == "__main__":
    main()
