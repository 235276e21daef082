"""Loading models: every kind of source, and one clear line for everything that is wrong with one."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import diffusers
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from videoedit.diffusion.prompts import encode_prompts
from videoedit.errors import ConfigError, WeightsError
from videoedit.models.loading import available_models, fingerprint, load_models
from videoedit.testing import save_models, tiny_models


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    return save_models(tiny_models(), tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of the saved model that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def edit_json(path, **changes):
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def refused(name, match, **options):
    with pytest.raises(WeightsError, match=match) as raised:
        load_models(str(name), **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def same_weights(ours, theirs):
    for part in ("vae", "unet", "text_encoder"):
        expected = getattr(theirs, part).state_dict()
        found = getattr(ours, part).state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected), part


def test_folder_comes_back_as_it_was_saved(saved):
    ours, theirs = load_models(str(saved)), tiny_models()
    same_weights(ours, theirs)
    assert torch.equal(encode_prompts(ours, ["a red car"]), encode_prompts(theirs, ["a red car"]))
    assert isinstance(ours.scheduler, diffusers.DDIMScheduler) and ours.scheduler.config.steps_offset == 1
    assert ours.device.type == "cpu" and ours.dtype == torch.float32 and ours.folder == saved
    for network in (ours.vae, ours.unet, ours.text_encoder):
        assert not network.training and not any(p.requires_grad for p in network.parameters())


def test_dtype(saved):
    models = load_models(str(saved), dtype="bfloat16")
    assert models.dtype == models.unet.dtype == models.vae.dtype == models.text_encoder.dtype == torch.bfloat16
    with pytest.raises(ConfigError, match="'int8'; expected float32"):
        load_models(str(saved), dtype="int8")


def test_device(saved):
    assert load_models(str(saved), device="cpu").unet.device.type == "cpu"
    with pytest.raises(ConfigError, match="unknown device 'toaster'"):
        load_models(str(saved), device="toaster")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no GPU"):
            load_models(str(saved), device="cuda")


def test_any_scheduler_becomes_ddim(folder):
    pndm = diffusers.PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
    pndm.save_pretrained(folder / "scheduler")
    config = load_models(str(folder)).scheduler.config
    assert (config.clip_sample, config.set_alpha_to_one, config.beta_end) == (False, False, 0.012)


def test_half_precision_variant_is_found(folder):
    shutil.rmtree(folder / "unet")
    tiny_models().unet.half().save_pretrained(folder / "unet", variant="fp16")
    assert load_models(str(folder)).unet.dtype == torch.float32


def test_sharded_weights_load(folder):
    shutil.rmtree(folder / "unet")
    tiny_models().unet.save_pretrained(folder / "unet", max_shard_size="200KB")
    assert (folder / "unet/diffusion_pytorch_model.safetensors.index.json").is_file()
    same_weights(load_models(str(folder)), tiny_models())
    sorted(folder.glob("unet/*-00002-of-*.safetensors"))[0].unlink()
    refused(folder, "there is no file .*00002")


def test_pickles_only_when_allowed(folder):
    tiny_models().unet.save_pretrained(folder / "unet", safe_serialization=False)
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    refused(folder, r"only pickled weights \(diffusion_pytorch_model.bin\).*allow_pickle")
    same_weights(load_models(str(folder), allow_pickle=True), tiny_models())


class Program:
    def __reduce__(self):
        return (print, ("this must never be printed",))


def test_a_program_in_a_pickle_never_runs(folder, tmp_path, capsys):
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    torch.save({"conv_in.weight": Program()}, folder / "unet/diffusion_pytorch_model.bin")
    refused(folder, "could not be loaded", allow_pickle=True)
    torch.save({"model.diffusion_model.x": Program()}, tmp_path / "x.ckpt")
    refused(tmp_path / "x.ckpt", "pickle")
    refused(tmp_path / "x.ckpt", "x.ckpt", allow_pickle=True)
    assert "never" not in capsys.readouterr().out


def test_the_libraries_stay_quiet_and_keep_their_settings(saved, capfd):
    diffusers.utils.logging.set_verbosity_info()
    try:
        load_models(str(saved))
        assert diffusers.utils.logging.get_verbosity() == logging.INFO
        assert transformers.utils.logging.is_progress_bar_enabled()
    finally:
        diffusers.utils.logging.set_verbosity_warning()
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


# -- what is wrong with a folder -----------------------------------------------------------------------


def test_truncated_weights(folder):
    file = folder / "vae/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    refused(folder, "vae/diffusion_pytorch_model.safetensors is not a whole safetensors file")
    file.write_bytes(b"")
    refused(folder, "not a whole safetensors file")
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    refused(folder, "git lfs pull")


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("unet", "no file .*unet/config.json"),
        ("unet/config.json", "no file .*unet/config.json"),
        ("unet/diffusion_pytorch_model.safetensors", "no weights in .*unet"),
        ("tokenizer", "no tokenizer in .*tokenizer"),
        ("scheduler", "scheduler_config.json"),
        ("model_index.json", "no model_index.json"),
    ],
)
def test_missing_parts(folder, missing, said):
    path = folder / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    refused(folder, said)


def test_missing_tensors_are_not_made_up(folder):
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    del tensors["conv_in.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    refused(folder, "lack 1 tensors .*'conv_in.weight'")


def test_shapes_that_do_not_fit_the_config(folder):
    edit_json(folder / "vae/config.json", block_out_channels=[16, 16, 16])
    refused(folder, "vae could not be loaded")


def test_other_families_of_models(folder):
    edit_json(folder / "unet/config.json", in_channels=9)
    refused(folder, "reads 9 channels, its autoencoder makes 4: an inpainting")
    edit_json(folder / "unet/config.json", in_channels=4, cross_attention_dim=768)
    refused(folder, "text of width 768, its text encoder writes 16")
    edit_json(folder / "model_index.json", _class_name="StableDiffusionXLPipeline", text_encoder_2=["x", "y"])
    refused(folder, "StableDiffusionXLPipeline; only models like Stable Diffusion 1 and 2")


def test_video_networks_in_place_of_the_image_one(folder):
    edit_json(folder / "unet/config.json", _class_name="UNet3DConditionModel")
    refused(folder, "a UNet3DConditionModel, not a UNet2DConditionModel; it is a text-to-video network")
    edit_json(folder / "unet/config.json", mid_block_type="UNetMidBlock3DCrossAttn")
    refused(folder, "tuned by Tune-A-Video: load its base model here")
    refused(folder / "unet", "one part of a model .*tuned by Tune-A-Video")


def test_one_part_instead_of_the_whole(saved):
    assert refused(saved / "vae", "one part of a model .a AutoencoderKL.").endswith(f"did you mean {saved}?")


def test_damaged_json(folder):
    (folder / "unet/config.json").write_text("{")
    refused(folder, "config.json cannot be read as JSON")
    (folder / "unet/config.json").write_text("[1]")
    refused(folder, "holds list")


# -- names and single files ----------------------------------------------------------------------------


def test_names_that_lead_nowhere(tmp_path):
    refused("nothing", "no model 'nothing'")
    refused(tmp_path / "nothing.safetensors", "neither a file nor a folder")
    refused("owner/model.safetensors", "neither a file nor a folder")
    refused("nobody/no-such-model", "'nobody/no-such-model' is not a folder here, and could not be fetched")


def test_missing_embedded_model(monkeypatch, tmp_path):
    monkeypatch.setattr("videoedit.models.loading.MINI", tmp_path)
    refused("mini", "embedded model is not in this installation")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("unet.down.lora_A.weight", "a LoRA"),
        ("first_stage.decoder.conv_in.weight", "an autoencoder alone"),
        ("conditioner.embedders.0.x", "a Stable Diffusion XL checkpoint"),
        ("transformer_in.temp_convs.0.weight", "a text-to-video UNet"),
        ("down_blocks.0.attentions.0.transformer_blocks.0.attn_temp.to_q.weight", "a Tune-A-Video"),
        ("control_model.zero_convs.0.weight", "a ControlNet"),
        ("weight", "of an unknown kind"),
    ],
)
def test_files_of_another_kind_are_named(tmp_path, name, kind):
    save_file({name: torch.zeros(1)}, tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", f"is {kind}")
    refused(tmp_path, f"no model_index.json; its x.safetensors is {kind}")


def test_files_that_are_not_models(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"0" * 100)
    refused(tmp_path / "clip.mp4", "is not a model")
    (tmp_path / "cut.safetensors").write_bytes(b"0" * 100)
    refused(tmp_path / "cut.safetensors", "not a whole safetensors file")
    refused(tmp_path / "empty", "no model")


# -- fingerprints --------------------------------------------------------------------------------------


def test_fingerprint_follows_the_contents(saved, folder):
    assert fingerprint(saved) == fingerprint(folder) == load_models(str(folder)).fingerprint
    assert len(fingerprint(saved)) == 64
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert fingerprint(folder) != fingerprint(saved)


def test_available_models_are_lines(monkeypatch, saved):
    monkeypatch.setattr("videoedit.models.loading.MINI", saved)
    assert available_models()[0].startswith("mini  ")


@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation", "_attn_implementation_internal"])
def test_kernels_that_a_config_names_are_not_fetched(key, folder):
    path = folder / "text_encoder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: "evil/kernel"}))
    encoder = load_models(str(folder)).text_encoder
    assert encoder.config._attn_implementation == "sdpa"
