"""Methods of strangers: ``dim`` keeps every promise, each of the others breaks some."""

from __future__ import annotations

import time

import numpy as np

from videoedit.config import ClipConfig
from videoedit.deliver import Edit, StreamedEdit
from videoedit.errors import InputError
from videoedit.plugins import Flag, MethodSpec
from videoedit.runs.planning import StagePlan


class DimConfig(ClipConfig):
    """Settings of all of them."""

    amount: float = 0.5
    """Share of the light that is left."""
    grain: int = 0
    """Strength of the noise."""


def method(name: str, edits: str, config: str = "DimConfig", plan: str = "plan", **more) -> MethodSpec:
    strings = {"config": f"strangers:{config}", "edits": f"strangers:{edits}", "plan": f"strangers:{plan}"}
    return MethodSpec(name=name, summary="changes the light", **strings, **({"needs_model": False} | more))


def plan(config, scene):
    return [StagePlan("light", f"{scene.frames} frames")], []


# -- keeps all promises


def dim(config, models, clip, steps):
    light = steps.keep("light", lambda: float(clip.frames.mean()), needs={"clip": clip})
    needs = {"light": light, "amount": config.amount, "grain": config.grain, "seed": config.seed}

    def frames():
        random = np.random.default_rng(config.seed)
        for frame in clip.stream():
            noisy = config.amount * frame + config.grain * random.standard_normal(frame.shape)
            yield np.clip(noisy, 0, 255).astype(np.uint8)

    yield StreamedEdit("dimmed", frames, needs, "dimmed.mp4")


DIM = method("dim", "dim", streams=True)


# -- ignores a setting, drops the last frame, writes outside of its folder


def careless(config, models, clip, steps):
    def frames():
        (steps.path("edit.mp4").parents[1] / "log.txt").write_text("I was here")
        return (config.amount * clip.frames[:-1]).astype(np.uint8)

    steps.keep("light", lambda: None, needs={"clip": clip})
    yield Edit("", frames, {"clip": clip, "amount": config.amount, "seed": config.seed}, figures=lambda frames: {})


CARELESS = method("careless", "careless")


# -- plans what it does not do, makes a step anew each time, has a setting without a word, a flag without a setting


class ForgetfulConfig(DimConfig):
    secret: int = 0


def forgetful(config, models, clip, steps):
    steps.keep("guess", lambda: None, needs={"time": time.time_ns()})
    if config.amount > 0.9:
        raise InputError("this is too bright")
    yield from dim(config, models, clip, steps)


def forgetful_plan(config, scene):
    return [StagePlan("dream", "of electric sheep")], []


FORGETFUL = method(
    "forgetful", "forgetful", "ForgetfulConfig", "forgetful_plan", streams=True, needs_model=True,
    flags=(Flag("--amont", ("amont",), "How much light is left."),),
)  # fmt: skip


# -- what it makes depends on how often it was killed


class HastyConfig(ClipConfig):
    """Settings of ``hasty``."""

    prompt: str = ""
    """Text that describes the edit."""


def hasty(config, models, clip, steps):
    def count():
        starts = steps.path("starts.txt")
        starts.write_text(starts.read_text() + "." if starts.is_file() else ".")
        time.sleep(0.6)
        return None

    light = steps.keep("light", count, needs={"clip": clip, "seed": config.seed}, files=["starts.txt"])
    yield Edit(config.prompt, lambda: clip.frames, {"light": light})


HASTY = method("hasty", "hasty", "HastyConfig")


# -- while it works, the clip is replaced by another one


def meddling(config, models, clip, steps):
    def replace_clip():
        config.clip.write_bytes(config.clip.with_name("other.mp4").read_bytes())

    steps.keep("light", replace_clip, needs={"clip": clip})
    yield Edit("", lambda: clip.frames, {"clip": clip}, figures=lambda frames: {})


MEDDLING = method("meddling", "meddling")
