"""Training state that survives being stopped: written atomically, read back with ``weights_only=True``."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import nn


class Checkpoint:
    """Counts the samples and the seconds spent and keeps module, optimiser and moving average in one file."""

    def __init__(
        self,
        path: Path,
        module: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        average: nn.Module | None = None,
    ) -> None:
        self.path, self.module, self.optimizer, self.average = path, module, optimizer, average
        self.samples, self.seconds = 0, 0.0
        self._reported = time.monotonic()

    def advance(self, samples: int, seconds: float) -> None:
        self.samples += samples
        self.seconds += seconds

    def due(self, every: float) -> bool:
        """True once in ``every`` seconds."""
        if time.monotonic() - self._reported < every:
            return False
        self._reported = time.monotonic()
        return True

    def save(self) -> None:
        state = {"module": self.module.state_dict(), "samples": self.samples, "seconds": self.seconds}
        if self.optimizer is not None:
            state["optimizer"] = self.optimizer.state_dict()
        if self.average is not None:
            state["average"] = self.average.state_dict()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.path)

    def load(self) -> bool:
        """Continue from the file if there is one."""
        if not self.path.exists():
            return False
        state = torch.load(self.path, weights_only=True, map_location="cpu")
        self.module.load_state_dict(state["module"])
        self.samples, self.seconds = state["samples"], state["seconds"]
        if self.optimizer is not None and "optimizer" in state:
            self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None and "average" in state:
            self.average.load_state_dict(state["average"])
        return True


def wait_while_paused(folder: Path) -> None:
    """Wait as long as a file named PAUSE lies in the work folder."""
    while (folder / "PAUSE").exists():
        time.sleep(1)


def progress(path: Path) -> tuple[int, float]:
    """(samples seen, seconds spent) of a checkpoint; zeros if there is none."""
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, weights_only=True, mmap=True)
    return int(state["samples"]), round(float(state["seconds"]), 1)
