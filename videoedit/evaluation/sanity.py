"""The rows that stand in every table: the source itself, and the source through the model's autoencoder.

Beside them, where the truth is known, what no one would take for an edit but a measure may: a box, a mosaic, a still.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from videoedit.config import RunConfig, deciding
from videoedit.evaluation.results import MethodInfo
from videoedit.evaluation.runs import claim, open_frames, output_of, weights_of
from videoedit.evaluation.suite import content
from videoedit.evaluation.units import Entry, Output, Unit, numbers_of
from videoedit.files import digest
from videoedit.media.video import read_video, stretch_frames, write_clip
from videoedit.metrics.sample import inside_boxes
from videoedit.models.shape import size_for
from videoedit.runs.folder import open_workspace
from videoedit.runs.planning import Plan
from videoedit.runs.progress import Progress
from videoedit.runs.steps import Steps
from videoedit.types import Video


@dataclass
class Identity:
    """The source itself, written by the writer that writes edits: what doing nothing scores."""

    name: str = "identity"
    is_seeded: bool = False
    is_joint: bool = False

    @property
    def info(self) -> MethodInfo:
        return MethodInfo(label="source, copied", settings={}, model="", licence="Apache-2.0", imported=False)

    def identity(self, unit: Unit) -> dict[str, Any]:
        return {"frames": numbers_of(unit.frames)}

    def plan(self, units: Sequence[Unit]) -> Plan | None:
        return None

    def edit(self, unit: Unit, folder: Path, progress: Progress) -> Output:
        return _write_sanity(self, unit, folder, lambda video: video.frames)


@dataclass
class RoundTrip:
    """The source encoded and decoded once by the model's autoencoder: what no edit by the model can keep."""

    settings: RunConfig
    name: str = "vae"
    is_seeded: bool = False
    is_joint: bool = False

    @property
    def info(self) -> MethodInfo:
        return MethodInfo(
            label="autoencoder, there and back",
            settings={"size": self.settings.model_dump(mode="json")["video"]["size"]},
            model=self.settings.model,
            licence="Apache-2.0",
            imported=False,
        )

    def identity(self, unit: Unit) -> dict[str, Any]:
        values = deciding(self.settings)
        kept = {name: values[name] for name in ("model", "device", "dtype")} | {"size": values["video"]["size"]}
        return kept | {"frames": numbers_of(unit.frames), "weights": weights_of(self.settings)}

    def plan(self, units: Sequence[Unit]) -> Plan | None:
        return None

    def edit(self, unit: Unit, folder: Path, progress: Progress) -> Output:
        return _write_sanity(self, unit, folder, self._round_trip)

    def _round_trip(self, video: Video, chunk: int = 8) -> Iterator[np.ndarray]:
        """Frames as they come back, so many at a time; the model is let go afterwards, others need the memory."""
        from videoedit.diffusion import latents as codec
        from videoedit.models.loading import load_models

        c = self.settings
        models = load_models(c.model, device=c.device, dtype=c.dtype, allow_pickle=c.allow_pickle)
        size = size_for(models, video, c.video.size)
        frames = (stretch_frames(frame, size) for frame in video.frames)
        while some := list(itertools.islice(frames, chunk)):
            pixels = codec.frames_to_pixels(np.stack(some)).to(models.device, models.dtype)
            yield from codec.pixels_to_frames(codec.decode(models.vae, codec.encode(models.vae, pixels)))


@dataclass
class Fake:
    """The ground truth spoilt as `FAKES` says: what a measure of edits must not prefer to an edit."""

    name: str
    is_seeded: bool = False
    is_joint: bool = False

    @property
    def info(self) -> MethodInfo:
        label, _ = _FAKES[self.name]
        return MethodInfo(label=label, settings={}, model="", licence="Apache-2.0", imported=False)

    def identity(self, unit: Unit) -> dict[str, Any]:
        assert unit.edit.truth is not None
        return {"frames": numbers_of(unit.frames), "truth": content(unit.edit.truth), "boxes": unit.clip.boxes}

    def plan(self, units: Sequence[Unit]) -> Plan | None:
        return None

    def edit(self, unit: Unit, folder: Path, progress: Progress) -> Output:
        return _write_sanity(self, unit, folder, lambda video: self._spoilt(unit), Path(unit.edit.id))

    def _spoilt(self, unit: Unit) -> np.ndarray:
        assert unit.edit.truth is not None and unit.clip.boxes is not None
        numbers = unit.frames
        truth = read_video(unit.edit.truth, start=numbers.start, stride=numbers.step, num_frames=len(numbers)).frames
        size = unit.info.width, unit.info.height
        boxes = np.array([unit.clip.boxes[i] for i in numbers]) * (size * 2)
        return _FAKES[self.name][1](stretch_frames(truth, size), boxes)


def rectangle(frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Frames uint8 [F, H, W, 3] with boxes [F, 4] (pixels) filled with the median color of their middles."""
    color = np.median(frames[inside_boxes(boxes, *frames.shape[1:3], scale=0.5)], axis=0)
    return np.where(inside_boxes(boxes, *frames.shape[1:3])[..., None], color.astype(np.uint8), frames)


def mosaic(frames: np.ndarray, boxes: np.ndarray, tiles: int = 12) -> np.ndarray:
    """Frames uint8 [F, H, W, 3] in `tiles` x `tiles` flat tiles."""
    size = frames.shape[2], frames.shape[1]
    coarse = [cv2.resize(frame, (tiles, tiles), interpolation=cv2.INTER_AREA) for frame in frames]
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_NEAREST) for frame in coarse])


def frozen(frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The first of frames uint8 [F, H, W, 3], as often as there are frames."""
    return np.repeat(frames[:1], len(frames), axis=0)


_FAKES: dict[str, tuple[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "rectangle": ("a flat box on the true path", rectangle),
    "mosaic": ("the truth in 12 x 12 tiles", mosaic),
    "frozen": ("the truth's first frame, held", frozen),
}


def _write_sanity(
    entry: Entry, unit: Unit, folder: Path, make: Callable[[Video], Iterable[np.ndarray]], below: Path = Path()
) -> Output:
    """One video for all edits of the clip, or one in a folder `below`, at the clip's size, rate and sound."""
    identity = entry.identity(unit) | {"clip": content(unit.clip.path)}
    place = claim(folder / "runs" / entry.name / unit.clip.id / below, identity)
    target = place / "video.mp4"
    with open_workspace(place, method=entry.name, clip=unit.clip.path, sha256=digest(identity)) as workspace:
        steps = Steps(workspace)
        workspace.record["calls"].append({"config": identity, "steps": steps.status})

        def write() -> None:
            video = open_frames(unit, unit.frames)
            write_clip(target, make(video), video, (video.width, video.height))

        steps.keep(entry.name, write, needs={"identity": identity}, files=[target.name])
        workspace.record["status"] = "finished"
        workspace.save()
        return output_of(target, folder, unit.frames, workspace.record)
