"""Warping, resizing, chaining and occlusion, against golden numbers and against what must hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from videoedit.errors import ShapeError
from videoedit.motion.flow import compose, occlusion, resize_flow, warp

GOLDEN = Path(__file__).parents[1] / "data" / "rerender"
REAL = Path(__file__).parents[3] / "shared" / "golden" / "rerender" / "masks_real.safetensors"
needs_real = pytest.mark.skipif(not REAL.is_file(), reason="the golden files of the bikes clip are not here")


def constant(dx: float, dy: float, height: int = 20, width: int = 30) -> torch.Tensor:
    return torch.tensor([float(dx), float(dy)]).view(1, 2, 1, 1).expand(1, 2, height, width).contiguous()


def smooth(seed: int, size: float, height: int = 40, width: int = 60) -> torch.Tensor:
    noise = torch.randn(1, 2, 4, 5, generator=torch.Generator().manual_seed(seed))
    return size * F.interpolate(noise, (height, width), mode="bicubic", align_corners=True)


# -- golden ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_warp_agrees_with_the_official_code(mode: str) -> None:
    golden = load_file(GOLDEN / "flow_warp.safetensors")
    ours = warp(golden["feature"], golden["flow"], mode)
    assert torch.equal(ours, golden[mode])


def test_occlusion_agrees_with_the_official_code() -> None:
    golden = load_file(GOLDEN / "occlusion_synthetic.safetensors")
    occ_fwd, occ_bwd = occlusion(golden["fwd_flow"], golden["bwd_flow"])
    assert occ_fwd.dtype == torch.bool and occ_fwd.shape == (1, 1, 64, 96)
    assert torch.equal(occ_fwd[:, 0], golden["fwd_occ"].bool())
    assert torch.equal(occ_bwd[:, 0], golden["bwd_occ"].bool())
    assert not torch.equal(occ_fwd, occ_bwd)


@needs_real
@pytest.mark.parametrize("pair", ["pre", "0"])
def test_occlusion_of_real_frames_agrees(pair: str) -> None:
    golden = load_file(REAL)
    _, occ_bwd = occlusion(golden[f"fwd_flow_{pair}"].float(), golden[f"bwd_flow_{pair}"].float())
    assert torch.equal(occ_bwd[:, 0], golden[f"bwd_occ_{pair}"].bool())


@needs_real
def test_flow_at_the_latents_size_agrees() -> None:
    golden = load_file(REAL)
    ours = resize_flow(golden["bwd_flow_0"].float(), (32, 32))
    assert (ours - golden["warp_flow_latent"]).abs().max() <= 1e-5


# -- warp --------------------------------------------------------------------------------------------------


def test_warp_samples_at_p_plus_flow() -> None:
    x = torch.rand(1, 3, 20, 30)
    moved = warp(x, constant(2, 1), "nearest")
    assert torch.equal(moved[..., :-1, :-2], x[..., 1:, 2:])
    assert torch.all(moved[..., -1, :] == 0) and torch.all(moved[..., -2:] == 0)


def test_the_backward_flow_brings_a_frame_onto_the_next() -> None:
    scene = torch.rand(1, 3, 20, 34)
    frame, following = scene[..., 2:32], scene[..., :30]  # all moves 2 to the right
    backward = warp(frame, constant(-2, 0))
    assert (backward - following)[..., 2:].abs().max() < 1e-5
    forward = warp(frame, constant(2, 0))
    assert (forward - following)[..., 2:28].abs().max() > 0.1


def test_no_flow_changes_nothing() -> None:
    x = torch.rand(2, 4, 17, 23)
    assert (warp(x, torch.zeros(2, 2, 17, 23)) - x).abs().max() < 1e-6
    assert torch.equal(warp(x, torch.zeros(2, 2, 17, 23), "nearest"), x)


def test_one_pixel_wide_pictures_and_half_precision_are_moved_too() -> None:
    x = torch.rand(1, 1, 1, 1)
    assert torch.isfinite(warp(x, torch.zeros(1, 2, 1, 1))).all()
    half = warp(torch.ones(1, 4, 8, 8, dtype=torch.bfloat16), torch.zeros(1, 2, 8, 8))
    assert half.dtype == torch.bfloat16


@pytest.mark.parametrize("x", [(1, 3, 20, 31), (2, 3, 20, 30), (3, 20, 30)])
def test_shapes_that_do_not_fit_are_explained(x: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="same B, H and W"):
        warp(torch.zeros(x), constant(0, 0))


def test_a_flow_of_a_wrong_shape_is_explained() -> None:
    with pytest.raises(ShapeError, match=r"\[B, 2, H, W\]"):
        warp(torch.zeros(1, 3, 20, 30), torch.zeros(1, 20, 30, 2))
    with pytest.raises(ShapeError):
        resize_flow(torch.zeros(1, 3, 4, 4), (8, 8))


# -- occlusion ---------------------------------------------------------------------------------------------


def test_a_consistent_shift_occludes_exactly_the_border_band() -> None:
    occ_fwd, occ_bwd = occlusion(constant(5, 0), constant(-5, 0))
    columns = torch.arange(30)
    assert torch.equal(occ_fwd[0, 0], (columns >= 25).expand(20, 30))
    assert torch.equal(occ_bwd[0, 0], (columns < 5).expand(20, 30))


def test_flows_that_contradict_each_other_are_occluded() -> None:
    occ_fwd, occ_bwd = occlusion(constant(3, 0), constant(3, 0))
    assert occ_fwd.all() and occ_bwd.all()
    assert not occlusion(constant(0, 0), constant(0.4, 0))[0].any()


# -- resize, compose ---------------------------------------------------------------------------------------


def test_resizing_scales_the_vectors() -> None:
    resized = resize_flow(constant(4, 6), (15, 60))
    assert resized.shape == (1, 2, 60, 15)
    assert torch.allclose(resized[:, 0], torch.tensor(2.0)) and torch.allclose(resized[:, 1], torch.tensor(18.0))


def test_borders_coincide_where_a_flow_is_resized():
    """Half the columns lie between two old ones each, not on the first and the last."""
    flow = torch.zeros(1, 2, 2, 4)
    flow[:, 0] = torch.tensor([0.0, 1.0, 2.0, 3.0])
    torch.testing.assert_close(resize_flow(flow, (2, 2))[0, 0], torch.tensor([[0.25, 1.25]] * 2))
    torch.testing.assert_close(resize_flow(flow, (8, 2))[0, 0, 0, :4], torch.tensor([0.0, 0.5, 1.5, 2.5]))


def test_resizing_there_and_back_keeps_a_smooth_flow() -> None:
    flow = smooth(0, 3.0)
    there = resize_flow(flow, (120, 80))
    assert (resize_flow(there, (60, 40)) - flow)[..., 2:-2, 2:-2].abs().max() < 0.05


def test_composed_shifts_add_up() -> None:
    assert torch.allclose(compose(constant(3, -1), constant(-1.5, 4)), constant(1.5, 3))


def test_warping_by_the_composed_flow_is_warping_twice() -> None:
    ramp = torch.stack(torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij"))[None]
    first, second = smooth(1, 1.5), smooth(2, 1.5)
    twice = warp(warp(ramp, second), first)
    once = warp(ramp, compose(first, second))
    assert (once - twice)[..., 8:-8, 8:-8].abs().max() < 1e-2
    swapped = warp(ramp, compose(second, first))
    assert (swapped - twice)[..., 8:-8, 8:-8].abs().max() > 0.1


def test_sixteen_bits_move_like_thirty_two():
    x = torch.randn(1, 3, 90, 160, generator=torch.Generator().manual_seed(0)).bfloat16()
    flow = torch.full((1, 2, 90, 160), 7.0)
    assert torch.equal(warp(x, flow, "nearest"), warp(x.float(), flow, "nearest").bfloat16())
