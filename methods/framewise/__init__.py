"""SDEdit on each frame by itself: what a video method must beat (Meng et al., ICLR 2022)."""

from videoedit.plugins import Flag, MethodSpec

METHOD = MethodSpec(
    name="framewise",
    summary="edit each frame by itself with SDEdit: the baseline for video methods (ICLR 2022)",
    config="framewise.method:FramewiseConfig",
    edits="framewise.method:edits",
    plan="framewise.method:plan",
    streams=True,
    licence="Own implementation of SDEdit (Meng et al., ICLR 2022; official code MIT).",
    flags=(
        Flag("--prompt", ("prompts",), "Text of what the edit should show; repeat for several.", multiple=True),
        Flag("--strength", ("sample.strength",), "Distance from the source: 0 (unchanged) to 1 (anew).", kind=float),
    ),
)
