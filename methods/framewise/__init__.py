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
        Flag("--prompt", ("prompts",), "Text of what the edit should show; repeat for several.", multiple=True),
        Flag("--negative-prompt", ("negative_prompt",), "Text that says what the edits should not show."),
        Flag("--strength", ("sample.strength",), "Distance from the source: 0 (unchanged) to 1 (anew).", kind=float),
        Flag("--steps", ("sample.steps",), "Number of DDIM steps.", kind=int),
        Flag("--guidance", ("sample.guidance_scale",), "Strength of the prompt (1: none).", kind=float),
    ),
)
