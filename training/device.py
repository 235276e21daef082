"""Where training and sampling run: on a GPU if there is one."""

from __future__ import annotations

import torch


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast() -> torch.autocast:
    """bfloat16 where that is safe."""
    return torch.autocast(device().type, torch.bfloat16)
