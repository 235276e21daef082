"""Two methods that tint a clip: ``tint`` by one prompt, ``tintall`` by several that share what it learns first."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np

from videoedit.config import ClipConfig, Strings
from videoedit.deliver import Edit, Findings
from videoedit.errors import MethodError
from videoedit.plugins import MethodSpec
from videoedit.runs.planning import StagePlan

TINT = MethodSpec(
    name="tint",
    summary="tints a clip",
    config="tint_methods:TintConfig",
    edits="tint_methods:edits",
    plan="tint_methods:plan",
    streams=True,
    needs_model=False,
)
TINTALL = MethodSpec(
    name="tintall",
    summary="tints a clip in several ways",
    config="tint_methods:TintAllConfig",
    edits="tint_methods:edits_all",
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
    prompts: Strings = ()
    log: str = ""
    trap: str = "trap"


def plan(config, scene):
    return [StagePlan("tint", "", seconds=30.0)], ["It is a toy."]


def edits(config, models, clip, steps):
    yield Findings(keyframes=(0, 2))
    yield tinted(config, config.prompt, config.amount, clip, steps)


def edits_all(config, models, clip, steps):
    steps.keep("learn", lambda: time.sleep(0.2), needs={"clip": clip, "seed": config.seed})
    for prompt in config.prompts:
        yield tinted(config, prompt, 0.5, clip, steps)


def misbehave(config, prompt):
    """Log the call, and do what the prompt says."""
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


def tinted(config, prompt, amount, clip, steps):
    if not steps.dry:
        misbehave(config, prompt)
    tint = np.frombuffer(hashlib.sha256(f"{prompt} {config.seed}".encode()).digest()[:3], np.uint8)
    step = steps.keep(f"tint {prompt}", lambda: None, needs={"prompt": prompt, "amount": amount, "seed": config.seed})

    def frames():
        return np.stack([((1 - amount) * frame + amount * tint).astype(np.uint8) for frame in clip.stream()])

    return Edit(prompt, frames, {"tint": step})
