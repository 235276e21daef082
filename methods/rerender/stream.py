"""The parts of a run that choose its key frames, and that carry them to every frame of its clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rerender import keyframes as choosing
from rerender.config import KeyframesConfig, PropagateConfig
from rerender.propagation.interval import Interval, intervals
from rerender.propagation.units import Context, count_steps, make_frames, read_figures, stitch
from videoedit.deliver import StreamedEdit
from videoedit.media.images import Pictures
from videoedit.metrics.streams import FrameMeasures
from videoedit.motion.cache import FlowCache
from videoedit.motion.estimators import FlowEstimator, flow_name, flow_pair, load_flow
from videoedit.runs.clip import Clip
from videoedit.runs.steps import Step, Steps

if TYPE_CHECKING:
    import torch

FRAMES, ALPHA = "frames", "alpha"  # the folders of finished frames, and of their opacity
FLOW = "flow"  # the folder of the flow that was estimated

# -------------------------------------------------------------------------------------------------- choosing


@dataclass(frozen=True)
class Chosen:
    """The key frames of a clip."""

    indices: tuple[int, ...]
    cuts: tuple[int, ...]  # first frames of the shots after the first

    @property
    def identity(self) -> dict[str, Any]:
        return {"indices": self.indices, "cuts": self.cuts}


def choose_keyframes(config: KeyframesConfig, clip: Clip, steps: Steps) -> Chosen:
    """Find scene cuts and choose key frames of a streamed clip, whose frames are compared at its working size."""
    found = steps.keep(
        "key frames",
        lambda: _choose(config, clip.num_frames, clip.stream).identity,
        needs={"clip": clip, "keyframes": config},
    ).value
    chosen = Chosen(tuple(found["indices"]), tuple(found["cuts"]))
    if chosen.cuts:
        steps.note(f"Scene cuts before frames {list(chosen.cuts)}: nothing is carried over them.")
    if config.interval is None and len(chosen.indices) > config.most:
        steps.note(
            f"There are {len(chosen.indices)} key frames, more than keyframes.most = {config.most}: "
            f"the first and the last frame of each of {len(chosen.cuts) + 1} shots."
        )
    return chosen


def _choose(config: KeyframesConfig, count: int, frames: Callable[[], Iterator[np.ndarray]]) -> Chosen:
    cuts = choosing.scene_cuts(frames()) if config.scene_cuts else ()
    if config.indices is not None:
        return Chosen(choosing.explicit(count, config.indices, cuts), cuts)
    changes = choosing.changes(frames()) if config.adaptive else None

    def rule(interval: int) -> tuple[int, ...]:
        if changes is None:
            return choosing.uniform(count, interval, cuts)
        return choosing.adaptive(changes, (interval + 1) // 2, interval, cuts)

    keys = choosing.at_most(config.most, count, rule) if config.interval is None else rule(config.interval)
    return Chosen(keys, cuts)


# ----------------------------------------------------------------------------------------------- propagating


def flow_of(steps: Steps, estimator: FlowEstimator) -> Any:
    """Flow between two frames by their numbers, kept in the run's folder; see `flow_pair`."""
    return partial(flow_pair, estimator, cache=FlowCache(steps.path(FLOW), estimator.name))


@dataclass
class Propagation:
    """A clip and its edited key frames, on the way to all its frames.

    `keyframes` are the files of the edited key frames at the working size, by index, and `contents` their hashes.
    """

    config: PropagateConfig
    clip: Clip
    steps: Steps
    keyframes: Mapping[int, Path]
    contents: Mapping[int, str]
    cuts: Sequence[int]
    seed: int
    name: str = "propagate"  # of the step
    device: torch.device | None = None  # of the optical flow; without one, the best there is
    alpha: bool = False  # carry the opacity of the key frames in place of their colors

    @cached_property
    def intervals(self) -> tuple[Interval, ...]:
        return intervals(self.clip.num_frames, self.keyframes, self.cuts)

    @cached_property
    def estimator(self) -> FlowEstimator:
        return load_flow(self.config.flow, self.device)

    @cached_property
    def pictures(self) -> Pictures:
        """The edited key frames, read from disk one at a time."""
        return Pictures(self.keyframes, self.clip.size, alpha=self.alpha)

    def needs(self, interval: Interval) -> dict[str, Any]:
        """All that the frames of an interval follow from; frames count by their numbers in the file."""
        numbers, flow = self.clip.numbers, flow_name(self.config.flow)
        settings = {name: value for name, value in self.config.model_dump().items() if name not in ("workers", "flow")}
        return {
            "clip": self.clip.sha256,
            "size": "{}x{}".format(*self.clip.size),
            "frames": [numbers[index] for index in (interval.start, interval.stop - 1)] + [numbers.step],
            "left": None if interval.left is None else self.contents[interval.left],
            "right": None if interval.right is None else self.contents[interval.right],
            "flow": flow,
            "flow_from": interval.start if flow.startswith("files-") else None,  # files go by indices
            "seed": self.seed,
            **settings,
        }

    @cached_property
    def step(self) -> Step:
        """The frames of every interval, made if they are not kept; each interval lies in an archive of its own."""
        parts = {interval.stem: interval for interval in self.intervals}

        def make(missing: Mapping[str, Path]) -> None:
            targets = {parts[stem]: path for stem, path in missing.items()}
            self.make_archives(targets, self.steps.scratch(".work"))

        needs = {stem: self.needs(interval) for stem, interval in parts.items()}
        return self.steps.parts(self.name, f"{ALPHA if self.alpha else FRAMES}/{{}}.zip", needs, make)

    def make_archives(self, targets: Mapping[Interval, Path], work: Path) -> None:
        """Make the frames of intervals, each into its archive; what is unfinished lies in the folder `work`."""
        context = Context(work, self.config, self.estimator, self.seed, self.steps.path(FLOW))
        with self.steps.progress.stage(self.name, count_steps(targets), count_steps(targets, context)) as advance:
            make_frames(self.clip.stream(), self.pictures, targets, context, advance)

    @property
    def archives(self) -> dict[Interval, Path]:
        """The files of the finished frames of each interval."""
        return dict(zip(self.intervals, self.step.paths.values(), strict=True))

    def measures(self) -> FrameMeasures:
        """Figures of one version of the clip, on the flow that the run has kept."""
        return FrameMeasures(flow_of(self.steps, self.estimator), self.clip.stream(), self.cuts)

    def edit(self, title: str, file: str, *, prompt: str = "", reference: Path | None = None) -> StreamedEdit:
        """All frames of the clip, as an edit to deliver.

        Its series are warp error, color drift, sharpness, patch error, share taken from the later key frame, and seams,
        of every frame.
        """
        count, needs = self.clip.num_frames, {"keyframes": dict(self.contents), "cuts": list(self.cuts)}
        return StreamedEdit(
            title,
            lambda: stitch(count, self.pictures, self.archives),
            {"frames": self.step, **needs},
            file,
            tuple(self.keyframes),
            lambda: [self.measures()],
            lambda: read_figures(count, self.archives),
            lambda series: {"warp_error@1": float(np.mean(series["warp_error"]))},
            prompt,
            reference,
        )


def propagate(
    config: PropagateConfig,
    clip: Clip,
    steps: Steps,
    *,
    title: str,
    file: str,
    prompt: str = "",
    reference: Path | None = None,
    **given: Any,
) -> StreamedEdit:
    """Carry edited key frames to every frame of a streamed clip; `given` are the other fields of `Propagation`."""
    return Propagation(config, clip, steps, **given).edit(title, file, prompt=prompt, reference=reference)
