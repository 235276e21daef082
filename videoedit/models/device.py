"""Device and precision of a model, by name or by what the machine has."""

from __future__ import annotations

import torch
from packaging.version import Version

from videoedit.errors import ConfigError

MPS_SINCE = Version("2.13")  # of torch: before, its grid_sample has no padding "border" there
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(device: str | torch.device | None) -> torch.device:
    """The device of this name; for "auto" or none, the best one of this machine."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    try:
        place = torch.device(best_device(torch.__version__, **there) if device in (None, "auto") else device)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {device!r}; expected auto, cpu, cuda, cuda:1, mps, ...") from error
    if not there.get(place.type, True):
        raise ConfigError(f"device {str(place)!r} was asked for, but torch finds no GPU; use 'cpu'")
    return place


def best_device(torch_version: str, *, cuda: bool, mps: bool) -> str:
    """The best kind of those that are there: a GPU of CUDA or ROCm, Apple's if torch can do all work on it."""
    if cuda:
        return "cuda"
    return "mps" if mps and Version(torch_version) >= MPS_SINCE else "cpu"


def device_name(device: torch.device) -> str:
    """A device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "Apple GPU (mps)" if device.type == "mps" else str(device)


def choose_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """The precision of this name; without one, float32 on a CPU and float16 elsewhere."""
    if dtype is None:
        return torch.float32 if device.type == "cpu" else torch.float16
    precision = _DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if precision not in (*_DTYPES.values(), torch.float64):
        raise ConfigError(f"unknown dtype {dtype!r}; expected {', '.join(_DTYPES)}")
    return precision
