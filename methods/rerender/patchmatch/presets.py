"""The length of the engine's search: four named presets."""

from __future__ import annotations

import math
from dataclasses import dataclass

from videoedit.errors import ConfigError


@dataclass(frozen=True)
class Preset:
    """The work done at every level of the pyramid.

    `votes` times: improve the field by `passes` sweeps, then vote for the image anew. From the second time on, only
    pixels in whose patch the last vote changed something by `stop` grey levels or more are searched for (0: all are):
    the stop threshold of EbSynth's CUDA backend. Its own 5 gives up too early: errors in flat regions stay up to twice
    as high. Random patches are tried up to `reach` pixels away; what is farther, the coarser levels have found.
    """

    votes: int
    passes: int
    stop: int
    reach: float


PRESETS = {
    "official": Preset(
        votes=12, passes=6, stop=0, reach=math.inf
    ),  # what Rerender-A-Video asks of EbSynth's CPU backend
    "default": Preset(votes=12, passes=6, stop=1, reach=64),
    "fast": Preset(votes=6, passes=5, stop=1, reach=64),
    "preview": Preset(votes=4, passes=3, stop=1, reach=64),
}


def named(name: str) -> Preset:
    """The preset of this name; ConfigError for any other."""
    if name not in PRESETS:
        raise ConfigError(f"unknown patch-match preset {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
