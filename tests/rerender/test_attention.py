"""Cross-frame attention: which layers, and equality with the attention of the paper."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel

from rerender.translation.attention import ANCHOR, PREVIOUS, cross_frame_patch, cross_frame_sites, stored_bytes
from videoedit.attention import FeatureStore, FrameState, attend
from videoedit.models.loading import load_models


def stable_diffusion():
    """The layout of Stable Diffusion 1.5, with widths of a tenth, none of it computed."""
    with torch.device("meta"):
        return UNet2DConditionModel(
            block_out_channels=(32, 64, 128, 128), cross_attention_dim=16, norm_num_groups=8, attention_head_dim=8
        )


def test_sites_are_the_decoders_self_attention():
    sites = cross_frame_sites(stable_diffusion())
    assert len(sites) == 9 and all(site.block == "up" and not site.is_cross for site in sites)
    assert [site.channels for site in sites] == [128] * 3 + [64] * 3 + [32] * 3
    assert [site.channels for site in cross_frame_sites(stable_diffusion(), loose=True)] == [64] * 3 + [32] * 3


def test_sites_of_the_embedded_model():
    unet = load_models("mini", device="cpu").unet
    assert [site.channels for site in cross_frame_sites(unet)] == [192] * 2 + [128] * 2
    assert [site.channels for site in cross_frame_sites(unet, loose=True)] == [128] * 2


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=8,
    ).eval()


def run(unet, patch, latents, state=None, **values):
    for name, value in values.items():
        setattr(state, name, value)
    text = torch.randn(latents.shape[0], 5, 16, generator=torch.Generator().manual_seed(9))
    with torch.no_grad(), attend(unet, patch):
        return unet(latents, 300, encoder_hidden_states=text).sample


@pytest.mark.parametrize("loose", [False, True])
def test_equals_softmax_over_the_tokens_of_both_frames(unet, loose):
    """Each layer's output against  softmax(Q [K_a; K_p]^T / sqrt(d)) [V_a; V_p]  of its recorded inputs."""
    state = FrameState(store=FeatureStore())
    patch = cross_frame_patch(unet, state, loose=loose)
    frames = torch.randn(3, 2, 4, 8, 8, generator=torch.Generator().manual_seed(1))  # [uncond, cond] each
    run(unet, patch, frames[0], state, write=ANCHOR, read=())
    run(unet, patch, frames[1], state, write=PREVIOUS, read=(ANCHOR,))
    seen = {}
    sites = cross_frame_sites(unet, loose=loose)
    hooks = [
        unet.get_submodule(site.name).register_forward_hook(
            lambda layer, args, output, name=site.name: seen.update({name: (layer, args[0], output)})
        )
        for site in sites
    ]
    run(unet, patch, frames[2], state, write=None, read=(ANCHOR, PREVIOUS))
    for hook in hooks:
        hook.remove()
    assert len(seen) == len(sites) == (2 if loose else 4)
    for name, (layer, tokens, output) in seen.items():
        source = torch.cat([state.store.get(name, 0, tag) for tag in (ANCHOR, PREVIOUS)], dim=1)
        q, k, v = (
            x.unflatten(-1, (layer.heads, -1)).transpose(1, 2)
            for x in (layer.to_q(tokens), layer.to_k(source), layer.to_v(source))
        )
        weights = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1)
        expected = layer.to_out[0]((weights @ v).transpose(1, 2).flatten(2))
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)


def test_loose_lets_go_of_the_coarsest_layers(unet):
    results = []
    for loose in (False, True):
        state = FrameState(store=FeatureStore())
        patch = cross_frame_patch(unet, state, loose=loose)
        frames = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
        run(unet, patch, frames[0], state, write=ANCHOR)
        results.append(run(unet, patch, frames[1], state, write=None, read=(ANCHOR,)))
    assert (results[0] - results[1]).abs().max() > 1e-4


def test_without_reading_the_network_is_its_own(unet):
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    text = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        stock = unet(latents, 300, encoder_hidden_states=text).sample
    state = FrameState(store=FeatureStore())
    torch.testing.assert_close(run(unet, cross_frame_patch(unet, state), latents), stock, rtol=0, atol=1e-5)


@pytest.mark.parametrize("loose", [False, True])
@pytest.mark.parametrize("size", [(8, 8), (10, 6)])
def test_the_planned_memory_is_what_the_store_takes(unet, loose, size):
    state = FrameState(store=FeatureStore())
    patch = cross_frame_patch(unet, state, loose=loose)
    latents = torch.randn(2, 4, *reversed(size), generator=torch.Generator().manual_seed(2))
    for tag in (ANCHOR, PREVIOUS):
        for step in range(3):
            run(unet, patch, latents, state, step=step, write=tag)
    assert stored_bytes(unet.config, size, 3, loose=loose) == state.store.nbytes


def test_the_planned_memory_of_stable_diffusion():
    config = stable_diffusion().config | {"block_out_channels": (320, 640, 1280, 1280)}
    assert round(stored_bytes(config, (64, 64), 20) / 2**30, 2) == 2.05
    assert round(stored_bytes(config, (96, 64), 20) / 2**30, 2) == 3.08
    assert round(stored_bytes(config, (64, 64), 20, loose=True, itemsize=2) / 2**30, 2) == 0.88
