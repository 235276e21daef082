"""Checkpoints in the original Stable Diffusion layout, made from a tiny model by undoing diffusers' renaming."""

from __future__ import annotations

import re
import shutil

import pytest
import torch
from safetensors.torch import save_file

from videoedit.diffusion.prompts import encode_prompts
from videoedit.errors import WeightsError
from videoedit.models.loading import load_models
from videoedit.testing import save_models, tiny_models

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "down_blocks.0.resnets.0": "input_blocks.1.0",
    "down_blocks.0.attentions.0": "input_blocks.1.1",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
    "down_blocks.1.resnets.0": "input_blocks.3.0",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "up_blocks.0.resnets.0": "output_blocks.0.0",
    "up_blocks.0.resnets.1": "output_blocks.1.0",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.1.1.conv",
    "up_blocks.1.resnets.0": "output_blocks.2.0",
    "up_blocks.1.attentions.0": "output_blocks.2.1",
    "up_blocks.1.resnets.1": "output_blocks.3.0",
    "up_blocks.1.attentions.1": "output_blocks.3.1",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def unet_name(name):
    start = max((key for key in UNET if name.startswith(f"{key}.")), key=len)
    rest = name[len(start) + 1 :]
    if "resnets" in start:
        part, _, kind = rest.partition(".")
        rest = f"{RESNET[part]}.{kind}"
    return f"model.diffusion_model.{UNET[start]}.{rest}"


def vae_name(name):
    for pattern, replacement in (
        (r"^encoder\.down_blocks\.(\d)\.resnets\.(\d)", r"encoder.down.\1.block.\2"),
        (r"^encoder\.down_blocks\.(\d)\.downsamplers\.0", r"encoder.down.\1.downsample"),
        (r"^decoder\.up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"decoder.up.{2 - int(m[1])}.block.{m[2]}"),
        (r"^decoder\.up_blocks\.(\d)\.upsamplers\.0", lambda m: f"decoder.up.{2 - int(m[1])}.upsample"),
        (r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
        (r"mid_block\.attentions\.0", "mid.attn_1"),
        (r"attn_1\.group_norm", "attn_1.norm"),
        (r"attn_1\.to_([qkv])", r"attn_1.\1"),
        (r"attn_1\.to_out\.0", "attn_1.proj_out"),
        (r"conv_shortcut", "nin_shortcut"),
        (r"conv_norm_out", "norm_out"),
    ):
        name = re.sub(pattern, replacement, name)
    return f"first_stage_model.{name}"


def original_layout(models):
    tensors = {unet_name(name): tensor for name, tensor in models.unet.state_dict().items()}
    for name, tensor in models.vae.state_dict().items():
        is_matrix = "attentions" in name and tensor.ndim == 2
        tensors[vae_name(name)] = tensor[..., None, None] if is_matrix else tensor
    for name, tensor in models.text_encoder.state_dict().items():
        name = name if name.startswith("text_model.") else f"text_model.{name}"
        tensors[f"cond_stage_model.transformer.{name}"] = tensor
    return {name: tensor.clone().contiguous() for name, tensor in tensors.items()}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """`sd.safetensors`, and beside it `sd/` with the configs and tokenizer but no weights."""
    folder = tmp_path_factory.mktemp("single")
    models = tiny_models()
    save_file(original_layout(models), folder / "sd.safetensors")
    for file in save_models(models, folder / "sd").rglob("*.safetensors"):
        file.unlink()
    return folder / "sd.safetensors"


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def same_weights(ours, theirs):
    for part in ("vae", "unet", "text_encoder"):
        expected, found = getattr(theirs, part).state_dict(), getattr(ours, part).state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected), part


def test_single_file_loads_with_configs_beside_it(checkpoint):
    ours, theirs = load_models(str(checkpoint)), tiny_models()
    same_weights(ours, theirs)
    assert torch.equal(encode_prompts(ours, ["a red car"]), encode_prompts(theirs, ["a red car"]))
    assert ours.scheduler.config.steps_offset == 1 and ours.folder == checkpoint
    assert load_models(str(checkpoint), dtype="bfloat16").unet.dtype == torch.bfloat16


def test_pickled_checkpoint_needs_permission(checkpoint, tmp_path):
    shutil.copytree(checkpoint.with_suffix(""), tmp_path / "sd")
    torch.save({"state_dict": original_layout(tiny_models())}, tmp_path / "sd.ckpt")
    with pytest.raises(WeightsError, match=r"sd\.ckpt is a pickle"):
        load_models(tmp_path / "sd.ckpt")
    same_weights(load_models(tmp_path / "sd.ckpt", allow_pickle=True), tiny_models())


def test_incomplete_checkpoint_is_refused(checkpoint, tmp_path):
    shutil.copytree(checkpoint.with_suffix(""), tmp_path / "sd")
    tensors = original_layout(tiny_models())
    for name in ("model.diffusion_model.input_blocks.1.0.in_layers.2.weight", "first_stage_model.quant_conv.bias"):
        save_file({key: value for key, value in tensors.items() if key != name}, tmp_path / "sd.safetensors")
        with pytest.raises(WeightsError, match="could not be loaded with the configs") as raised:
            load_models(tmp_path / "sd.safetensors")
        assert "\n" not in str(raised.value)


def test_without_configs_it_says_where_to_put_them(checkpoint, tmp_path):
    shutil.copy(checkpoint, tmp_path / "sd.safetensors")
    with pytest.raises(WeightsError, match=f"needs the configs of its base model.* at {tmp_path / 'sd'}"):
        load_models(tmp_path / "sd.safetensors")
