"""Folders of the runs that entries make, and what their records say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from videoedit.config import ClipConfig
from videoedit.evaluation.units import Output, StageCost, Unit, numbers_of
from videoedit.files import digest, relative, write_text
from videoedit.limits import parse_json, read_text
from videoedit.media.video import open_video
from videoedit.models.shape import local_folder
from videoedit.runs.folder import latest_call
from videoedit.types import Video

NOT_COUNTED = "measure"  # stages of this name, or that begin with it, are no cost of the edit


def claim(place: Path, identity: dict[str, Any]) -> Path:
    """A run's folder for work of this identity: what an earlier identity left there is removed first."""
    mark, key = place / ".bench.json", digest(identity)
    try:
        known = parse_json(read_text(mark)).get("key")
    except (OSError, ValueError, AttributeError):
        known = None
    if known != key:
        if place.exists():
            shutil.rmtree(place)
        write_text(mark, json.dumps({"key": key, "identity": identity}, indent=1, default=str))
    return place


def output_of(video: Path, folder: Path, frames: range, record: dict[str, Any], notes: tuple[str, ...] = ()) -> Output:
    """The video that a run made, with the stages and notes that the run's record holds."""
    stages: dict[str, StageCost] = {}
    for name, stage in latest_call(record)["stages"].items():
        if not name.startswith(NOT_COUNTED):
            stages[name] = StageCost(**{field: stage[field] for field in StageCost.model_fields})
    return Output(
        video=relative(video, folder),
        frames=numbers_of(frames),
        keyframes=tuple(record.get("keyframes") or ()),
        stages=stages,
        notes=(*record.get("notes", ()), *notes),
    )


def open_frames(unit: Unit, frames: range) -> Video:
    """The unit's clip as a stream of these frames."""
    return open_video(unit.clip.path, start=frames.start, stride=frames.step, num_frames=len(frames))


def weights_of(config: ClipConfig) -> str:
    """A hash of the model's weights if they are on this disk, else the model's name."""
    from videoedit.models.weights import fingerprint

    model = getattr(config, "model", "")
    folder = local_folder(model)
    file = Path(model).expanduser()
    return fingerprint(folder) if folder else fingerprint(file) if model and file.is_file() else model
