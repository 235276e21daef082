"""What became of the file (frames, rate, size, sound) and what the edit took (time, memory)."""

from __future__ import annotations

import math

from videoedit.metrics.sample import Facts, Figure, Material


def frame_share(output: Facts, wanted: Facts) -> float:
    """Frames that are there over those asked for; below 1 where a method drops the tail of a clip."""
    return output.frames / wanted.frames if wanted.frames else math.nan


def rate_parity(output: Facts, wanted: Facts) -> float:
    """Frame rate over the one asked for; exact for rational rates (30000/1001)."""
    return float(output.fps / wanted.fps) if wanted.fps else math.nan


def duration_parity(output: Facts, wanted: Facts) -> float:
    """Seconds over those asked for."""
    return float(output.seconds / wanted.seconds) if wanted.seconds else math.nan


def size_parity(output: Facts, wanted: Facts) -> float:
    """Shorter over longer of the two widths, times the same of the heights: 1 only for the same size."""
    sides = list(zip(output.size, wanted.size, strict=True))
    return math.prod(min(pair) / max(pair) for pair in sides) if all(map(all, sides)) else math.nan


def audio_parity(output: Facts, wanted: Facts) -> float:
    """1 if sound that should be there is, 0 if not; ``nan`` if none should."""
    return float(output.audio) if wanted.audio else math.nan


# ------------------------------------------------------------------------------------------- of a material


def _facts(material: Material) -> tuple[Facts, Facts]:
    assert material.output is not None and material.wanted is not None
    return material.output, material.wanted


def frame_share_of(material: Material) -> float:
    return frame_share(*_facts(material))


def rate_parity_of(material: Material) -> float:
    return rate_parity(*_facts(material))


def duration_parity_of(material: Material) -> float:
    return duration_parity(*_facts(material))


def size_parity_of(material: Material) -> float:
    return size_parity(*_facts(material))


def audio_parity_of(material: Material) -> Figure:
    value = audio_parity(*_facts(material))
    return Figure(value, reason="the source has no sound" if math.isnan(value) else "")


def seconds_per_frame_of(material: Material) -> Figure:
    return _cost(material, "seconds", _frames(material))


def cpu_seconds_per_frame_of(material: Material) -> Figure:
    return _cost(material, "cpu_seconds", _frames(material))


def peak_memory_of(material: Material) -> Figure:
    return _cost(material, "peak_memory_mb", 1)


def _frames(material: Material) -> int:
    """Frames that the edit made: those of its file where that is known."""
    return material.output.frames if material.output else len(material.frames)


def _cost(material: Material, name: str, share: int) -> Figure:
    value = material.cost.get(name)
    return Figure(math.nan, reason=f"{name} was not recorded") if value is None else Figure(value / share)
