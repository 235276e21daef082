"""One edit of one clip (`Unit`), its video (`Output`), and the interface of whoever makes it (`Entry`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import Field

from videoedit.config import Section
from videoedit.errors import VideoEditError
from videoedit.evaluation.results import MethodInfo
from videoedit.evaluation.suite import Edit, SuiteClip, content
from videoedit.files import digest
from videoedit.limits import read_text
from videoedit.media.video import VideoInfo, probe
from videoedit.runs.planning import Plan
from videoedit.runs.progress import Progress


@dataclass(frozen=True)
class Unit:
    """One edit of one clip under one seed."""

    clip: SuiteClip
    edit: Edit
    seed: int
    info: VideoInfo
    """Of the clip's file."""
    frames: range
    """Numbers, in the file, of the frames that the suite asks for."""

    @property
    def name(self) -> str:
        return f"{self.clip.id}/{self.edit.id}"


class StageCost(Section):
    """Time and memory of one stage of a run. A stage that several edits share has the same key in each."""

    key: str
    seconds: float
    cpu_seconds: float
    peak_memory_mb: float


class Output(Section):
    """A unit's video and what it took; paths are relative to the results' folder."""

    video: str
    """To look at."""
    files: tuple[str, ...] = ()
    """A video, or one picture a frame, to measure where `video` is only a copy of it. Any paths."""
    frames: tuple[int, int, int]
    """Frames of the clip that it covers: first, stride, count."""
    keyframes: tuple[int, ...] = ()
    """Positions in the video."""
    stages: dict[str, StageCost] = Field(default_factory=dict)
    """Empty if the cost is not known."""
    notes: tuple[str, ...] = ()


def cost_of(output: Output, others: Iterable[Output] = ()) -> dict[str, float]:
    """Cost of a unit; a stage that served `others` too counts in equal parts. Empty if it is not known."""
    if not output.stages:
        return {}
    served: Counter[tuple[str, str]] = Counter()
    for one in (output, *others):
        for name, stage in one.stages.items():
            served[name, stage.key] += 1
    seconds, cpu_seconds = [], []
    for name, stage in output.stages.items():
        seconds.append(stage.seconds / served[name, stage.key])
        cpu_seconds.append(stage.cpu_seconds / served[name, stage.key])
    return {
        "seconds": round(sum(seconds), 3),
        "cpu_seconds": round(sum(cpu_seconds), 3),
        "peak_memory_mb": max(stage.peak_memory_mb for stage in output.stages.values()),
    }


class Entry(Protocol):
    """A row of the table."""

    @property
    def name(self) -> str: ...

    @property
    def is_seeded(self) -> bool:
        """True if seeds make a difference; otherwise it runs once, under the first."""
        ...

    @property
    def is_joint(self) -> bool:
        """True if all edits of a clip come out of one run and share its cost."""
        ...

    @property
    def info(self) -> MethodInfo: ...

    def identity(self, unit: Unit) -> dict[str, Any]:
        """All that the unit's video depends on but the clip's contents: settings, weights, version."""
        ...

    def plan(self, units: Sequence[Unit]) -> Plan | None:
        """Plan the work on these units, all of one clip and seed; None if it is not worth an estimate."""
        ...

    def edit(self, unit: Unit, folder: Path, progress: Progress) -> Output:
        """Make the unit's video below the results' `folder`; goes on where an earlier call stopped."""
        ...


class Kept(Section):
    """The file about a unit's video: its output, and a hash of all that it depends on."""

    key: str
    made: Output


def read_kept(path: Path) -> Kept | None:
    """None if the file is not there, or damaged."""
    try:
        return Kept.model_validate_json(read_text(path))
    except (OSError, ValueError):
        return None


def output_key(entry: Entry, unit: Unit) -> str:
    """A hash of all that a unit's video depends on."""
    return digest([content(unit.clip.path), entry.identity(unit)])


def probe_clip(clip: SuiteClip) -> tuple[VideoInfo, range] | str:
    """Facts of a clip's file and the numbers of the frames that the suite asks for, or why it cannot be read."""
    try:
        info = probe(clip.path)
    except VideoEditError as error:
        return str(error)
    frames = range(info.frames)[clip.start :: clip.stride]
    if not frames or len(frames) < (clip.frames or 1):
        return (
            f"{clip.path}: {clip.frames or 'all'} frames were asked for from frame {clip.start} at stride "
            f"{clip.stride}, but the clip has {info.frames}, which gives {len(frames)}"
        )
    frames = frames[: clip.frames]
    if clip.boxes is not None and len(clip.boxes) <= frames[-1]:
        return f"clip {clip.id!r} has boxes for {len(clip.boxes)} frames, expected one for each up to {frames[-1]}"
    return info, frames


def numbers_of(frames: range) -> tuple[int, int, int]:
    """First, stride, count."""
    return frames.start, frames.step, len(frames)
