"""Figures frame by frame, on clips whose motion and faults are planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from videoedit.errors import InputError
from videoedit.media.images import Pictures, read_image, write_image
from videoedit.metrics.streams import FrameMeasures
from videoedit.motion.estimators import FlowPair
from videoedit.motion.flow import occlusion
from videoedit.testing import panning


def pan_flow(first: np.ndarray, second: np.ndarray, *, indices: tuple[int, int]) -> FlowPair:
    """The true motion of `panning`: the picture moves one pixel to the left a frame."""
    fwd = torch.zeros(1, 2, *first.shape[:2])
    fwd[:, 0] = -1.0 * (indices[1] - indices[0])
    return FlowPair(fwd, -fwd, *occlusion(fwd, -fwd))


def measured(edited: np.ndarray, cuts: tuple[int, ...] = ()) -> dict[str, list[float]]:
    measures = FrameMeasures(pan_flow, panning(6), cuts)
    passed = list(measures.watch(edited))
    assert np.array_equal(np.stack(passed), edited)  # frames go through as they are
    return measures.series()


def test_an_edit_that_moves_like_the_source_has_no_warp_error():
    series = measured(255 - panning(6))
    assert all(len(values) == 6 for values in series.values())
    assert max(series["warp_error"]) < 1e-4


def test_a_planted_flash_is_seen_in_its_frame_and_the_next():
    edited = panning(6)
    edited[3] = 255 - edited[3] // 2
    series = measured(edited)
    flash = np.array(series["warp_error"])
    assert set(np.flatnonzero(flash > 0.01)) == {3, 4}
    assert int(np.argmax(series["colour_drift"])) == 3


def test_a_shot_is_measured_against_its_own_first_frame():
    edited = panning(6)
    edited[3:] = 255 - edited[3:] // 2
    across, apart = measured(edited), measured(edited, cuts=(3,))
    assert across["warp_error"][3] > 0.01 and apart["warp_error"][3] == 0
    assert max(apart["colour_drift"]) < min(across["colour_drift"][3:])


def test_blur_lowers_the_sharpness():
    import cv2

    sharp = panning(6)
    soft = np.stack([cv2.GaussianBlur(frame, (0, 0), 2) for frame in sharp])
    assert np.all(np.array(measured(soft)["sharpness"]) < 0.5 * np.array(measured(sharp)["sharpness"]))


def test_pictures_come_back_and_are_read_when_asked_for(tmp_path: Path):
    frames = panning(3)
    paths = {10 * i: tmp_path / f"ü {i}.png" for i in range(3)}
    pictures = Pictures(paths)
    for path, frame in zip(paths.values(), frames, strict=True):
        write_image(path, frame)
    assert list(pictures) == [0, 10, 20] and np.array_equal(pictures[20], frames[2])
    (tmp_path / "no.png").write_text("no picture")
    for name in ("no.png", "missing.png"):
        with pytest.raises(InputError, match=name):
            read_image(tmp_path / name)
