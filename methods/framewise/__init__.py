"""SDEdit on each frame by itself: what a video method must beat (Meng et al., ICLR 2022)."""

from videoedit.plugins import Flag, MethodSpec

METHOD = MethodSpec(
    name="framewise",
    summary="edit each frame by itself with SDEdit: the baseline for video methods (ICLR 2022)",
    config="framewise.config:FramewiseConfig",
    edits="framewise.method:edits",
    plan="framewise.config:plan",
    streams=True,
    licence="Own implementation of SDEdit (Meng et al., ICLR 2022; official code MIT).",
    flags=(
        Flag("--prompt", ("prompts",), "What the edit should show; repeat for several edits.", multiple=True),
        Flag("--negative-prompt", ("negative_prompt",), "What the edits should not show."),
        Flag("--strength", ("sample.strength",), "How far from the source: 0 (unchanged) to 1 (anew).", kind=float),
        Flag("--steps", ("sample.steps",), "DDIM steps.", kind=int),
        Flag("--guidance", ("sample.guidance_scale",), "Strength of the prompt (1: none).", kind=float),
    ),
)
