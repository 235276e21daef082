"""Hybrid: key frames edited jointly by Tune-A-Video, carried to every frame by Rerender-A-Video's propagation.

Tune-A-Video gives the key frames one look but cannot hold more than a few dozen frames at once; Rerender's second half
carries any key frames to the rest of the clip. Together: full length, full rate. Both are called as stages, through
the core.
"""

from __future__ import annotations

from videoedit.plugins import Flag, MethodSpec

__all__ = ["METHOD"]

METHOD = MethodSpec(
    name="hybrid",
    summary="tune on key frames and edit them jointly, then carry the edits to every frame of a clip of any length",
    config="hybrid.config:HybridConfig",
    edits="hybrid.method:edits",
    plan="hybrid.plan:plan",
    streams=True,
    licence="Own implementation of parts of Tune-A-Video (official code Apache-2.0) and of Rerender-A-Video "
    "(official code S-Lab 1.0, non-commercial: none of it is used here). Its propagation follows EbSynth, on which "
    "Adobe holds patents.",
    flags=(
        Flag("--source-prompt", ("source_prompt",), "Text that says what the clip shows; the model is tuned on it."),
        Flag(
            "--prompt",
            ("prompts",),
            "Text that says what the edit should show; repeat for several edits.",
            multiple=True,
        ),
        Flag("--negative-prompt", ("negative_prompt",), "Text that says what the edits should not show."),
        Flag("--keyframe-interval", ("keyframes.interval",), "Frames from one key frame to the next.", kind=int),
        Flag("--steps", ("invert.steps", "sample.steps"), "DDIM steps of inversion and sampling.", kind=int),
        Flag("--tune-steps", ("tune.steps",), "Optimiser steps of the tuning.", kind=int),
        Flag("--guidance", ("sample.guidance_scale",), "Strength of the prompt (1: none).", kind=float),
        Flag("--control", ("controls",), "A ControlNet: KIND, KIND:SCALE or KIND=FOLDER:SCALE; repeat.", multiple=True),
        Flag("--propagator", ("propagate.propagator",), "Way to carry key frames: patchmatch or flow."),
        Flag("--preset", ("propagate.preset",), "Effort of the patch matching: official, default, fast or preview."),
        Flag("--workers", ("propagate.workers",), "Number of processes; by default one for each core.", kind=int),
    ),
)
