"""The loop of one key frame: DDIM on the noised source, tied to the anchor and the previous key frame step by step.

Yang et al., "Rerender A Video", section 4.1 and Alg. 1. All latents are [1, C, h, w] float32. Nothing here knows of
pixels, text or ControlNets: they are behind the denoiser and the target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rerender.translation.attention import cross_frame_patch
from rerender.translation.freeu import freeu
from rerender.translation.fusion import adain, flat_region, pixel_aware, shape_aware, statistics
from rerender.translation.memory import Memory
from rerender.translation.schedule import StepSchedule
from videoedit.attention import FrameState, attend
from videoedit.diffusion.ddim import Schedule, add_noise, predict_eps, predict_x0, signal_and_noise

if TYPE_CHECKING:
    from rerender.config import TranslateConfig
    from videoedit.diffusion.sampling import Denoiser


@dataclass(frozen=True)
class Network:
    """The network that denoises a key frame, and its noise schedule."""

    unet: Any
    denoise: Denoiser  # `unet` under guidance, the prompt and the frame's controls
    schedule: Schedule


@dataclass(frozen=True)
class Target:
    """The picture that the second pass is pulled to."""

    latents: Tensor  # [1, C, h, w] clean
    mask: Tensor  # [1, 1, h, w], 1 = pull, 0 = leave to the model


@dataclass(frozen=True)
class Ties:
    """The ties of a key frame to the anchor and the previous one."""

    flow: Tensor  # [1, 2, h, w] from the frame to the anchor, in latent cells
    trust: Tensor  # [1, 1, h, w], 1 where the anchor shows the same thing
    target: Callable[[Tensor], Target]  # from the clean latents of the first pass


@torch.no_grad()
def translate_keyframe(
    network: Network,
    source: Tensor,  # clean latents of the frame
    memory: Memory,
    steps: StepSchedule,
    settings: TranslateConfig,
    *,
    seed: int,
    ties: Ties | None = None,  # None: the frame is its shot's anchor
) -> Tensor:
    """Clean latents of the edited key frame; its features, and an anchor's predicted x0, go to `memory`."""
    schedule, state = network.schedule, FrameState(store=memory.features)
    read, tag = memory.roles(settings.update_every)
    fork: tuple[int, Tensor, Tensor] | None = None
    target: Target | None = None
    patch = cross_frame_patch(network.unet, state, loose=settings.loose_attention)
    # FreeU, at every step: stronger features from below, weaker low frequencies in the skips.
    with attend(network.unet, patch), freeu(network.unet, *settings.freeu):
        for last in (False, True) if ties and steps.fusion else (True,):
            noise = Noise.draw(source, seed, steps, fused=target is not None)
            start, latents, direction = fork or (steps.start, noise.initial, None)
            for step, t in enumerate(schedule.timesteps[start:], start):
                alpha_bar = schedule.alpha_bar(t)
                if step == steps.inject:  # SDEdit: go on from the noised source
                    latents = add_noise(source, noise.injection, alpha_bar)
                if direction is None:  # of x_t = sqrt(a_t) x0 + direction
                    direction = add_noise(torch.zeros_like(source), noise.injection, alpha_bar)
                if step == steps.fork:  # so far the second pass would do the same
                    fork = step, latents, direction
                # Pixel-aware fusion: the second pass is pulled to the warped results, as noisy as itself.
                if target and step in steps.fusion:
                    noisy_target = add_noise(target.latents, noise.fusion[step], alpha_bar)
                    latents = _pull(latents, direction, noisy_target, target.mask, settings)
                # Cross-frame attention (Eq. 3): keys and values are the anchor's and the previous key frame's features
                # of this step. This frame's are kept for the next one, from the last pass that makes them.
                attends = step in steps.attention
                state.step, state.read = step, read if attends else ()
                state.write = tag if attends and (last or step < steps.fork) else None
                output = network.denoise(latents, t).to(latents.dtype)
                x0 = schedule.constrain_x0(predict_x0(latents, output, alpha_bar, schedule.prediction_type))
                eps = predict_eps(latents, output, alpha_bar, schedule.prediction_type)
                if ties is None and step in steps.remembered:
                    memory.anchor_x0[step] = x0
                # Color-aware adjustment (AdaIN): each channel takes the mean and contrast of the anchor's x0.
                if ties and step in steps.adain:
                    x0 = adain(x0, *statistics(memory.anchor_x0[step]))
                # Shape-aware fusion: where the anchor shows the same thing, its x0, moved along the flow.
                if ties and step in steps.shape:
                    x0 = shape_aware(x0, memory.anchor_x0[step], ties.flow, ties.trust)
                signal, spread = signal_and_noise(schedule.alpha_bar_prev(t), latents.dtype)
                direction = spread * eps
                latents = signal * x0 + direction
            if ties and not last:  # what the key frame should have become
                target = ties.target(latents)
    return latents


def _pull(latents: Tensor, direction: Tensor, noisy_target: Tensor, mask: Tensor, settings: TranslateConfig) -> Tensor:
    return pixel_aware(
        latents,
        direction,
        noisy_target,
        settings.fusion_strength * mask,
        flat_region(mask),
        inner_strength=settings.inner_strength,
        smooth_boundary=settings.smooth_boundary,
    )


@dataclass(frozen=True)
class Noise:
    """Every random number of a pass, drawn before it; the same for all frames, which keeps them alike."""

    initial: Tensor
    injection: Tensor  # in the noised source, or without an injection the initial noise
    fusion: dict[int, Tensor]  # in the target, by step

    @classmethod
    def draw(cls, like: Tensor, seed: int, steps: StepSchedule, *, fused: bool) -> Noise:
        """The official stream of one pass: x_T; in each step the injection's, the fusion's, and DDIM's own (unused)."""
        generator = torch.Generator().manual_seed(seed)

        def normal() -> Tensor:
            return torch.randn(like.shape, generator=generator).to(like)

        initial = injection = normal()
        fusion = {}
        for step in range(steps.num_steps):
            if step == steps.inject:
                injection = normal()
            if fused and step in steps.fusion:
                fusion[step] = normal()
            normal()
        return cls(initial, injection, fusion)
