"""The steps of the sampling loop at which each constraint on a key frame acts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from videoedit.diffusion.sampling import steps_within

if TYPE_CHECKING:
    from rerender.config import TranslateConfig
    from videoedit.config import Window

logger = logging.getLogger(__name__)

CONSTRAINTS = ("attention", "shape", "fusion", "adain")


@dataclass(frozen=True)
class StepSchedule:
    """The work of each step. Steps are numbered 0, 1, … along the whole schedule, from the noisiest on."""

    num_steps: int
    start: int  # the first step that runs
    inject: int | None  # the step whose latents become the noised source (SDEdit); None: start from pure noise
    fork: int  # where the second pass starts, with the latents that the first had there; num_steps: there is none
    attention: frozenset[int]  # cross-frame attention
    shape: frozenset[int]  # shape-aware fusion with the anchor's predicted x0
    fusion: frozenset[int]  # pixel-aware fusion, in the second pass
    adain: frozenset[int]  # the anchor's statistics

    @property
    def remembered(self) -> frozenset[int]:
        """Steps whose predicted x0 of the anchor later frames need."""
        return self.shape | self.adain

    @property
    def evaluations(self) -> int:
        """Network evaluations for a key frame; the official code makes 2 * num_steps."""
        return self.num_steps - self.start + self.num_steps - self.fork


def step_schedule(settings: TranslateConfig, num_steps: int) -> StepSchedule:
    """Place the windows of `settings` on `num_steps` steps, and warn of those that can change nothing.

    Windows are fractions of the steps that run, and take in every step that they touch: each is live at every
    strength. With `compat: official` they are fractions of all steps, the steps before the injection run although it
    overwrites what they made, and both passes run in full.
    """
    official, strength = settings.compat == "official", settings.strength
    if strength is None:
        inject = None
    else:
        inject = int(num_steps * (1 - strength)) if official else min(round(num_steps * (1 - strength)), num_steps - 1)
    start = 0 if official else inject or 0
    place = _official_steps if official else _steps
    windows: dict[str, frozenset[int]] = {}
    for name in CONSTRAINTS:
        window: Window | None = getattr(settings, f"{name}_window")
        own = windows[name] = place(name, window, start, num_steps) if window else frozenset()
        if window and not any(step >= (inject or 0) for step in own):
            why = f"its steps run before the source is put in at step {inject}" if own else "it holds no step"
            logger.warning("%s_window %s has no effect: %s", name, list(window), why)
    fork = min(windows["fusion"], default=num_steps)
    return StepSchedule(num_steps, start, inject, start if official and windows["fusion"] else fork, **windows)


def _steps(name: str, window: Window, start: int, num_steps: int) -> frozenset[int]:
    return frozenset(start + step for step in steps_within(window, num_steps - start))


def _official_steps(name: str, window: Window, start: int, num_steps: int) -> frozenset[int]:
    """Closed at both ends, but open for pixel-aware fusion."""
    first, last = num_steps * window[0], num_steps * window[1]
    if name == "fusion":
        return frozenset(step for step in range(num_steps) if first < step < last)
    return frozenset(step for step in range(num_steps) if first <= step <= last)
