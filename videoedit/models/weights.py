"""Files of weights: what is in them, whether they are whole, and their fingerprint. Nothing here runs a pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from videoedit.errors import WeightsError
from videoedit.files import check_name, file_sha256
from videoedit.limits import parse_json, read_text

PICKLES = (".bin", ".ckpt", ".pt", ".pth")
LARGEST_NUMBER, MOST_LAYERS = 2**20, 256  # in the config of a network
_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")

# (what stands in a tensor's name, what such a file is); the first that fits counts
_KINDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("lora_up", "lora_down", "lora_A", "lora_B", "lora.up", "lora.down"), "a LoRA"),
    (("attn_temp.",), "a Tune-A-Video adapter or network"),
    (("control_model.", "controlnet_cond_embedding.", "zero_convs."), "a ControlNet"),
    (("motion_modules.",), "an AnimateDiff motion module"),
    (("conditioner.embedders.",), "a Stable Diffusion XL checkpoint"),
    (("joint_blocks.", "double_blocks.", "single_transformer_blocks."), "a diffusion transformer"),
    (("model.diffusion_model.",), "a Stable Diffusion checkpoint"),
    (("temp_convs.", "temp_attentions."), "a text-to-video UNet"),
    (("down_blocks.0.attentions.", "time_embedding.linear_1."), "a UNet alone, in diffusers' format"),
    (("decoder.mid", "decoder.conv_in", "decoder.up"), "an autoencoder alone"),
    (("text_model.encoder.",), "a text encoder alone"),
    (("string_to_param", "emb_params"), "a textual inversion"),
)
SD_CHECKPOINT = "a Stable Diffusion checkpoint"


def kind_of(names: Iterable[str]) -> str:
    """The kind of file that has tensors of these names, in words for an error message."""
    text = "\n".join(names)
    for parts, kind in _KINDS:
        if any(part in text for part in parts):
            return kind
    return "of an unknown kind"


def tensor_names(path: Path) -> list[str]:
    """Names in a safetensors file, after checking that the file is whole; reads the header only."""
    if not path.is_file():
        raise WeightsError(f"there is no file {path}")
    try:
        with path.open("rb") as stream:
            start = stream.read(64)
        if start.startswith(b"version https://git-lfs"):
            raise WeightsError(f"{path} is a Git LFS pointer, not the weights; fetch them with `git lfs pull`")
        with safe_open(path, framework="pt") as file:
            return list(file.keys())
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path} is not a whole safetensors file ({path.stat().st_size} bytes; {first_line(error)}); "
            "an interrupted download? fetch it again"
        ) from error


def check_part(folder: Path, allow_pickle: bool) -> dict[str, Any]:
    """Find and check the weights of one component; returns what `from_pretrained` has to be told about them."""
    for variant in (None, "fp16", "bf16", "ema"):
        safe = []
        for stem in _STEMS:
            safe += _files(folder, stem, f".{variant}" if variant else "")
        for file in safe:
            tensor_names(file)
        if safe:
            return {"use_safetensors": True, "variant": variant}
    pickles = sorted(file for file in folder.glob("*") if file.suffix in PICKLES)
    if not pickles:
        raise WeightsError(f"there are no weights in {folder}; expected a .safetensors file there")
    if not allow_pickle:
        raise WeightsError(
            f"{folder} has only pickled weights ({pickles[0].name}), which can hide programs; convert them to "
            "safetensors, or allow pickles (allow_pickle: true) if you trust the source"
        )
    return {"use_safetensors": False, "variant": None}


def _files(folder: Path, stem: str, infix: str) -> list[Path]:
    """The one file, or the parts that an index names."""
    index = folder / f"{stem}.safetensors.index{infix}.json"
    if index.is_file():
        parts = read_json(index).get("weight_map")
        if not isinstance(parts, dict):
            raise WeightsError(f"{index} is no index of weights: it has no weight_map; download it again")
        return [_part(folder, name) for name in sorted(set(map(str, parts.values())))]
    single = folder / f"{stem}{infix}.safetensors"
    return [single] if single.is_file() else []


def _part(folder: Path, name: str) -> Path:
    """A file that an index names; WeightsError if it leads out of the model's folder."""
    try:
        return folder / check_name(name)
    except ValueError as error:
        raise WeightsError(f"{folder}: its index names {name!r}, which is not inside the folder") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or WeightsError."""
    try:
        content = parse_json(read_text(path))
    except FileNotFoundError:
        raise WeightsError(f"there is no file {path}; the model's folder is incomplete") from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read as JSON: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds {type(content).__name__}; expected a JSON object")
    return content


def read_config(path: Path) -> dict[str, Any]:
    """The config of a network or scheduler, or WeightsError; none that would take endless time or memory to build."""
    config = read_json(path)
    todo: list[tuple[str, Any]] = list(config.items())
    while todo:
        name, value = todo.pop()
        if isinstance(value, dict):
            todo += value.items()
        elif isinstance(value, list):
            todo += [(name, one) for one in value]
        elif isinstance(value, int | float) and abs(value) > (MOST_LAYERS if "layers" in name else LARGEST_NUMBER):
            raise WeightsError(f"{path}: {name[:60]} is {value:.6g}, more than any network has that can be loaded")
    return config


def class_of(config: dict[str, Any]) -> str:
    """The class of network that a config of diffusers or transformers names, "unknown" if none."""
    found = config.get("_class_name") or config.get("architectures")
    if isinstance(found, list) and found:
        found = found[0]
    return found if isinstance(found, str) else "unknown"


def fingerprint(path: Path, parts: Iterable[str] = ("vae", "unet", "text_encoder")) -> str:
    """sha256, hex, over the names and contents of a model's weight files: a folder's parts, or a single file.

    The same weights at another place have the same fingerprint. Contents are read once per process, and again only
    if size or modification time changed.
    """
    files = [path]
    if not path.is_file():
        suffixes = (".safetensors", *PICKLES)
        files = sorted(file for part in parts for file in (path / part).glob("*") if file.suffix in suffixes)
    total = hashlib.sha256()
    for file in files:
        name = file.name if file == path else file.relative_to(path).as_posix()
        stat = file.stat()
        total.update(f"{name} {_sha256(file, stat.st_size, stat.st_mtime_ns)}\n".encode())
    return total.hexdigest()


@lru_cache(maxsize=256)
def _sha256(file: Path, _size: int, _modified: int) -> str:
    return file_sha256(file)


def first_line(error: BaseException) -> str:
    """The first line of what an error says, without its final full stop; its class if it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0][:300] if lines else type(error).__name__).rstrip(".")
