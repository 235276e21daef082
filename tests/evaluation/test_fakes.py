"""The rows that no one would take for an edit, and the measure that none of them passes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import videoedit
from videoedit.evaluation.entries import choose_entries
from videoedit.evaluation.results import MethodInfo, MetricInfo, Results, UnitResult
from videoedit.evaluation.sanity import frozen, mosaic, rectangle
from videoedit.evaluation.statistics import FAKES, fooled
from videoedit.evaluation.suite import read_suite
from videoedit.media.video import read_video
from videoedit.metrics.judge import agreement, motion_of, path_of, subject_of
from videoedit.metrics.sample import Sample

CLIPS = Path(videoedit.__file__).parent / "assets/clips"
SPOILT = {"rectangle": rectangle, "mosaic": mosaic, "frozen": frozen}


def true_edits() -> Iterator[tuple[str, Path, np.ndarray]]:
    """Prompt, ground truth and boxes of each edit of the bundled clips."""
    for clip in json.loads((CLIPS / "demo.json").read_text())["clips"].values():
        boxes = np.array(clip["boxes"])
        for edit in clip["edits"].values():
            yield edit["prompt"], CLIPS / edit["ground_truth"], boxes * (128 if boxes.max() <= 2 else 1)


def test_only_the_true_video_passes() -> None:
    for prompt, file, boxes in true_edits():
        truth = read_video(file).frames
        assert motion_of(Sample(truth, truth, prompt, boxes=boxes)).value > 0.95, prompt
        for name, spoil in SPOILT.items():
            assert motion_of(Sample(spoil(truth, boxes), truth, prompt, boxes=boxes)).value < 0.2, (name, prompt)


def test_another_subject_and_another_path_are_noticed() -> None:
    prompt, file, boxes = next(true_edits())
    truth = read_video(file).frames
    other = Sample(truth, truth, prompt.replace("elephant", "house"), boxes=boxes)
    assert other.prompt != prompt and subject_of(other).value < 0.1 and motion_of(other).value < 0.1
    backwards = Sample(truth[::-1].copy(), truth, prompt, boxes=boxes)
    assert subject_of(backwards).value > 0.9 and path_of(backwards).value < 0.6 and motion_of(backwards).value < 0.2
    unknown = motion_of(Sample(truth, truth, "a piano moving on grass", boxes=boxes))
    assert np.isnan(unknown.value) and "no subject" in unknown.reason


def test_agreement_wants_the_same_movement() -> None:
    path = np.stack([np.linspace(0.2, 0.8, 12), np.linspace(0.5, 0.6, 12)], 1)
    assert agreement(path + 0.1, path) == pytest.approx(1)
    assert agreement(path[::-1], path) == 0 and agreement(np.full_like(path, 0.4), path) == 0
    half = agreement(path / 2, path)  # correlation would call this perfect
    assert half == pytest.approx(0.8)
    assert np.isnan(agreement(path, np.full_like(path, 0.4)))
    assert agreement(np.full_like(path, np.nan), path) == 0


def test_boxes_tiles_and_stills_are_what_they_say() -> None:
    rng = np.random.default_rng(3)
    frames = rng.integers(0, 256, (3, 48, 48, 3), np.uint8)
    boxes = np.array([[8 + i, 8, 24 + i, 24] for i in range(3)], float)
    painted = rectangle(frames, boxes)
    for i in range(3):
        assert (painted[i, 8:24, 8 + i : 24 + i] == painted[0, 8, 8]).all()
        np.testing.assert_array_equal(painted[i, 24:], frames[i, 24:])
    tiles = mosaic(frames, boxes)
    assert (tiles[:, :4, :4] == tiles[:, :1, :1]).all() and not (tiles[:, 0, 0] == tiles[:, 0, 4]).all()
    assert tiles[0, 0, 0, 0] == pytest.approx(frames[0, :4, :4, 0].mean(), abs=1)
    np.testing.assert_array_equal(frozen(frames, boxes), frames[[0, 0, 0]])


def test_they_stand_where_the_truth_is_known() -> None:
    suite = read_suite("mini")
    assert [entry.name for entry in choose_entries(suite, ["identity"])] == ["identity", "vae", *FAKES]
    clips = [clip.model_copy(update={"boxes": None}) for clip in suite.clips]
    without = suite.model_copy(update={"clips": tuple(clips)})
    assert [entry.name for entry in choose_entries(without, ["identity"])] == ["identity", "vae"]


@pytest.mark.parametrize(
    ("better", "figures", "who"),
    [
        ("higher", {"one": 0.8, "two": 0.6, "rectangle": 0.71, "mosaic": 0.69, "identity": 0.9}, ["rectangle"]),
        ("lower", {"one": 0.8, "two": 0.6, "rectangle": 0.71, "mosaic": 0.69, "frozen": 0}, ["mosaic", "frozen"]),
        ("one", {"one": 1.4, "two": 1.2, "rectangle": 0.6, "mosaic": 0.8}, ["mosaic"]),
        ("none", {"one": 0.1, "frozen": 0.9}, []),
        ("higher", {"one": 0.8, "rectangle": None}, []),
    ],
)
def test_a_metric_that_prefers_them_is_named(better: str, figures: dict[str, float | None], who: list[str]) -> None:
    info = MetricInfo(title="SSIM", meaning="", better=better, unit="", group="fidelity", headline=True)
    units = []
    for name, value in figures.items():
        about = {"clip": "c", "edit": "e", "type": "subject", "prompt": "p", "method": name, "seed": 1, "key": "k"}
        units.append(UnitResult(**about, status="done", figures={"ssim@1": value}))
    methods = {n: MethodInfo(label=n, settings={}, model="", licence="", imported=False) for n in figures}
    about = {"suite": "s", "suite_sha256": "0" * 64, "title": "S", "created": "2026-11-21T12:00:00Z", "environment": {}}
    found = Results(**about, methods=methods, metrics={"ssim@1": info}, units=tuple(units))
    assert fooled(found) == ({"ssim@1": who} if who else {})
