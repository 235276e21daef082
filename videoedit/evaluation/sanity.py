"""The rows that stand in every table: the source itself, and the source through the model's autoencoder."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from videoedit.config import RunConfig, deciding
from videoedit.evaluation.results import MethodInfo
from videoedit.evaluation.runs import claim, open_frames, output_of, weights_of
from videoedit.evaluation.suite import content
from videoedit.evaluation.units import Entry, Output, Unit, numbers_of
from videoedit.files import digest
from videoedit.media.video import stretch_frames, write_clip
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


def _write_sanity(entry: Entry, unit: Unit, folder: Path, make: Callable[[Video], Iterable[np.ndarray]]) -> Output:
    """One video for all edits of the clip, at the clip's size, rate and sound."""
    identity = entry.identity(unit) | {"clip": content(unit.clip.path)}
    place = claim(folder / "runs" / entry.name / unit.clip.id, identity)
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
