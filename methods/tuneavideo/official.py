"""YAML configs of the official Tune-A-Video code (showlab/Tune-A-Video).

Its ``unet/`` folders are read by `VideoUNet.from_pretrained`, the adapters of its LOVEU-TGVE benchmark by
`tuneavideo.adapter.load_adapter`, its inverted latents by `tuneavideo.unet_folder.load_inv_latents`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from videoedit.config import near_file, read_yaml, set_value
from videoedit.errors import ConfigError, hint

FIELDS = {  # official key -> ours
    "pretrained_model_path": "model",
    "seed": "seed",
    "learning_rate": "tune.learning_rate",
    "max_train_steps": "tune.steps",
    "trainable_modules": "tune.trainable",
    "mixed_precision": "tune.precision",
    "gradient_checkpointing": "tune.gradient_checkpointing",
    "adam_weight_decay": "tune.weight_decay",
    "max_grad_norm": "tune.max_grad_norm",
    "train_data.video_path": "clip",
    "train_data.prompt": "source_prompt",
    "train_data.n_sample_frames": "video.num_frames",
    "train_data.sample_start_idx": "video.start",
    "train_data.sample_frame_rate": "video.stride",
    "validation_data.prompts": "prompts",
    "validation_data.num_inference_steps": "sample.steps",
    "validation_data.guidance_scale": "sample.guidance_scale",
    "validation_data.num_inv_steps": "invert.steps",
}
ONLY = {  # official key -> the one value that this implementation has
    "train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "lr_scheduler": "constant",
    "lr_warmup_steps": 0,
    "scale_lr": False,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-8,
    "resume_from_checkpoint": None,
    "validation_data.use_inv_latent": True,
}
WITHOUT_EFFECT = (  # output is named on the command line, runs resume by themselves, attention is always fused
    "output_dir",
    "checkpointing_steps",
    "validation_steps",
    "use_8bit_adam",
    "enable_xformers_memory_efficient_attention",
)
AGREEING = {
    "train_data.width": "validation_data.width",
    "train_data.height": "validation_data.height",
    "train_data.n_sample_frames": "validation_data.video_length",
}
KEYS = (*FIELDS, *ONLY, *WITHOUT_EFFECT, *AGREEING, *AGREEING.values())
TRAINABLE_MODULES = ("attn1.to_q", "attn2.to_q", "attn_temp")
PRECISIONS = {"no": "fp32", "fp16": "fp16", "bf16": "bf16"}


def is_official(data: dict[str, Any]) -> bool:
    """Tell whether a parsed YAML file is a config of the official code."""
    return "pretrained_model_path" in data and "train_data" in data


def read_official_yaml(path: str | Path) -> dict[str, Any]:
    """An official config as nested settings of `TuneAVideoConfig`, with what the official code does by default.

    That is the random initial bias of the temporal layers, and no training of the lower blocks when
    ``gradient_checkpointing`` is on. `ConfigError` for an unknown key, naming the nearest, and for a value that has
    no counterpart here. Paths that exist near the file are made absolute.
    """
    path = Path(path)
    given = flatten(read_yaml(path))
    for key, value in given.items():
        check_key(path, key, value)
    settings: dict[str, Any] = {"network": {"init": "official", "group_norm": "clip"}}
    for key, value in given.items():
        if key in FIELDS and value is not None:
            set_value(settings, FIELDS[key], translate(path, key, value))
    check_agreement(path, given)
    if None not in (size := [given.get("train_data.width"), given.get("train_data.height")]):
        set_value(settings, "video.size", size)
    if given.get("gradient_checkpointing"):
        set_value(settings, "tune.train_blocks", "official")
    return settings


def import_config(path: Path) -> dict[str, Any]:
    """A YAML file as nested settings: ours as it is, an official one translated."""
    data = read_yaml(path)
    return read_official_yaml(path) if is_official(data) else data


def flatten(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` -> ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def check_key(path: Path, key: str, value: Any) -> None:
    """`ConfigError` for a key that the official code does not know, or a value that has no counterpart here."""
    if key not in KEYS:
        raise ConfigError(f"{path}: unknown key {key!r} for a Tune-A-Video config{hint(key, KEYS)}")
    if key in ONLY and value != ONLY[key]:
        raise ConfigError(f"{path}: {key} is {value!r}, but only {ONLY[key]!r} is supported")


def translate(path: Path, key: str, value: Any) -> Any:
    """An official value in our terms."""
    if key == "mixed_precision":
        if not isinstance(value, str) or value not in PRECISIONS:
            raise ConfigError(f"{path}: mixed_precision is {value!r}; it must be one of {', '.join(PRECISIONS)}")
        return PRECISIONS[value]
    if key in ("train_data.video_path", "pretrained_model_path"):
        return near_file(path, str(value))
    if key == "trainable_modules" and value in (list(TRAINABLE_MODULES), TRAINABLE_MODULES):
        return "iccv"
    return value


def check_agreement(path: Path, given: dict[str, Any]) -> None:
    """`ConfigError` if training and validation differ in size or length."""
    for ours, theirs in AGREEING.items():
        trained, shown = given.get(ours), given.get(theirs)
        if trained is not None and shown is not None and trained != shown:
            raise ConfigError(f"{path}: {ours} is {trained} but {theirs} is {shown}; they must agree")
