"""Key frames by diffusion: ControlNets tie each to its source, all the rest to the anchor and the previous key frame.

Yang et al., "Rerender A Video", section 4.1 and Alg. 1. First the loop of one key frame, on latents [1, C, h, w],
which knows nothing of pixels, text or ControlNets: they are behind the denoiser and target. Then `Translator`, which
goes from key frame to key frame and holds what one leaves to the next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rerender.translation import fusion
from rerender.translation.attention import cross_frame_patch, cross_frame_sites
from rerender.translation.freeu import freeu
from rerender.translation.fusion import adain, flat_region, pixel_aware, shape_aware, statistics
from rerender.translation.memory import Key, Memory
from rerender.translation.schedule import StepSchedule, step_schedule
from videoedit.attention import FeatureStore, FrameState, attend
from videoedit.controls.controlnets import Controls, map_to_condition
from videoedit.diffusion import latents as codec
from videoedit.diffusion.ddim import Schedule, add_noise, predict_eps, predict_x0, signal_and_noise
from videoedit.diffusion.guidance import guided
from videoedit.diffusion.prompts import encode_prompts
from videoedit.errors import InputError
from videoedit.files import digest
from videoedit.motion.flow import warp
from videoedit.types import Models

if TYPE_CHECKING:
    from rerender.config import TranslateConfig
    from videoedit.diffusion.sampling import Denoiser
    from videoedit.motion.estimators import FlowPair

logger = logging.getLogger(__name__)


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


# -- from key frame to key frame -----------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """An earlier key frame's result seen from the current frame."""

    pixels: Tensor  # warped onto the current frame, float32 [1, 3, H, W]
    flow: Tensor  # [1, 2, H, W] from the current frame to that one
    occluded: Tensor  # bool [1, 1, H, W], True = it does not show this


class Translator:
    """Translates the key frames of a clip one after the other; the first of every shot is its anchor."""

    def __init__(
        self,
        models: Models,
        controls: Controls,
        settings: TranslateConfig,
        motion: Callable[..., FlowPair],  # of two frames and their `indices`, as `flow_pair` with an estimator
        *,
        prompt: str,
        negative_prompt: str = "",
        seed: int = 33,
    ) -> None:
        self.models = models
        self.controls = controls
        self.settings = settings
        self.motion = motion
        self.seed = seed
        self.factor = codec.spatial_factor(models.vae)
        self.negative_embeds, self.prompt_embeds = encode_prompts(models, [negative_prompt, prompt]).split(1)
        self.schedule = Schedule.from_scheduler(models.scheduler, settings.steps)
        self.steps = step_schedule(settings, len(self.schedule.timesteps))
        if self.steps.attention and not cross_frame_sites(models.unet, loose=settings.loose_attention):  # type: ignore[arg-type]
            logger.warning("loose_attention leaves this model no layer: attention_window has no effect")
        self.identity = digest(
            [models.fingerprint, str(models.dtype), controls.fingerprint, [str(c.spec) for c in controls.controls],
             settings.model_dump(mode="json"), prompt, negative_prompt, seed]
        )  # fmt: skip
        self.start_shot()

    def start_shot(self) -> None:
        """Forget everything: the next frame is an anchor."""
        dtype = getattr(torch, self.settings.store_dtype) if self.settings.store_dtype else None
        self.memory = Memory(FeatureStore(self.settings.store_device, dtype))

    @torch.no_grad()
    def translate(self, frame: np.ndarray, index: int) -> np.ndarray:
        """The edited key frame, uint8 [H, W, 3], of source frame number `index`, which has the same shape.

        After an error the memory may hold parts of the unfinished frame: `load` a saved one, or `start_shot`.
        """
        memory = self.memory
        if memory.anchor and memory.previous:
            own, first = (f"{x.shape[1]}x{x.shape[0]}" for x in (frame, memory.anchor.frame))
            if own != first:
                raise InputError(f"a key frame is {own} pixels, the first of its shot {first}; give frames of one size")
            pixels = self._sample(frame, self.steps, self._ties(frame, index, memory.anchor, memory.previous))
        else:
            if not self.settings.preserve_color:
                free = replace(self.steps, start=0, inject=None)  # from pure noise; what it remembers is overwritten
                memory.palette = _frame(self._sample(frame, free))
            pixels = self._sample(frame, self.steps)
        memory.add(Key(index, frame, pixels))
        return _frame(pixels)

    def save(self, path: Path) -> None:
        """Write all that the next key frame depends on, atomically; `load` goes on to the same bytes."""
        self.memory.save(path, self.identity)

    def load(self, path: Path) -> None:
        """Go on where `save` was called; WeightsError if the file is damaged or of another run."""
        self.start_shot()
        self.memory.load(path, self.identity, self.models)

    # -- one key frame ---------------------------------------------------------------------------------

    def _sample(self, frame: np.ndarray, steps: StepSchedule, ties: Ties | None = None) -> Tensor:
        source = self._source(frame)
        network = Network(self.models.unet, self._denoiser(frame), self.schedule)
        latents = translate_keyframe(network, source, self.memory, steps, self.settings, seed=self.seed, ties=ties)
        return self._decode(latents)

    def _denoiser(self, frame: np.ndarray) -> Denoiser:
        """The guided network under the prompt and the frame's controls."""
        models = self.models
        unet: Any = models.unet
        maps = self.controls.maps(frame)
        conditions = [map_to_condition(picture).to(models.device, models.dtype) for picture in maps]

        def predict(latents: Tensor, t: int, embeds: Tensor) -> Tensor:
            residuals = self.controls.residuals(latents, t, embeds, conditions)
            return unet(latents, t, encoder_hidden_states=embeds, **residuals).sample

        return guided(predict, self.prompt_embeds, self.negative_embeds, self.settings.guidance_scale)

    # -- what ties it to earlier ones ------------------------------------------------------------------

    def _ties(self, frame: np.ndarray, index: int, anchor: Key, previous: Key) -> Ties:
        from_anchor = self._reference(anchor, frame, index)
        from_previous = from_anchor if previous is anchor else self._reference(previous, frame, index)
        return Ties(
            fusion.latent_flow(from_anchor.flow, self.factor),
            fusion.latent_mask(self._soft(from_anchor.occluded), self.factor),
            lambda latents: self._target(self._decode(latents), from_previous, from_anchor),
        )

    def _reference(self, key: Key, frame: np.ndarray, index: int) -> Reference:
        pair = self.motion(key.frame, frame, indices=(key.index, index))
        flow = pair.bwd.to(key.pixels)
        return Reference(warp(key.pixels, flow), flow, pair.occ_bwd.to(key.pixels.device))

    def _target(self, direct: Tensor, previous: Reference, anchor: Reference) -> Target:
        """The warped results where they show something, elsewhere `direct`, the first pass's own; well encoded."""
        pixels = fusion.blend_reference(
            direct, previous.pixels, self._soft(previous.occluded), anchor.pixels, self._soft(anchor.occluded)
        )
        if self.settings.fidelity:
            latents = fusion.fidelity_encode(self._encode, self._decode, pixels, self.factor)
        else:
            latents = self._encode(pixels)
        # The model paints freely where neither shows anything.
        unseen = previous.occluded & anchor.occluded & self.settings.inpaint
        mask = fusion.latent_mask(self._soft(unseen), self.factor)
        return Target(latents * mask, mask)

    def _soft(self, occluded: Tensor) -> Tensor:
        """With a seam of a latent cell: 9 pixels for a factor of 8, as officially."""
        return fusion.soft_mask(occluded, self.factor + 1)

    # -- pixels and latents ----------------------------------------------------------------------------

    def _source(self, frame: np.ndarray) -> Tensor:
        """Clean latents of the source, in the anchor's colours if it has its own."""
        palette = self.memory.palette
        recolored = frame if palette is None else fusion.match_colors(frame, palette)
        return self._encode(codec.frames_to_pixels(recolored[None])[0].to(self.models.device))

    def _encode(self, pixels: Tensor) -> Tensor:
        """[1, 3, H, W] -> [1, C, h, w]: the mean of the posterior, or officially a draw from it."""
        posterior = codec.encode_posterior(self.models.vae, pixels[:, None])
        if self.settings.compat != "official":
            return posterior.mean[:, 0]
        return posterior.sample(torch.Generator().manual_seed(self.seed + self.memory.count))[:, 0]

    def _decode(self, latents: Tensor) -> Tensor:
        """[1, C, h, w] -> [1, 3, H, W]."""
        return codec.decode(self.models.vae, latents[:, None])[:, 0]


def _frame(pixels: Tensor) -> np.ndarray:
    """Float [1, 3, H, W] in [-1, 1] -> uint8 [H, W, 3]."""
    return codec.pixels_to_frames(pixels[:, None])[0]
