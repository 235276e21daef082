"""The sampling of one key frame, on latents: what the anchor leaves behind, and the two passes of every later key.

Rerender-A-Video, section 4.1 and Alg. 1. All latents are [1, C, h, w] float32. Nothing here knows of pixels, text or
ControlNets: those are behind the denoiser.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from rerender.translation.adain import adain, statistics
from rerender.translation.attention import ANCHOR, PREVIOUS
from rerender.translation.fusion import flat_region, pixel_aware, shape_aware
from rerender.translation.schedule import StepSchedule
from videoedit.attention import FeatureStore, FrameState
from videoedit.diffusion.ddim import Schedule, add_noise
from videoedit.diffusion.sampling import Denoiser, StepInfo, ddim_sample


@dataclass(frozen=True)
class AnchorMotion:
    """Where the anchor's latents go."""

    flow: Tensor  # [1, 2, h, w] from the frame to the anchor, in latent cells
    trust: Tensor  # [1, 1, h, w], 1 where the anchor shows the same thing


@dataclass(frozen=True)
class Target:
    """What the second pass is pulled to."""

    latents: Tensor  # [1, C, h, w] clean
    mask: Tensor  # [1, 1, h, w], 1 = pull, 0 = leave to the model


@dataclass(frozen=True)
class Fork:
    """The state of the first pass where the second leaves it."""

    latents: Tensor
    direction: Tensor | None


@dataclass(frozen=True)
class Noise:
    """Every random number of a pass, drawn before it; the same for all frames, which keeps them alike."""

    initial: Tensor
    injection: Tensor | None
    fusion: dict[int, Tensor]  # by step

    @classmethod
    def draw(cls, like: Tensor, seed: int, table: StepSchedule, *, second: bool) -> Noise:
        """The official stream of one pass: x_T; in each step the injection's, the fusion's, and DDIM's own (unused)."""
        generator = torch.Generator().manual_seed(seed)

        def normal() -> Tensor:
            return torch.randn(like.shape, generator=generator).to(like)

        initial, injection, fusion = normal(), None, {}
        for step in range(table.num_steps):
            if step == table.inject:
                injection = normal()
            if second and step in table.fusion:
                fusion[step] = normal()
            normal()
        return cls(initial, injection, fusion)

    @property
    def start(self) -> Tensor:
        """The noise in the latents of the first step."""
        return self.initial if self.injection is None else self.injection


@dataclass
class Passes:
    """Samples key frames in order, and remembers of the anchor and the previous one what the next needs."""

    table: StepSchedule
    scheduler: Any
    state: FrameState  # shared with the attention processors; its store holds the features
    seed: int
    fusion_strength: float = 0.5
    inner_strength: float = 0.9
    smooth_boundary: bool = True
    anchor_x0: dict[int, Tensor] = field(default_factory=dict)  # by step
    has_previous: bool = False

    @property
    def store(self) -> FeatureStore:
        assert self.state.store is not None
        return self.state.store

    def unbound(self, denoise: Denoiser, like: Tensor) -> Tensor:
        """A picture from pure noise, of which nothing is remembered."""
        table = replace(self.table, start=0, inject=None)
        return self._sample(denoise, None, Noise.draw(like, self.seed, table, second=False), table=table)

    def anchor(self, denoise: Denoiser, source: Tensor) -> Tensor:
        """The first key frame of a shot: features and predicted x0 of its steps are remembered."""

        def remember(x0: Tensor, info: StepInfo) -> Tensor:
            if info.step in self.table.remembered:
                self.anchor_x0[info.step] = x0
            return x0

        noise = Noise.draw(source, self.seed, self.table, second=False)
        return self._sample(denoise, source, noise, edit_x0=remember, write=lambda step: ANCHOR)

    def first(
        self, denoise: Denoiser, source: Tensor, motion: AnchorMotion, *, update: bool = True
    ) -> tuple[Tensor, Fork | None]:
        """First pass of a later key frame: its latents without pixel-aware fusion, and where the second starts.

        `update`: this frame becomes the previous one for attention. Its features before the fork are kept here, as
        the second pass would only make them again.
        """
        forks: list[Fork] = []

        def leave(latents: Tensor, info: StepInfo) -> Tensor:
            if info.step == self.table.fork:
                forks.append(Fork(latents, info.direction))
            return latents

        latents = self._sample(
            denoise,
            source,
            Noise.draw(source, self.seed, self.table, second=False),
            edit_latents=leave,
            edit_x0=self._constrain(motion),
            read=self._tags,
            write=lambda step: PREVIOUS if update and step < self.table.fork else None,
        )
        if not self.table.fusion:
            self.has_previous |= update
        return latents, forks[0] if forks else None

    def second(
        self,
        denoise: Denoiser,
        source: Tensor,
        motion: AnchorMotion,
        target: Target,
        fork: Fork,
        *,
        update: bool = True,
    ) -> Tensor:
        """Second pass: the first from its fork on, pulled to `target` at the steps of pixel-aware fusion."""
        noise = Noise.draw(source, self.seed, self.table, second=True)
        latents = self._sample(
            denoise,
            source,
            noise,
            edit_latents=self._fuse(target, noise),
            edit_x0=self._constrain(motion),
            read=self._tags,
            write=lambda step: PREVIOUS if update else None,
            fork=fork,
        )
        self.has_previous |= update
        return latents

    # -- the seams -------------------------------------------------------------------------------------

    @property
    def _tags(self) -> tuple[str, ...]:
        return (ANCHOR, PREVIOUS) if self.has_previous else (ANCHOR,)

    def _constrain(self, motion: AnchorMotion) -> Callable[[Tensor, StepInfo], Tensor]:
        """The anchor's colours, then its shapes, on the predicted x0."""

        def edit_x0(x0: Tensor, info: StepInfo) -> Tensor:
            if info.step in self.table.adain:
                x0 = adain(x0, *statistics(self.anchor_x0[info.step]))
            if info.step in self.table.shape:
                x0 = shape_aware(x0, self.anchor_x0[info.step], motion.flow, motion.trust)
            return x0

        return edit_x0

    def _fuse(self, target: Target, noise: Noise) -> Callable[[Tensor, StepInfo], Tensor]:
        schedule = self._schedule
        weight, flat = self.fusion_strength * target.mask, flat_region(target.mask)

        def edit_latents(latents: Tensor, info: StepInfo) -> Tensor:
            if info.step not in self.table.fusion:
                return latents
            alpha_bar = schedule.alpha_bar(info.t)
            direction = info.direction
            if direction is None:  # the first step: the noise that was put in
                direction = add_noise(torch.zeros_like(latents), noise.start, alpha_bar)
            noisy_target = add_noise(target.latents, noise.fusion[info.step], alpha_bar)
            return pixel_aware(
                latents,
                direction,
                noisy_target,
                weight,
                flat,
                inner_strength=self.inner_strength,
                smooth_boundary=self.smooth_boundary,
            )

        return edit_latents

    def _sample(
        self,
        denoise: Denoiser,
        source: Tensor | None,
        noise: Noise,
        *,
        table: StepSchedule | None = None,
        edit_latents: Callable[[Tensor, StepInfo], Tensor] = lambda latents, info: latents,
        edit_x0: Callable[[Tensor, StepInfo], Tensor] | None = None,
        read: tuple[str, ...] = (),
        write: Callable[[int], str | None] = lambda step: None,
        fork: Fork | None = None,
    ) -> Tensor:
        """The loop with the source put in at the table's step, and features read and written by step."""
        table = table or self.table
        schedule = self._schedule

        def prepare(latents: Tensor, info: StepInfo) -> Tensor:
            attends = info.step in table.attention
            self.state.step = info.step
            self.state.read = read if attends else ()
            self.state.write = write(info.step) if attends else None
            if info.step == table.inject and source is not None and noise.injection is not None:
                latents = add_noise(source, noise.injection, schedule.alpha_bar(info.t))
            return edit_latents(latents, info)

        return ddim_sample(
            denoise,
            noise.initial if fork is None else fork.latents,
            self.scheduler,
            table.num_steps,
            edit_x0=edit_x0,
            edit_latents=prepare,
            start=table.start if fork is None else table.fork,
            direction=None if fork is None else fork.direction,
        )

    @cached_property
    def _schedule(self) -> Schedule:
        return Schedule.from_scheduler(self.scheduler, self.table.num_steps)
