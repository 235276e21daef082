"""Rerender-A-Video: key frames translated by a diffusion model, then propagated to every frame by patch matching.

Yang et al., "Rerender A Video: Zero-Shot Text-Guided Video-to-Video Translation", SIGGRAPH Asia 2023. The second
half works alone, on key frames edited anywhere: `propagate`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videoedit.plugins import Flag, MethodSpec, StageSpec

if TYPE_CHECKING:
    from rerender.method import Rerender
    from rerender.propagation.units import propagate

__all__ = ["METHOD", "PROPAGATE", "Rerender", "propagate"]

_PROPAGATION = (
    Flag("--propagator", ("propagate.propagator",), "Way to carry key frames: patchmatch or flow."),
    Flag("--preset", ("propagate.preset",), "Effort of the patch matching: official, default, fast or preview."),
    Flag("--workers", ("propagate.workers",), "Number of processes; by default one for each core.", kind=int),
)

METHOD = MethodSpec(
    name="rerender",
    summary="translate key frames by a prompt, then propagate them to every frame (SIGGRAPH Asia 2023)",
    config="rerender.config:RerenderConfig",
    edits="rerender.method:edits",
    plan="rerender.plan:plan",
    import_config="rerender.official:import_config",
    streams=True,
    licence="Own implementation of Rerender-A-Video (Yang et al., SIGGRAPH Asia 2023; official code S-Lab 1.0, "
    "non-commercial: none of it is used here). Its propagation follows EbSynth, on which Adobe holds patents.",
    flags=(
        Flag("--prompt", ("prompt",), "Text that says what the edit should show."),
        Flag("--negative-prompt", ("negative_prompt",), "Text that says what the edit should not show."),
        Flag("--keyframe-interval", ("keyframes.interval",), "Frames from one key frame to the next.", kind=int),
        Flag("--control", ("controls",), "A ControlNet: KIND, KIND:SCALE or KIND=FOLDER:SCALE; repeat.", multiple=True),
        Flag("--strength", ("translate.strength",), "Distance from the source: 0 (unchanged) to 1 (anew).", kind=float),
        Flag("--steps", ("translate.steps",), "Number of DDIM steps.", kind=int),
        Flag("--guidance", ("translate.guidance_scale",), "Strength of the prompt (1: none).", kind=float),
        Flag("--until", ("until",), "Last part to make: keyframes, or video."),
        *_PROPAGATION,
    ),
    stages={
        "choose_keyframes": StageSpec(
            summary="find scene cuts and choose the frames that an edit should start from",
            config="rerender.config:KeyframesConfig",
            run="rerender.stream:choose_keyframes",
            plan="rerender.plan:plan_keyframes",
        ),
        "propagate": StageSpec(
            summary="carry edited key frames to every frame of a clip and write the video",
            config="rerender.config:PropagateConfig",
            run="rerender.stream:propagate",
            plan="rerender.propagation.cost:propagation_stage",
        ),
    },
)

PROPAGATE = MethodSpec(
    name="propagate",
    summary="carry key frames edited in any program to every frame of a clip",
    config="rerender.config:PropagateRunConfig",
    edits="rerender.command:edits",
    plan="rerender.command:plan",
    streams=True,
    needs_model=False,
    licence="Follows EbSynth (public domain), whose PatchMatch Adobe has patented (US 8,861,869); "
    "the flow propagator does without it.",
    flags=(
        Flag("--keyframes", ("keyframes",), "Edited key frames: folders or files named by frame.", Path, multiple=True),
        Flag("--keyframe", ("keyframe",), "A key frame whose name does not say its frame: FRAME=FILE.", multiple=True),
        *_PROPAGATION,
    ),
)


_WHERE = {"Rerender": "rerender.method", "propagate": "rerender.propagation.units"}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'rerender' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
