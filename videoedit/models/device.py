"""Device and precision of a model, by name or by what the machine has."""

from __future__ import annotations

import torch

from videoedit.errors import ConfigError
from videoedit.models.weights import first_line

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(device: str | torch.device | None) -> torch.device:
    """The device of this name; without one, a GPU if there is one."""
    try:
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ConfigError(f"unknown device {device!r}: {first_line(error)}") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {str(place)!r} was asked for, but torch finds no GPU; use 'cpu'")
    return place


def choose_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """The precision of this name; without one, float32 on a CPU and float16 elsewhere."""
    if dtype is None:
        return torch.float32 if device.type == "cpu" else torch.float16
    precision = _DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if precision not in (*_DTYPES.values(), torch.float64):
        raise ConfigError(f"unknown dtype {dtype!r}; expected {', '.join(_DTYPES)}")
    return precision
