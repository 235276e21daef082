"""Adapters: the tensors that tuning changed, alone, with what they belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from tuneavideo.unet_folder import DAMAGED, read_tensors
from tuneavideo.video_unet import VideoUNet
from videoedit.errors import WeightsError
from videoedit.files import atomic_path

ADAPTER_FORMAT: Literal["videoedit.tuneavideo.adapter/1"] = "videoedit.tuneavideo.adapter/1"
BASE_SAMPLE = "base_sample"  # the tensor in an adapter file that tells which UNet it belongs to
BINDING_OPTIONS = ("attention", "group_norm", "temporal_mask", "lora_rank")


class _Header(BaseModel):
    """The part of an adapter's metadata that is relied on; a stranger may have written it."""

    model_config = ConfigDict(extra="allow")
    format: Literal["videoedit.tuneavideo.adapter/1"]  # ADAPTER_FORMAT
    options: dict[str, Any]
    dtype: Literal["float64", "float32", "float16", "bfloat16"]


def save_adapter(path: str | Path, video_unet: VideoUNet, metadata: Mapping[str, Any]) -> None:
    """Write what tuning changed, and nothing of the image model, as safetensors with JSON metadata; atomic.

    The tensors are `VideoUNet.named_adapter_tensors` in float32. `metadata` may hold anything JSON can: the base
    model's name and fingerprint, frames, rate, size, prompt, seed, versions; format and options are added.
    """
    tensors = {name: tensor.float().cpu().contiguous() for name, tensor in video_unet.named_adapter_tensors()}
    dtype = str(video_unet.dtype).removeprefix("torch.")
    header = {**metadata, "format": ADAPTER_FORMAT, "options": video_unet.options, "dtype": dtype}
    with atomic_path(Path(path)) as temporary:
        text = json.dumps(header, sort_keys=True, default=str)
        # one key: safetensors writes several in random order, and equal adapters shall have equal bytes
        save_file(tensors | {BASE_SAMPLE: video_unet.base_sample()}, temporary, metadata={"videoedit": text})


def load_adapter(path: str | Path, video_unet: VideoUNet, *, allow_pickle: bool = False) -> dict[str, Any]:
    """Load `save_adapter`'s file into a network made alike, and return its metadata.

    `WeightsError` if it was made with other options or on another image model. An adapter of the official
    benchmark code (``.pth``, LOVEU-TGVE) has no metadata and is taken as it is, with `allow_pickle`.
    """
    path = Path(path)
    tensors = read_tensors(path, allow_pickle=allow_pickle)
    metadata: dict[str, Any] = {}
    if path.suffix == ".safetensors":
        metadata = read_metadata(path)
        for name in BINDING_OPTIONS:
            made, wanted = metadata["options"].get(name), video_unet.options[name]
            if made != wanted:
                raise WeightsError(
                    f"{path} was tuned with {name}: {made}, but this network has {name}: {wanted}; "
                    f"set network.{name}={made}"
                )
        check_base(path, tensors.pop(BASE_SAMPLE, None), getattr(torch, metadata["dtype"]), video_unet)
    video_unet.load_tensors({name.removeprefix("module."): tensor for name, tensor in tensors.items()})
    return metadata


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The metadata of an adapter; `WeightsError` if the file is none."""
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("videoedit", "{}")
        return _Header.model_validate_json(text).model_dump()
    except (*DAMAGED, ValidationError) as error:
        raise WeightsError(
            f"{path} is no Tune-A-Video adapter; expected the adapter.safetensors of an earlier run"
        ) from error


def check_base(path: Path, sample: Tensor | None, dtype: torch.dtype, video_unet: VideoUNet) -> None:
    """Raise `WeightsError` unless the adapter was made on this image model, in `dtype` then and any precision now."""
    own = video_unet.base_sample()
    rounding = max(torch.finfo(x).eps for x in (own.dtype, dtype, video_unet.dtype))
    if (
        sample is None
        or sample.shape != own.shape
        or not torch.allclose(sample.float(), own.float(), rtol=rounding, atol=1e-6)
    ):
        raise WeightsError(f"{path} was tuned on another image model; choose the model it was made with")
