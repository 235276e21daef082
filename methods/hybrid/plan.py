"""The plan of a hybrid run: the sum of its stages' own answers."""

from __future__ import annotations

from dataclasses import replace

from hybrid.config import HybridConfig
from videoedit.plugins import get_stage
from videoedit.runs.planning import Scene, StagePlan


def plan(config: HybridConfig, scene: Scene) -> tuple[list[StagePlan], list[str]]:
    """The steps of a run and what each costs, and notes."""
    keys, choosing = get_stage("rerender", "choose_keyframes").load("plan")(config.keyframes, scene.frames)
    edits = get_stage("tuneavideo", "edit_frames").load("plan")(
        config, keys, scene.size, config.source_prompt, config.prompts, scene.known_shape, scene.folder
    )
    propagation = get_stage("rerender", "propagate").load("plan")(config.propagate, scene.frames, keys, scene.size)
    propagations = [replace(propagation, name=f"propagate {number}") for number, _ in enumerate(config.prompts, 1)]
    notes = ["Scene cuts, if there are any, change the key frames."] if config.keyframes.scene_cuts else []
    return [choosing, *edits, *propagations], notes
