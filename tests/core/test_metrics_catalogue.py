"""The catalogue, its plug-ins, and the sample that measures are taken from."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest

from videoedit.errors import ShapeError
from videoedit.media.video import write_video
from videoedit.metrics import METRICS, Facts, Metric, Sample, all_metrics, describe, full_id, measure
from videoedit.metrics.catalogue import NEEDS
from videoedit.testing import panning


def sample(count: int = 3, **more: object) -> Sample:
    clip = panning(count, (48, 32))
    return Sample(clip, clip, **more)  # type: ignore[arg-type]


def test_the_catalogue_is_whole() -> None:
    for name, metric in METRICS.items():
        assert metric.id == name and metric.meaning.endswith(".") and metric.needs
        assert set(metric.needs) <= set(NEEDS)
        assert not metric.measure or callable(resolve_name(metric.measure))
    titles = [metric.title for metric in METRICS.values()]
    assert len(set(titles)) == len(titles)
    assert any(metric.headline and metric.group == "strength" for metric in METRICS.values())


def test_a_metric_is_found_by_its_id_its_name_and_with_its_flow() -> None:
    warp = METRICS["warp_error@1"]
    assert describe("warp_error") is describe("warp_error@1") is describe("warp_error@1/dis") is warp
    assert describe("warp_error@0") is None


def test_ids_of_what_depends_on_flow_name_the_estimator(tmp_path: Path) -> None:
    np.save(tmp_path / "0_1.npy", np.zeros((32, 48, 2), np.float32))
    assert full_id(METRICS["warp_error@1"], sample()) == "warp_error@1/dis"
    assert full_id(METRICS["psnr@1"], sample()) == "psnr@1"
    assert full_id(METRICS["warp_error@1"], sample(flow=str(tmp_path))).startswith("warp_error@1/files-")


def test_importing_the_measures_stays_light() -> None:
    script = "import sys, videoedit.metrics as m; m.all_metrics(); print([n for n in ('torch', 'kornia', 'transformers') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- measure ---------------------------------------------------------------------------------------------


def test_what_the_sample_lacks_is_the_reason() -> None:
    lacking = {
        "psnr@1": "needs a ground truth",
        "path_error@1": "needs the subject's places (boxes)",
        "seam_score@1": "needs key frames",
        "frame_share@1": "needs the facts of the video file",
        "seconds_per_frame@1": "needs the time and memory that the edit took",
        "psnr_autoencoder@1": "not a measure of benchmarks",
    }
    for name, reason in lacking.items():
        figure = measure(METRICS[name], sample())
        assert math.isnan(figure.value) and figure.reason == reason
    assert measure(METRICS["warp_error@1"], sample(1)).reason == "needs two frames at least"


# -- plug-ins --------------------------------------------------------------------------------------------

PLUGIN = """
from videoedit.metrics import Metric

def brightness(sample):
    return sample.frames.mean()

def divides(sample):
    return 1 / 0

def says_nothing(sample):
    return float("nan")

def metric(id, **more):
    return Metric(id, "Brightness", "Mean grey level.", "none", ("frames",), measure="plugged:brightness", **more)

GOOD = (metric("brightness@1", group="strength"),)
OURS = (metric("psnr@1"),)
TWICE = (metric("brightness@1"),)
WRONG = ("brightness",)
UNNAMED = (metric("brightness"),)
"""


@pytest.fixture
def plug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Install entry points of the group ``videoedit.metrics`` in a folder on sys.path."""

    def install(**points: str) -> None:
        (tmp_path / "plugged.py").write_text(PLUGIN)
        info = tmp_path / "plugged-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1\n")
        lines = "".join(f"{name} = {target}\n" for name, target in points.items())
        (info / "entry_points.txt").write_text(f"[videoedit.metrics]\n{lines}")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "plugged", raising=False)

    return install


def test_a_measure_that_breaks_is_a_reason_too(plug, caplog: pytest.LogCaptureFixture) -> None:
    plug()

    def reason(function: str) -> str:
        metric = Metric("x@1", "X", "X.", "none", ("frames",), measure=f"plugged:{function}")
        return measure(metric, sample()).reason

    assert reason("divides") == "ZeroDivisionError: division by zero"
    assert "x@1 cannot be measured" in caplog.text
    assert reason("says_nothing") == "nothing to measure"
    assert "no_such" in reason("no_such")


def test_an_entry_point_adds_a_metric(plug) -> None:
    plug(extra="plugged:GOOD")
    found = all_metrics()
    assert list(found)[: len(METRICS)] == list(METRICS)
    clip = np.full((2, 12, 12, 3), 40, np.uint8)
    assert measure(found["brightness@1"], Sample(clip, clip)).value == 40


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("plugged:NOWHERE", "no attribute 'NOWHERE'"),
        ("no_such_module:X", "No module named 'no_such_module'"),
        ("plugged:WRONG", "got a str"),
        ("plugged:UNNAMED", "not of the form name@version"),
        ("plugged:OURS", "the id 'psnr@1' is taken"),
    ],
)
def test_a_broken_plug_in_is_named_and_left_out(plug, target: str, why: str, caplog: pytest.LogCaptureFixture) -> None:
    plug(broken=target, fine="plugged:GOOD")
    with caplog.at_level(logging.WARNING):
        found = all_metrics()
    assert found["psnr@1"] is METRICS["psnr@1"]
    assert set(found) == {*METRICS, "brightness@1"}
    assert len(caplog.records) == 1 and "plug-in 'broken'" in caplog.text and why in caplog.text


def test_the_second_plug_in_with_the_same_id_is_refused(plug, caplog: pytest.LogCaptureFixture) -> None:
    plug(first="plugged:GOOD", second="plugged:TWICE")
    assert all_metrics()["brightness@1"].group == "strength"
    assert "plug-in 'second'" in caplog.text


# -- sample --------------------------------------------------------------------------------------------


def test_shapes_are_checked_once() -> None:
    clip = panning(3, (48, 32))
    with pytest.raises(ShapeError, match=r"need source of shape"):
        Sample(clip, clip[:2])
    with pytest.raises(ShapeError, match=r"need boxes of shape \(3, 4\)"):
        Sample(clip, clip, boxes=np.zeros((2, 4)))
    with pytest.raises(ShapeError, match="uint8"):
        Sample(clip / 255, clip)


def test_what_should_stay_depends_on_the_kind_of_edit() -> None:
    mask = np.zeros((3, 32, 48), bool)
    mask[:, 8:24, 12:36] = True
    subject, background = (sample(mask=mask, kind=kind) for kind in ("subject", "background"))
    assert subject.keep is not None and background.keep is not None
    np.testing.assert_array_equal(subject.keep, ~mask)
    np.testing.assert_array_equal(subject.change, mask)
    np.testing.assert_array_equal(background.keep, mask)
    np.testing.assert_array_equal(background.change, ~mask)
    for kind in ("style", "several", ""):
        assert sample(mask=mask, kind=kind).keep is None and sample(mask=mask, kind=kind).change is None
    assert sample(kind="subject").keep is None


def test_of_a_box_only_the_middle_is_sure_to_be_the_subject() -> None:
    boxes = np.tile([12.0, 8.0, 36.0, 24.0], (3, 1))
    subject, background = (sample(boxes=boxes, kind=kind) for kind in ("subject", "background"))
    assert subject.keep is not None and background.keep is not None and background.change is not None
    assert subject.keep[0].sum() == 32 * 48 - 16 * 24
    assert background.keep[0].sum() == 8 * 12 and background.keep[0, 12:20, 18:30].all()
    assert background.change[0].sum() == 32 * 48 - 16 * 24


def test_what_the_truth_changes_need_not_stay() -> None:
    """Another subject may be larger than the box of the first, or leave its corners to the background."""
    truth = panning(3, (48, 32))
    truth[:, :, 30:] = 255 - truth[:, :, 30:]
    boxes = np.tile([12.0, 8.0, 36.0, 24.0], (3, 1))
    for kind, inside in (("subject", 0), ("background", 1)):
        keep = sample(boxes=boxes, kind=kind, truth=truth).keep
        assert keep is not None and keep[0, :, :30].any() and keep[0, 16, 20] == inside
        assert keep[0, :, 30:].mean() < 0.3  # inverted, few pixels of the texture stay


def test_flow_is_estimated_once_and_cached(tmp_path: Path) -> None:
    first = sample(flow_cache=tmp_path)
    before = first.pairs
    assert len(list(tmp_path.iterdir())) == 2
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = sample(flow_cache=tmp_path).pairs
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == stamps
    assert all(np.array_equal(a.bwd, b.bwd) for a, b in zip(before, again, strict=True))
    moved = np.median(first.flow_bwd[0][:, 8:-8, 8:-8], axis=(1, 2))
    assert moved == pytest.approx((1, 0), abs=0.2)  # the camera goes right: what is here was one to the right


@pytest.mark.parametrize("size", [(48, 32), (600, 400)])
def test_motion_is_compared_at_one_size_whatever_the_clip(size: tuple[int, int]) -> None:
    clip = panning(2, size)
    edit, source, visible = Sample(clip, clip).motion
    assert edit[0].shape == source[0].shape == (2, 256, 384) and visible[0].shape == (256, 384)
    np.testing.assert_array_equal(edit[0], source[0])


def test_flow_files_go_by_the_numbers_of_the_frames_and_say_nothing_of_the_edit(tmp_path: Path) -> None:
    for start, stop, x in ((10, 14, 3.0), (14, 10, -3.0), (14, 18, 5.0), (18, 14, -5.0)):
        np.save(tmp_path / f"{start}_{stop}.npy", np.full((32, 48, 2), (x, 0), np.float32))
    here = sample(flow=str(tmp_path), numbers=range(10, 22, 4))
    assert [float(flow[0].mean()) for flow in here.flow_bwd] == [-3, -5]
    for name in ("ff_beta@1", "motion_alignment@1"):
        assert "the source's motion only" in measure(METRICS[name], here).reason
    assert "no flow from frame 0 to frame 1" in measure(METRICS["warp_error@1"], sample(flow=str(tmp_path))).reason


def test_facts_of_a_file(tmp_path: Path) -> None:
    clip = panning(5, (48, 32))
    write_video(tmp_path / "a.mp4", clip, 10)
    facts = Facts.of(tmp_path / "a.mp4")
    assert (facts.frames, facts.fps, facts.size, facts.audio, facts.seconds) == (5, 10, (48, 32), False, 0.5)
    same = sample(output=facts, wanted=facts)
    assert all(measure(METRICS[f"{n}@1"], same).value == 1 for n in ("frame_share", "rate_parity", "size_parity"))
