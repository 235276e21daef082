"""Figures of an edit frame by frame, taken while the frames pass by on their way to the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from videoedit.media.video import iter_frames, stretch_frames
from videoedit.metrics import color_drift, measure_edit, warp_error

if TYPE_CHECKING:
    from videoedit.motion.estimators import FlowPair

FlowOf = Callable[..., "FlowPair"]  # (first, second, indices=(i, j)) -> motion between two source frames


MEASURED = 120  # frames, from the first on, of which the figures of a whole video are taken
TRUTH = "ground truth: "  # before the prompt, where figures of what an edit should show stand beside the edit's


def measure_files(
    source: Path,
    edit: Path,
    prompt: str,
    truth: Iterable[np.ndarray] | None = None,  # uint8 [H, W, 3] each
    *,
    size: tuple[int, int],
    with_clip: bool,
) -> dict[str, dict[str, float]]:
    """`measure_edit` of a written video against its source, and of its ground truth, if there is one, by label.

    They are compared at `size` (width, height), over the first `MEASURED` frames.
    """

    def clip(frames: Iterable[np.ndarray]) -> np.ndarray:
        return np.stack([stretch_frames(frame, size) for frame in islice(frames, MEASURED)])

    original, wanted = clip(iter_frames(source)), None if truth is None else clip(truth)
    figures = {prompt: measure_edit(original, clip(iter_frames(edit)), prompt, wanted, with_clip=with_clip)}
    if wanted is not None:
        figures[TRUTH + prompt] = measure_edit(original, wanted, prompt, wanted, with_clip=with_clip)
    return figures


class FrameMeasures:
    """Warp error, colour drift against the shot's first frame, and sharpness, of every frame that passes.

    - ``warp_error``: mean squared difference (values 0 to 1) to the frame before, moved along the source's flow, where
      that is visible; 0 at the first frame of a shot.
    - ``colour_drift``: distance of the mean colour from the shot's first frame's, in CIELAB units.
    - ``sharpness``: variance of the Laplacian of the grey picture.
    """

    def __init__(self, flow_of: FlowOf, source: Iterable[np.ndarray], cuts: Sequence[int] = ()) -> None:
        self._flow_of, self._source, self._starts = flow_of, source, {0, *cuts}
        self._series: dict[str, list[float]] = {"warp_error": [], "colour_drift": [], "sharpness": []}

    def watch(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Hand on each edited frame, uint8 [H, W, 3], the size of the source's, as it is."""
        before: tuple[np.ndarray, np.ndarray] | None = None  # source and edit
        anchor: np.ndarray | None = None
        for index, (source, edited) in enumerate(zip(self._source, frames, strict=False)):
            if index in self._starts:
                before, anchor = None, edited
            assert anchor is not None
            self._series["warp_error"].append(self._warp_error(before, source, edited, index) if before else 0.0)
            self._series["colour_drift"].append(float(color_drift(np.stack([anchor, edited]))))
            gray = cv2.cvtColor(edited, cv2.COLOR_RGB2GRAY)
            self._series["sharpness"].append(float(cv2.Laplacian(gray, cv2.CV_64F).var()))
            before = source, edited
            yield edited

    def _warp_error(
        self, before: tuple[np.ndarray, np.ndarray], source: np.ndarray, edited: np.ndarray, index: int
    ) -> float:
        pair = self._flow_of(before[0], source, indices=(index - 1, index))
        error = warp_error(np.stack([before[1], edited]), pair.bwd.numpy(), pair.occ_bwd.numpy())
        return float(np.nan_to_num(error))

    def series(self) -> dict[str, list[float]]:
        """One value a frame, by the figure's name."""
        rounded: dict[str, list[float]] = {}
        for name, values in self._series.items():
            rounded[name] = [round(value, 6) for value in values]
        return rounded
