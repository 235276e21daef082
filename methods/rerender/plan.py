"""The plan of a Rerender-A-Video run, its cost counted on networks without weights (torch's meta device)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rerender.config import KeyframesConfig, RerenderConfig
from rerender.keyframes import at_most, explicit, uniform
from rerender.propagation.cost import propagation_stage
from rerender.translation.attention import stored_bytes
from rerender.translation.conditions import ControlSpec
from rerender.translation.schedule import step_schedule
from videoedit.models.shape import ModelShape
from videoedit.runs.planning import Scene, StagePlan


def plan(config: RerenderConfig, scene: Scene) -> tuple[list[StagePlan], list[str]]:
    """The steps of a run and what each costs, and notes.

    Raises InputError or ConfigError for key frames or controls that do not fit. Loads no weights, writes nothing.
    """
    specs = [ControlSpec.parse(text) for text in config.controls]
    keys, choosing = plan_keyframes(config.keyframes, scene.frames)
    evaluations = step_schedule(config.translate, config.translate.steps).evaluations
    one = _count(config, scene.shape, scene.folder, specs, scene.size) if scene.known_shape else 0.0
    translate = StagePlan(
        "translate",
        f"{keys} key frames x {evaluations} network evaluations (official: {2 * config.translate.steps})",
        flops=keys * evaluations * one,
        memory_mb=_store_mb(config, scene.shape, scene.size) if scene.folder else 0.0,
    )
    stages = [choosing, translate]
    if config.until == "video":
        stages += [propagation_stage(config.propagate, scene.frames, keys, scene.size)]
    return stages, ["Scene cuts, if there are any, add key frames."] if config.keyframes.scene_cuts else []


def key_count(config: KeyframesConfig, frames: int) -> int:
    """Key frames of one shot of so many frames; with adaptive intervals the most there may be."""
    if config.indices is not None:
        return len(explicit(frames, config.indices))
    if config.interval is None:
        return len(at_most(config.most, frames, lambda interval: uniform(frames, interval)))
    return len(uniform(frames, (config.interval + 1) // 2 if config.adaptive else config.interval))


def plan_keyframes(config: KeyframesConfig, frames: int) -> tuple[int, StagePlan]:
    """The number of key frames among `frames` frames, and the rule; scene cuts, if there are any, add some."""
    count = key_count(config, frames)
    return count, StagePlan("key frames", f"{count} of {frames}, {_rule(config)}")


def _rule(config: KeyframesConfig) -> str:
    if config.indices is not None:
        return "as listed"
    if config.interval is None:
        return f"{'adaptively' if config.adaptive else 'evenly'}, at most {config.most}"
    return f"adaptively, at most every {config.interval}" if config.adaptive else f"every {config.interval}"


def _count(
    config: RerenderConfig, shape: ModelShape, folder: Path | None, specs: list[ControlSpec], size: tuple[int, int]
) -> float:
    """Floating point operations of one guided evaluation of the UNet and its ControlNets."""
    import torch
    from diffusers import ControlNetModel, UNet2DConditionModel
    from torch.utils.flop_counter import FlopCounterMode

    batch = 1 if config.translate.guidance_scale == 1 else 2
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(shape.unet)
        nets: list[Any] = [ControlNetModel.from_config(c) for spec in specs if (c := _control_config(spec, folder))]
        latents = torch.empty(batch, shape.unet["in_channels"], size[1] // shape.factor, size[0] // shape.factor)
        embeds = torch.empty(batch, shape.text_length, shape.unet["cross_attention_dim"])
        picture = torch.empty(batch, 3, size[1], size[0])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        unet(latents, 500, embeds)
        for net in nets:
            net(latents, 500, encoder_hidden_states=embeds, controlnet_cond=picture)
    return float(counter.get_total_flops())


def _control_config(spec: ControlSpec, folder: Path | None) -> dict[str, Any] | None:
    """A ControlNet's config, if it is on this disk."""
    places = [Path(spec.source).expanduser()] if spec.source else [folder / f"controlnet-{spec.kind}"] if folder else []
    file = next((place / "config.json" for place in places if (place / "config.json").is_file()), None)
    config: dict[str, Any] | None = json.loads(file.read_text()) if file else None
    return config


def _store_mb(config: RerenderConfig, shape: ModelShape, size: tuple[int, int]) -> float:
    """Memory of the features of the anchor and the previous key frame."""
    settings = config.translate
    steps = len(step_schedule(settings, settings.steps).attention)
    itemsize = 2 if settings.store_dtype in ("float16", "bfloat16") else 4
    latent_size = (size[0] // shape.factor, size[1] // shape.factor)
    return stored_bytes(shape.unet, latent_size, steps, loose=settings.loose_attention, itemsize=itemsize) / 2**20
