"""The attention registry: sites, exact restoration, the guard, the store, first/previous-frame attention."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from videoedit.attention import (
    AttnSite,
    FeatureStore,
    FirstPrevious,
    FrameState,
    Patch,
    attend,
    attn_sites,
    frame_attention,
    frame_attention_reference,
    install,
)
from videoedit.errors import MethodError, ShapeError
from videoedit.testing import tiny_unet

MODES = ("sparse_causal", "first", "full", "self")
MIDDLE = "mid_block.attentions.0.transformer_blocks.0.attn1"


@pytest.fixture(scope="module")
def unet():
    return tiny_unet()


def inputs(frames: int = 4):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(frames, 4, 8, 8, generator=generator)
    return latents, torch.randn(frames, 6, 16, generator=generator)


@torch.no_grad()
def run(unet, latents, text, t=400):
    return unet(latents, t, encoder_hidden_states=text).sample


def self_attention(unet, state: FrameState, mode="sparse_causal") -> Patch:
    sites = [site for site in attn_sites(unet) if not site.is_cross]
    return Patch(processors={site.name: FirstPrevious(state, mode, site) for site in sites})


def snapshot(unet):
    """Everything a patch may touch, by identity."""
    return (
        dict(unet.attn_processors),
        {name: id(module) for name, module in unet.named_modules()},
        [list(module._forward_hooks) + list(module._forward_pre_hooks) for module in unet.modules()],
        list(unet.state_dict()),
        sorted(unet.__dict__),
    )


def block_of(site: AttnSite) -> str:
    return site.name.rpartition(".")[0]


def test_sites_follow_the_unet_own_order_and_describe_it(unet):
    sites = attn_sites(unet)
    assert [f"{site.name}.processor" for site in sites] == list(unet.attn_processors)
    assert {site.block for site in sites} == {"down", "mid", "up"}
    for site in sites:
        assert unet.get_submodule(site.name).to_q.in_features == site.channels
        assert site.is_cross == (site.name.endswith("attn2"))
        assert unet.get_submodule(block_of(site)).__class__.__name__ == "BasicTransformerBlock"


def test_a_site_is_read_from_its_name():
    site = AttnSite("up_blocks.2.attentions.1.transformer_blocks.3.attn2", 320)
    assert (site.block, site.is_cross, site.channels) == ("up", True, 320)
    site = AttnSite(MIDDLE, 32)
    assert (site.block, site.is_cross) == ("mid", False)
    with pytest.raises(MethodError, match="motion_modules"):
        AttnSite("down_blocks.0.motion_modules.0.attn1", 32)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("num_frames", [1, 2, 3, 6])
def test_frame_attention_equals_its_reference(mode, num_frames):
    generator = torch.Generator().manual_seed(num_frames)
    query, key, value = (
        torch.randn(2, num_frames, 3, 7, 4, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    fast = frame_attention(query, key, value, mode=mode, scale=0.5)
    slow = frame_attention_reference(query, key, value, mode=mode, scale=0.5)
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-13)


@pytest.mark.parametrize("mode", MODES)
def test_frame_attention_has_the_gradients_of_its_reference(mode):
    generator = torch.Generator().manual_seed(1)
    tensors = [torch.randn(1, 4, 2, 5, 3, generator=generator, dtype=torch.float64) for _ in range(3)]
    gradients = []
    for function in (frame_attention, frame_attention_reference):
        leaves = [x.clone().requires_grad_() for x in tensors]
        gradients.append(torch.autograd.grad(function(*leaves, mode=mode, scale=0.7).square().sum(), leaves))
    for fast, slow in zip(*gradients, strict=True):
        torch.testing.assert_close(fast, slow, rtol=0, atol=1e-12)


def test_self_mode_is_the_stock_network_and_the_others_are_not(unet):
    latents, text = inputs()
    stock = run(unet, latents, text)
    for mode in MODES:
        with attend(unet, self_attention(unet, FrameState(num_frames=4), mode)):
            changed = (run(unet, latents, text) - stock).abs().max().item()
        assert changed < 1e-5 if mode == "self" else changed > 1e-3, (mode, changed)


def test_clips_of_a_batch_do_not_mix(unet):
    latents, text = inputs(6)
    state = FrameState(num_frames=3)
    with attend(unet, self_attention(unet, state)):
        both = run(unet, latents, text)
        each = torch.cat([run(unet, latents[i : i + 3], text[i : i + 3]) for i in (0, 3)])
    torch.testing.assert_close(both, each, rtol=0, atol=2e-6)


def test_store_source_equals_batch_source(unet):
    """Rerender's recall of earlier passes and Tune-A-Video's gather from the batch are one thing."""
    name = MIDDLE
    layer, site = unet.get_submodule(name), AttnSite(name, 32)
    tokens = torch.randn(3, 4, 32, generator=torch.Generator().manual_seed(2))
    store = FeatureStore()
    state = FrameState(store=store)
    recalled = FirstPrevious(state, site=site)
    outputs = []
    for i, write in enumerate(("first", "previous", None)):
        state.write, state.read = write, (() if i == 0 else ("first",) if i == 1 else ("first", "previous"))
        outputs.append(recalled(layer, tokens[i : i + 1]))
    gathered = FirstPrevious(FrameState(num_frames=3))(layer, tokens)
    torch.testing.assert_close(torch.cat(outputs), gathered, rtol=0, atol=1e-6)
    assert len(dict(store.items())) == 2


def test_restores_exactly_also_after_an_exception(unet):
    before = snapshot(unet)
    latents, text = inputs()
    stock = run(unet, latents, text)
    block = block_of(attn_sites(unet)[0])
    patch = Patch(
        processors=self_attention(unet, FrameState(4)).processors,
        modules={"conv_norm_out": nn.Identity(), f"{block}.norm_temp": nn.LayerNorm(4)},
        hooks={block: lambda _block, _args, tokens: tokens + 1},
    )
    with pytest.raises(ZeroDivisionError), attend(unet, patch):
        assert (run(unet, latents, text) - stock).abs().max() > 1e-3
        unet.set_attention_slice(1)
        raise ZeroDivisionError
    assert snapshot(unet) == before
    assert torch.equal(run(unet, latents, text), stock)


def test_a_hook_sees_module_and_arguments_and_gives_the_output(unet):
    latents, text = inputs()
    seen = []

    def negated(module, args, output):
        seen.append((module, args[0].shape))
        return -output

    stock = run(unet, latents, text)
    with attend(unet, Patch(hooks={"conv_out": negated})):
        assert torch.equal(run(unet, latents, text), -stock)
    assert seen == [(unet.conv_out, (4, 16, 8, 8))]
    assert torch.equal(run(unet, latents, text), stock)


def test_a_patch_that_does_not_fit_changes_nothing(unet):
    before = snapshot(unet)
    chosen = self_attention(unet, FrameState()).processors
    for patch, named in [
        (Patch(processors={"mid_block.attentions.9.transformer_blocks.0.attn1": abs}), "attentions.9"),
        (Patch(processors=chosen, hooks={"mid_block.no": abs}), "mid_block.no"),
        (Patch(modules={"conv_norm_out": nn.Identity(), "nowhere.norm": nn.Identity()}), "nowhere"),
    ]:
        with pytest.raises(MethodError, match=named):
            install(unet, patch)
        assert snapshot(unet) == before


def test_caller_dict_survives(unet):
    """diffusers' own `set_attn_processor` empties the dict that it is given."""
    chosen = dict(self_attention(unet, FrameState(4)).processors)
    kept = dict(chosen)
    with attend(unet, Patch(processors=chosen)):
        assert all(unet.attn_processors[f"{name}.processor"] is processor for name, processor in kept.items())
    assert chosen == kept


def test_module_processors_leave_no_trace_in_the_state_dict(unet):
    class Trained(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

    before = snapshot(unet)
    with attend(unet, Patch(processors={site.name: Trained() for site in attn_sites(unet)})):
        assert any("processor.weight" in key for key in unet.state_dict())
    assert snapshot(unet) == before


@pytest.mark.parametrize(
    "culprit",
    [
        lambda unet: unet.set_attention_slice(1),
        lambda unet: unet.fuse_qkv_projections(),
        lambda unet: unet.set_attn_processor({k: type(v)() for k, v in unet.attn_processors.items()}),
    ],
    ids=["slice", "fuse", "recreated"],
)
def test_silent_replacement_is_caught_before_the_forward_pass(culprit):
    unet = tiny_unet()
    latents, text = inputs()
    with attend(unet, self_attention(unet, FrameState(4))) as installed:
        installed.check()
        culprit(unet)
        with pytest.raises(MethodError, match=r"attn1 was replaced: expected FirstPrevious"):
            run(unet, latents, text)
        with pytest.raises(MethodError, match="replaced"):
            installed.check()
    with pytest.raises(MethodError, match="taken off"):
        installed.check()


def test_replaced_module_is_caught(unet):
    with attend(unet, Patch(modules={"conv_norm_out": nn.Identity()})):
        unet.conv_norm_out = nn.GroupNorm(8, 16)
        with pytest.raises(MethodError, match="conv_norm_out"):
            run(unet, *inputs())


def test_a_unet_carries_one_patch_at_a_time(unet):
    before = snapshot(unet)
    older = install(unet, self_attention(unet, FrameState(4)))
    carrying = snapshot(unet)
    with pytest.raises(MethodError, match="already carries a patch"):
        install(unet, self_attention(unet, FrameState(4), "first"))
    assert snapshot(unet) == carrying
    older.check()
    older.remove()
    assert snapshot(unet) == before
    newer = install(unet, self_attention(unet, FrameState(4), "first"))
    older.remove()  # does nothing any more
    newer.check()
    newer.remove()
    assert snapshot(unet) == before


def test_an_installed_unet_can_be_copied_and_collected():
    unet = tiny_unet()
    install(unet, self_attention(unet, FrameState(4)))
    twin = copy.deepcopy(unet)
    assert torch.equal(run(unet, *inputs()), run(twin, *inputs()))
    with pytest.raises(MethodError, match="already carries"):
        install(twin, Patch())
    twin.set_attention_slice(1)
    with pytest.raises(MethodError, match="was replaced"):
        run(twin, *inputs())
    run(unet, *inputs())
    gone = weakref.ref(unet)
    del unet
    gc.collect()
    assert gone() is None


def test_errors_of_the_processor(unet):
    layer = unet.get_submodule(attn_sites(unet)[0].name)
    tokens = torch.zeros(4, 5, 16)
    with pytest.raises(MethodError, match="FrameState"):
        FirstPrevious()(layer, tokens)
    with pytest.raises(MethodError, match="self-attention"):
        FirstPrevious(FrameState(4))(layer, tokens, encoder_hidden_states=tokens)
    with pytest.raises(ShapeError, match="batch of 4 does not divide into clips of 3"):
        FirstPrevious(FrameState(3))(layer, tokens)
    with pytest.raises(MethodError, match="sparse_causal, first, full, self"):
        FirstPrevious(mode="sparse")
    site = AttnSite(MIDDLE, 16)
    missing = FirstPrevious(FrameState(store=FeatureStore(), read=("first",), step=3), site=site)
    with pytest.raises(MethodError, match=f"'first' was stored at {MIDDLE} for step 3"):
        missing(layer, tokens)


def test_store_keeps_copies_and_counts_bytes():
    store = FeatureStore(device="cpu", dtype=torch.float16)
    feature = torch.ones(2, 3)
    store.put("site", 0, "current", feature)
    feature.zero_()
    assert store.nbytes == 12
    assert store.get("site", 0, "current").dtype == torch.float32
    assert store.get("site", 0, "current").sum() == 6
    kept = FeatureStore()
    kept.put("site", 0, "x", feature)
    feature.fill_(7)
    assert kept.get("site", 0, "x").sum() == 0


def test_a_tag_can_be_read_and_replaced_in_one_pass(unet):
    name = MIDDLE
    layer, site = unet.get_submodule(name), AttnSite(name, 32)
    tokens = torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(3))
    store = FeatureStore()
    store.put(name, 0, "previous", tokens[:1])
    read_only = FirstPrevious(FrameState(store=store, read=("previous",)), site=site)(layer, tokens[1:])
    replacing = FirstPrevious(FrameState(store=store, read=("previous",), write="previous"), site=site)
    assert torch.equal(replacing(layer, tokens[1:]), read_only)
    assert torch.equal(store.get(name, 0, "previous"), tokens[1:])
    assert [(key, kept.shape) for key, kept in store.items()] == [((name, 0, "previous"), tokens[1:].shape)]
