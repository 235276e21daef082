"""Where training and sampling run: on a GPU if there is one."""

from __future__ import annotations

import torch


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(where: str | None = None) -> torch.autocast:
    """bfloat16 where that is safe and fast: a processor without instructions for it is fifty times slower in it."""
    where = where or device().type
    fast = where != "cpu" or torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.autocast(where, torch.bfloat16, enabled=fast)
