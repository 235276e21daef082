from __future__ import annotations

import json
from itertools import product

import cv2
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from torch.testing import assert_close

from rerender.translation.fusion import (
    blend_reference,
    fidelity_encode,
    flat_region,
    latent_flow,
    latent_mask,
    match_colors,
    pixel_aware,
    shape_aware,
    soft_mask,
    unfaithful,
)
from videoedit.motion.flow import warp
from videoedit.testing import tiny_vae


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(path) -> torch.Tensor:
    """A picture as [1, 3, H, W] in [-1, 1]."""
    return as_pixels(torch.from_numpy(cv2.imread(str(path))[..., ::-1].copy()).permute(2, 0, 1)[None])


def as_pixels(levels: torch.Tensor) -> torch.Tensor:
    return levels.float() / 127.5 - 1


def occlusion(size: tuple[int, int], *occluded: tuple[int, int]) -> torch.Tensor:
    """bool [1, 1, H, W], True at the given (row, column)."""
    mask = torch.zeros(1, 1, *size, dtype=torch.bool)
    for row, column in occluded:
        mask[..., row, column] = True
    return mask


@pytest.fixture(scope="module")
def masks(golden):
    tensors = load_file(golden / "masks_real.safetensors")
    return {
        name: x[:, None].bool() if name.startswith("bwd_occ") and x.ndim == 3 else x.float()
        for name, x in tensors.items()
    }


@pytest.fixture(scope="module")
def fidelity(golden):
    return load_file(golden / "fidelity.safetensors")


# -------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("reference", ["pre", "0"])
def test_soft_mask_is_the_official_one(masks, reference):
    soft = soft_mask(masks[f"bwd_occ_{reference}"])
    assert_close(soft[:, 0], masks[f"blend_mask_{reference}"], rtol=0, atol=1e-6)


def test_latent_mask_and_flow_are_the_official_ones(masks):
    mask = latent_mask(soft_mask(masks["bwd_occ_0"]), 8)
    assert_close(mask[:, 0], masks["warp_mask_latent"], rtol=0, atol=1e-6)
    assert_close(latent_flow(masks["bwd_flow_0"], 8), masks["warp_flow_latent"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (4, 5), (5, 20), (21, 34)])
def test_soft_mask_at_any_size_is_dilation_blur_and_sum(size):
    occluded = torch.rand(1, 1, *size, generator=generator()) < 0.05
    occluded[..., 0, 0] = True
    hard = occluded[0, 0].numpy().astype(np.float32)
    grown = cv2.dilate(hard, np.ones((9, 9)))
    expected = np.clip(cv2.GaussianBlur(grown, (9, 9), 18, borderType=cv2.BORDER_REFLECT_101) + hard, 0, 1)
    assert_close(soft_mask(occluded)[0, 0].numpy(), expected, rtol=0, atol=1e-6)


def test_a_smaller_seam_is_smaller():
    occluded = occlusion((32, 32), (16, 16))
    areas = [int((soft_mask(occluded, size) > 0).sum()) for size in (1, 5, 9)]
    assert areas == [1, 9**2, 17**2]  # dilated and blurred by size // 2 each


def test_soft_mask_extremes():
    size = (16, 16)
    assert (soft_mask(occlusion(size)) == 0).all()
    assert (soft_mask(~occlusion(size)) == 1).all()
    soft = soft_mask(occlusion((32, 32), (16, 16)))[0, 0]
    assert soft[16, 16] == 1
    assert 0 < soft[16, 8] < soft[16, 12] < 1
    assert soft[16, 7] == 0  # 4 pixels of dilation and 4 of blur


@pytest.mark.parametrize("size", [5, 9, 17, 33])  # of autoencoders with 4, 8, 16 and 32 pixels a latent
def test_what_is_occluded_is_masked_entirely(size):
    """Exactly 1, although the taps of the blur may sum up to a little less."""
    occluded = torch.rand(1, 1, 21, 34, generator=generator()) < 0.1
    assert (soft_mask(occluded, size)[occluded] == 1).all()


def test_latent_mask_trusts_a_cell_only_if_all_its_pixels_are_trusted():
    soft = occlusion((8, 12), (1, 5)).float() * 0.25
    expected = torch.ones(1, 1, 2, 3)
    expected[..., 0, 1] = 0.75
    assert_close(latent_mask(soft, 4), expected, rtol=0, atol=0)


def test_latent_flow_counts_in_cells():
    flow = torch.tensor([8.0, -4.0]).view(1, 2, 1, 1).expand(1, 2, 16, 24)
    assert_close(latent_flow(flow, 4), torch.tensor([2.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, 4, 6))


def test_flat_region_is_where_no_neighbour_differs():
    mask = torch.full((1, 1, 6, 7), 0.3)  # not exact in binary: sums of it are rounded
    assert (flat_region(mask) == 1).all()
    mask[..., 4:] = 0.7
    assert flat_region(mask)[0, 0, 0].tolist() == [1, 1, 1, 0, 0, 1, 1]
    assert flat_region(mask.mT)[0, 0, :, 0].tolist() == [1, 1, 1, 0, 0, 1, 1]
    assert flat_region(torch.rand(1, 1, 1, 1)).item() == 1


# ------------------------------------------------------------------------------------------------- target


def test_target_picture_is_the_official_one(golden, masks, fidelity):
    direct = as_pixels(fidelity["direct_result_u8"])
    previous, anchor = (
        warp(pixels(golden / f"result_{name}.png"), masks[f"bwd_flow_{key}"])
        for name, key in (("prev", "pre"), ("first", "0"))
    )
    soft = [soft_mask(masks[f"bwd_occ_{key}"]) for key in ("pre", "0")]
    blend = blend_reference(direct, previous, soft[0], anchor, soft[1])
    assert_close(blend, fidelity["blend_results"], rtol=0, atol=1e-6)


def test_inpainting_mask_is_the_official_one(masks, fidelity):
    both = masks["bwd_occ_pre"] & masks["bwd_occ_0"]
    assert torch.equal(both[:, 0], fidelity["bwd_occ"].bool())
    mask = latent_mask(soft_mask(both), 8)
    assert_close(mask[:, 0], fidelity["mask"], rtol=0, atol=1e-6)
    assert torch.equal(flat_region(mask)[:, 0], fidelity["noise_rescale"].float())


def test_target_takes_anchor_over_previous_over_direct():
    direct, previous, anchor = (torch.full((1, 3, 1, 4), x) for x in (1.0, 2.0, 3.0))
    doubt_previous = torch.tensor([0.0, 1.0, 0.0, 1.0]).view(1, 1, 1, 4)
    doubt_anchor = torch.tensor([0.0, 0.0, 1.0, 1.0]).view(1, 1, 1, 4)
    blend = blend_reference(direct, previous, doubt_previous, anchor, doubt_anchor)
    assert blend[0, 0, 0].tolist() == [3, 3, 2, 1]
    painted = doubt_previous.bool() & doubt_anchor.bool()
    assert painted[0, 0, 0].tolist() == [False, False, False, True]


@pytest.fixture(scope="module")
def small_vae(golden):
    config = json.loads((golden / "vae_small_config.json").read_text())
    vae = AutoencoderKL.from_config(config)
    vae.load_state_dict(load_file(golden / "vae_small.safetensors"))
    return vae.eval().requires_grad_(False)


@pytest.mark.parametrize("run", ["mode", "sample"])
def test_fidelity_encoding_is_the_official_one(small_vae, fidelity, run):
    noises = [0, 0] if run == "mode" else [fidelity["sample.noise1"], fidelity["sample.noise2"]]
    draws = iter(noises)

    def encode(x):
        posterior = small_vae.encode(x).latent_dist
        return 0.18215 * (posterior.mean + posterior.std * next(draws))

    def decode(z):
        return small_vae.decode(z / 0.18215).sample

    target = fidelity["blend_results"]
    latents = fidelity_encode(encode, decode, target, 8)
    assert_close(latents * fidelity["mask"][:, None], fidelity[f"{run}.xtrg_final"], rtol=0, atol=1e-5)
    compensated = decode(fidelity[f"{run}.xtrg_"])
    assert torch.equal(unfaithful(compensated, target, 8, 0.25), fidelity[f"{run}.mask_x"].float())


class LossyVAE:
    """Cells of 4 x 4 pixels, averaged; every decoding loses a tenth of the contrast."""

    def encode(self, x):
        return torch.nn.functional.avg_pool2d(x, 4)

    def decode(self, z):
        return torch.nn.functional.interpolate(0.9 * z, scale_factor=4, mode="nearest")


def blocks(seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    """A picture that the lossy autoencoder could hold."""
    cells = torch.rand(1, 3, 6, 6, generator=generator(seed)) * 2 - 1
    return torch.nn.functional.interpolate(scale * cells, scale_factor=4, mode="nearest")


def test_fidelity_encoding_adds_what_a_round_trip_loses():
    vae, x = LossyVAE(), blocks()
    z = vae.encode(x)
    assert_close(fidelity_encode(vae.encode, vae.decode, x, 4, threshold=10), 2 * z - vae.encode(vae.decode(z)))


def test_fidelity_encoding_leaves_cells_alone_that_decode_badly_all_the_same():
    vae, x = LossyVAE(), blocks(scale=0.2)
    x[..., 9:11, 9:11] += torch.tensor([3.0, -3.0]).view(1, 1, 1, 2)  # detail that no latent holds, in cell (2, 2)
    latents = fidelity_encode(vae.encode, vae.decode, x, 4)
    plain, compensated = vae.encode(x), 1.1 * vae.encode(x)
    near = torch.zeros(6, 6, dtype=torch.bool)
    near[1:4, 1:4] = True
    assert_close(latents[..., near], plain[..., near])
    assert_close(latents[..., ~near], compensated[..., ~near])


@pytest.mark.parametrize(("off", "is_unfaithful"), [(0.2, False), (0.3, True)])
def test_a_cell_is_unfaithful_from_a_quarter_on(off, is_unfaithful):
    """The paper's threshold, which is the default of `fidelity_encode`."""
    x = torch.zeros(1, 3, 8, 8)
    latents = fidelity_encode(lambda pixels: pixels[..., ::4, ::4], lambda latents: torch.full_like(x, off), x, 4)
    assert_close(latents, torch.full((1, 3, 2, 2), 0.0 if is_unfaithful else -off))


def test_ten_round_trips_lose_less_with_fidelity_encoding():
    vae, x = LossyVAE(), blocks()
    plain = faithful = x
    for _ in range(10):
        plain = vae.decode(vae.encode(plain))
        faithful = vae.decode(fidelity_encode(vae.encode, vae.decode, faithful, 4))
    assert (faithful - x).square().mean() < 0.1 * (plain - x).square().mean()


def test_fidelity_encoding_fits_a_real_autoencoder():
    vae = tiny_vae()
    x = torch.rand(2, 3, 16, 24, generator=generator()) * 2 - 1
    latents = fidelity_encode(lambda x: vae.encode(x).latent_dist.mode(), lambda z: vae.decode(z).sample, x, 4)
    assert latents.shape == (2, 4, 4, 6)
    assert latents.isfinite().all()


# ------------------------------------------------------------------------------------------------ latents


def test_colors_are_matched_and_lightness_is_kept():
    random = np.random.default_rng(0)
    frame = random.integers(60, 120, (40, 40, 3), dtype=np.uint8)
    bright = np.clip(frame[::-1].astype(int) + (90, 70, 20), 0, 255).astype(np.uint8)
    own, wanted, found = (
        cv2.cvtColor(x, cv2.COLOR_RGB2LAB).astype(int) for x in (frame, bright, match_colors(frame, bright))
    )
    assert np.abs(found[..., 0] - own[..., 0]).mean() < 2 < np.abs(wanted[..., 0].mean() - own[..., 0].mean()) / 5
    assert np.abs(found[..., 1:].mean((0, 1)) - wanted[..., 1:].mean((0, 1))).max() < 1.5


def test_shape_aware_takes_the_anchor_where_it_is_trusted():
    x0, anchor = torch.randn(2, 1, 4, 5, 6, generator=generator()).unbind()
    flow = torch.zeros(1, 2, 5, 6)
    flow[:, 0] = 1.2  # nearest: one cell from the right
    mask = torch.zeros(1, 1, 5, 6)
    mask[..., :3], mask[..., 4] = 1, 0.25
    out = shape_aware(x0, anchor, flow, mask)
    assert torch.equal(out[..., :3], anchor[..., 1:4])
    assert torch.equal(out[..., 3], x0[..., 3])
    assert_close(out[..., 4], 0.25 * anchor[..., 5] + 0.75 * x0[..., 4])
    assert torch.equal(out[..., 5], x0[..., 5])


@pytest.mark.parametrize(("w", "smooth", "flat"), list(product((0.0, 0.25, 0.5, 1.0), (True, False), (0.0, 1.0))))
def test_pixel_aware_is_the_formula(w, smooth, flat):
    x, direction, target = torch.randn(3, 1, 4, 3, 3, generator=generator()).unbind()
    weight, flats = torch.full((1, 1, 3, 3), w), torch.full((1, 1, 3, 3), flat)
    out = pixel_aware(x, direction, target, weight, flats, inner_strength=0.9, smooth_boundary=smooth)
    kept = max(1 - w, 0.9 * (1 - w * w) ** 0.5) if flat or not smooth else 1 - w
    expected = w * target + (1 - w) * (x - direction) + kept * direction
    assert_close(out, expected, rtol=0, atol=1e-6)


def test_pixel_aware_without_weight_changes_nothing_and_with_all_is_the_target():
    x, direction, target = torch.randn(3, 1, 4, 3, 3, generator=generator()).unbind()
    ones = torch.ones(1, 1, 3, 3)
    assert_close(pixel_aware(x, direction, target, 0 * ones, ones), x)
    assert_close(pixel_aware(x, direction, target, ones, ones), target)


@pytest.mark.parametrize(("strength", "std"), [(1.0, 1.0), (0.9, 0.926), (0.0, 0.707)])
def test_pixel_aware_keeps_as_much_noise_as_asked(strength, std):
    x0, noise, other = torch.zeros(1, 4, 64, 64), *torch.randn(2, 1, 4, 64, 64, generator=generator()).unbind()
    half = torch.full((1, 1, 64, 64), 0.5)
    out = pixel_aware(x0 + noise, noise, x0 + other, half, torch.ones_like(half), inner_strength=strength)
    assert abs(out.std().item() - std) < 0.02
