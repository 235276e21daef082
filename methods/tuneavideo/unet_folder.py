"""Weights as diffusers and the official Tune-A-Video write them: UNet folders, tables of tensors, inverted latents."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from videoedit.errors import WeightsError
from videoedit.models.weights import first_line, read_config

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

WEIGHT_FILES = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
)

TEMPORAL_NAMES = (
    *("norm_temp.weight", "norm_temp.bias"),
    *("attn_temp.to_q.weight", "attn_temp.to_k.weight", "attn_temp.to_v.weight"),
    *("attn_temp.to_out.0.weight", "attn_temp.to_out.0.bias"),
)

DAMAGED = (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError)


def damaged(path: Path, error: Exception) -> WeightsError:
    """The one line for a file that no reader understands."""
    with path.open("rb") as file:
        start = file.read(4)
    if path.suffix == ".safetensors" and start[:2] in (b"PK", b"\x80\x02"):
        return WeightsError(f"{path} is a pickle file named .safetensors; expected a safetensors file")
    return WeightsError(f"{path} is damaged or no weight file ({first_line(error)}); copy or download it again")


def read_weights(path: Path, *, allow_pickle: bool = False) -> Any:
    """The contents of a safetensors file; if allowed, of a pickle, read with ``weights_only`` (runs no code)."""
    if path.suffix != ".safetensors" and not allow_pickle and path.exists():
        raise WeightsError(
            f"{path} is a pickle, which can hide programs; expected safetensors: "
            "convert it, or allow pickles (--allow-pickle, allow_pickle=True) if you trust the source"
        )
    try:
        return load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"{path} does not exist; expected a weight file") from None
    except Exception as error:  # a damaged pickle stumbles over anything
        raise damaged(path, error) from None


def read_tensors(path: Path, *, allow_pickle: bool = False) -> dict[str, Tensor]:
    """The tensors of a weight file by name."""
    state = read_weights(path, allow_pickle=allow_pickle)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} is not a table of tensors; expected the weights of a UNet")
    return state


def load_inv_latents(path: str | Path, *, allow_pickle: bool = False) -> Tensor:
    """An inverted latent ``[1, F, C, h, w]``, float32, from an official ``inv_latents/*.pt`` or a file of ours."""
    path = Path(path)
    latents, frames_axis = read_weights(path, allow_pickle=allow_pickle), 2
    if path.suffix == ".safetensors":
        latents, frames_axis = latents.get("latents"), 1
    if not isinstance(latents, Tensor) or latents.ndim != 5 or len(latents) != 1:
        raise WeightsError(f"{path} holds no inverted latent; expected a tensor [1, C, F, h, w]")
    return latents.transpose(1, frames_axis).float().contiguous()


def load_unet(folder: str | Path, *, allow_pickle: bool = False) -> tuple[UNet2DConditionModel, dict[str, Tensor]]:
    """The image UNet in a folder and the temporal tensors beside it (none for an image model), in float32.

    Reads diffusers' folders of a `UNet2DConditionModel` and those of the official Tune-A-Video, whose class
    `UNet3DConditionModel` shares its name, and nothing else, with ModelScope's network. Without `allow_pickle`
    a folder with ``.bin`` weights alone is a `WeightsError`.
    """
    folder = unet_folder(Path(folder))
    config = read_config(folder / "config.json")
    is_video = check_kind(config, folder)
    tensors: dict[str, Tensor] = {}
    temporal: dict[str, Tensor] = {}
    for name, tensor in read_tensors(weight_file(folder, allow_pickle), allow_pickle=allow_pickle).items():
        (temporal if "_temp." in name else tensors)[name] = tensor.float()
    if is_video:
        check_temporal(temporal, tensors, folder)
    return build_unet(config, tensors, folder), temporal


def unet_folder(folder: Path) -> Path:
    """`folder` itself, or the ``unet`` folder in it if it holds a whole pipeline."""
    if not folder.is_dir():
        raise WeightsError(f"{folder} is not a folder; expected a diffusers unet/ folder")
    has_unet = not (folder / "config.json").exists() and (folder / "unet" / "config.json").exists()
    return folder / "unet" if has_unet else folder


def weight_file(folder: Path, allow_pickle: bool) -> Path:
    """The folder's weights, safetensors before pickle."""
    found = [folder / name for name in WEIGHT_FILES if (folder / name).is_file()]
    if not found:
        raise WeightsError(f"{folder} holds no weights; expected one of {', '.join(WEIGHT_FILES)}")
    if found[0].suffix == ".bin" and not allow_pickle:
        raise WeightsError(
            f"{folder} holds only pickled weights ({found[0].name}), which can hide programs; expected safetensors: "
            "convert them, or pass allow_pickle=True if you trust the source"
        )
    return found[0]


def check_kind(config: dict[str, Any], folder: Path) -> bool:
    """Tell an official video UNet (True) from an image UNet (False); `WeightsError` for other networks."""
    kind = config.get("_class_name")
    if kind == "UNet2DConditionModel":
        return False
    if kind == "UNet3DConditionModel" and config.get("mid_block_type") == "UNetMidBlock3DCrossAttn":
        return True
    if kind == "UNet3DConditionModel":
        kind = "UNet3DConditionModel of another method (ModelScope?)"
    raise WeightsError(f"{folder} holds a {kind}; expected a UNet2DConditionModel or an official Tune-A-Video UNet")


def check_temporal(temporal: dict[str, Tensor], tensors: dict[str, Tensor], folder: Path) -> None:
    """Raise `WeightsError` unless each transformer block has its seven temporal tensors."""
    blocks = [name.removesuffix("attn1.to_q.weight") for name in tensors if name.endswith("attn1.to_q.weight")]
    expected = {f"{block}{name}" for block in blocks for name in TEMPORAL_NAMES}
    if odd := sorted(expected ^ temporal.keys()):
        raise WeightsError(
            f"{folder} is no complete Tune-A-Video UNet: {len(odd)} temporal tensors differ, as {odd[0]}"
        )


def build_unet(config: dict[str, Any], tensors: dict[str, Tensor], folder: Path) -> UNet2DConditionModel:
    """A `UNet2DConditionModel` with these weights; block names of the official video network are translated."""
    from diffusers import UNet2DConditionModel

    known = {name: value for name, value in config.items() if not name.startswith("_")}
    config = json.loads(json.dumps(known).replace("Block3D", "Block2D"))
    try:
        with torch.device("meta"):
            unet = UNet2DConditionModel.from_config(config)
        unet.load_state_dict(tensors, assign=True)
    except Exception as error:  # values of any type, in a damaged config
        raise WeightsError(f"the weights in {folder} do not fit its config.json: {first_line(error)}") from None
    return unet.eval()
