"""The plan of a run: sizes, steps, time and memory, known before any weight is loaded."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from videoedit.config import ClipConfig
from videoedit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from videoedit.media.video import VideoInfo
    from videoedit.models.shape import ModelShape
    from videoedit.runs.history import Estimate

DEFAULT_FRAMES = 24  # the paper's and the official code's clip length
EFFICIENCY = 0.4  # share of the matrix throughput that a U-Net reaches; from benchmarks/


@dataclass(frozen=True)
class StagePlan:
    """One stage: what it does, its cost, its peak memory above the weights.

    The cost is given in floating point operations for a network and in seconds for other work.
    """

    name: str
    what: str
    flops: float = 0.0
    memory_mb: float = 0.0
    seconds: float = 0.0
    amount: float = 0.0  # pixels that it works through, in all its passes; 0: those of the clip's frames


@dataclass(frozen=True)
class Plan:
    """The answer of `videoedit run --dry-run`."""

    frames: str  # "24 of 80 frames, 10 fps"
    num_frames: int
    size: tuple[int, int]  # (width, height) that the model works at
    output_size: tuple[int, int]
    stages: tuple[StagePlan, ...]
    weights_mb: float
    notes: tuple[str, ...] = field(default_factory=tuple)
    status: Mapping[str, str] = field(default_factory=dict)  # by step: "kept", or "made: why"
    known: Estimate | None = None  # by earlier runs of the kind

    @property
    def memory_mb(self) -> float:
        """Peak of the whole run, with about 700 MB of libraries."""
        return 700 + self.weights_mb + max((s.memory_mb for s in self.stages), default=0)


@dataclass(frozen=True)
class Scene:
    """The task that a method plans: so many frames of a size, and the model's shape if it is known."""

    info: VideoInfo  # of the clip's file
    frames: int  # of them edited
    size: tuple[int, int]  # (width, height) to work at
    shape: ModelShape
    folder: Path | None  # of the model, if it is on this disk
    estimate: bool  # count operations and memory

    @property
    def known_shape(self) -> ModelShape | None:
        """The shape, if operations are to be counted on it."""
        return self.shape if self.estimate and self.folder else None


def choose_frames(available: int, config: ClipConfig, *, most: int | None = DEFAULT_FRAMES) -> int:
    """The number of frames of a run, `most` if nobody said; InputError when the clip has fewer than asked for."""
    video = config.video
    possible = max(0, math.ceil((available - video.start) / video.stride))
    if possible == 0:
        raise InputError(
            f"the clip has {available} frames, so none is left from video.start = {video.start}; start earlier"
        )
    if video.num_frames is not None and video.num_frames > possible:
        raise InputError(
            f"{video.num_frames} frames were asked for, but the clip has {possible} from frame {video.start} on"
            f"{f' at stride {video.stride}' if video.stride > 1 else ''}; ask for at most {possible} (--frames)"
        )
    return video.num_frames or min(possible, most or possible)


def measure_throughput(device: str | None = None) -> float:
    """Matrix throughput of this machine in floating point operations a second; takes about 0.3 s."""
    import torch

    from videoedit.models.device import choose_device

    where = choose_device(device)
    a = torch.ones(1024, 1024, device=where)
    a @ a
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < 0.25:
        float((a @ a)[0, 0])
        count += 1
    return count * 2 * 1024**3 / (time.perf_counter() - began)


def describe(plan: Plan, folder: Path, device: str | None) -> str:
    """The plan as text for a person; measures this machine for about 0.3 s to estimate the time."""
    speed = EFFICIENCY * measure_throughput(device)
    rows, total = [], 0.0
    for stage in plan.stages:
        seconds, memory = stage.flops / speed + stage.seconds, stage.memory_mb + plan.weights_mb
        rows.append(f"  {stage.name:<12} {stage.what:<64} {seconds:7.0f} s {memory:7.0f} MB")
        total += seconds
    lines = [
        f"frames   {plan.frames}",
        "size     {}x{} in the model, {}x{} written".format(*plan.size, *plan.output_size),
        f"folder   {folder} (nothing is written by --dry-run)",
        "stages",
        *rows,
        f"in all   about {total:.0f} s and {plan.memory_mb:.0f} MB, estimated from operation counts "
        f"at {speed / 1e9:.0f} GFLOP/s, if nothing is kept",
    ]
    if known := plan.known:
        mentioned = f" and {known.memory_mb:.0f} MB" if known.memory_mb else ""  # 0: every step is kept
        lines[-1] = (
            f"in all   about {known.seconds:.0f} s, {known.cpu_seconds:.0f} CPU seconds{mentioned}, "
            f"as the latest {known.runs} of this kind took on this machine; what is kept costs nothing"
        )
    if plan.status:
        width = max(map(len, plan.status))
        lines += ["steps", *(f"  {name:<{width}}  {status}" for name, status in plan.status.items())]
    return "\n".join([*lines, *(f"note     {note}" for note in plan.notes)])
