"""Key frames by diffusion: ControlNets tie each to its source, all the rest to the anchor and the previous key frame.

Yang et al., "Rerender A Video", section 4.1. `Translator` holds what one key frame leaves to the next.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rerender.keyframes import shots
from rerender.translation.attention import cross_frame_plan, cross_frame_sites
from rerender.translation.colors import match_colors
from rerender.translation.conditions import Controls, map_to_condition
from rerender.translation.freeu import freeu
from rerender.translation.fusion import (
    blend_reference,
    both_occluded,
    fidelity_encode,
    latent_flow,
    latent_mask,
    soft_mask,
)
from rerender.translation.keyframe import AnchorMotion, Passes, Target
from rerender.translation.schedule import step_schedule
from videoedit.attention import FeatureStore, FrameState, attend
from videoedit.diffusion import latents as codec
from videoedit.diffusion.ddim import Schedule
from videoedit.diffusion.guidance import guided
from videoedit.diffusion.prompts import encode_prompts
from videoedit.errors import InputError, WeightsError
from videoedit.models.weights import first_line
from videoedit.motion.flow import warp
from videoedit.runs.folder import atomic_path, digest
from videoedit.types import Models

if TYPE_CHECKING:
    from rerender.config import TranslateConfig
    from videoedit.diffusion.sampling import Denoiser
    from videoedit.motion.estimators import FlowPair


logger = logging.getLogger(__name__)


class FlowFn(Protocol):
    """Motion between two frames; `functools.partial(videoedit.motion.estimators.flow_pair, estimator)` is one."""

    def __call__(self, first: np.ndarray, second: np.ndarray, /, *, indices: tuple[int, int]) -> FlowPair: ...


@dataclass(frozen=True)
class Key:
    """A translated key frame, as later ones see it."""

    index: int  # in the clip
    frame: np.ndarray  # the source, uint8 [H, W, 3]
    pixels: Tensor  # the result, float32 [1, 3, H, W] in [-1, 1]


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
        flow_fn: FlowFn,
        *,
        prompt: str,
        negative_prompt: str = "",
        seed: int = 33,
    ) -> None:
        self.models = models
        self.controls = controls
        self.settings = settings
        self.flow_fn = flow_fn
        self.seed = seed
        self.factor = codec.spatial_factor(models.vae)
        self.negative_embeds, self.prompt_embeds = encode_prompts(models, [negative_prompt, prompt]).split(1)
        steps = len(Schedule.from_scheduler(models.scheduler, settings.steps).timesteps)
        self.table = step_schedule(settings, steps)
        if self.table.attention and not cross_frame_sites(models.unet, loose=settings.loose_attention):  # type: ignore[arg-type]
            logger.warning("loose_attention leaves this model no layer: attention_window has no effect")
        self.identity = digest(
            [models.fingerprint, str(models.dtype), controls.fingerprint, [str(c.spec) for c in controls.controls],
             settings.model_dump(mode="json"), prompt, negative_prompt, seed]
        )  # fmt: skip
        self.start_shot()

    def start_shot(self) -> None:
        """Forget everything: the next frame is an anchor."""
        s = self.settings
        dtype = getattr(torch, s.store_dtype) if s.store_dtype else None
        self.passes = Passes(
            self.table,
            self.models.scheduler,
            FrameState(store=FeatureStore(s.store_device, dtype)),
            self.seed,
            fusion_strength=s.fusion_strength,
            inner_strength=s.inner_strength,
            smooth_boundary=s.smooth_boundary,
        )
        self.anchor: Key | None = None
        self.previous: Key | None = None
        self.palette: np.ndarray | None = None  # uint8 [H, W, 3] whose colours the sources take, if they do
        self.count = 0  # key frames of this shot so far

    @torch.no_grad()
    def translate(self, frame: np.ndarray, index: int) -> np.ndarray:
        """The edited key frame, uint8 [H, W, 3], of source frame number `index`, which has the same shape.

        After an error the memory may hold parts of the unfinished frame: `load` a saved one, or `start_shot`.
        """
        self._check(frame)
        with self._installed():
            if self.anchor is None:
                pixels = self._translate_anchor(frame)
            else:
                pixels = self._translate_later(frame, index, self.anchor, self.previous or self.anchor)
        self.previous = Key(index, frame, pixels)
        self.anchor = self.anchor or self.previous
        self.count += 1
        return codec.pixels_to_frames(pixels[:, None])[0]

    # -- one key frame ---------------------------------------------------------------------------------

    def _translate_anchor(self, frame: np.ndarray) -> Tensor:
        denoise = self._denoiser(frame)
        if not self.settings.preserve_color:
            like = self._encode(_pixels(frame, self.models))
            self.palette = codec.pixels_to_frames(self._decode(self.passes.unbound(denoise, like))[:, None])[0]
        return self._decode(self.passes.anchor(denoise, self._source(frame)))

    def _translate_later(self, frame: np.ndarray, index: int, anchor: Key, previous: Key) -> Tensor:
        from_anchor = self._reference(anchor, frame, index)
        from_previous = from_anchor if previous is anchor else self._reference(previous, frame, index)
        motion = AnchorMotion(
            latent_flow(from_anchor.flow, self.factor), latent_mask(self._soft(from_anchor.occluded), self.factor)
        )
        denoise, source = self._denoiser(frame), self._source(frame)
        update = (self.count - 1) % self.settings.update_every == 0
        latents, fork = self.passes.first(denoise, source, motion, update=update)
        direct = self._decode(latents)
        if fork is None:
            return direct
        target = self._target(direct, from_previous, from_anchor)
        return self._decode(self.passes.second(denoise, source, motion, target, fork, update=update))

    def _reference(self, key: Key, frame: np.ndarray, index: int) -> Reference:
        pair = self.flow_fn(key.frame, frame, indices=(key.index, index))
        flow = pair.bwd.to(key.pixels)
        return Reference(warp(key.pixels, flow), flow, pair.occ_bwd.to(key.pixels.device))

    def _target(self, direct: Tensor, previous: Reference, anchor: Reference) -> Target:
        """What the second pass is pulled to: the warped results where they show something, well encoded."""
        pixels = blend_reference(
            direct, previous.pixels, self._soft(previous.occluded), anchor.pixels, self._soft(anchor.occluded)
        )
        if self.settings.fidelity:
            latents = fidelity_encode(self._encode, self._decode, pixels, self.factor)
        else:
            latents = self._encode(pixels)
        unseen = both_occluded(previous.occluded, anchor.occluded)
        mask = latent_mask(self._soft(unseen if self.settings.inpaint else torch.zeros_like(unseen)), self.factor)
        return Target(latents * mask, mask)

    # -- small steps -----------------------------------------------------------------------------------

    @contextmanager
    def _installed(self) -> Iterator[None]:
        unet, s = self.models.unet, self.settings
        plan = cross_frame_plan(unet, self.passes.state, loose=s.loose_attention)  # type: ignore[arg-type]
        with attend(unet, plan), freeu(unet, *s.freeu):  # type: ignore[arg-type]
            yield

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

    def _soft(self, occluded: Tensor) -> Tensor:
        """With a seam of a latent cell: 9 pixels for a factor of 8, as officially."""
        return soft_mask(occluded, self.factor + 1)

    def _source(self, frame: np.ndarray) -> Tensor:
        """Clean latents of the source, in the anchor's colours if it has its own."""
        recolored = frame if self.palette is None else match_colors(frame, self.palette)
        return self._encode(_pixels(recolored, self.models))

    def _encode(self, pixels: Tensor) -> Tensor:
        """[1, 3, H, W] -> [1, C, h, w]: the mean of the posterior, or officially a draw from it."""
        posterior = codec.encode_posterior(self.models.vae, pixels[:, None])
        if self.settings.compat != "official":
            return posterior.mean[:, 0]
        return posterior.sample(torch.Generator().manual_seed(self.seed + self.count))[:, 0]

    def _decode(self, latents: Tensor) -> Tensor:
        """[1, C, h, w] -> [1, 3, H, W]."""
        return codec.decode(self.models.vae, latents[:, None])[:, 0]

    def _check(self, frame: np.ndarray) -> None:
        if self.anchor is not None and frame.shape != self.anchor.frame.shape:
            raise InputError(
                f"a key frame is {_size(frame)} pixels, the first of its shot {_size(self.anchor.frame)}; "
                "give frames of one size"
            )

    # -- exact resume ----------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write all that the next key frame depends on, atomically; `load` goes on to the same bytes."""
        tensors = {f"x0|{step}": x0 for step, x0 in self.passes.anchor_x0.items()}
        tensors |= {"feature|{}|{}|{}".format(*key): kept for key, kept in self.passes.store.items()}
        keys = {"anchor": self.anchor, "previous": self.previous}
        for name, key in keys.items():
            if key is not None:
                tensors |= {f"{name}|frame": torch.from_numpy(key.frame), f"{name}|pixels": key.pixels}
        if self.palette is not None:
            tensors["palette"] = torch.from_numpy(self.palette)
        state = {
            "identity": self.identity,
            "count": self.count,
            "has_previous": self.passes.has_previous,
            "indices": {name: key.index for name, key in keys.items() if key is not None},
        }
        with atomic_path(path) as temporary:
            contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
            save_file(contiguous, temporary, metadata={"state": json.dumps(state)})

    def load(self, path: Path) -> None:
        """Go on where `save` was called; WeightsError if the file is damaged or of another run."""
        state, tensors = _read(path)
        if state["identity"] != self.identity:
            raise WeightsError(f"{path} was saved with other settings, models or prompts; delete it to start again")
        self.start_shot()
        device = self.models.device
        for name, tensor in tensors.items():
            kind, *rest = name.split("|")
            if kind == "feature":
                site, step, tag = rest
                self.passes.store.put(site, int(step), tag, tensor.to(device, self.models.dtype))
            elif kind == "x0":
                self.passes.anchor_x0[int(rest[0])] = tensor.to(device)
        restored = {
            name: Key(index, tensors[f"{name}|frame"].numpy(), tensors[f"{name}|pixels"].to(device))
            for name, index in state["indices"].items()
        }
        self.anchor, self.previous = restored.get("anchor"), restored.get("previous")
        self.palette = tensors["palette"].numpy() if "palette" in tensors else None
        self.count, self.passes.has_previous = state["count"], state["has_previous"]


def translate_keyframes(
    translator: Translator,
    frames: Mapping[int, np.ndarray] | np.ndarray,  # by number: uint8 [H, W, 3]
    keyframes: Sequence[int],
    num_frames: int,
    cuts: Sequence[int] = (),
) -> Iterator[tuple[int, np.ndarray]]:
    """(number, edited frame) of every key frame in order, each shot with its own anchor."""
    for start, stop in shots(num_frames, cuts):
        translator.start_shot()
        for index in keyframes:
            if start <= index < stop:
                yield index, translator.translate(frames[index], index)


def _pixels(frame: np.ndarray, models: Models) -> Tensor:
    """uint8 [H, W, 3] -> float32 [1, 3, H, W] in [-1, 1] on the models' device."""
    return codec.frames_to_pixels(frame[None])[0].to(models.device)


def _size(frame: np.ndarray) -> str:
    return f"{frame.shape[1]}x{frame.shape[0]}"


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return json.loads(file.metadata()["state"]), tensors
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} is not a saved state of the key frames ({first_line(error)}); delete it") from error
