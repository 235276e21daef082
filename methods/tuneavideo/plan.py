"""The plan of a Tune-A-Video run, its cost counted on networks without weights (torch's meta device)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tuneavideo.config import EditFramesConfig, TuneAVideoConfig
from videoedit.errors import InputError
from videoedit.models.shape import ModelShape
from videoedit.runs.planning import Scene, StagePlan


def plan(config: TuneAVideoConfig, scene: Scene) -> tuple[list[StagePlan], list[str]]:
    """The steps of a run and what each costs; no notes."""
    task = scene.frames, scene.size, config.source_prompt, config.prompts, scene.known_shape, scene.folder
    encode, tune, invert, *edits = edit_stages(config, *task)
    flops = config.sample.steps * invert.flops / config.invert.steps
    what, amount = f"{config.sample.steps} DDIM steps", config.sample.steps * encode.amount
    reconstruction = StagePlan("reconstruction", what, flops, invert.memory_mb, amount=amount)
    return [encode, tune, invert, reconstruction, *edits], []


def edit_stages(
    config: EditFramesConfig,
    frames: int,
    size: tuple[int, int],
    source_prompt: str,
    prompts: Sequence[str],
    shape: ModelShape | None,
    folder: Path | None,
) -> tuple[StagePlan, ...]:
    """Cost of editing so many frames of `size` (width, height) jointly; operations are counted if `shape` is known.

    `folder` is the model's, if it is on this disk. Refuses to tune on no words, and controls that are none.
    """
    if config.tune.steps and not source_prompt.strip():
        raise InputError('the network is tuned on words for the clip; say what it shows with --source-prompt "..."')
    step, train, saved = _count(config, shape, frames, size) if shape else (0.0, 0.0, 0.0)
    pixels = frames * size[0] * size[1]
    tune, invert, sample = config.tune, config.invert, config.sample
    config.structure.check(invert, sample.steps)
    number, passes = _passes(config)
    control = _count_controls(config, shape, frames, size, folder)
    amount = passes * pixels
    edits = [
        StagePlan(f"edit {i}", f"{number} DDIM steps to {prompt!r}", passes * step + control, saved / 2, amount=amount)
        for i, prompt in enumerate(prompts, 1)
    ]
    return (
        StagePlan("encode", f"{frames} frames through the autoencoder", amount=pixels),
        StagePlan(
            "tune", f"{tune.steps} steps on {source_prompt!r}", tune.steps * train, saved, amount=tune.steps * pixels
        ),
        StagePlan("invert", f"{invert.steps} DDIM steps", invert.steps * step, saved / 3, amount=invert.steps * pixels),
        *edits,
    )


def _passes(config: EditFramesConfig) -> tuple[int, int]:
    """(steps, passes of the clip through the network) of an edit."""
    structure, steps = config.structure, config.sample.steps
    guided = 1 if config.sample.guidance_scale == 1 else 2
    first = structure.first_step(steps)
    shares = structure.features, structure.queries_keys, structure.temporal_queries_keys
    beside = max(0, round(max(shares) * steps) - first)
    return steps - first, guided * (steps - first) + beside


def _count_controls(
    config: EditFramesConfig, shape: ModelShape | None, frames: int, size: tuple[int, int], folder: Path | None
) -> float:
    """Operations of the ControlNets in one edit; 0 if the model is not known."""
    import torch

    from videoedit.controls.controlnets import ControlSpec, count_operations
    from videoedit.diffusion.sampling import steps_within

    specs = [ControlSpec.parse(text) for text in config.controls]
    if shape is None:
        return 0.0
    batch = frames * (1 if config.sample.guidance_scale == 1 else 2)
    latents = (batch, shape.unet["in_channels"], size[1] // shape.factor, size[0] // shape.factor)
    steps = len(steps_within(config.control_window, config.sample.steps))
    return steps * count_operations(specs, folder, shape, torch.empty(latents, device="meta"))


def _count(
    config: EditFramesConfig, shape: ModelShape, frames: int, size: tuple[int, int]
) -> tuple[float, float, float]:
    """(operations of one forward pass, of one training step, MB that a training step keeps for backward)."""
    import torch
    from diffusers import UNet2DConditionModel
    from torch.utils.flop_counter import FlopCounterMode

    from tuneavideo.video_unet import VideoUNet

    with torch.device("meta"):
        unet = VideoUNet(UNet2DConditionModel.from_config(shape.unet), **config.network.model_dump())
        channels = shape.unet["in_channels"]
        latents = torch.empty(1, frames, channels, size[1] // shape.factor, size[0] // shape.factor)
        embeds = torch.empty(1, shape.text_length, shape.unet["cross_attention_dim"])
    for _, parameter in unet.trainable_parameters(config.tune.train_blocks, config.tune.trainable):
        parameter.requires_grad_(True)
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.nbytes)
        return tensor

    with FlopCounterMode(display=False) as forward, torch.no_grad():
        unet(latents, 500, embeds)
    with FlopCounterMode(display=False) as both, torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        unet(latents, 500, embeds).sum().backward()
    return float(forward.get_total_flops()), float(both.get_total_flops()), sum(kept) / 2**20
