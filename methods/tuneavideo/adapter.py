"""Reading UNet folders, and reading and writing adapters: the tuned tensors alone, with what they belong to."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from videoedit.errors import WeightsError
from videoedit.runs.folder import atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from diffusers import UNet2DConditionModel

    from tuneavideo.video_unet import VideoUNet

ADAPTER_FORMAT = "videoedit.tuneavideo.adapter/1"
BASE_SAMPLE = "base_sample"  # the tensor in an adapter file that tells which UNet it belongs to
BINDING_OPTIONS = ("attention", "group_norm", "temporal_mask", "lora_rank")

WEIGHT_FILES = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
)

TEMPORAL_NAMES = (
    "norm_temp.weight",
    "norm_temp.bias",
    "attn_temp.to_q.weight",
    "attn_temp.to_k.weight",
    "attn_temp.to_v.weight",
    "attn_temp.to_out.0.weight",
    "attn_temp.to_out.0.bias",
)

DAMAGED = (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError)


def damaged(path: Path, error: Exception) -> WeightsError:
    """The one line for a file that no reader understands."""
    with path.open("rb") as file:
        start = file.read(4)
    if path.suffix == ".safetensors" and start[:2] in (b"PK", b"\x80\x02"):
        return WeightsError(f"{path} is a pickle file named .safetensors; expected a safetensors file")
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return WeightsError(f"{path} is damaged or no weight file ({reason}); copy or download it again")


def read_config(folder: Path) -> dict[str, Any]:
    """The ``config.json`` of a model folder."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except FileNotFoundError:
        raise WeightsError(f"{folder} holds no config.json; expected a diffusers unet/ folder") from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder / 'config.json'} cannot be read as JSON: {error}") from None
    if not isinstance(config, dict):
        raise WeightsError(f"{folder / 'config.json'} is not a model configuration")
    return config


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a pickle read with ``weights_only`` (runs no code)."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"{path} does not exist; expected a weight file") from None
    except DAMAGED as error:
        raise damaged(path, error) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} is not a table of tensors; expected the weights of a UNet")
    return state


def load_unet(folder: str | Path) -> tuple[UNet2DConditionModel, dict[str, Tensor]]:
    """The image UNet in a folder and the temporal tensors beside it (none for an image model), in float32.

    Reads diffusers' folders of a `UNet2DConditionModel` and those of the official Tune-A-Video, whose class
    `UNet3DConditionModel` shares its name, and nothing else, with ModelScope's network.
    """
    folder = unet_folder(Path(folder))
    config = read_config(folder)
    is_video = check_kind(config, folder)
    tensors = {name: tensor.float() for name, tensor in read_tensors(weight_file(folder)).items()}
    temporal = {name: tensors.pop(name) for name in list(tensors) if "_temp." in name}
    if is_video:
        check_temporal(temporal, tensors, folder)
    return build_unet(config, tensors, folder), temporal


def unet_folder(folder: Path) -> Path:
    """`folder` itself, or the ``unet`` folder in it if it holds a whole pipeline."""
    if not folder.is_dir():
        raise WeightsError(f"{folder} is not a folder; expected a diffusers unet/ folder")
    has_unet = not (folder / "config.json").exists() and (folder / "unet" / "config.json").exists()
    return folder / "unet" if has_unet else folder


def weight_file(folder: Path) -> Path:
    """The folder's weights, safetensors before pickle."""
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(f"{folder} holds no weights; expected one of {', '.join(WEIGHT_FILES)}")


def check_kind(config: dict[str, Any], folder: Path) -> bool:
    """Whether the folder holds an official video UNet (else an image UNet); `WeightsError` for other networks."""
    kind = config.get("_class_name")
    if kind == "UNet2DConditionModel":
        return False
    if kind == "UNet3DConditionModel" and config.get("mid_block_type") == "UNetMidBlock3DCrossAttn":
        return True
    if kind == "UNet3DConditionModel":
        kind = "UNet3DConditionModel of another method (ModelScope?)"
    raise WeightsError(f"{folder} holds a {kind}; expected a UNet2DConditionModel or an official Tune-A-Video UNet")


def check_temporal(temporal: dict[str, Tensor], tensors: dict[str, Tensor], folder: Path) -> None:
    """`WeightsError` unless each transformer block has its seven temporal tensors."""
    blocks = [name.removesuffix("attn1.to_q.weight") for name in tensors if name.endswith("attn1.to_q.weight")]
    expected = {f"{block}{name}" for block in blocks for name in TEMPORAL_NAMES}
    if temporal.keys() != expected:
        odd = sorted(expected ^ temporal.keys())
        raise WeightsError(
            f"{folder} is no complete Tune-A-Video UNet: {len(odd)} temporal tensors differ, as {odd[0]}"
        )


def build_unet(config: dict[str, Any], tensors: dict[str, Tensor], folder: Path) -> UNet2DConditionModel:
    """A `UNet2DConditionModel` with these weights; block names of the official video network are translated."""
    from diffusers import UNet2DConditionModel

    config = {name: to_2d(value) for name, value in config.items() if not name.startswith("_")}
    try:
        with torch.device("meta"):
            unet = UNet2DConditionModel.from_config(config)
        unet.load_state_dict(tensors, assign=True)
    except (RuntimeError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"the weights in {folder} do not fit its config.json: {reason}") from None
    return unet.eval()


def to_2d(value: Any) -> Any:
    """``CrossAttnDownBlock3D`` -> ``CrossAttnDownBlock2D``, in a list or alone; other values as they are."""
    if isinstance(value, list):
        return [to_2d(item) for item in value]
    return value.replace("Block3D", "Block2D") if isinstance(value, str) else value


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


def load_adapter(path: str | Path, video_unet: VideoUNet) -> dict[str, Any]:
    """Load `save_adapter`'s file into a network made alike, and return its metadata.

    `WeightsError` if it was made with other options or on another image model. An adapter of the official
    benchmark code (``.pth``, LOVEU-TGVE) has no metadata and is taken as it is.
    """
    path = Path(path)
    tensors = read_tensors(path)
    metadata: dict[str, Any] = {}
    if path.suffix == ".safetensors":
        metadata = read_metadata(path)
        check_options(path, metadata["options"], video_unet.options)
        check_base(path, tensors.pop(BASE_SAMPLE, None), getattr(torch, metadata["dtype"]), video_unet)
    video_unet.load_tensors({name.removeprefix("module."): tensor for name, tensor in tensors.items()})
    return metadata


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The metadata of an adapter; `WeightsError` if the file is none."""
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("videoedit", "{}"))
    except DAMAGED:
        header = {}
    if header.get("format") != ADAPTER_FORMAT or not {"options", "dtype"} <= header.keys():
        raise WeightsError(f"{path} is no Tune-A-Video adapter; expected the adapter.safetensors of an earlier run")
    return header


def check_options(path: Path, made: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """`WeightsError` unless the network that an adapter was made for has the same parts."""
    for name in BINDING_OPTIONS:
        if made.get(name) != wanted[name]:
            raise WeightsError(
                f"{path} was tuned with {name}: {made.get(name)}, but this network has {name}: {wanted[name]}; "
                f"set network.{name}={made.get(name)}"
            )


def close(a: Tensor, b: Tensor, rounding: float) -> bool:
    """Whether two samples are one, up to a relative error."""
    return torch.allclose(a.float(), b.float(), rtol=rounding, atol=1e-6)


def check_base(path: Path, sample: Tensor | None, dtype: torch.dtype, video_unet: VideoUNet) -> None:
    """`WeightsError` unless the adapter was made on this image model, in `dtype` then and any precision now."""
    own = video_unet.base_sample()
    rounding = max(torch.finfo(x).eps for x in (own.dtype, dtype, video_unet.dtype))
    if sample is None or sample.shape != own.shape or not close(sample, own, rounding):
        raise WeightsError(f"{path} was tuned on another image model; choose the model it was made with")
