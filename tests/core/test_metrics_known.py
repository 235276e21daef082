"""Every measure of the catalogue on constructed cases whose answer is known, and the traps of others' code.

All of them go the way of a benchmark: a `Sample`, a metric of the catalogue, `measure`. Flow is exact where a test
needs it to be: it comes out of files.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from videoedit.metrics import (
    METRICS,
    Facts,
    Figure,
    Sample,
    ff_alpha,
    ff_beta,
    full_id,
    measure,
    motion_alignment,
    psnr,
    seam_score,
    ssim,
    warp_error,
    warp_ssim,
    warp_ssim_rave,
)
from videoedit.testing import moving_square, panning

KNOWN: set[str] = set()  # ids with a known answer below


def known(*ids: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Marks the test that holds a metric to its known answer."""
    KNOWN.update(ids)
    return lambda test: test


def take(name: str, frames: np.ndarray, source: np.ndarray | None = None, **more: object) -> Figure:
    return measure(METRICS[name], Sample(frames, frames if source is None else source, **more))  # type: ignore[arg-type]


def gray(*levels: int, size: tuple[int, int] = (24, 20)) -> np.ndarray:
    """One even picture for each level: uint8 [F, H, W, 3]; size is (width, height)."""
    width, height = size
    return np.broadcast_to(np.array(levels, np.uint8)[:, None, None, None], (len(levels), height, width, 3)).copy()


def texture(height: int, width: int, seed: int = 0, sigma: float = 2) -> np.ndarray:
    noise = np.random.default_rng(seed).random((height, width, 3), np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), sigma)
    return (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


def translation(shift: tuple[int, int], count: int = 4, size: int = 64) -> np.ndarray:
    """A texture that moves by `shift` = (x, y) pixels a frame, nothing wrapped around."""
    dx, dy = shift
    wall = texture(size + dy * count, size + dx * count, sigma=6)
    return np.stack(
        [
            wall[dy * (count - i) : dy * (count - i) + size, dx * (count - i) : dx * (count - i) + size]
            for i in range(count)
        ]
    )


@pytest.fixture
def exact(tmp_path: Path) -> Callable[..., str]:
    """A folder of flow files that say: everything moves by `shift` from each frame to the next."""

    def write(frames: np.ndarray, shift: tuple[int, int] = (0, 0)) -> str:
        flow = np.broadcast_to(np.array(shift, np.float32), (*frames.shape[1:3], 2))
        for i in range(len(frames) - 1):
            np.save(tmp_path / f"{i}_{i + 1}.npy", flow)
            np.save(tmp_path / f"{i + 1}_{i}.npy", -flow)
        return str(tmp_path)

    return write


def half_mask(frames: np.ndarray) -> np.ndarray:
    """True on the left half."""
    mask = np.zeros(frames.shape[:3], bool)
    mask[:, :, : frames.shape[2] // 2] = True
    return mask


# -- pixels ----------------------------------------------------------------------------------------------


@known("strength@1")
def test_strength_is_the_distance_in_cielab() -> None:
    source = gray(0, 0)
    assert take("strength@1", source).value == 0
    white = take("strength@1", gray(255, 0), source)  # L of white is 100, of black 0
    assert white.value == pytest.approx(50, abs=0.01)
    assert white.series == pytest.approx((100, 0), abs=0.01)


@known("strength_region@1")
def test_strength_in_the_region_that_should_change() -> None:
    source = gray(0, 0)
    frames, mask = source.copy(), half_mask(source)
    frames[mask] = 255
    for kind, expected in (("subject", 100), ("attribute", 100), ("background", 0)):
        assert take("strength_region@1", frames, source, mask=mask, kind=kind).value == pytest.approx(
            expected, abs=0.01
        )
    assert take("strength@1", frames, source).value == pytest.approx(50, abs=0.01)
    assert "needs a region" in take("strength_region@1", frames, source, mask=mask, kind="style").reason


@known("psnr@1", "psnr_autoencoder@1")
def test_psnr_to_the_truth() -> None:
    truth = gray(100, 120)
    assert psnr(truth + 16, truth) == pytest.approx(20 * math.log10(255 / 16))  # as of an autoencoder's round trip
    assert take("psnr@1", truth + 16, truth=truth).value == pytest.approx(20 * math.log10(255 / 16))
    assert take("psnr@1", truth, truth=truth).value == 100  # a table cannot average infinity
    assert take("psnr@1", truth).reason == "needs a ground truth"


@known("ssim@1")
def test_ssim_of_even_pictures_is_known_in_closed_form() -> None:
    a, b, c1 = 100 / 255, 150 / 255, 0.01**2
    expected = (2 * a * b + c1) / (a * a + b * b + c1)
    assert take("ssim@1", gray(100), truth=gray(150)).value == pytest.approx(expected, abs=2e-4)
    assert take("ssim@1", gray(100), truth=gray(100)).value == pytest.approx(1)
    assert "at least 11" in take("ssim@1", gray(1, size=(8, 8)), truth=gray(1, size=(8, 8))).reason


@known("background_psnr@1", "background_ssim@1")
def test_preservation_sees_only_what_should_stay() -> None:
    source = np.stack([texture(32, 40)] * 2)
    mask = half_mask(source)
    frames = source.copy()
    frames[mask] = 255 - frames[mask]
    for kind in ("subject", "attribute"):
        assert take("background_psnr@1", frames, source, mask=mask, kind=kind).value == 100
        assert take("background_ssim@1", frames, source, mask=mask, kind=kind).value == pytest.approx(1)
    assert take("background_psnr@1", frames, source, mask=mask, kind="background").value < 15
    assert take("background_ssim@1", frames, source, mask=mask, kind="background").value < 0.5
    even = gray(100, 100)
    lighter = even + np.where(half_mask(even), 90, 16).astype(np.uint8)[..., None]
    outside = take("background_psnr@1", lighter, even, mask=half_mask(even), kind="subject")
    assert outside.value == pytest.approx(20 * math.log10(255 / 16))
    everything = take("background_psnr@1", even, mask=np.ones(even.shape[:3], bool), kind="subject")
    assert math.isnan(everything.value) and "under 1 %" in everything.reason


@known("edge_f1@1")
def test_edge_f1_of_one_right_and_one_wrong_bar() -> None:
    source = gray(0, size=(60, 40))
    source[:, :, 10:16] = 255
    frames = source.copy()
    assert take("edge_f1@1", frames, source).value == pytest.approx(1)
    frames[:, :, 40:46] = 255  # precision 1/2, recall 1
    assert take("edge_f1@1", frames, source).value == pytest.approx(2 / 3)
    assert take("edge_f1@1", gray(7)).reason == "neither clip has an edge"


@known("flicker_ratio@1")
def test_planted_flicker_has_its_ratio() -> None:
    source = gray(100, 104, 100, 104)
    planted = take("flicker_ratio@1", gray(100, 112, 100, 112), source)
    assert planted.value == 3
    assert planted.series == (0, 3, 3, 3)
    assert take("flicker_ratio@1", source).value == 1
    assert take("flicker_ratio@1", source, gray(5, 5, 5, 5)).reason == "the source does not change"
    assert take("flicker_ratio@1", source[:1]).reason == "one frame does not change"


@known("colour_drift@1")
def test_color_drift_from_black_to_white_is_the_range_of_lightness() -> None:
    drift = take("colour_drift@1", gray(0, 0, 255))
    assert drift.value == pytest.approx(50, abs=0.01)
    assert drift.series == pytest.approx((0, 0, 100), abs=0.01)
    assert take("colour_drift@1", panning(3)).value < 2  # colours come and go at the borders only


# -- along the flow --------------------------------------------------------------------------------------


@known("warp_error@1")
def test_warp_error_of_a_translation_is_none_and_of_flicker_its_square(exact: Callable[..., str]) -> None:
    source = translation((4, 2))
    flow = exact(source, (4, 2))
    assert take("warp_error@1", source, flow=flow).value == pytest.approx(0, abs=1e-9)
    frames = source // 2
    frames[1::2] += 51  # a fifth of the range
    planted = take("warp_error@1", frames, source, flow=flow)
    assert planted.value == pytest.approx(0.04, rel=0.02)  # halving rounds down
    assert planted.series is not None and len(planted.series) == len(frames) and planted.series[0] == 0
    assert planted.series[1:] == pytest.approx((planted.value,) * 3, rel=0.02)


@known("warp_ssim@1")
def test_warp_ssim_of_a_translation_is_one(exact: Callable[..., str]) -> None:
    source = translation((4, 2))
    right = take("warp_ssim@1", source, flow=exact(source, (4, 2))).value
    assert right == pytest.approx(1, abs=1e-5)
    even = gray(100, 150)
    expected = take("ssim@1", even[:1], truth=even[1:]).value
    assert take("warp_ssim@1", even, flow=exact(even)).value == pytest.approx(expected)


@known("warp_ssim@rave-compat")
def test_raves_warp_ssim_counts_the_first_frame_as_one(exact: Callable[..., str]) -> None:
    frames = gray(100, 150, 100)
    step = take("ssim@1", frames[:1], truth=frames[1:2]).value
    assert take("warp_ssim@rave-compat", frames, flow=exact(frames)).value == pytest.approx((1 + 2 * step) / 3)


@known("pixel_mse@1")
def test_pixel_mse_masks_nothing(exact: Callable[..., str]) -> None:
    frames = gray(0, 51, 0)
    assert take("pixel_mse@1", frames, flow=exact(frames)).value == pytest.approx(0.04)
    square = moving_square(2, (64, 48))
    square[:, :, :16] = square[0, :, :16]
    left_behind = take("pixel_mse@1", square, flow=exact(square)).value
    assert left_behind == pytest.approx(float(((square[1] / 255 - square[0] / 255) ** 2).mean()))


def with_seams(quiet: int, loud: int, keyframes: tuple[int, ...], count: int = 21) -> np.ndarray:
    """Even pictures that change by `quiet` grey levels a frame, into and out of key frames by `loud`."""
    touching = {step for key in keyframes for step in (key, key + 1)}
    levels, up = [100], True
    for step in range(1, count):
        change = loud if step in touching else quiet
        levels.append(levels[-1] + (change if up else -change))
        up = not up
    return gray(*levels)


@known("seam_score@1")
@pytest.mark.parametrize(("quiet", "loud", "score"), [(4, 12, 3), (4, 4, 1), (0, 0, 1), (8, 4, 0.5)])
def test_a_planted_seam_has_its_score(quiet: int, loud: int, score: float, exact: Callable[..., str]) -> None:
    keyframes = (0, 5, 10, 15, 20)
    frames = with_seams(quiet, loud, keyframes)
    figure = take("seam_score@1", frames, gray(*[9] * 21), keyframes=keyframes, flow=exact(frames))
    assert figure.value == pytest.approx(score)


def test_no_seam_is_claimed_without_frames_to_compare_with(exact: Callable[..., str]) -> None:
    frames = with_seams(4, 12, (0, 2, 4), 5)
    flow = exact(frames)
    every_other = take("seam_score@1", frames, keyframes=(0, 2, 4), flow=flow)
    assert math.isnan(every_other.value) and "no frames around" in every_other.reason
    assert take("seam_score@1", frames, flow=flow).reason == "needs key frames"


def test_a_fast_stretch_around_a_key_frame_is_no_seam() -> None:
    """Both sides of the ratio are taken where the clip is as fast, so a change of pace cancels."""
    steps = np.where(np.arange(1, 41) > 20, 12, 2)  # the second half changes six times as much
    frames = gray(*(100 + np.cumsum(steps * np.tile([1, -1], 20))), size=(16, 16))
    nothing = np.zeros((39, 16, 16), bool)
    score = seam_score(frames, np.zeros((39, 2, 16, 16)), nothing, (5, 30, 35))
    assert score == pytest.approx(1)


def test_a_cut_at_a_key_frame_is_no_seam() -> None:
    frames = with_seams(4, 4, ())
    frames[10:] += 100
    occlusion = np.zeros((20, 20, 24), bool)
    occlusion[9] = True  # nothing of frame 9 is seen in frame 10, but for one pixel that says nothing
    occlusion[9, 0, 0] = False
    flow = np.zeros((20, 2, 20, 24))
    assert seam_score(frames, flow, occlusion, (10,)) == pytest.approx(1)
    assert seam_score(frames, flow, np.zeros_like(occlusion), (10,)) > 5


@known("ff_alpha@1")
def test_ff_alpha_is_the_largest_change_of_a_channel(exact: Callable[..., str]) -> None:
    source = translation((3, 1))
    flow = exact(source, (3, 1))
    assert take("ff_alpha@1", source, flow=flow).value == pytest.approx(0, abs=1e-4)
    frames = source // 2
    frames[1::2, ..., 2] += 40
    assert take("ff_alpha@1", frames, source, flow=flow).value == pytest.approx(40, abs=1)


@known("ff_beta@1")
def test_ff_beta_of_known_directions() -> None:
    right, left = np.zeros((1, 2, 8, 8)), np.zeros((1, 2, 8, 8))
    right[:, 0], left[:, 0] = 3, -1
    down = right[:, ::-1]
    assert ff_beta(right, right) == pytest.approx(0)
    assert ff_beta(right, down) == pytest.approx(1)
    assert ff_beta(right, left) == pytest.approx(2)
    assert ff_beta(right, 0 * right) == pytest.approx(1)
    assert math.isnan(ff_beta(0 * right, 0 * right))
    clip = panning(3, (96, 72), step=2)
    assert take("ff_beta@1", clip).value == pytest.approx(0, abs=1e-6)
    assert take("ff_beta@1", clip[::-1], clip).value > 1.8
    assert take("ff_beta@1", clip[[0, 0, 0]]).reason == "nothing moves"


@known("motion_alignment@1")
def test_motion_alignment_of_a_still_edit_is_the_motion_of_the_source() -> None:
    clip = panning(3, (96, 72), step=2)
    assert take("motion_alignment@1", clip).value == 0
    still = take("motion_alignment@1", clip[[0, 0, 0]], clip).value
    assert still == pytest.approx(100 * 2 / math.hypot(96, 72), rel=0.03)


# -- the subject -----------------------------------------------------------------------------------------


def walk(count: int = 8, offset: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A block that walks to the right over a smooth wall, the boxes where it is without the offset."""
    wall, block = texture(64, 96, seed=1) // 3, texture(20, 24, seed=2) // 2 + 120
    frames, boxes = np.stack([wall] * count), []
    for i in range(count):
        x = 4 + 8 * i
        frames[i, 20:40, x + offset : x + offset + 24] = block
        boxes.append((x, 20, x + 24, 40))
    return frames, np.array(boxes, float)


@known("path_error@1")
def test_path_error_of_a_shifted_subject_is_the_shift() -> None:
    frames, boxes = walk()
    assert take("path_error@1", frames, boxes=boxes).value < 0.01
    assert take("path_error@1", walk(offset=8)[0], boxes=boxes).value == pytest.approx(8 / 96, abs=0.01)
    lost = take("path_error@1", frames[[0] * 8], boxes=boxes)
    assert math.isnan(lost.value) and lost.reason == "no moving subject stands out"


@known("path_correlation@1")
def test_path_correlation_there_and_back() -> None:
    frames, boxes = walk()
    assert take("path_correlation@1", frames, boxes=boxes).value == pytest.approx(1, abs=0.01)
    assert take("path_correlation@1", frames[::-1], boxes=boxes).value == pytest.approx(-1, abs=0.01)


@known("appearance_consistency@1")
def test_appearance_of_one_and_of_two_subjects() -> None:
    frames, boxes = walk()
    assert take("appearance_consistency@1", frames, boxes=boxes).value == pytest.approx(1, abs=0.02)
    mixed = frames.copy()
    for i in range(1, 8, 2):
        mixed[i, 20:40, 4 + 8 * i : 28 + 8 * i] = texture(20, 24, seed=5)[::-1] // 2 + np.array([0, 120, 0], np.uint8)
    assert take("appearance_consistency@1", mixed, boxes=boxes).value < 0.75


# -- files and cost --------------------------------------------------------------------------------------

WANTED = Facts(frames=30, fps=Fraction(30000, 1001), size=(640, 480), audio=True, seconds=Fraction(1001, 1000))


def changed(**change: object) -> dict[str, Facts]:
    return {"wanted": WANTED, "output": Facts(**(vars(WANTED) | change))}  # type: ignore[arg-type]


@known("frame_share@1", "rate_parity@1", "duration_parity@1", "size_parity@1", "audio_parity@1")
@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("frame_share@1", {"frames": 27}, 0.9),
        ("rate_parity@1", {"fps": Fraction(15000, 1001)}, 0.5),
        ("duration_parity@1", {"seconds": 1.001 / 2}, 0.5),
        ("size_parity@1", {"size": (320, 240)}, 0.25),
        ("size_parity@1", {"size": (480, 640)}, 0.75**2),  # the same area is not the same size
        ("audio_parity@1", {"audio": False}, 0),
    ],
)
def test_parity_of_the_file(name: str, change: dict[str, object], expected: float) -> None:
    assert take(name, gray(0), **changed()).value == 1
    assert take(name, gray(0), **changed(**change)).value == pytest.approx(expected)


def test_no_sound_that_could_be_lost_is_no_score() -> None:
    silent = Facts(**(vars(WANTED) | {"audio": False}))
    assert take("audio_parity@1", gray(0), wanted=silent, output=silent).reason == "the source has no sound"


@known("seconds_per_frame@1", "cpu_seconds_per_frame@1", "peak_memory@1")
def test_cost_a_frame() -> None:
    cost = {"seconds": 6.0, "cpu_seconds": 9.0, "peak_memory_mb": 700.0}
    frames = gray(1, 2, 3)
    assert take("seconds_per_frame@1", frames, cost=cost).value == 2
    assert take("cpu_seconds_per_frame@1", frames, cost=cost).value == 3
    assert take("peak_memory@1", frames, cost=cost).value == 700
    assert take("seconds_per_frame@1", frames, cost=cost, **changed(frames=12)).value == 0.5  # of the file's frames
    assert take("peak_memory@1", frames, cost={"seconds": 1.0}).reason == "peak_memory_mb was not recorded"


# -- traps found in others' code (each named after where it was found) -----------------------------------


@pytest.mark.parametrize("shift", [(1, 0), (4, 0), (8, 3)])
def test_trap_rave_flow_in_the_wrong_direction_is_worse_than_none(shift: tuple[int, int]) -> None:
    frames = translation(shift, count=3)
    flow = np.broadcast_to(np.array(shift, np.float32)[None, :, None, None], (2, 2, 64, 64))
    nothing = np.zeros((2, 64, 64), bool)
    wrong, none = warp_ssim_rave(frames, flow), warp_ssim_rave(frames, 0 * flow)
    assert wrong < none < 1
    assert warp_ssim(frames, -flow, nothing) == pytest.approx(1, abs=1e-5)
    assert warp_error(frames, flow, nothing) > warp_error(frames, 0 * flow, nothing) > 1e-4
    assert warp_error(frames, -flow, nothing) == pytest.approx(0, abs=1e-9)


def test_trap_rave_the_first_frame_against_itself_is_no_evidence() -> None:
    frames, zero, nothing = gray(0, 255), np.zeros((1, 2, 20, 24)), np.zeros((1, 20, 24), bool)
    assert warp_ssim_rave(frames, zero) > 0.5  # black, then white
    assert warp_ssim(frames, zero, nothing) < 0.001


def test_trap_rave_what_is_hidden_does_not_count() -> None:
    frames = np.stack([texture(32, 32, seed) for seed in (0, 0)])
    frames[1, :, :12] = 255 - frames[1, :, :12]
    occlusion = np.zeros((1, 32, 32), bool)
    occlusion[0, :, :12] = True
    zero = np.zeros((1, 2, 32, 32))
    assert warp_ssim(frames, zero, occlusion) == pytest.approx(1)
    assert warp_error(frames, zero, occlusion) == 0
    assert warp_ssim(frames, zero, ~occlusion) < 0.5


def test_trap_rave_colours_are_red_green_blue() -> None:
    """Red taken for blue (OpenCV's order) would swap these distances: L, a, b of red are 53, 80, 67, of blue 32, 79, -108."""
    black, red, blue = gray(0), gray(0), gray(0)
    red[..., 0], blue[..., 2] = 255, 255
    assert take("strength@1", red, black).value == pytest.approx(np.linalg.norm([53.24, 80.09, 67.2]), abs=0.2)
    assert take("strength@1", blue, black).value == pytest.approx(np.linalg.norm([32.3, 79.19, -107.86]), abs=0.2)


def test_trap_editboard_alpha_too_few_valid_pixels_is_not_the_best_score() -> None:
    source = np.stack([texture(32, 32, seed) for seed in (0, 1)])  # no flow explains this
    value, share = ff_alpha(source, source, np.zeros((1, 2, 32, 32)))
    assert math.isnan(value) and share < 0.7
    figure = take("ff_alpha@1", source)
    assert math.isnan(figure.value) and "70 % are needed" in figure.reason


def test_trap_editboard_alpha_the_share_is_of_the_real_size() -> None:
    """All of a 40 x 32 frame is valid; of 512 x 512 pixels it would be half a per cent."""
    still = np.stack([texture(32, 40)] * 2)
    assert ff_alpha(still, still, np.zeros((1, 2, 32, 40))) == (0, 1)


def test_trap_editboard_beta_what_stands_still_is_not_wrong() -> None:
    flow = np.zeros((1, 2, 20, 20))
    flow[0, 0, :6, :6] = 4  # 9 % moves, rightly
    assert ff_beta(flow, flow) == pytest.approx(0)
    length = np.linalg.norm(flow, axis=1)
    theirs = (1 - (flow * flow).sum(1) / (length + 1e-7) ** 2).mean()
    assert theirs == pytest.approx(0.91, abs=0.001)


def test_trap_v2vbench_motion_alignment_does_not_grow_with_the_size() -> None:
    small = panning(3, (96, 72), step=2)
    large = np.stack([cv2.resize(frame, (192, 144), interpolation=cv2.INTER_LINEAR) for frame in small])
    scores = [take("motion_alignment@1", clip[[0, 0, 0]], clip).value for clip in (small, large)]
    assert scores[0] == pytest.approx(scores[1], rel=0.03)
    flow = np.ones((1, 2, 10, 10))
    assert motion_alignment(2 * flow, flow, np.ones((1, 10, 10), bool)) == pytest.approx(10)  # sqrt(2) of sqrt(200)


def test_trap_warp_errors_of_other_scales_or_estimators_have_other_ids() -> None:
    frames = gray(0, 255)
    assert warp_error(frames, np.zeros((1, 2, 20, 24)), np.zeros((1, 20, 24), bool)) == 1  # values from 0 to 1
    assert full_id(METRICS["warp_error@1"], Sample(frames, frames)) == "warp_error@1/dis"
    assert "cannot be set beside" in METRICS["pixel_mse@1"].meaning


def test_trap_consistency_rewards_doing_nothing_and_strength_tells() -> None:
    source = panning(4, (64, 48))
    edit = 255 - source[..., [1, 2, 0]] // 2
    edit[1::2] += 9  # a real edit flickers
    for name in ("warp_error@1", "warp_ssim@1", "ff_alpha@1", "ff_beta@1", "motion_alignment@1", "flicker_ratio@1"):
        metric = METRICS[name]
        copy, made = (measure(metric, Sample(frames, source)).value for frames in (source, edit))
        worse = {"lower": made - copy, "higher": copy - made, "one": abs(made - 1) - abs(copy - 1)}[metric.better]
        assert worse > 0, name
        assert metric.group != "strength"
    assert take("strength@1", source).value == 0 < take("strength@1", edit, source).value
    assert METRICS["strength@1"].headline  # so it stands in every small table


def test_trap_a_dropped_tail_shows() -> None:
    """Key frames every 10 give 10 n + 1 frames; what is left of the clip used to be dropped silently."""
    assert take("frame_share@1", gray(0), **changed(frames=21)).value == pytest.approx(0.7)


# -- static clips, and the catalogue ---------------------------------------------------------------------


def test_a_static_clip_gets_no_invented_scores() -> None:
    still = np.stack([texture(48, 64)] * 4)
    figures = {
        name: take(name, still, kind="style", keyframes=(0, 3))
        for name, metric in METRICS.items()
        if not metric.weights
    }
    silent = {"flicker_ratio@1", "ff_beta@1"}
    assert all(math.isnan(figures[name].value) and figures[name].reason for name in silent)
    assert figures["warp_error@1"].value == figures["motion_alignment@1"].value == figures["strength@1"].value == 0
    assert figures["warp_ssim@1"].value == pytest.approx(1)
    assert figures["seam_score@1"].value == 1


def test_every_measure_has_a_known_answer() -> None:
    """Those that need weights have theirs in files of their own, where they are held to another implementation."""
    here = Path(__file__).parent
    weighted = "".join((here / f"test_metrics_{name}.py").read_text() for name in ("clip", "lpips", "judge"))
    held = KNOWN | {name for name, metric in METRICS.items() if metric.weights and f'"{name}"' in weighted}
    assert held == set(METRICS)


def test_ssim_leaves_out_what_does_not_count() -> None:
    clip = np.stack([texture(32, 40)] * 2)
    where = half_mask(clip)
    wrong = np.where(where[..., None], clip, 0).astype(np.uint8)
    assert ssim(wrong, clip, where) == pytest.approx(1)
    assert ssim(wrong, clip) < 0.7
    assert math.isnan(ssim(wrong, clip, np.zeros_like(where)))
