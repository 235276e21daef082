"""Settings of the hybrid: Tune-A-Video's and Rerender's own, as their stages define them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from videoedit.config import PromptsConfig
from videoedit.plugins import get_stage

EditFrames: Any = get_stage("tuneavideo", "edit_frames").load("config")
ChooseKeyframes: Any = get_stage("rerender", "choose_keyframes").load("config")
Propagate: Any = get_stage("rerender", "propagate").load("config")


class KeyframesConfig(ChooseKeyframes):
    """The frames that Tune-A-Video edits. The first and the last of every shot always are."""

    interval: int | None = Field(default=None, ge=1)
    """Frames from one key frame to the next, with `adaptive` at most; null: the fewest that give `most` key frames."""


class HybridConfig(EditFrames, PromptsConfig):
    """Everything a hybrid run depends on."""

    keyframes: KeyframesConfig = KeyframesConfig()
    propagate: Propagate = Propagate()
