"""Settings of framewise SDEdit, and what they cost."""

from pydantic import Field

from videoedit.config import EditsConfig, Section
from videoedit.runs.planning import Scene, StagePlan


class SampleConfig(Section):
    """DDIM sampling of a frame that was noised part of the way."""

    steps: int = Field(default=50, ge=1)
    """Steps from pure noise; `strength` says how many of them run."""
    guidance_scale: float = Field(default=7.5, ge=0)
    """Classifier-free guidance; 1: none."""
    strength: float = Field(default=0.6, gt=0, le=1)
    """Share of noise at the start: near 0 all of a frame is kept, at 1 hardly anything."""

    @property
    def first_step(self) -> int:
        """The first of the steps that runs; at least the last one does."""
        return min(round(self.steps * (1 - self.strength)), self.steps - 1)


class FramewiseConfig(EditsConfig):
    """Everything a framewise run depends on."""

    sample: SampleConfig = SampleConfig()


def plan(config: FramewiseConfig, scene: Scene) -> tuple[list[StagePlan], list[str]]:
    """An edit's frames, steps and operations, for each prompt."""
    run = config.sample.steps - config.sample.first_step
    batch = 1 if config.sample.guidance_scale == 1 else 2
    one = scene.known_shape.operations(scene.size, batch) if scene.known_shape else 0.0
    stages = []
    for number, prompt in enumerate(config.prompts, 1):
        what = f"{scene.frames} frames x {run} DDIM steps to {prompt!r}"
        stages.append(StagePlan(f"edit {number}", what, flops=scene.frames * run * one))
    return stages, []
