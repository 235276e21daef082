from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.testing import assert_close

from rerender.translation.freeu import amplify, freeu, scale_low

WIDTHS = (8, 16, 32, 32)  # a quarter of the levels' proportions of Stable Diffusion
HIDDEN = (32, 32, 32, 32, 32, 32, 32, 16, 16, 16, 8, 8)  # channels from below at each block of the decoder
SCALES = {32: (1.1, 0.9), 16: (1.2, 0.2)}  # b, s


@pytest.fixture(scope="module")
def unet():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=WIDTHS,
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            layers_per_block=2,
            cross_attention_dim=8,
            attention_head_dim=2,
            norm_num_groups=4,
        )
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def inputs():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 4, 16, 8, generator=generator), 401, torch.randn(2, 5, 8, generator=generator)


@pytest.fixture(scope="module")
def controls(unet, inputs):
    """Something for every skip, as a ControlNet gives it."""
    generator = torch.Generator().manual_seed(2)
    skips = [inputs_of_decoder(unet, inputs)[i][:, hidden:] for i, hidden in enumerate(HIDDEN)]
    return tuple(torch.randn(skip.shape, generator=generator) for skip in reversed(skips))


def run(unet, inputs, controls=None):
    sample, t, text = inputs
    added = {"down_block_additional_residuals": controls, "mid_block_additional_residual": 0.0} if controls else {}
    return unet(sample, t, encoder_hidden_states=text, **added).sample


def inputs_of_decoder(unet, inputs, controls=None) -> list[torch.Tensor]:
    """What the residual blocks of the decoder get, after all hooks installed so far."""
    seen: list[torch.Tensor] = []
    blocks = [resnet for block in unet.up_blocks for resnet in block.resnets]
    handles = [block.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone())) for block in blocks]
    run(unet, inputs, controls)
    for handle in handles:
        handle.remove()
    return seen


def official_hidden(hidden, b):
    """The published formula, written out."""
    hidden = hidden.clone()
    for item in hidden:
        mean = item.mean(0)
        mean = (mean - mean.min()) / (mean.max() - mean.min())
        half = len(item) // 2
        item[:half] *= (b - 1) * mean + 1
    return hidden


def official_skip(skip, s):
    """The same: frequencies in the middle of the shifted spectrum, in [-1, 1)."""
    spectrum = torch.fft.fftshift(torch.fft.fftn(skip, dim=(-2, -1)), dim=(-2, -1))
    row, column = skip.shape[-2] // 2, skip.shape[-1] // 2
    spectrum[..., row - 1 : row + 1, column - 1 : column + 1] *= s
    return torch.fft.ifftn(torch.fft.ifftshift(spectrum, dim=(-2, -1)), dim=(-2, -1)).real


@pytest.mark.parametrize("size", [(8, 8), (7, 12), (5, 9), (2, 2)])
def test_the_two_scalings_are_the_official_formulas(size):
    features = torch.randn(2, 6, *size, generator=torch.Generator().manual_seed(3))
    for scale in (0.2, 1.3):
        assert_close(amplify(features, scale), official_hidden(features, scale), rtol=0, atol=1e-5)
        assert_close(scale_low(features, scale), official_skip(features, scale), rtol=0, atol=1e-5)


@pytest.mark.parametrize("controlled", [False, True])
def test_every_block_of_the_decoder_gets_what_the_official_code_gives_it(unet, inputs, controls, controlled):
    added = controls if controlled else None
    skips = [x[:, hidden:] for x, hidden in zip(inputs_of_decoder(unet, inputs), HIDDEN, strict=True)]
    before: list[torch.Tensor] = []
    blocks = [resnet for block in unet.up_blocks for resnet in block.resnets]
    handles = [block.register_forward_pre_hook(lambda _, args: before.append(args[0].clone())) for block in blocks]
    with freeu(unet, 1.1, 1.2, 0.9, 0.2):
        after = inputs_of_decoder(unet, inputs, added)
    for handle in handles:
        handle.remove()
    for i, width in enumerate(HIDDEN):
        b, s = SCALES.get(width, (1, 1))
        control = controls[-1 - i] if controlled else torch.zeros_like(skips[i])
        below = official_hidden(before[i][:, :width], b) if b != 1 else before[i][:, :width]
        skip = (official_skip(skips[i], s) if s != 1 else skips[i]) + control
        assert_close(after[i], torch.cat([below, skip], dim=1), rtol=0, atol=1e-5)


def test_ones_change_nothing_and_the_network_is_given_back(unet, inputs):
    plain = run(unet, inputs)
    with freeu(unet, 1, 1, 1, 1):
        assert torch.equal(run(unet, inputs), plain)
    with freeu(unet, 1.1, 1.2, 1.0, 0.2):
        assert not torch.allclose(run(unet, inputs), plain)
    with pytest.raises(RuntimeError, match="in between"), freeu(unet, 1.1, 1.2, 1.0, 0.2):
        raise RuntimeError("in between")
    assert torch.equal(run(unet, inputs), plain)
    assert not any(module._forward_pre_hooks for module in unet.modules())


@pytest.mark.parametrize("changed", range(4))
def test_each_number_changes_the_result(unet, inputs, changed):
    numbers = [1.0, 1.0, 1.0, 1.0]
    numbers[changed] = 0.5
    plain = run(unet, inputs)
    with freeu(unet, *numbers):
        assert not torch.allclose(run(unet, inputs), plain)


def test_controls_of_one_call_are_forgotten_in_the_next(unet, inputs, controls):
    with freeu(unet, 1.1, 1.2, 0.9, 0.2):
        fresh = run(unet, inputs)
        assert not torch.allclose(run(unet, inputs, controls), fresh)
        assert torch.equal(run(unet, inputs), fresh)


def test_flat_and_tiny_features_stay_finite():
    flat = torch.full((1, 4, 3, 3), 2.0)
    assert torch.equal(amplify(flat, 1.5), flat)
    pixel = torch.randn(1, 4, 1, 1)
    assert torch.equal(amplify(pixel, 1.5), pixel)
    assert_close(scale_low(pixel, 0.5), 0.5 * pixel)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_features_keep_their_dtype(dtype):
    features = torch.randn(1, 4, 6, 10, generator=torch.Generator().manual_seed(4))
    for scaled in (amplify, scale_low):
        out = scaled(features.to(dtype), 0.3)
        assert out.dtype == dtype
        assert_close(out.float(), scaled(features, 0.3), rtol=0.02, atol=0.02)
