"""Load a text-to-image model: the embedded one, a diffusers folder, a single file, or one from the hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, UNet2DConditionModel
from huggingface_hub import CachedRepoInfo, scan_cache_dir, snapshot_download
from huggingface_hub.errors import CacheNotFound, HfHubHTTPError
from transformers import CLIPTextModel, CLIPTokenizer

from videoedit.diffusion.ddim import as_ddim
from videoedit.errors import WeightsError, hint
from videoedit.models.assets import MINI, is_embedded
from videoedit.models.device import choose_device, choose_dtype
from videoedit.models.weights import (
    PICKLES,
    SD_CHECKPOINT,
    check_part,
    class_of,
    fingerprint,
    first_line,
    kind_of,
    read_config,
    read_json,
    tensor_names,
)
from videoedit.types import Models

__all__ = ["available_models", "fingerprint", "load_models"]

_CLASSES: dict[str, Any] = {"vae": AutoencoderKL, "unet": UNet2DConditionModel, "text_encoder": CLIPTextModel}
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load_models(
    name: str | Path = "mini",
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    allow_pickle: bool = False,
) -> Models:
    """Load a Stable-Diffusion-1/2-like model, frozen and in eval mode, with a DDIM scheduler from its own config.

    `name` is "mini" (the embedded model), a local folder in diffusers' layout, a single .safetensors checkpoint
    (with a folder of configs beside it, or the hub in reach), or a hub id such as "owner/model".
    `device`: a GPU if there is one. `dtype`: float32 on a CPU (bfloat16 is possible, and fast where the CPU has
    AMX), float16 on a GPU. Weights are read from safetensors; pickles only with `allow_pickle`, through torch's
    restricted unpickler. WeightsError says in one line what is missing or wrong.
    """
    place = choose_device(device)
    precision = choose_dtype(dtype, place)
    source = _locate(str(name), allow_pickle)
    load = _from_file if source.is_file() else _from_folder
    with quiet_libraries():
        parts = load(source, precision, allow_pickle)
    for part in _CLASSES:
        parts[part].eval().requires_grad_(False).to(place)
    return Models(
        name=str(name), device=place, dtype=precision, folder=source, fingerprint=fingerprint(source), **parts
    )


def available_models() -> list[str]:
    """One line for each model that loads without a download: the embedded one and those in the hub's cache."""
    lines = [f"mini  the embedded model ({MINI})"] if (MINI / "model_index.json").is_file() else []
    try:
        cached = scan_cache_dir().repos
    except CacheNotFound:
        return lines
    for repo in sorted(cached, key=lambda repo: repo.repo_id):
        if _is_stable_diffusion(repo):
            lines.append(f"{repo.repo_id}  from the hub's cache ({repo.size_on_disk_str})")
    return lines


def _is_stable_diffusion(repo: CachedRepoInfo) -> bool:
    for revision in repo.revisions:
        for file in revision.files:
            is_index = file.file_name == "model_index.json"
            if is_index and read_json(file.file_path).get("_class_name") == "StableDiffusionPipeline":
                return True
    return False


# -- where ---------------------------------------------------------------------------------------------


def _locate(name: str, allow_pickle: bool) -> Path:
    """The local folder or file that `name` stands for, fetched from the hub if it has to be."""
    if is_embedded(name):
        if not (MINI / "model_index.json").is_file():
            raise WeightsError(
                f"the embedded model is not in this installation (no {MINI / 'model_index.json'}); "
                "give a model folder, a .safetensors file or a hub id instead"
            )
        return MINI
    path = Path(name).expanduser()
    if path.exists():
        return path
    if not HUB_ID.fullmatch(name) or path.suffix in (".safetensors", *PICKLES):
        raise WeightsError(
            f"there is no model {name!r}: neither a file nor a folder; "
            f"expected 'mini', a path, or a hub id like 'owner/model'{hint(name, ['mini'])}"
        )
    kinds = ["*.json", "*.txt", "*.safetensors", *(["*.bin"] if allow_pickle else [])]
    folders = [*_CLASSES, "tokenizer", "scheduler"]
    return fetch_from_hub(name, ["model_index.json", *(f"{folder}/{kind}" for folder in folders for kind in kinds)])


def fetch_from_hub(name: str, patterns: list[str]) -> Path:
    """The local folder of a hub repository's files that match `patterns`, downloaded if they are not in the cache."""
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, ignore_patterns=["*.non_ema.*", "*.fp16.*"]))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise WeightsError(
            f"{name!r} is not a folder here, and could not be fetched from the hub ({first_line(error)}); "
            "copy the model's folder to this machine and give its path, or use 'mini'"
        ) from error


# -- from a folder -------------------------------------------------------------------------------------


def _from_folder(folder: Path, dtype: torch.dtype, allow_pickle: bool) -> dict[str, Any]:
    configs = _checked_configs(folder)
    options = {part: check_part(folder / part, allow_pickle) for part in _CLASSES}
    parts: dict[str, Any] = {"tokenizer": _tokenizer(folder / "tokenizer"), "scheduler": as_ddim(configs["scheduler"])}
    for part, kind in _CLASSES.items():
        # transformers would fetch and run a kernel that a config names
        text = {"dtype": dtype, "attn_implementation": "sdpa"}
        precision = text if kind is CLIPTextModel else {"torch_dtype": dtype}
        parts[part] = load_network(kind.from_pretrained, folder / part, **precision, **options[part])
    return parts


def _checked_configs(folder: Path) -> dict[str, dict[str, Any]]:
    """Every part's config, once it is clear that they make a model of the kind we can edit with."""
    if not (folder / "model_index.json").is_file():
        raise WeightsError(_not_a_model(folder))
    index = read_json(folder / "model_index.json")
    if "text_encoder_2" in index or "transformer" in index:
        raise WeightsError(
            f"{folder} is a {index.get('_class_name', 'model')}; only models like Stable Diffusion 1 and 2 "
            "(one CLIP text encoder, a 2D UNet) can be used"
        )
    configs = {part: read_config(folder / part / "config.json") for part in _CLASSES}
    configs["scheduler"] = read_config(folder / "scheduler" / "scheduler_config.json")
    for part, expected in _CLASSES.items():
        if (found := class_of(configs[part])) != expected.__name__:
            raise WeightsError(f"{folder / part} holds a {found}, not a {expected.__name__}{_advice(configs[part])}")
    _check_widths(folder, configs["unet"], configs["vae"], configs["text_encoder"])
    return configs


def _advice(config: dict[str, Any]) -> str:
    """A few words on a network that is almost right: its kind, and what to do with it."""
    if config.get("_class_name") != "UNet3DConditionModel":
        return ""
    if str(config.get("mid_block_type")).endswith("3DCrossAttn"):
        return "; it was tuned by Tune-A-Video: load its base model here, and give this unet/ folder to that method"
    return "; it is a text-to-video network, which cannot be used"


def _check_widths(folder: Path, unet: dict[str, Any], vae: dict[str, Any], text: dict[str, Any]) -> None:
    latent = vae.get("latent_channels", 4)
    if (found := unet.get("in_channels", 4)) != latent:
        raise WeightsError(
            f"the UNet of {folder} reads {found} channels, its autoencoder makes {latent}: "
            "an inpainting or instruction model, which cannot be used"
        )
    inner = text.get("text_config")
    width = text.get("hidden_size", inner.get("hidden_size") if isinstance(inner, dict) else None)
    if unet.get("cross_attention_dim") != width:
        raise WeightsError(
            f"the UNet of {folder} reads text of width {unet.get('cross_attention_dim')}, "
            f"its text encoder writes {width}; the parts do not belong together"
        )


def _not_a_model(folder: Path) -> str:
    """The reason why a folder without model_index.json cannot be loaded."""
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    if (found := class_of(config)) != "unknown":
        advice = _advice(config)
        if not advice and (folder.resolve().parent / "model_index.json").is_file():
            advice = f"; did you mean {folder.resolve().parent}?"
        return f"{folder} is one part of a model (a {found}), not a whole model{advice}"
    for file in sorted(folder.glob("*.safetensors")):
        return f"{folder} has no model_index.json; its {file.name} is {kind_of(tensor_names(file))}"
    return f"{folder} is not a model in diffusers' layout: it has no model_index.json"


def load_network(from_pretrained: Callable[..., Any], folder: Path, **options: Any) -> Any:
    """One network, complete: diffusers would fill missing tensors with random numbers."""
    try:
        network, info = from_pretrained(folder, local_files_only=True, output_loading_info=True, **options)
    except MemoryError:
        raise
    except Exception as error:  # a damaged config makes the libraries stumble over anything
        raise WeightsError(f"{folder} could not be loaded: {first_line(error)}") from error
    if missing := sorted(info["missing_keys"]):
        raise WeightsError(f"the weights in {folder} lack {len(missing)} tensors of its config, first {missing[0]!r}")
    return network


def _tokenizer(folder: Path) -> CLIPTokenizer:
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise WeightsError(f"there is no tokenizer in {folder}; expected tokenizer.json, or vocab.json and merges.txt")
    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise WeightsError(f"the tokenizer in {folder} could not be loaded: {first_line(error)}") from error


# -- from a single file --------------------------------------------------------------------------------


def _from_file(path: Path, dtype: torch.dtype, allow_pickle: bool) -> dict[str, Any]:
    """A checkpoint in the original layout; its configs come from a folder beside it, or from the hub."""
    from diffusers import StableDiffusionPipeline  # half a second that other sources need not pay

    _check_file(path, allow_pickle)
    folders = [folder for folder in (path.with_suffix(""), path.parent) if (folder / "model_index.json").is_file()]
    options: dict[str, Any] = {"config": str(folders[0]), "local_files_only": True} if folders else {}
    try:
        pipe: Any = StableDiffusionPipeline.from_single_file(
            str(path), torch_dtype=dtype, safety_checker=None, **options
        )
    except MemoryError:
        raise
    except Exception as error:
        if folders:
            why = f"could not be loaded with the configs in {folders[0]}: {first_line(error)}"
        else:
            why = (
                f"needs the configs of its base model, and the hub could not give them ({first_line(error)}); "
                f"put its folder (model_index.json and configs, weights not needed) at {path.with_suffix('')}"
            )
        raise WeightsError(f"{path} {why}") from error
    _check_widths(path, pipe.unet.config, pipe.vae.config, pipe.text_encoder.config.to_dict())
    return {name: getattr(pipe, name) for name in (*_CLASSES, "tokenizer")} | {"scheduler": as_ddim(pipe.scheduler)}


def _check_file(path: Path, allow_pickle: bool) -> None:
    if path.suffix in PICKLES:
        if not allow_pickle:
            raise WeightsError(
                f"{path} is a pickle, which can hide programs; convert it to safetensors, or allow pickles "
                "(allow_pickle: true) if you trust the source"
            )
    elif path.suffix != ".safetensors":
        raise WeightsError(f"{path} is not a model: expected a .safetensors file or a folder in diffusers' layout")
    elif (kind := kind_of(tensor_names(path))) != SD_CHECKPOINT:
        raise WeightsError(f"{path} is {kind}; expected {SD_CHECKPOINT}, or a folder in diffusers' layout")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """No progress bars or remarks from the libraries while a model loads; their settings return afterwards."""
    libraries: list[Any] = [diffusers.utils.logging, transformers.utils.logging]
    before = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    try:
        for library in libraries:
            library.set_verbosity_error()
            library.disable_progress_bar()
        yield
    finally:
        for library, (verbosity, bar) in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
            if bar:
                library.enable_progress_bar()
