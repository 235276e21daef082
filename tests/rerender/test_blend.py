from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from scipy import sparse
from scipy.sparse.linalg import lsqr

from rerender.propagation.blend import (
    histogram_blend,
    poisson_blend,
    poisson_lab,
    screened_poisson,
    select_min_error,
)
from videoedit.errors import ConfigError, ShapeError
from videoedit.motion.flow import warp

T3 = 0.2  # weight of the later key for frame 3 of the golden interval


def picture(seed: int = 0, size: tuple[int, int] = (24, 32)) -> np.ndarray:
    """Smooth colours with an edge, uint8 [H, W, 3]."""
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    smooth[:, size[1] // 2 :] //= 2
    return smooth


def constant(colour: tuple[int, int, int], size: tuple[int, int] = (6, 7)) -> np.ndarray:
    return np.broadcast_to(np.array(colour, np.uint8), (*size, 3)).copy()


def read(path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def psnr(a, b) -> float:
    return 10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2))


def through_lab(image) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2Lab), cv2.COLOR_Lab2RGB)


@pytest.fixture(scope="module")
def official(golden):
    """Frame 3 of an interval of 11: inputs, error maps, masks and results of the official code."""
    numbers = load_file(golden / "blend.safetensors")
    images = {name: read(golden / f"blend_t3_{name}.png") for name in ("fwd", "bwd", "hist", "result")}
    mask = numbers["t3.mask"].astype(bool)
    return numbers | images | {"selected": np.where(mask[..., None], images["bwd"], images["fwd"]), "mask": mask}


# ---------------------------------------------------------------------------------------------- selection


def test_selection_is_the_official_one(official):
    raw = official["t3.raw_mask"].astype(bool)
    errors = official["t3.dist_fwd"], official["t3.dist_bwd_as_read"]
    image, mask = select_min_error(official["fwd"], official["bwd"], *errors, T3)
    np.testing.assert_array_equal(mask, raw)
    np.testing.assert_array_equal(image, np.where(raw[..., None], official["bwd"], official["fwd"]))


def test_sticky_selection_is_the_official_one(official):
    previous = torch.from_numpy(official["t2.mask"])[None, None].float()
    moved = warp(previous, torch.from_numpy(official["flow_3_to_2"]), "nearest")[0, 0].numpy() > 0
    errors = official["t3.dist_fwd"], official["t3.dist_bwd_as_read"]
    image, mask = select_min_error(official["fwd"], official["bwd"], *errors, T3, moved)
    np.testing.assert_array_equal(mask, official["mask"])
    np.testing.assert_array_equal(image, official["selected"])


def test_the_lower_weighted_error_wins():
    fwd, bwd = constant((1, 1, 1), (1, 3)), constant((2, 2, 2), (1, 3))
    errors = np.array([[1.0, 2.0, 4.0]], np.float32), np.array([[2.0, 2.0, 2.0]], np.float32)
    for w_bwd, expected in ((0.4, [0, 0, 1]), (0.5, [0, 1, 1]), (0.7, [1, 1, 1])):  # a tie goes to the later key
        image, mask = select_min_error(fwd, bwd, *errors, w_bwd)
        assert mask.dtype == bool
        assert mask[0].tolist() == [bool(x) for x in expected]
        assert image[0, :, 0].tolist() == [1 + x for x in expected]


@pytest.mark.parametrize(("w_bwd", "backward"), [(0.0, False), (1.0, True)])
def test_at_a_key_its_own_side_is_taken_whatever_the_errors(w_bwd, backward):
    zero = np.zeros((6, 7), np.float32)
    for err_fwd, err_bwd in ((zero, zero + 1), (zero + 1, zero), (zero, zero)):
        _, mask = select_min_error(constant((1, 1, 1)), constant((2, 2, 2)), err_fwd, err_bwd, w_bwd)
        assert (mask == backward).all()


# ---------------------------------------------------------------------------------------- histogram blend


def test_histogram_blend_is_the_official_one_to_the_bit(official):
    blended = histogram_blend(official["fwd"], official["bwd"], official["selected"], T3)
    np.testing.assert_array_equal(blended, official["hist"])


def test_histogram_blend_of_one_picture_is_that_picture():
    image = picture()
    blended = histogram_blend(image, image, image, 0.3)
    np.testing.assert_allclose(blended.astype(int), through_lab(image), atol=1)


def test_histogram_blend_keeps_contrast_that_a_mean_loses():
    fwd, bwd = picture(1), picture(2)
    blended = histogram_blend(fwd, bwd, fwd, 0.5)
    lab, wanted, mean = (
        cv2.cvtColor(x, cv2.COLOR_RGB2Lab).reshape(-1, 3).astype(float)
        for x in (blended, fwd, ((fwd.astype(int) + bwd) // 2).astype(np.uint8))
    )
    np.testing.assert_allclose(lab.mean(0), wanted.mean(0), atol=1.0)
    np.testing.assert_allclose(lab.std(0), wanted.std(0), rtol=0.05)
    assert (mean.std(0)[1:] < 0.85 * wanted.std(0)[1:]).all()  # a, b; L is much alike in both


def test_histogram_blend_is_its_formula_rounded():
    fwd, bwd, selected = picture(1), picture(2), picture(3)
    lab = {
        name: cv2.cvtColor(x, cv2.COLOR_RGB2Lab).astype(float)
        for name, x in zip("fbs", (fwd, bwd, selected), strict=True)
    }

    def normal(x):
        return (x - x.mean((0, 1))) / x.std((0, 1))

    mixed = normal(0.7 * normal(lab["f"]) + 0.3 * normal(lab["b"]))
    expected = (mixed * lab["s"].std((0, 1)) + lab["s"].mean((0, 1))).round().clip(0, 255).astype(np.uint8)
    differs = (histogram_blend(fwd, bwd, selected, 0.3) != cv2.cvtColor(expected, cv2.COLOR_Lab2RGB)).any(-1)
    assert differs.mean() < 0.01  # halves, by the rounding of float32


def test_histogram_blend_at_the_ends_takes_one_side():
    fwd, bwd = picture(1), picture(2)
    for w_bwd, side in ((0.0, fwd), (1.0, bwd)):
        np.testing.assert_array_equal(histogram_blend(fwd, bwd, side, w_bwd), histogram_blend(side, side, side, 0.5))


@pytest.mark.parametrize("size", [(6, 7), (1, 1)])
def test_histogram_blend_of_constant_pictures_is_the_selected_colour(size):
    red, blue = constant((200, 30, 30), size), constant((30, 30, 200), size)
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(histogram_blend(red, blue, blue, 0.5), through_lab(blue))


def test_histogram_blend_of_a_constant_and_a_varied_picture_keeps_the_variation():
    grey, varied = constant((90, 90, 90), (24, 32)), picture()
    blended = histogram_blend(grey, varied, varied, 0.25)
    np.testing.assert_allclose(blended.astype(int), through_lab(varied), atol=1)


# ------------------------------------------------------------------------------------------------ Poisson


def difference(n: int) -> sparse.csr_array:
    """Next minus this, [n - 1, n]."""
    return sparse.diags_array([-np.ones(n - 1), np.ones(n - 1)], offsets=[0, 1], shape=(n - 1, n)).tocsr()


def least_squares(image, dy, dx, g) -> np.ndarray:
    """The same problem, written as a sparse system and solved to the last digits."""
    height, width = image.shape
    rows = sparse.kron(difference(height), sparse.eye_array(width))
    columns = sparse.kron(sparse.eye_array(height), difference(width))
    system = sparse.vstack([sparse.eye_array(image.size), g * rows, g * columns]).tocsr()
    right = np.concatenate([image.ravel(), g * dy.ravel(), g * dx.ravel()])
    return lsqr(system, right, atol=1e-13, btol=1e-13)[0].reshape(height, width)


def selected_gradients(fwd, bwd, mask) -> tuple[np.ndarray, np.ndarray]:
    """Of one channel, pixel by pixel as the README of the golden numbers states it."""
    selected = np.where(mask, 1, 0)
    both = np.stack([fwd, bwd]).astype(float)
    dy = np.take_along_axis(np.diff(both, axis=1), selected[None, :-1], 0)[0]
    dx = np.take_along_axis(np.diff(both, axis=2), selected[None, :, :-1], 0)[0]
    return np.clip(dy, -100, 100), np.clip(dx, -100, 100)


def test_poisson_solution_is_that_of_a_tight_lsqr():
    size = (128, 128)
    hist, fwd, bwd = (np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8) for seed in (1, 2, 3))
    mask = np.random.default_rng(4).random(size) < 0.5
    solved = poisson_lab(hist, fwd, bwd, mask)
    lab, lab_fwd, lab_bwd = (cv2.cvtColor(x, cv2.COLOR_RGB2Lab) for x in (hist, fwd, bwd))
    for channel, g in enumerate((2.5, 0.5, 0.5)):  # of L, a, b in the official code
        dy, dx = selected_gradients(lab_fwd[..., channel], lab_bwd[..., channel], mask)
        expected = least_squares(lab[..., channel].astype(float), dy, dx, g)
        np.testing.assert_allclose(solved[..., channel], expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (8, 1), (5, 12)])
def test_poisson_solution_at_any_size(size):
    rng = np.random.default_rng(0)
    image, dy, dx = rng.random(size), rng.random((size[0] - 1, size[1])), rng.random((size[0], size[1] - 1))
    expected = least_squares(image, dy, dx, 2.5)
    np.testing.assert_allclose(screened_poisson(image, dy, dx, 2.5), expected, rtol=0, atol=1e-9)


def test_poisson_solution_is_near_the_official_solver(official):
    solved = poisson_lab(official["hist"], official["fwd"], official["bwd"], official["mask"])
    np.testing.assert_allclose(solved[::2, ::2], official["t3.lab_lsqr_sub2"], rtol=0, atol=1e-3)


def test_poisson_blend_is_near_the_official_picture(official):
    blended = poisson_blend(official["hist"], official["fwd"], official["bwd"], official["mask"])
    levels = np.abs(blended.astype(int) - official["result"])
    assert psnr(blended, official["result"]) >= 45
    assert levels.max() <= 4
    assert levels.mean() <= 0.2


def test_poisson_blend_of_one_picture_is_that_picture():
    image = picture()
    for mask in (np.zeros(image.shape[:2], bool), np.eye(*image.shape[:2], dtype=bool)):
        np.testing.assert_array_equal(poisson_blend(image, image, image, mask), through_lab(image))


@pytest.mark.parametrize("size", [(6, 7), (1, 1)])
def test_poisson_blend_of_constant_pictures_keeps_the_blended_colour(size):
    red, blue = constant((200, 30, 30), size), constant((30, 30, 200), size)
    blended = poisson_blend(red, red, blue, np.eye(*size, dtype=bool))
    np.testing.assert_array_equal(blended, through_lab(red))


def test_poisson_blend_hides_a_seam_and_keeps_detail():
    fwd = picture()
    bwd = (fwd * 0.8).astype(np.uint8)
    mask = np.zeros(fwd.shape[:2], bool)
    mask[:, 20:] = True
    selected = np.where(mask[..., None], bwd, fwd)
    blended = poisson_blend(selected, fwd, bwd, mask)
    seam = [np.abs(np.diff(x.astype(float), axis=1)[:, 19]).mean() for x in (selected, blended)]
    assert seam[1] < 0.6 * seam[0]


# ------------------------------------------------------------------------------------------------- errors


def test_wrong_shapes_and_weights_are_named():
    image, small, error = picture(), picture(size=(8, 8)), np.zeros((24, 32))
    with pytest.raises(ShapeError, match=r"fwd \(24, 32, 3\), bwd \(8, 8, 3\)"):
        select_min_error(image, small, error, error, 0.5)
    with pytest.raises(ShapeError, match="err_bwd"):
        select_min_error(image, image, error, error[1:], 0.5)
    with pytest.raises(ShapeError, match="previous_mask"):
        select_min_error(image, image, error, error, 0.5, error[1:] > 0)
    with pytest.raises(ShapeError, match="min_error"):
        histogram_blend(image, image, small, 0.5)
    with pytest.raises(ShapeError, match="mask"):
        poisson_blend(image, image, image, np.zeros((8, 8), bool))
    for weight in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="w_bwd"):
            select_min_error(image, image, error, error, weight)
        with pytest.raises(ConfigError, match="w_bwd"):
            histogram_blend(image, image, image, weight)
