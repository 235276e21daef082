"""The patch-match engine: what it finds, what it says about it, and how close it comes to EbSynth."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from rerender.patchmatch import PRESETS, Preset, fast, reference, synthesize
from rerender.patchmatch.engine import solve
from rerender.patchmatch.fast import compiled
from rerender.patchmatch.problem import RADIUS, doubled
from videoedit.errors import ConfigError, InputError, ShapeError

DATA = Path(__file__).parents[1] / "data" / "rerender"
TILES = (
    "style",
    "ebsynth",
    "truth",
    *(f"{name}_{side}" for name in ("colour", "edge", "temporal", "positional") for side in "st"),
)
WEIGHTS = {"colour": 6.0, "edge": 0.5, "temporal": 0.5, "positional": 2.0}
BRIEF = Preset(votes=2, passes=2, stop=1, reach=64)
INSIDE = slice(6, -6), slice(6, -6)


def read(path):
    return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])


@pytest.fixture(scope="module")
def bunny():
    """The tiles of the golden picture, by name."""
    strip = read(DATA / "ebsynth_bunny.png")
    return dict(zip(TILES, np.split(strip, len(TILES), axis=1), strict=True))


def guides_of(tiles, window=(slice(None), slice(None))):
    return [(tiles[f"{name}_s"][window], tiles[f"{name}_t"][window], weight) for name, weight in WEIGHTS.items()]


def noise(seed, size=(40, 48), channels=3):
    return np.random.default_rng(seed).integers(0, 256, (*size, channels), dtype=np.uint8)


def smooth(seed, size=(64, 80)):
    """Cloudy colours, uint8 [H, W, 3]."""
    clouds = cv2.GaussianBlur(noise(seed, size).astype(np.float32), (0, 0), 3)
    return cv2.normalize(clouds, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def psnr(a, b):
    return 10 * np.log10(255**2 / max(np.square(a.astype(float) - b).mean(), 1e-9))


# -- what it finds -----------------------------------------------------------------------------------------


def test_a_frame_that_is_the_key_gets_the_keys_style(bunny):
    """Source patches lie inside the image, so its border of two pixels cannot be met."""
    image, errors = synthesize(bunny["style"], [(g, g, w) for g, _, w in guides_of(bunny)])
    assert psnr(image[INSIDE], bunny["style"][INSIDE]) > 45
    assert psnr(image, bunny["style"]) > 38
    assert np.median(errors) == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_a_shift_is_followed(preset):
    colour, style = smooth(0), smooth(1)
    moved = np.roll(colour, (3, -5), axis=(0, 1))
    image, errors = synthesize(style, [(colour, moved, 6.0)], preset=preset)
    inside = slice(12, -12), slice(12, -12)
    expected = np.roll(style, (3, -5), axis=(0, 1))[inside]
    exact = np.abs(image[inside].astype(int) - expected).max(axis=-1) <= 1
    assert exact.mean() > 0.98
    assert np.median(errors[inside]) == 0


def test_the_field_says_where_a_patch_comes_from():
    colour = smooth(0)
    moved = np.roll(colour, (3, -5), axis=(0, 1))  # 3 down, 5 to the left: found 3 above and 5 to the right
    field = solve(colour, [(colour, moved, 6.0)], PRESETS["default"]).field
    y, x = np.indices(field.shape[:2])
    offset = (field - np.stack([x, y], axis=-1))[12:-12, 12:-12]
    assert (np.median(offset, axis=(0, 1)) == (5, -3)).all()


def test_source_patches_lie_inside_the_image():
    field = solve(noise(0), [(noise(1), noise(2), 1.0)], PRESETS["preview"]).field
    assert field.min() >= RADIUS
    assert (field.max(axis=(0, 1)) < (48 - RADIUS, 40 - RADIUS)).all()


def test_no_patch_is_used_for_everything():
    """Without a hint from the guides, uniformity spreads the patches over the source."""
    grey = np.full((32, 32, 1), 128, np.uint8)
    field = solve(smooth(0, (32, 32)), [(grey, grey, 1.0)], PRESETS["default"]).field
    distinct = len(np.unique(field.reshape(-1, 2), axis=0))
    assert distinct > 0.5 * (32 - 2 * RADIUS) ** 2


def test_weights_decide_between_guides_that_disagree():
    style = smooth(0)
    left, right = (np.roll(style, shift, axis=1) for shift in (-4, 4))
    for weights, expected in (((4.0, 0.5), left), ((0.5, 4.0), right)):
        image, _ = synthesize(style, [(style, left, weights[0]), (style, right, weights[1])], preset="fast")
        other = right if expected is left else left
        inside = slice(12, -12), slice(12, -12)
        assert psnr(image[inside], expected[inside]) > psnr(image[inside], other[inside]) + 6


def test_a_start_from_flow_is_used():
    """In white noise only luck finds a shift; from the right start it is there at once."""
    style = noise(0, (20, 21))
    guides = [(style, np.roll(style, (2, 3), axis=(0, 1)), 6.0)]
    y, x = np.indices(style.shape[:2])
    start = np.stack([x - 3, y - 2], axis=-1).astype(np.int32)
    short = Preset(votes=1, passes=1, stop=1, reach=1)
    found, given = (solve(style, guides, short, init=init).errors[9:-9, 9:-9] for init in (None, start))
    assert (given == 0).all()
    assert np.median(found) > 0
    assert not np.array_equal(*(synthesize(style, guides, preset="preview", init=init)[1] for init in (None, start)))


@pytest.mark.parametrize(
    "other",
    [Preset(3, 2, 1, 64), Preset(2, 3, 1, 64), Preset(2, 2, 100, 64), Preset(2, 2, 1, 2)],
    ids=["votes", "passes", "stop", "reach"],
)
def test_every_setting_of_a_preset_counts(bunny, other):
    style, guides = bunny["style"], guides_of(bunny)
    assert solve(style, guides, BRIEF).image.tobytes() != solve(style, guides, other).image.tobytes()


def test_a_change_of_the_stop_threshold_is_searched_on():
    """Once more with the largest change as the threshold, not with one level more."""
    style, shown = smooth(0, (20, 21)), smooth(1, (20, 21))
    guides = [(shown, np.roll(shown, 2, axis=1), 6.0)]
    one = solve(style, guides, Preset(1, 2, 1, 64))
    largest = int(np.abs(one.image.astype(int) - one.estimate).max())
    again, over = (solve(style, guides, Preset(2, 2, stop, 64)) for stop in (largest, largest + 1))
    assert np.array_equal(again.estimate, one.image)
    assert np.array_equal(over.estimate, one.estimate) and np.array_equal(over.image, one.image)


def test_a_doubled_field_leads_where_the_smaller_one_did():
    y, x = np.indices((16, 18))
    same = np.stack([x, y], axis=-1).astype(np.int32)
    y, x = np.indices((32, 37))
    expected = np.stack([np.minimum(x, 35), y], axis=-1)
    inside = slice(6, 26), slice(6, 30)
    assert np.array_equal(doubled(same, (32, 37))[inside], expected[inside])


def test_presets_trade_error_for_time(bunny):
    images, errors = zip(*(synthesize(bunny["style"], guides_of(bunny), preset=name) for name in PRESETS), strict=True)
    assert len({image.tobytes() for image in images}) == len(PRESETS)
    official = errors[0].mean()
    for found, limit in zip(errors, (1.0, 1.02, 1.04, 1.08), strict=True):
        assert found.mean() <= limit * official


# -- what it says ------------------------------------------------------------------------------------------


def test_the_error_map_is_the_stated_sum():
    style, colour, edge = (
        smooth(0, (24, 28)),
        (smooth(1, (24, 28)), smooth(2, (24, 28))),
        (noise(3, (24, 28), 1), noise(4, (24, 28), 1)),
    )
    solution = solve(style, [(*colour, 6.0), (*edge, 0.5)], BRIEF)
    pairs = [(style, solution.estimate, 1.0), (*colour, 6.0), (*edge, 0.5)]
    expected = np.zeros(style.shape[:2])
    for y in range(24):
        for x in range(28):
            cx, cy = solution.field[y, x]
            rows, columns = np.clip(np.arange(y - 2, y + 3), 0, 23), np.clip(np.arange(x - 2, x + 3), 0, 27)
            for source, target, weight in pairs:
                there = source[cy - 2 : cy + 3, cx - 2 : cx + 3].astype(float)
                difference = target[np.ix_(rows, columns)] - there
                expected[y, x] += weight / source.shape[2] * np.square(difference).sum()
    np.testing.assert_allclose(solution.errors, expected, rtol=2e-3, atol=1)
    assert solution.errors.dtype == np.float32


@pytest.mark.parametrize("weight", [1e-3, 1.0, 1e6])
def test_the_largest_errors_do_not_overflow(weight):
    black, white = np.zeros((12, 12), np.uint8), np.full((12, 12), 255, np.uint8)
    _, errors = synthesize(np.zeros((12, 12, 3), np.uint8), [(black, white, weight)], preset="preview")
    np.testing.assert_allclose(errors, 25 * 255**2 * weight, rtol=0.02)


def test_the_image_is_the_mean_of_the_patches_over_it():
    solution = solve(smooth(0, (16, 18)), [(smooth(1, (16, 18)), smooth(2, (16, 18)), 1.0)], BRIEF)
    image = np.zeros_like(solution.image)
    reference.vote(smooth(0, (16, 18)), solution.field, image, np.ones((16, 18), bool))
    np.testing.assert_array_equal(solution.image, image)


def test_same_arguments_same_bytes(bunny):
    style, guides = bunny["style"], guides_of(bunny)
    first, second, other = (synthesize(style, guides, preset="preview", seed=seed) for seed in (0, 0, 1))
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1].tobytes() == second[1].tobytes()
    assert first[0].tobytes() != other[0].tobytes()


def test_arguments_are_left_as_they_were(bunny):
    style, guides = bunny["style"].copy(), guides_of(bunny)
    for array in (style, *(image for guide in guides for image in guide[:2])):
        array.setflags(write=False)
    image, _ = synthesize(style[:, ::-1], guides, preset="preview")
    assert image.flags.writeable
    assert not np.shares_memory(image, style)


# -- the twin ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "preset"),
    [
        ((5, 5), PRESETS["preview"]),
        ((13, 9), Preset(2, 3, 0, math.inf)),
        ((25, 23), BRIEF),
        ((24, 30), Preset(3, 1, 5, 4)),
    ],
)
def test_fast_and_readable_loops_give_the_same_bytes(bunny, size, preset):
    window = slice(20, 20 + size[0]), slice(10, 10 + size[1])
    guides = [*guides_of(bunny, window), (noise(0, size, 1), noise(1, size, 1), 0.3)]
    for one, other in zip(
        *(solve(bunny["style"][window], guides, preset, seed=3, kernels=k) for k in (fast, reference)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_presets_against_the_twin_at_official_settings(bunny):
    window = slice(12, 52), slice(12, 52)
    style, guides = bunny["style"][window], guides_of(bunny, window)
    twin = solve(style, guides, PRESETS["official"], kernels=reference)
    assert twin.image.tobytes() == solve(style, guides, PRESETS["official"]).image.tobytes()
    for name, limit in {"official": 1.01, "default": 1.02, "fast": 1.04, "preview": 1.08}.items():
        _, errors = synthesize(style, guides, preset=name)
        assert errors.mean() <= limit * twin.errors.mean(), name


def test_without_a_folder_for_machine_code():
    scope: dict = {}
    exec("def double(x):\n    return 2 * x", scope)  # no file, so nothing to keep the code beside
    assert compiled(scope["double"])(21) == 42


# -- EbSynth -----------------------------------------------------------------------------------------------


def test_a_part_of_a_frame_comes_out_as_from_ebsynth(bunny):
    """The tile's border lacks what EbSynth saw around it."""
    ebsynth, truth = bunny["ebsynth"][INSIDE], bunny["truth"][INSIDE]
    for name, limit in {"official": 42, "default": 42, "fast": 36, "preview": 34}.items():
        image, _ = synthesize(bunny["style"], guides_of(bunny), preset=name)
        assert psnr(image[INSIDE], ebsynth) > limit, name
        assert psnr(image[INSIDE], truth) > psnr(ebsynth, truth) - 0.3, name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "decibels", "loss"),
    [("official", 40, 0.3), ("default", 40, 0.3), ("fast", 37, 0.5), ("preview", 34, 0.8)],
)
def test_a_frame_comes_out_as_from_ebsynth(golden_bunny, preset, decibels, loss):
    style, ebsynth, truth = (read(golden_bunny / f"{name}.png") for name in ("key_0000", "eb_fwd_0005", "gt_0005"))
    names = {"colour": "input", "edge": "guide_edge", "temporal": "guide_temporal", "positional": "guide_pos"}
    guides = [
        (*(read(golden_bunny / f"{stem}_{frame}.png") for frame in ("0000", "0005")), WEIGHTS[name])
        for name, stem in names.items()
    ]
    image, errors = synthesize(style, guides, preset=preset)
    assert psnr(image, ebsynth) >= decibels
    assert psnr(image, truth) >= psnr(ebsynth, truth) - loss
    assert errors.mean() <= 11316 * 1.03  # EbSynth's own


# -- what it refuses ---------------------------------------------------------------------------------------

STYLE = noise(0, (12, 14))
GUIDE = noise(1, (12, 14))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"style": STYLE.astype(float)}, ShapeError, r"the style is float64 \[12, 14, 3\]; expected uint8 \[H, W, 3\]"),
        ({"style": STYLE[..., 0]}, ShapeError, r"uint8 \[12, 14\]; expected"),
        ({"style": [1, 2]}, ShapeError, "the style is a list"),
        (
            {"style": STYLE[:4], "guides": [(GUIDE[:4], GUIDE[:4], 1.0)]},
            ShapeError,
            "14 x 4 pixels; patches need at least 5 x 5",
        ),
        ({"guides": []}, InputError, "no guides"),
        ({"guides": [(GUIDE, GUIDE, 0.0)]}, InputError, "no guides with a weight"),
        (
            {"guides": [(GUIDE, GUIDE[:, :13], 1.0)]},
            ShapeError,
            "guide 0: its target has 13 x 12 pixels; the style has 14 x 12",
        ),
        ({"guides": [(GUIDE, GUIDE, 1.0), (GUIDE, GUIDE[..., :1], 1.0)]}, ShapeError, "guide 1: .* channels differ"),
        ({"guides": [(GUIDE.astype(np.float32), GUIDE, 1.0)]}, ShapeError, "guide 0: its source is float32"),
        ({"guides": [(GUIDE, GUIDE, -1.0)]}, ConfigError, "guide 0: weight -1.0"),
        ({"guides": [(GUIDE, GUIDE, float("nan"))]}, ConfigError, "guide 0: weight nan"),
        ({"preset": "best"}, ConfigError, "'best': choose one of official, default, fast, preview"),
        ({"init": np.zeros((12, 14, 2))}, ShapeError, r"init is float64 \[12, 14, 2\]; expected int32 \[12, 14, 2\]"),
    ],
)
def test_bad_arguments_are_explained(arguments, error, words):
    arguments = {"style": STYLE, "guides": [(GUIDE, GUIDE, 1.0)]} | arguments
    with pytest.raises(error, match=words):
        synthesize(arguments.pop("style"), arguments.pop("guides"), **arguments)


def test_grey_guides_need_no_channel_axis():
    flat, deep = (synthesize(STYLE, [(grey, grey, 1.0)], preset="preview") for grey in (GUIDE[..., 0], GUIDE[..., :1]))
    assert flat[0].tobytes() == deep[0].tobytes()
