"""Two methods that tint a clip: ``tint`` by one prompt, ``tintall`` by several that share what it learns first."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np
from pydantic import Field

from videoedit.config import ADDS, ClipConfig, Strings
from videoedit.errors import MethodError
from videoedit.media.video import write_video
from videoedit.plugins import MethodSpec
from videoedit.runs.folder import digest, file_stem
from videoedit.runs.planning import Plan, StagePlan, choose_frames
from videoedit.types import EditResult

TINT = MethodSpec(
    name="tint",
    summary="tints a clip",
    config="tint_methods:TintConfig",
    edit="tint_methods:edit",
    plan="tint_methods:plan",
    streams=True,
    needs_model=False,
)
TINTALL = MethodSpec(
    name="tintall",
    summary="tints a clip in several ways",
    config="tint_methods:TintAllConfig",
    edit="tint_methods:edit_all",
    plan="tint_methods:plan",
    needs_model=False,
)


class TintConfig(ClipConfig):
    prompt: str = ""
    amount: float = 0.5
    log: str = ""  # a file that takes a line for each call
    trap: str = "trap"  # a file; while it exists, prompts with "trap" in them fail


class TintAllConfig(ClipConfig):
    source_prompt: str = ""
    prompts: Strings = Field(default=(), json_schema_extra=ADDS)
    log: str = ""
    trap: str = "trap"


def plan(config, info, *, estimate=False):
    frames = choose_frames(info.frames, config)
    size = (info.width, info.height)
    return Plan(f"{frames} frames", size, size, (StagePlan("tint", "", seconds=30.0),), 0.0, ("It is a toy.",))


def edit(config, models, video, run):
    target = run.path("edit.mp4")
    colour(config, config.prompt, config.amount, video, run, target)
    run.record["keyframes"] = [0, 2]
    return EditResult(videos={"the edit": target})


def edit_all(config, models, video, run):
    learnt = run.path("learnt.txt")
    with run.stage("learn", digest(run.record["identity"]), [learnt]) as needed:
        if needed:
            time.sleep(0.2)
            learnt.write_text("all")
    videos = {prompt: run.path(f"{file_stem(prompt)}.mp4") for prompt in config.prompts}
    for prompt, target in videos.items():
        colour(config, prompt, 0.5, video, run, target)
    return EditResult(videos=videos)


def colour(config, prompt, amount, video, run, target):
    if config.log:
        with Path(config.log).open("a") as log:
            log.write(f"{config.clip.stem} {prompt} {config.seed}\n")
    if "boom" in prompt:
        raise ZeroDivisionError("the tint\nran out")
    if "refuse" in prompt:
        raise MethodError("this method tints no snow; ask for something else")
    if "exit" in prompt:
        raise SystemExit(3)
    if "stop" in prompt and Path(config.trap).exists():
        raise KeyboardInterrupt
    tint = np.frombuffer(hashlib.sha256(f"{prompt} {config.seed}".encode()).digest()[:3], np.uint8)
    with run.stage(f"tint {prompt}", digest([prompt, amount]), [target]) as needed:
        if needed:
            frames = ((1 - amount) * frame + amount * tint for frame in video.frames)
            write_video(target, (frame.astype(np.uint8) for frame in frames), video.fps)
