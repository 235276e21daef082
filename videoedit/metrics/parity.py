"""Measures of the written file (frames, rate, size, sound) and of the cost of the edit (time, memory)."""

from __future__ import annotations

import math

from videoedit.metrics.sample import Facts, Figure, Sample


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


# ------------------------------------------------------------------------------------------- of a sample


def _facts(sample: Sample) -> tuple[Facts, Facts]:
    assert sample.output is not None and sample.wanted is not None
    return sample.output, sample.wanted


def frame_share_of(sample: Sample) -> float:
    return frame_share(*_facts(sample))


def rate_parity_of(sample: Sample) -> float:
    return rate_parity(*_facts(sample))


def duration_parity_of(sample: Sample) -> float:
    return duration_parity(*_facts(sample))


def size_parity_of(sample: Sample) -> float:
    return size_parity(*_facts(sample))


def audio_parity_of(sample: Sample) -> Figure:
    value = audio_parity(*_facts(sample))
    return Figure(value, reason="the source has no sound" if math.isnan(value) else "")


def seconds_per_frame_of(sample: Sample) -> Figure:
    return _cost(sample, "seconds", _frames(sample))


def cpu_seconds_per_frame_of(sample: Sample) -> Figure:
    return _cost(sample, "cpu_seconds", _frames(sample))


def peak_memory_of(sample: Sample) -> Figure:
    return _cost(sample, "peak_memory_mb", 1)


def _frames(sample: Sample) -> int:
    """Frames that the edit made: those of its file where that is known."""
    return sample.output.frames if sample.output else len(sample.frames)


def _cost(sample: Sample, name: str, share: int) -> Figure:
    value = sample.cost.get(name)
    return Figure(math.nan, reason=f"{name} was not recorded") if value is None else Figure(value / share)
