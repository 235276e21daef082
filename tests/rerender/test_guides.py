from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from rerender.propagation.guides import advance, advance_positions, edge_guide, positional_guide, positional_image


def flow(x: float, y: float, size: tuple[int, int] = (8, 12)) -> torch.Tensor:
    """The same motion everywhere, [1, 2, H, W]."""
    return torch.tensor([x, y]).view(1, 2, 1, 1).expand(1, 2, *size).clone()


def nowhere(size: tuple[int, int] = (8, 12)) -> torch.Tensor:
    return torch.zeros(1, 1, *size, dtype=torch.bool)


def picture(size: tuple[int, int] = (8, 12)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)


def read(path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def as_jpeg(image) -> np.ndarray:
    """What is left of an RGB image that the official code stores."""
    data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


# ------------------------------------------------------------------------------------------ official pixels


@pytest.mark.parametrize("frame", ["0000", "0005"])
def test_edge_guide_is_the_official_one(golden_bunny, frame):
    edges = edge_guide(read(golden_bunny / f"input_{frame}.png"))
    stored = read(golden_bunny / f"guide_edge_{frame}.png")
    assert (as_jpeg(edges) == stored).mean() > 0.999


def test_positional_image_of_the_key_is_the_official_one(golden_bunny):
    stored = read(golden_bunny / "guide_pos_0000.png")
    image = positional_image(positional_guide(*stored.shape[:2]))
    assert (as_jpeg(image) == stored).mean() > 0.999


def test_temporal_guide_is_the_official_one_where_nothing_is_occluded(golden_bunny):
    stored = read(golden_bunny / "guide_temporal_0005.png")
    height, width = stored.shape[:2]
    run = np.load(golden_bunny / "flows_fwd_fp16.npz")
    back = torch.from_numpy(run["flow_5_to_4"].astype(np.float32))[None]
    occluded = torch.from_numpy(np.unpackbits(run["occ_5_to_4"])[: height * width].reshape(1, 1, height, width) > 0)
    guide = as_jpeg(advance(read(golden_bunny / "eb_fwd_0004.png"), back, occluded))
    visible = ~cv2.dilate(occluded[0, 0].numpy().astype(np.uint8), np.ones((17, 17))).astype(
        bool
    )  # beyond a JPEG block
    assert visible.mean() > 0.5
    assert (guide == stored)[visible].mean() > 0.99


# -------------------------------------------------------------------------------------------------- guides


def test_edge_guide_is_zero_on_flat_and_darker_pixels():
    frame = np.full((5, 5, 3), 100, np.uint8)
    assert not edge_guide(frame).any()
    frame[2, 2] = (110, 90, 200)
    assert edge_guide(frame)[2, 2].tolist() == [40, 0, 255]


def test_positions_are_x_and_y_and_their_image_runs_from_0_to_255():
    positions = positional_guide(3, 5)
    assert positions.dtype == np.float32
    assert positions[2, 4].tolist() == [4, 2]
    image = positional_image(positions)
    assert image.dtype == np.uint8
    assert image[0, 0].tolist() == [0, 0, 0]
    assert image[2, 4].tolist() == [255, 255, 0]
    assert image[1, 1].tolist() == [127, 63, 0]
    assert positional_image(positions + 1000).max() == 255
    assert positional_image(positions - 1000).max() == 0


# ------------------------------------------------------------------------------------------------- advance


def test_without_motion_all_stays():
    image, positions = picture(), positional_guide(8, 12)
    np.testing.assert_array_equal(advance(image, flow(0, 0), nowhere()), image)
    np.testing.assert_array_equal(advance_positions(positions, flow(0, 0), nowhere()), positions)


def test_image_and_positions_come_from_where_the_flow_points():
    image, positions = picture(), positional_guide(8, 12)
    moved = advance(image, flow(2, -1), nowhere())
    np.testing.assert_array_equal(moved[1:, :-2], image[:-1, 2:])
    came_from = advance_positions(positions, flow(2, -1), nowhere())
    np.testing.assert_array_equal(came_from[1:, :-2], positions[:-1, 2:])


def test_positions_remember_motion_below_half_a_pixel():
    positions = positional_guide(8, 12)
    for _ in range(10):
        positions = advance_positions(positions, flow(0.25, 0.125), nowhere())
    np.testing.assert_allclose(positions, positional_guide(8, 12) + (2.5, 1.25), atol=1e-4)


def test_occluded_pixels_are_filled_from_around():
    image = np.full((8, 12, 3), 50, np.uint8)
    image[3:5, 4:7] = 255
    occluded = nowhere()
    occluded[..., 3:5, 4:7] = True
    np.testing.assert_allclose(advance(image, flow(0, 0), occluded).astype(int), 50, atol=1)


def test_occluded_positions_move_like_their_neighbours():
    moving = flow(2, -1)
    occluded = nowhere()
    occluded[..., 3:5, 4:7] = True
    moving[..., 3:5, 4:7] = 7  # nonsense, as flow is where nothing can be matched
    positions = advance_positions(positional_guide(8, 12), moving, occluded)
    np.testing.assert_allclose(positions[3:5, 4:7], positional_guide(8, 12)[3:5, 4:7] + (2, -1), atol=1e-3)


def test_nothing_visible_leaves_the_warped_image():
    image = picture()
    np.testing.assert_array_equal(advance(image, flow(0, 0), ~nowhere()), image)


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1)])
def test_any_size_is_fine(size):
    image, positions, occluded = picture(size), positional_guide(*size), nowhere(size)
    np.testing.assert_array_equal(advance(image, flow(0, 0, size), occluded), image)
    np.testing.assert_array_equal(advance_positions(positions, flow(0, 0, size), occluded), positions)
    occluded[..., 0, 0] = True
    assert advance(image, flow(0, 0, size), occluded).shape == image.shape
    assert np.isfinite(advance_positions(positions, flow(0, 0, size), occluded)).all()
    assert edge_guide(image).shape == positional_image(positions).shape == image.shape
