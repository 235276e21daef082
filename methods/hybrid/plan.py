"""What a hybrid run will do and cost: the sum of its stages' own answers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hybrid.config import HybridConfig
from videoedit.errors import InputError
from videoedit.plugins import get_stage
from videoedit.runs.planning import ModelShape, Plan, choose_frames, local_folder, working_size

if TYPE_CHECKING:
    from videoedit.media.video import VideoInfo


def plan(config: HybridConfig, info: VideoInfo, *, estimate: bool = False) -> Plan:
    """Check the clip against the config and list the stages; with `estimate`, count operations and memory.

    Raises InputError or ConfigError for frames or sizes that do not fit. Loads no weights, writes nothing.
    """
    if not config.prompts:
        raise InputError('no edit was asked for; say what the edit should show with --prompt "..."')
    frames = choose_frames(info.frames, config, most=None)
    keys, choosing = get_stage("rerender", "choose_keyframes").load("plan")(config.keyframes, frames)
    folder = local_folder(config.model)
    shape = ModelShape.read(folder) if folder else ModelShape.unknown()
    source = (info.width, info.height)
    size = working_size(source, config.video.size, factor=shape.factor, native=shape.native)
    known = shape if estimate and folder else None
    edits = get_stage("tuneavideo", "edit_frames").load("plan")(
        config, keys, size, config.source_prompt, config.prompts, known
    )
    propagation = get_stage("rerender", "propagate").load("plan")(config.propagate, frames, keys, size)
    notes = ["Scene cuts, if there are any, change the key frames."] if config.keyframes.scene_cuts else []
    notes += [] if folder else ["The model is not on this disk yet: sizes are guessed, costs unknown."]
    return Plan(
        frames=f"{frames} of {info.frames} frames, {float(info.fps / config.video.stride):g} fps"
        f"{', with sound' if info.has_audio else ''}",
        size=size,
        output_size=source if config.video.output_size == "source" else size,
        stages=(
            choosing,
            *edits,
            *(replace(propagation, name=f"propagate {number}") for number, _ in enumerate(config.prompts, 1)),
        ),
        weights_mb=shape.weights_mb,
        notes=tuple(notes),
    )
