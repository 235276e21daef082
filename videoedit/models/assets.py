"""The model and the clips that the package brings, by their folders and their name."""

from __future__ import annotations

from pathlib import Path

_ASSETS = Path(__file__).parents[1] / "assets"
MINI = _ASSETS / "mini"  # the embedded model, in diffusers' layout
MINI_CLIP = MINI / "clip"  # the CLIP that was trained beside it
JUDGE = _ASSETS / "judge"  # what names and finds the subject of rendered clips, for measures
TERMS = "Apache-2.0, trained on pictures made from Fluent Emoji (MIT, Microsoft); see its model card."


def is_embedded(model: str | Path) -> bool:
    """True of the embedded model's name: it knows only rendered scenes, and only there its CLIP can be trusted."""
    return str(model) == "mini"
