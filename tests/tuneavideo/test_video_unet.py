"""Truths about a stock UNet that denoises video."""

from __future__ import annotations

import copy

import pytest
import torch
from diffusers import UNet2DConditionModel, UNet2DModel

from tuneavideo.temporal import TemporalAttention, linear
from tuneavideo.video_unet import VideoUNet
from videoedit.attention import Patch, attend
from videoedit.errors import ConfigError, MethodError, ShapeError
from videoedit.testing import tiny_unet

CLOSE = {"rtol": 0, "atol": 1e-5}  # Single precision: processors sum a convolution in different orders.


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


LATENTS, TEXT = randn(2, 4, 4, 8, 8), randn(2, 5, 16, seed=1)


def video_unet(**options):
    return VideoUNet(tiny_unet(), generator=torch.Generator().manual_seed(2), **options)


def awake(**options):
    """A network whose temporal attention does something."""
    unet = video_unet(**options)
    for seed, module in enumerate(m for m in unet.modules() if isinstance(m, TemporalAttention)):
        module.to_out[0].weight.data = randn(*module.to_out[0].weight.shape, seed=seed) / 4
    return unet


def predict(unet, latents=LATENTS, t=481, text=TEXT):
    with torch.no_grad():
        return unet(latents, t, text)


def image_prediction(unet, latents=LATENTS):
    """Prediction of the image UNet for each frame alone."""
    with torch.no_grad():
        text = TEXT.repeat_interleave(latents.shape[1], dim=0)
        return unet(latents.flatten(0, 1), 481, text).sample.view_as(latents)


# Equalities


def test_with_everything_off_it_is_the_image_unet_on_each_frame():
    unet = video_unet(init="identity", attention="self", group_norm="frame")
    assert torch.allclose(predict(unet), image_prediction(tiny_unet()), **CLOSE)


def test_one_frame_needs_no_pooling():
    one = LATENTS[:, :1]
    clip, frame = (predict(awake(group_norm=kind), one) for kind in ("clip", "frame"))
    assert torch.allclose(clip, frame, **CLOSE)
    clip, frame = (predict(awake(group_norm=kind)) for kind in ("clip", "frame"))
    assert (clip - frame).norm() > 1e-3 * clip.norm()


def test_clips_of_a_batch_do_not_touch():
    unet = awake()
    together = predict(unet, t=torch.tensor([481, 20]))
    for i, t in enumerate((481, 20)):
        alone = predict(unet, LATENTS[i : i + 1], t, TEXT[i : i + 1])
        assert torch.allclose(together[i : i + 1], alone, rtol=0, atol=5e-6)


@pytest.mark.parametrize("attention", ["sparse_causal", "first"])
def test_causal_network_does_not_see_later_frames(attention):
    causal = awake(temporal_mask="causal", group_norm="frame", attention=attention)
    changed = LATENTS.clone()
    changed[:, 2:] = 0
    assert torch.allclose(predict(causal)[:, :2], predict(causal, changed)[:, :2], **CLOSE)
    looking = awake(temporal_mask="none", group_norm="frame", attention=attention)
    assert not torch.allclose(predict(looking)[:, :2], predict(looking, changed)[:, :2], rtol=0, atol=1e-3)


def test_temporal_attention_alone_ignores_the_order_of_frames():
    unet = awake(attention="self", group_norm="frame")
    order = torch.tensor([2, 0, 3, 1])
    assert torch.allclose(predict(unet)[:, order], predict(unet, LATENTS[:, order]), rtol=0, atol=5e-6)


def test_attention_modes_differ():
    outs = [predict(video_unet(attention=mode)) for mode in ("sparse_causal", "first", "full", "self")]
    for i, one in enumerate(outs):
        assert all((one - other).norm() > 1e-3 * one.norm() for other in outs[:i])


def test_checkpointing_keeps_the_gradients():
    gradients = []
    for checkpointing in (False, True):
        unet = awake()
        if checkpointing:
            unet.enable_gradient_checkpointing()
        named = dict(unet.trainable_parameters("all"))
        unet(LATENTS, 481, TEXT).square().mean().backward()
        gradients.append({name: p.grad for name, p in named.items()})
    assert all(torch.allclose(g, gradients[1][name], rtol=1e-4, atol=1e-7) for name, g in gradients[0].items())
    assert all(g.any() for g in gradients[0].values())


def test_bfloat16_stays_near_float32():
    unet = awake()
    exact = predict(unet)
    coarse = predict(unet.to(torch.bfloat16), LATENTS.bfloat16(), text=TEXT.bfloat16())
    assert coarse.dtype == torch.bfloat16
    assert (coarse.float() - exact).norm() < 0.05 * exact.norm()


@pytest.mark.slow
def test_compiles_in_one_graph():
    unet = awake()
    compiled = torch.compile(unet, fullgraph=True, backend="aot_eager")
    assert torch.allclose(predict(compiled), predict(unet), rtol=0, atol=1e-5)


# Low-rank changes


def test_lora_starts_at_zero_and_adds_a_product_to_the_weights():
    unet = awake(lora_rank=2)
    assert torch.equal(predict(unet), predict(awake()))
    for name, parameter in unet.trainable_parameters():
        assert ("lora" in name) == ("attn_temp" not in name)
        parameter.data += randn(*parameter.shape) / 8
    low_rank, whole = predict(unet), awake()
    assert not torch.allclose(low_rank, predict(whole), rtol=0, atol=1e-3)
    whole.load_tensors({name: tensor for name, tensor in unet.named_adapter_tensors() if ".lora." not in name})
    for name, change in unet.named_modules():
        if name.endswith(".lora"):
            whole.get_submodule(name.removesuffix(".lora")).weight.data += change.up.weight @ change.down.weight
    assert torch.allclose(predict(whole), low_rank, rtol=0, atol=5e-6)
    assert torch.equal(image_prediction(unet.detach()), image_prediction(tiny_unet()))


# What is trained


def names(**selection):
    return [name for name, _ in video_unet().trainable_parameters(**selection)]


def test_selections():
    assert len(names()) == 7 * 4  # transformer blocks: down one, middle one, up two
    assert {name.split(".transformer_blocks.0.")[1] for name in names()} == {
        "attn1.to_q.weight",
        "attn2.to_q.weight",
        "attn_temp.to_q.weight",
        "attn_temp.to_k.weight",
        "attn_temp.to_v.weight",
        "attn_temp.to_out.0.weight",
        "attn_temp.to_out.0.bias",
    }
    assert names(blocks="official") == [name for name in names() if not name.startswith("down_blocks")]
    assert len(names(modules="v1")) == 8 * 4
    tuned = {name.split(".transformer_blocks.0.")[1].removesuffix(".weight") for name in names(modules="v1")}
    assert {name for name in tuned if "temp" not in name} == {"attn1.to_k", "attn1.to_v", "attn2.to_q"}
    assert {name.rsplit(".", 2)[-2] for name in names(modules=["norm_temp"])} == {"norm_temp"}


def test_selection_is_exclusive():
    unet = video_unet()
    assert not any(p.requires_grad for p in unet.parameters())
    list(unet.trainable_parameters("all"))
    chosen = dict(unet.trainable_parameters("official", modules=["attn_temp"]))
    assert {name for name, p in unet.unet.named_parameters() if p.requires_grad} == chosen.keys()


def test_wrong_selections_say_what_is_right():
    with pytest.raises(ConfigError, match="all, official"):
        video_unet().trainable_parameters("upper")
    with pytest.raises(ConfigError, match="no module of this UNet ends so"):
        video_unet().trainable_parameters(modules=["attn3"])
    with pytest.raises(ConfigError, match="iccv, v1"):
        video_unet().trainable_parameters(modules="iccv2")
    with pytest.raises(ConfigError, match=r"group_norm.*'clips'"):
        video_unet(group_norm="clips")


# Taking it off again


def parts(unet):
    """Everything that installing may change."""
    return (
        {name: (id(p), p.requires_grad, p.grad) for name, p in unet.named_parameters()},
        {name: id(m) for name, m in unet.named_modules()},
        {name: (len(m._forward_hooks), len(m._forward_pre_hooks), m.training) for name, m in unet.named_modules()},
        {name: id(p) for name, p in unet.attn_processors.items()},
        unet.is_gradient_checkpointing,
    )


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_detach_restores_the_unet_exactly(lora_rank):
    unet = tiny_unet()
    unet.conv_in.weight.requires_grad_(True)
    before, values = parts(unet), {name: p.clone() for name, p in unet.named_parameters()}
    with pytest.raises(KeyError), VideoUNet(unet, init="official", lora_rank=lora_rank) as video:
        video.train()
        video.enable_gradient_checkpointing()
        optimizer = torch.optim.SGD([p for _, p in video.trainable_parameters()], lr=1.0)
        video(LATENTS, 481, TEXT).square().mean().backward()
        optimizer.step()
        raise KeyError
    assert parts(unet) == before
    assert all(torch.equal(p, values[name]) for name, p in unet.named_parameters())
    video.detach()
    assert parts(unet) == before


def test_failed_installation_leaves_nothing():
    unet = tiny_unet()
    before = parts(unet)
    with pytest.raises(TypeError):
        VideoUNet(unet, generator="seed")
    assert parts(unet) == before


def test_installs_once():
    unet = tiny_unet()
    first = VideoUNet(unet)
    with pytest.raises(MethodError, match="already carries"):
        VideoUNet(unet)
    first.detach()
    second = VideoUNet(unet)
    first.detach()
    predict(second)


def test_new_parameters_come_from_the_generator_alone():
    state = torch.random.get_rng_state()
    one, two = (video_unet(init="official", lora_rank=1) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(predict(one), predict(video_unet(init="identity")))


def test_new_layers_are_drawn_as_torch_draws_them():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        expected = torch.nn.Linear(12, 20)
    drawn = linear(12, 20, bias=True, generator=torch.Generator().manual_seed(4))
    assert torch.equal(drawn.weight, expected.weight) and torch.equal(drawn.bias, expected.bias)


def test_temporal_attention_is_no_attention_site():
    assert video_unet().unet.attn_processors.keys() == tiny_unet().attn_processors.keys()


# Misuse


BLOCK = "mid_block.attentions.0.transformer_blocks.0"


@pytest.mark.parametrize(
    ("disturb", "message"),
    [
        (lambda video: video.unet.set_attention_slice("auto"), "attn1 was replaced: expected FirstPrevious"),
        (lambda video: video.unet.fuse_qkv_projections(), "attn1 was replaced: expected FirstPrevious"),
        (lambda video: delattr(video.unet.get_submodule(BLOCK), "attn_temp"), f"{BLOCK}.attn_temp was replaced"),
        (lambda video: setattr(video.unet, "conv_norm_out", torch.nn.Identity()), "conv_norm_out was replaced"),
        (lambda video: video.detach(), "was taken off its UNet; install it again"),
    ],
    ids=["slice", "fuse", "temporal", "norm", "detach"],
)
def test_replaced_parts_are_noticed(disturb, message):
    video = video_unet()
    disturb(video)
    with pytest.raises(MethodError, match=message):
        predict(video)
    assert torch.equal(image_prediction(video.detach()), image_prediction(tiny_unet()))


def test_it_shares_its_unet_with_no_other_patch():
    video = video_unet()
    with pytest.raises(MethodError, match="already carries a patch"), attend(video.unet, Patch()):
        pass
    predict(video)


def test_a_copy_is_a_network_of_its_own():
    video = awake(lora_rank=2)
    twin, before = copy.deepcopy(video), predict(video)
    list(video.trainable_parameters())
    twin.detach()
    assert torch.equal(predict(video), before)
    assert torch.equal(image_prediction(twin.unet), image_prediction(tiny_unet()))


@pytest.mark.parametrize(
    ("latents", "t", "text", "message"),
    [
        (LATENTS[0], 1, TEXT, r"latents have shape \[4, 4, 8, 8\], expected \[B, F, 4, h, w\]"),
        (LATENTS[:, :0], 1, TEXT, "latents have shape"),
        (randn(2, 3, 5, 8, 8), 1, TEXT, "latents have shape"),
        (LATENTS, 1, TEXT[:1], r"prompt_embeds have shape \[1, 5, 16\], expected \[2, L, 16\]"),
        (LATENTS, 1, TEXT[..., :8], "prompt_embeds"),
        (LATENTS, torch.tensor([1, 2, 3]), TEXT, r"t has shape \[3\]"),
    ],
)
def test_wrong_shapes_are_named(latents, t, text, message):
    with pytest.raises(ShapeError, match=message):
        predict(video_unet(), latents, t, text)


def test_other_networks_are_refused():
    plain = {"down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"], "block_out_channels": [8]}
    with pytest.raises(MethodError, match="is a UNet2DModel"):
        VideoUNet(UNet2DModel(**plain, norm_num_groups=4))
    with pytest.raises(MethodError, match="text-to-image"):
        VideoUNet(UNet2DConditionModel(**plain, norm_num_groups=4, mid_block_type=None))
    more_than_a_prompt = tiny_unet()
    more_than_a_prompt.register_to_config(addition_embed_type="text_time")
    with pytest.raises(MethodError, match="more than a prompt"):
        VideoUNet(more_than_a_prompt)
