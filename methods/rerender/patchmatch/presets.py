"""How long the engine searches: four named presets."""

from __future__ import annotations

from dataclasses import dataclass

from videoedit.errors import ConfigError


@dataclass(frozen=True)
class Preset:
    """The work done at every level of the pyramid.

    `votes` times: improve the field by `passes` sweeps, then vote for the image anew. Pixels whose surroundings
    changed by less than `stop` grey levels in the last vote are left alone (0: none are), as in EbSynth's CUDA backend.
    """

    votes: int
    passes: int
    stop: int


PRESETS = {
    "official": Preset(votes=12, passes=6, stop=0),
    "default": Preset(votes=12, passes=6, stop=5),
    "fast": Preset(votes=6, passes=4, stop=5),
    "preview": Preset(votes=4, passes=2, stop=5),
}


def named(name: str) -> Preset:
    """The preset of this name; ConfigError for any other."""
    if name not in PRESETS:
        raise ConfigError(f"unknown patch-match preset {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
