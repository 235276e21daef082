"""Pixels to latents and back: conventions, chunks, and where the scale comes from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from videoedit.diffusion.latents import (
    Posterior,
    decode,
    encode,
    encode_posterior,
    frames_to_pixels,
    pixels_to_frames,
    spatial_factor,
)
from videoedit.errors import MethodError, ShapeError
from videoedit.testing import moving_square, tiny_vae


@pytest.fixture(scope="module")
def vae():
    return tiny_vae()


def test_frames_survive_the_way_to_pixels_and_back():
    levels = np.arange(256, dtype=np.uint8)
    frames = np.stack([levels.reshape(16, 16)] * 3, axis=-1)[None]
    pixels = frames_to_pixels(frames)
    assert pixels.shape == (1, 1, 3, 16, 16) and pixels.dtype == torch.float32
    assert pixels.min() == -1 and pixels.max() == 1
    assert np.array_equal(pixels_to_frames(pixels), frames)
    assert np.array_equal(pixels_to_frames(pixels * 1.5)[0, 0, 0], [0, 0, 0])


def test_channels_are_rgb_in_order():
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    frames[..., 0] = 255
    assert frames_to_pixels(frames)[0, 0, :, 0, 0].tolist() == [1.0, -1.0, -1.0]


def test_shapes_and_factor(vae):
    assert spatial_factor(vae) == 4
    pixels = frames_to_pixels(moving_square(3, (40, 32)))
    latents = encode(vae, pixels)
    assert latents.shape == (1, 3, 4, 8, 10)
    assert decode(vae, latents).shape == pixels.shape
    assert decode(vae, latents * 100).abs().max() <= 1


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
def test_chunks_do_not_change_the_result(vae, chunk):
    pixels = frames_to_pixels(moving_square(5))
    torch.testing.assert_close(encode(vae, pixels, chunk=chunk), encode(vae, pixels), rtol=1e-5, atol=1e-6)
    latents = encode(vae, pixels)
    torch.testing.assert_close(decode(vae, latents, chunk=chunk), decode(vae, latents), rtol=0, atol=3e-5)


def test_posterior_is_the_vae_distribution_scaled(vae):
    pixels = frames_to_pixels(moving_square(2))
    with torch.no_grad():
        theirs = vae.encode(pixels[0]).latent_dist
    ours = encode_posterior(vae, pixels)
    torch.testing.assert_close(ours.mean[0], theirs.mean * vae.config.scaling_factor)
    torch.testing.assert_close(ours.std[0], theirs.std * vae.config.scaling_factor)
    draws = torch.stack([ours.sample(torch.Generator().manual_seed(i)) for i in range(400)])
    assert ((draws.mean(0) - ours.mean) / ours.std).abs().max() < 0.3
    assert torch.equal(draws[7], ours.sample(torch.Generator().manual_seed(7)))
    assert not torch.equal(draws[7], draws[8])


def test_a_draw_is_the_mean_and_so_many_deviations():
    mean, std = torch.zeros(1, 1, 4, 2, 2), torch.full((1, 1, 4, 2, 2), 3.0)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(5))
    assert torch.equal(Posterior(mean + 1, std).sample(torch.Generator().manual_seed(5)), 1 + 3 * noise)


@pytest.mark.parametrize(
    "config",
    [
        {"scaling_factor": 0.5},
        {"scaling_factor": 0.5, "shift_factor": 0.3},
        {"scaling_factor": 0.5, "latents_mean": (1.0, 2.0, 3.0, 4.0), "latents_std": (1.0, 2.0, 3.0, 4.0)},
    ],
    ids=lambda config: "-".join(config),
)
def test_scale_and_shift_come_from_the_config(config):
    """The same weights under another config: latents change by exactly that, pixels not at all."""
    plain, scaled = tiny_vae(scaling_factor=1.0), tiny_vae(**config)
    pixels = frames_to_pixels(moving_square(2))
    base, ours = encode(plain, pixels), encode(scaled, pixels)
    shift = torch.tensor(config.get("latents_mean", [config.get("shift_factor", 0.0)])).reshape(-1, 1, 1)
    spread = torch.tensor(config.get("latents_std", [1.0])).reshape(-1, 1, 1)
    torch.testing.assert_close(ours, (base - shift) / spread * 0.5)
    torch.testing.assert_close(decode(scaled, ours), decode(plain, base), rtol=1e-4, atol=1e-5)


def test_bfloat16_autoencoder_gives_float32_latents():
    vae = tiny_vae().to(torch.bfloat16)
    latents = encode(vae, frames_to_pixels(moving_square(2)))
    assert latents.dtype == torch.float32
    assert decode(vae, latents).dtype == torch.float32


def test_wrong_shapes_are_named(vae):
    with pytest.raises(ShapeError, match=r"divisible by the autoencoder's 4.*30, 32"):
        encode(vae, torch.zeros(1, 2, 3, 30, 32))
    with pytest.raises(ShapeError, match=r"latents \[B, F, 4, h, w\]"):
        decode(vae, torch.zeros(1, 4, 2, 8, 8))
    with pytest.raises(ShapeError, match="float32"):
        frames_to_pixels(np.zeros((1, 2, 2, 3), np.float32))
    with pytest.raises(ShapeError, match="one clip"):
        pixels_to_frames(torch.zeros(2, 1, 3, 4, 4))
    with pytest.raises(ShapeError, match="chunk"):
        encode(vae, torch.zeros(1, 2, 3, 32, 32), chunk=0)


def test_overflow_is_reported_and_not_passed_on(vae):
    with pytest.raises(MethodError, match="overflowed"):
        decode(vae, torch.full((1, 1, 4, 8, 8), float("inf")))
    one_of_two = torch.zeros(1, 2, 4, 8, 8)
    one_of_two[:, 1, 0, 0, 0] = float("inf")
    with pytest.raises(MethodError, match="overflowed"):
        decode(vae, one_of_two)
