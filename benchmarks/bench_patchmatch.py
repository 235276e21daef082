"""The patch-match engine beside EbSynth: time, likeness, error: ``python benchmarks/bench_patchmatch.py``.

Uses EbSynth's own pictures (`ebsynth_golden`), which are no part of the project. Time is that of one frame in one
direction on one thread; EbSynth's C++ took 26.3 and 10.5 CPU seconds on a free core. Writes results/patchmatch.json.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import cv2
import numpy as np
from common import surroundings, write_result
from ebsynth_golden import Case, cases

from rerender.patchmatch import PRESETS, synthesize

EBSYNTH_SECONDS = {"512x288": 26.3, "256x256": 10.5}
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


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of the fastest of some calls."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return round(min(times), 3)


def timing(case: Case, preset: str) -> dict[str, Any]:
    """CPU seconds, and their share of EbSynth's, at both sizes."""
    inputs = {"512x288": (case.style, case.guides), "256x256": part(case, 16, 128, 256, 256)}
    result = {}
    for size, (style, guides) in inputs.items():
        taken = seconds(lambda style=style, guides=guides: synthesize(style, guides, preset=preset))
        result[size] = {"cpu_seconds": taken, "of_ebsynth": round(taken / EBSYNTH_SECONDS[size], 3)}
    return result


def likeness(case: Case, preset: str) -> dict[str, float]:
    """How close a frame comes to EbSynth's picture and, compared with EbSynth, to the truth."""
    image, errors = synthesize(case.style, case.guides, preset=preset)
    truth = psnr(image, case.truth)
    return {
        "psnr_to_ebsynth": psnr(image, case.ebsynth),
        "psnr_to_truth": truth,
        "psnr_to_truth_minus_ebsynths": truth - psnr(case.ebsynth, case.truth),
        "error_of_ebsynths": float(errors.mean()) / case.error,
    }


def tile_errors(case: Case, preset: str) -> np.ndarray:
    """Mean error of each tile, synthesised from the tile alone."""
    return np.array([synthesize(*part(case, y, x, TILE, TILE), preset=preset)[1].mean() for y, x in TILES])


def mean_of(rows: Iterable[dict[str, float]]) -> dict[str, float]:
    """The mean of each value."""
    rows = list(rows)
    return {name: round(float(np.mean([row[name] for row in rows])), 4) for name in rows[0]}


def main() -> None:
    where = surroundings()
    frames = list(cases())
    timed = frames[TIMED_FRAME - 1]
    synthesize(*part(timed, 0, 0, 32, 32), preset="preview")  # compiles
    official = tile_errors(timed, "official")  # the bytes of the readable twin, as the tests show
    result = {}
    for preset in PRESETS:
        rows = [likeness(case, preset) for case in frames]
        ratios = tile_errors(timed, preset) / official
        result[preset] = {
            "time": timing(timed, preset),
            "mean": mean_of(rows),
            "frames": [{name: round(value, 3) for name, value in row.items()} for row in rows],
            "tile_error_of_officials": {"mean": round(float(ratios.mean()), 4), "max": round(float(ratios.max()), 4)},
        }
        print(preset, {name: value for name, value in result[preset].items() if name != "frames"}, flush=True)
    print(write_result("patchmatch", {"presets": result}, where))


if __name__ == "__main__":
    main()
