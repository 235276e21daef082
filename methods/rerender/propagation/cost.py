"""Cost of propagation, known before any of it is done, and the workers that it is worth."""

from __future__ import annotations

from rerender.config import PropagateConfig
from videoedit.runs.machine import cores
from videoedit.runs.planning import StagePlan

# CPU seconds a million pixels, frame and direction, from benchmarks/results/patchmatch.json
COST = {"official": 48.0, "default": 21.0, "fast": 14.0, "preview": 6.0, "flow": 0.3}
FLOW_COST = 3.0  # CPU seconds a million pixels and pair of frames, RAFT small; DIS takes a tenth
WORTH = 4.0  # CPU seconds of work that are worth another worker, whose start takes two


def worthwhile_workers(steps: int, pixels: int, config: PropagateConfig) -> int:
    """Workers for so many frames and directions of so many pixels: one a core, none that costs more than it saves."""
    return max(1, min(cores(), round(steps * _cost(config) * pixels / 1e6 / WORTH)))


def propagation_stage(config: PropagateConfig, frames: int, keys: int, size: tuple[int, int]) -> StagePlan:
    """Cost of carrying `keys` key frames to `frames` frames of `size` (width, height)."""
    between, pixels = max(frames - keys, 0), size[0] * size[1]
    workers = config.workers or worthwhile_workers(2 * between, pixels, config)
    seconds = between * pixels / 1e6 * (2 * _cost(config) + FLOW_COST) / workers
    how = "flow" if config.propagator == "flow" else f"patchmatch, {config.preset}"
    what = f"{between} frames from both sides, {how}, {workers} workers"
    return StagePlan(
        "propagate", what, seconds=seconds, memory_mb=(250 + 200 * pixels / 1e6) * workers, amount=between * pixels
    )


def _cost(config: PropagateConfig) -> float:
    return COST["flow" if config.propagator == "flow" else config.preset]
