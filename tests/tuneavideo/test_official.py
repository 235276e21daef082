"""Files of the official code."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from tuneavideo.config import TuneAVideoConfig
from tuneavideo.official import is_official, read_official_yaml
from tuneavideo.unet_folder import load_inv_latents
from videoedit.config import build_config, read_yaml
from videoedit.errors import ConfigError, WeightsError

OFFICIAL = """
pretrained_model_path: "./checkpoints/stable-diffusion-v1-4"
output_dir: "./outputs/man-skiing"
train_data:
  video_path: "data/man-skiing.mp4"
  prompt: "a man is skiing"
  n_sample_frames: 24
  width: 512
  height: 256
  sample_start_idx: 1
  sample_frame_rate: 2
validation_data:
  prompts:
    - "Spider Man is skiing on the beach, cartoon style"
    - "a panda is skiing"
  video_length: 24
  width: 512
  height: 256
  num_inference_steps: 40
  guidance_scale: 12.5
  use_inv_latent: True
  num_inv_steps: 50
learning_rate: 3e-5
train_batch_size: 1
max_train_steps: 300
checkpointing_steps: 1000
validation_steps: 100
trainable_modules:
  - "attn1.to_q"
  - "attn2.to_q"
  - "attn_temp"
seed: 33
mixed_precision: fp16
use_8bit_adam: False
gradient_checkpointing: True
enable_xformers_memory_efficient_attention: True
"""


def written(folder, *replacements):
    text = OFFICIAL
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    path = folder / "configs" / "man-skiing.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_official_config_becomes_ours(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "man-skiing.mp4").touch()
    path = written(tmp_path)
    assert is_official(read_yaml(path))
    config = build_config(TuneAVideoConfig, read_official_yaml(path))
    assert config.model == "./checkpoints/stable-diffusion-v1-4"
    assert config.clip == tmp_path / "data" / "man-skiing.mp4"
    assert config.source_prompt == "a man is skiing"
    assert config.prompts == ("Spider Man is skiing on the beach, cartoon style", "a panda is skiing")
    assert (config.video.start, config.video.stride, config.video.num_frames) == (1, 2, 24)
    assert config.video.size == (512, 256)
    assert (config.tune.steps, config.tune.learning_rate, config.tune.trainable) == (300, 3e-5, "iccv")
    assert (config.tune.precision, config.tune.gradient_checkpointing) == ("fp16", True)
    assert (config.invert.steps, config.sample.steps, config.sample.guidance_scale) == (50, 40, 12.5)
    assert (config.seed, config.network.init, config.network.group_norm) == (33, "official", "clip")
    assert config.tune.train_blocks == "official"


def test_without_checkpointing_the_official_code_trains_every_block(tmp_path):
    path = written(tmp_path, ("gradient_checkpointing: True", "gradient_checkpointing: False"))
    assert build_config(TuneAVideoConfig, read_official_yaml(path)).tune.train_blocks == "all"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_train_steps", "max_train_step", "did you mean 'max_train_steps'"),
        ("  n_sample_frames", "  n_frames", "unknown key 'train_data.n_frames'.*train_data.n_sample_frames"),
        ("train_batch_size: 1", "train_batch_size: 2", "train_batch_size is 2, but only 1"),
        ("use_inv_latent: True", "use_inv_latent: False", "use_inv_latent is False"),
        ("video_length: 24", "video_length: 8", "n_sample_frames is 24 but validation_data.video_length is 8"),
        ("mixed_precision: fp16", "mixed_precision: fp8", "one of no, fp16, bf16"),
    ],
)
def test_what_has_no_counterpart_is_named(tmp_path, old, new, message):
    with pytest.raises(ConfigError, match=message):
        read_official_yaml(written(tmp_path, (old, new)))


def test_other_configs_are_not_official():
    assert not is_official({"clip": "a.mp4", "tune": {"steps": 3}})


def test_inverted_latents(tmp_path):
    latents = torch.randn(1, 4, 6, 3, 5)
    torch.save(latents.half(), tmp_path / "ddim_latent-500.pt")
    loaded = load_inv_latents(tmp_path / "ddim_latent-500.pt", allow_pickle=True)
    assert loaded.shape == (1, 6, 4, 3, 5) and loaded.dtype == torch.float32
    assert torch.equal(loaded, latents.half().float().transpose(1, 2))
    save_file({"latents": loaded}, tmp_path / "inverted.safetensors")
    assert torch.equal(load_inv_latents(tmp_path / "inverted.safetensors"), loaded)


def test_what_a_stranger_pickled_is_read_only_where_allowed(tmp_path):
    torch.save(torch.zeros(1, 4, 2, 3, 3), tmp_path / "latents.pt")
    with pytest.raises(WeightsError, match=r"latents\.pt is a pickle, which can hide programs"):
        load_inv_latents(tmp_path / "latents.pt")


def test_the_defaults_are_the_papers():
    config = build_config(TuneAVideoConfig, {"model": "folder"})
    assert (config.tune.steps, config.tune.learning_rate, config.tune.weight_decay) == (500, 3e-5, 1e-2)
    assert (config.tune.max_grad_norm, config.tune.latent, config.tune.prompt_dropout) == (1.0, "sample", 0.0)
    assert (config.invert.steps, config.sample.steps, config.sample.guidance_scale) == (50, 50, 12.5)
    assert (config.network.attention, config.network.group_norm) == ("sparse_causal", "clip")
    assert (config.network.temporal_mask, config.network.lora_rank, config.seed) == ("none", 0, 33)


def test_other_files_are_no_latents(tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        load_inv_latents(tmp_path / "none.pt", allow_pickle=True)
    torch.save({"latents": torch.zeros(1)}, tmp_path / "table.pt")
    with pytest.raises(WeightsError, match="holds no inverted latent"):
        load_inv_latents(tmp_path / "table.pt", allow_pickle=True)
    (tmp_path / "cut.pt").write_bytes((tmp_path / "table.pt").read_bytes()[:200])
    with pytest.raises(WeightsError, match="damaged"):
        load_inv_latents(tmp_path / "cut.pt", allow_pickle=True)
    save_file({"mean": torch.zeros(1, 2, 4, 3, 3)}, tmp_path / "posterior.safetensors")
    with pytest.raises(WeightsError, match="holds no inverted latent"):
        load_inv_latents(tmp_path / "posterior.safetensors")
