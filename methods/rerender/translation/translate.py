"""Key frames by diffusion: ControlNets tie each to its source, all the rest to the anchor and the previous key frame.

Yang et al., "Rerender A Video", section 4.1. `Translator` holds what one key frame leaves to the next.
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
from rerender.translation.attention import cross_frame_sites
from rerender.translation.conditions import Controls, map_to_condition
from rerender.translation.keyframe import Network, Target, Ties, translate_keyframe
from rerender.translation.memory import Key, Memory
from rerender.translation.schedule import StepSchedule, step_schedule
from videoedit.attention import FeatureStore
from videoedit.diffusion import latents as codec
from videoedit.diffusion.ddim import Schedule
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
