"""Propagation of a clip that is in memory, from a script or a notebook."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import numpy as np

from rerender.patchmatch.presets import named
from rerender.propagation.interval import Propagator, Settings, intervals
from rerender.propagation.units import make_frames, stitch
from videoedit.errors import ConfigError, ShapeError
from videoedit.motion.estimators import FlowEstimator, load_flow


def propagate(
    frames: np.ndarray,
    keyframes: Mapping[int, np.ndarray],
    *,
    flow: str | Path | FlowEstimator | None = None,
    preset: str = "default",
    propagator: Propagator = "patchmatch",
    workers: int | None = None,
) -> np.ndarray:
    """Carry edited key frames to every frame of a clip: uint8 [F, H, W, 3] RGB in, the same out.

    `keyframes` are edited frames by index, uint8 [H, W, 3]; they come back unchanged at their places. One is enough.
    `flow` is an estimator or what `videoedit.motion.estimators.load_flow` takes (None: "auto"). `preset` is one of the
    patch matcher's, `propagator` "patchmatch" or "flow" (no patches; fast). `workers` processes share the work, by
    default one for each core; their number changes no byte of the result.

    Raises ShapeError for arrays that do not fit, InputError for key frames outside the clip, ConfigError for unknown
    names, ToolError if a worker dies over the same unit twice.
    """
    check_frames(frames, keyframes)
    if propagator not in get_args(Propagator):
        raise ConfigError(f"unknown propagator {propagator!r}; expected one of {', '.join(get_args(Propagator))}")
    named(preset)
    settings = Settings(propagator=propagator, preset=preset)
    estimator = load_flow(flow or "auto") if flow is None or isinstance(flow, str | Path) else flow
    with tempfile.TemporaryDirectory(prefix="videoedit-") as folder:
        targets = {part: Path(folder, f"{part.start}.zip") for part in intervals(len(frames), keyframes)}
        make_frames(frames, keyframes, targets, settings, estimator, Path(folder, "work"), workers=workers)
        return np.stack(list(stitch(len(frames), keyframes, targets)))


def check_frames(frames: np.ndarray, keyframes: Mapping[int, np.ndarray]) -> None:
    """Raise ShapeError unless all are uint8 and of one size."""
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise ShapeError(f"the clip is {frames.dtype} {frames.shape}; expected uint8 [F, H, W, 3]")
    for index, image in keyframes.items():
        if image.shape != frames.shape[1:] or image.dtype != np.uint8:
            raise ShapeError(
                f"key frame {index} is {image.dtype} {image.shape}; expected uint8 {frames.shape[1:]}, like the clip"
            )
