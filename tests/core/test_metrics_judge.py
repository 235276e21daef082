"""What judge and locator say of bundled clips, by the way of a benchmark: known answers of each measure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import videoedit
from videoedit.media.video import read_video
from videoedit.metrics import METRICS, Figure, Sample, measure

CLIPS = Path(videoedit.__file__).parent / "assets/clips"
PROMPT = "a red elephant moving on grass"


def take(name: str, frames: np.ndarray, boxes: np.ndarray, prompt: str = PROMPT) -> Figure:
    return measure(METRICS[name], Sample(frames, frames, prompt, boxes=boxes))


@pytest.fixture(scope="module")
def elephant() -> tuple[np.ndarray, np.ndarray]:
    """A true edit's frames and the subject's boxes in pixels."""
    frames = read_video(CLIPS / "car-grass--subject.mp4").frames
    boxes = np.array(json.loads((CLIPS / "demo.json").read_text())["clips"]["car-grass"]["boxes"])
    return frames, boxes * (128 if boxes.max() <= 2 else 1)


def test_the_share_of_frames_with_the_right_subject(elephant: tuple[np.ndarray, np.ndarray]) -> None:
    frames, boxes = elephant
    assert take("subject@1", frames, boxes).value == 1
    mixed = np.concatenate([frames[:18], read_video(CLIPS / "car-grass.mp4").frames[18:]])
    assert take("subject@1", mixed, boxes).value == 0.75
    sure = take("subject_confidence@1", mixed, boxes)
    assert sure.value == pytest.approx(0.75, abs=0.06)
    assert take("subject@1", frames, boxes, "a red car moving on grass").value == 0
    for prompt in ("a piano moving on grass", "an elephant and a car on grass"):
        nobody = take("subject@1", frames, boxes, prompt)
        assert np.isnan(nobody.value) and "no subject" in nobody.reason


def test_where_the_subject_is_is_apart_from_how_it_moves(elephant: tuple[np.ndarray, np.ndarray]) -> None:
    frames, boxes = elephant
    assert take("path@1", frames, boxes).value == 1 and take("motion@1", frames, boxes).value > 0.98
    aside = boxes + [0, 45, 0, 45]
    assert take("path@1", frames, aside).value == 0 and take("motion@1", frames, aside).value > 0.98
    wider = boxes + (boxes - boxes.mean(0))  # the true path goes twice as far: 2 * 2 / (1 + 4)
    assert take("motion@1", frames, wider).value == pytest.approx(0.8, abs=0.03)
    assert take("motion@1", frames[::-1].copy(), boxes).value < 0.2
    empty = np.full_like(frames, 90)
    assert take("path@1", empty, boxes).value == 0 and take("motion@1", empty, boxes).value == 0
