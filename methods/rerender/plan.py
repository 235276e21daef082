"""The plan of a Rerender-A-Video run, its cost counted on networks without weights (torch's meta device)."""

from __future__ import annotations

from typing import Any

from rerender.config import KeyframesConfig, RerenderConfig
from rerender.keyframes import at_most, explicit, uniform
from rerender.propagation.cost import propagation_stage
from rerender.translation.attention import stored_bytes
from rerender.translation.schedule import step_schedule
from videoedit.controls.controlnets import ControlSpec, count_operations
from videoedit.runs.planning import Scene, StagePlan


def plan(config: RerenderConfig, scene: Scene) -> tuple[list[StagePlan], list[str]]:
    """The steps of a run and what each costs, and notes.

    Raises InputError or ConfigError for key frames or controls that do not fit. Loads no weights, writes nothing.
    """
    specs = [ControlSpec.parse(text) for text in config.controls]
    keys, choosing = plan_keyframes(config.keyframes, scene.frames)
    steps = step_schedule(config.translate, config.translate.steps)
    one = _count(config, scene, specs) if scene.known_shape else 0.0
    translate = StagePlan(
        "translate",
        f"{keys} key frames x {steps.evaluations} network evaluations (official: {2 * config.translate.steps})",
        flops=keys * steps.evaluations * one,
        amount=keys * steps.evaluations * scene.size[0] * scene.size[1],
        memory_mb=_store_mb(config, scene, len(steps.attention)) if scene.folder else 0.0,
    )
    stages = [choosing, translate]
    if config.until == "video":
        stages += [propagation_stage(config.propagate, scene.frames, keys, scene.size)]
    return stages, ["Scene cuts, if there are any, add key frames."] if config.keyframes.scene_cuts else []


def plan_keyframes(config: KeyframesConfig, frames: int) -> tuple[int, StagePlan]:
    """The number of key frames among `frames` frames, and the rule; scene cuts, if there are any, add some.

    With adaptive intervals it is the most there may be.
    """
    if config.indices is not None:
        count, rule = len(explicit(frames, config.indices)), "as listed"
    elif config.interval is None:
        count = len(at_most(config.most, frames, lambda interval: uniform(frames, interval)))
        rule = f"{'adaptively' if config.adaptive else 'evenly'}, at most {config.most}"
    elif config.adaptive:
        count, rule = len(uniform(frames, (config.interval + 1) // 2)), f"adaptively, at most every {config.interval}"
    else:
        count, rule = len(uniform(frames, config.interval)), f"every {config.interval}"
    return count, StagePlan("key frames", f"{count} of {frames}, {rule}")


def _count(config: RerenderConfig, scene: Scene, specs: list[ControlSpec]) -> float:
    """Floating point operations of one guided evaluation of the UNet and its ControlNets."""
    import torch
    from diffusers import UNet2DConditionModel
    from torch.utils.flop_counter import FlopCounterMode

    shape, (width, height) = scene.shape, scene.size
    batch = 1 if config.translate.guidance_scale == 1 else 2
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(shape.unet)
        latents = torch.empty(batch, shape.unet["in_channels"], height // shape.factor, width // shape.factor)
        embeds = torch.empty(batch, shape.text_length, shape.unet["cross_attention_dim"])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        unet(latents, 500, embeds)
    return float(counter.get_total_flops()) + count_operations(specs, scene.folder, shape, latents)


def _store_mb(config: RerenderConfig, scene: Scene, steps: int) -> float:
    """Memory of the features of the anchor and the previous key frame."""
    loose, factor = config.translate.loose_attention, scene.shape.factor
    itemsize = 2 if config.translate.store_dtype in ("float16", "bfloat16") else 4
    latent_size = (scene.size[0] // factor, scene.size[1] // factor)
    return stored_bytes(scene.shape.unet, latent_size, steps, loose=loose, itemsize=itemsize) / 2**20
