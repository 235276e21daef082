"""Equality with the official code: numbers it gave on tiny random networks (tests/data/tuneavideo/README.md)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from tuneavideo import tuning
from tuneavideo.temporal import transformer_blocks
from tuneavideo.video_unet import VideoUNet
from videoedit.diffusion.latents import Posterior
from videoedit.testing import SD_SCHEDULER

DATA = Path(__file__).parents[1] / "data" / "tuneavideo"
FORWARD = load_file(DATA / "golden_forward.safetensors")
TRAIN = load_file(DATA / "golden_train.safetensors")
GOLDEN = json.loads((DATA / "golden.json").read_text())
OUTPUT_ATOL, GRADIENT_ATOL, PARAMETER_ATOL, LOSS_ATOL = 2e-5, 2e-6, 3e-6, 1e-5  # the README's


def swap(x):
    """``[B, C, F, h, w]`` (official) <-> ``[B, F, C, h, w]``."""
    return x.transpose(1, 2)


def tuned(**options):
    return VideoUNet.from_pretrained(DATA / "tuned3d" / "unet", allow_pickle=True, **options)


def inflated(**options):
    return VideoUNet.from_pretrained(DATA / "source2d" / "unet", **options)


def inflated_officially():
    """The image network with the temporal tensors that the official code drew."""
    unet = inflated()
    unet.load_tensors(load_file(DATA / "inflated_temp_init.safetensors"))
    return unet


@torch.no_grad()
def predict(unet, sample="sample", t="t_scalar", frames=None, clips=2):
    out = unet(swap(FORWARD[sample])[:, :frames], FORWARD[t], FORWARD["ehs"][:clips])
    return swap(out)


def relative(got, expected):
    return ((got - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("out_tuned", {}),
        ("out_tuned_tvec", {"t": "t_vec"}),
        ("out_tuned_f1", {"frames": 1}),
        ("out_tuned_odd", {"sample": "sample_odd", "clips": 1}),
    ],
)
def test_tuned_network(name, arguments):
    assert torch.allclose(predict(tuned(), **arguments), FORWARD[name], rtol=0, atol=OUTPUT_ATOL)


def test_inflated_network():
    assert torch.allclose(predict(inflated_officially()), FORWARD["out_inflated"], rtol=0, atol=OUTPUT_ATOL)


def test_identity_init_is_inflation_without_the_random_bias():
    unet = inflated(init="identity")
    for name, frames in (("out_inflated_zerobias", None), ("out_inflated_zerobias_f1", 1)):
        assert torch.allclose(predict(unet, frames=frames), FORWARD[name], rtol=0, atol=OUTPUT_ATOL)
    assert torch.allclose(predict(unet, frames=1), FORWARD["out_2d_f1"], rtol=0, atol=OUTPUT_ATOL)


def test_int_timestep_equals_tensor():
    unet, sample = tuned(), swap(FORWARD["sample"])
    with torch.no_grad():
        assert torch.equal(unet(sample, 481, FORWARD["ehs"]), swap(predict(unet)))


def test_inner_statistics():
    """Mean, spread and first values of 18 inner activations."""
    unet, seen = tuned(), {}
    for name in GOLDEN["forward"]["stats"]:
        unet.unet.get_submodule(name).register_forward_hook(
            lambda _module, _args, out, name=name: seen.__setitem__(name, out)
        )
    predict(unet)
    for name, expected in GOLDEN["forward"]["stats"].items():
        got = seen[name][0] if isinstance(seen[name], tuple) else getattr(seen[name], "sample", seen[name])
        if len(expected["shape"]) == 5:
            got = swap(got.unflatten(0, (-1, 4)))
        elif got.shape != torch.Size(expected["shape"]):  # per frame here, per clip there
            got = got[::4]
        assert list(got.shape) == expected["shape"], name
        assert got.mean().item() == pytest.approx(expected["mean"], abs=1e-4), name
        assert got.std(correction=0).item() == pytest.approx(expected["std"], rel=1e-5), name
        assert got.abs().max().item() == pytest.approx(expected["absmax"], rel=1e-4), name
        assert got.flatten()[:8].tolist() == pytest.approx(expected["first8"], abs=1e-4), name


# What a mistake would change, as measured on the official code


def with_attention(mode):
    return predict(tuned(attention=mode))


def with_frame_norm():
    return predict(tuned(group_norm="frame"))


def without_temporal_attention():
    unet = tuned()
    for name, parameter in unet.unet.named_parameters():
        if "attn_temp.to_out" in name:
            parameter.data.zero_()
    return predict(unet)


def with_norm_temp_at_identity():
    unet = tuned()
    for name, parameter in unet.unet.named_parameters():
        if "norm_temp" in name:
            parameter.data.fill_(float(name.endswith("weight")))
    return predict(unet)


def with_image_queries():
    unet, source = tuned(), load_file(DATA / "source2d" / "unet" / "diffusion_pytorch_model.safetensors")
    unet.load_tensors({name: value for name, value in source.items() if name.endswith("to_q.weight")})
    return predict(unet)


def one_timestep_later():
    return predict_at(482)


def predict_at(t):
    with torch.no_grad():
        return swap(tuned()(swap(FORWARD["sample"]), t, FORWARD["ehs"]))


def with_heads_read_as_width():
    unet = tuned()
    for block in transformer_blocks(unet.unet).values():
        width = block.norm1.normalized_shape[0]
        for attn in (block.attn1, block.attn2, block.attn_temp):
            attn.heads, attn.scale = width // 8, 8**-0.5
    return predict(unet)


@pytest.mark.parametrize(
    ("mistake", "output"),
    [
        ("groupnorm_per_frame", with_frame_norm),
        ("attention_head_dim_read_as_head_width", with_heads_read_as_width),
        ("prev_frame_replaced_by_first", lambda: with_attention("first")),
        ("plain_self_attention", lambda: with_attention("self")),
        ("no_temporal_attention", without_temporal_attention),
        ("norm_temp_left_at_identity", with_norm_temp_at_identity),
        ("2d_to_q_kept", with_image_queries),
        ("timestep_plus_1", one_timestep_later),
    ],
)
def test_mistakes_show(mistake, output):
    change = relative(output(), FORWARD["out_tuned"])
    assert change == pytest.approx(GOLDEN["ablation_relative_l2"][mistake], rel=0.02)


# Training


def train(unet, blocks):
    """Three official steps; (losses, gradients of the first step, parameters, total gradient norms)."""
    named = dict(unet.trainable_parameters(blocks))
    optimizer = torch.optim.AdamW(named.values(), lr=3e-5, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2)
    losses, gradients, norms = [], {}, []
    for step in range(3):
        prediction = unet(swap(TRAIN["noisy"][step]), TRAIN["timesteps"][step : step + 1], TRAIN["ehs"])
        loss = F.mse_loss(prediction, swap(TRAIN["noise"][step]))
        loss.backward()
        gradients = gradients or {name: p.grad.clone() for name, p in named.items()}
        norms.append(torch.nn.utils.clip_grad_norm_(named.values(), 1.0).item())
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
    return losses, gradients, named, norms


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("run", ["A", "B"])
def test_three_steps_of_training(run, checkpointing):
    unet = inflated_officially() if run == "A" else tuned()
    frozen = {name: p.clone() for name, p in unet.unet.named_parameters()}
    if checkpointing:
        unet.enable_gradient_checkpointing()
    losses, gradients, parameters, norms = train(unet, "all")
    expected = GOLDEN["train"][run]
    assert losses == pytest.approx(expected["losses"], abs=LOSS_ATOL)
    assert norms == pytest.approx(expected["total_grad_norms_reported"], rel=1e-4)
    for name, norm in expected["grad_norms_step0"].items():
        assert gradients[name].norm().item() == pytest.approx(norm, rel=1e-3, abs=1e-9)
        if run == "B":
            assert torch.allclose(gradients[name], TRAIN[f"B.grad0.{name}"], rtol=0, atol=GRADIENT_ATOL)
        after = TRAIN[f"{run}.after3.{name}"]
        assert torch.allclose(parameters[name], after, rtol=0, atol=PARAMETER_ATOL)
    for name, parameter in unet.unet.named_parameters():
        if name not in parameters:
            assert parameter.grad is None and torch.equal(parameter, frozen[name])


@pytest.mark.parametrize("run", ["A", "B"])
def test_official_blocks(run):
    """Official training silently skips the lower blocks; leaving them frozen gives its losses."""
    unet = inflated_officially() if run == "A" else tuned()
    losses, gradients, _, norms = train(unet, "official")
    expected = GOLDEN["train"][f"{run}_ckpt"]
    assert losses == pytest.approx(expected["losses"], abs=LOSS_ATOL)
    assert norms == pytest.approx(expected["total_grad_norms_reported"], rel=1e-4)
    assert GOLDEN["train"]["trainable"].keys() - gradients.keys() == set(expected["no_grad"])
    for name, gradient in gradients.items():
        assert gradient.norm().item() == pytest.approx(expected["grad_norms_step0"][name], rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("run", ["A", "B"])
@pytest.mark.parametrize("blocks", ["all", "official"])
def test_tune_takes_the_official_steps(run, blocks, monkeypatch):
    """The official run's random numbers in the place of those that `tune` would draw; all else is its own."""
    steps = iter(range(3))

    def draw(clip, generator):
        step = next(steps)
        t = int(TRAIN["timesteps"][step])
        return swap(TRAIN["noisy"][step]), t, swap(TRAIN["noise"][step]), clip.prompt_embeds

    monkeypatch.setattr(tuning._Clip, "draw", draw)
    unet = inflated_officially() if run == "A" else tuned()
    shape = torch.zeros_like(swap(TRAIN["noisy"][0]))
    result = tuning.tune(unet, Posterior(shape, shape), TRAIN["ehs"], SD_SCHEDULER, steps=3, train_blocks=blocks)
    expected = GOLDEN["train"][run if blocks == "all" else f"{run}_ckpt"]
    assert result.losses == pytest.approx(expected["losses"], abs=LOSS_ATOL)
    for name, parameter in unet.unet.named_parameters():
        if blocks == "all" and f"{run}.after3.{name}" in TRAIN:
            assert torch.allclose(parameter, TRAIN[f"{run}.after3.{name}"], rtol=0, atol=PARAMETER_ATOL)


def test_first_step_moves_only_the_output_of_temporal_attention():
    _, gradients, _, _ = train(inflated_officially(), "all")
    for name, gradient in gradients.items():
        closed = name.endswith(("attn_temp.to_q.weight", "attn_temp.to_k.weight", "attn_temp.to_v.weight"))
        assert bool(gradient.any()) is not closed


# Names


def test_names_equal_the_official_ones():
    official = torch.load(DATA / "tuned3d" / "unet" / "diffusion_pytorch_model.bin", weights_only=True)
    state = tuned().unet.state_dict()
    assert {name: value.shape for name, value in state.items()} == {n: v.shape for n, v in official.items()}
    assert all(torch.equal(state[name], value) for name, value in official.items())


def test_trainable_names_equal_the_official_ones():
    expected = {name: tuple(shape) for name, shape in GOLDEN["train"]["trainable"].items()}
    assert {name: tuple(p.shape) for name, p in tuned().trainable_parameters("all")} == expected


def test_detached_network_is_the_image_network():
    unet = tuned().detach()
    assert type(unet) is UNet2DConditionModel
    with torch.no_grad():
        out = inflated().detach()(FORWARD["sample"][:, :, 0], 481, FORWARD["ehs"]).sample
    assert torch.allclose(out, FORWARD["out_2d_f1"][:, :, 0], rtol=0, atol=OUTPUT_ATOL)
