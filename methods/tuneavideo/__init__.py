"""Tune-A-Video: one-shot tuning of a text-to-image model on one clip, then editing by prompt.

Wu et al., "Tune-A-Video: One-Shot Tuning of Image Diffusion Models for Text-to-Video Generation", ICCV 2023.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from videoedit.plugins import Flag, MethodSpec, StageSpec

if TYPE_CHECKING:
    from tuneavideo.method import TuneAVideo
    from tuneavideo.video_unet import VideoUNet

__all__ = ["METHOD", "TuneAVideo", "VideoUNet"]

METHOD = MethodSpec(
    name="tuneavideo",
    summary="tune a text-to-image model on one clip, then edit the clip by prompts (ICCV 2023)",
    config="tuneavideo.config:TuneAVideoConfig",
    edits="tuneavideo.method:edits",
    plan="tuneavideo.plan:plan",
    import_config="tuneavideo.official:import_config",
    licence="Own implementation of Tune-A-Video (Wu et al., ICCV 2023; official code Apache-2.0).",
    flags=(
        Flag("--source-prompt", ("source_prompt",), "Text that says what the clip shows; the model is tuned on it."),
        Flag("--prompt", ("prompts",), "Text that says what the edit should show; repeatable.", multiple=True),
        Flag("--negative-prompt", ("negative_prompt",), "Text that says what the edits should not show."),
        Flag("--steps", ("invert.steps", "sample.steps"), "DDIM steps of inversion and sampling.", kind=int),
        Flag("--tune-steps", ("tune.steps",), "Optimiser steps of the tuning.", kind=int),
        Flag("--guidance", ("sample.guidance_scale",), "Strength of the prompt (1: none).", kind=float),
        Flag("--control", ("controls",), "A ControlNet: KIND, KIND:SCALE or KIND=FOLDER:SCALE; repeat.", multiple=True),
    ),
    stages={
        "edit_frames": StageSpec(
            summary="tune on some frames, invert them, and edit them jointly by each prompt",
            config="tuneavideo.config:EditFramesConfig",
            run="tuneavideo.method:edit_frames",
            plan="tuneavideo.plan:edit_stages",
        )
    },
)

_WHERE = {"TuneAVideo": "tuneavideo.method", "VideoUNet": "tuneavideo.video_unet"}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'tuneavideo' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
