"""Whether the source's motion survives an edit: Tune-A-Video's own way, structure control and ControlNets.

Edits are drawn by a seed over the embedded model's words, none left out: for each bundled clip that says where its
subject is, half of them change the subject and its color, half the place, too. They are edited on the embedded model
with its preset and each setting below, one tuning a clip; `path_correlation@1` and `path_error@1` (share of the width)
say how well what moves follows the true path, `subject@1` in how many frames the judge sees the right subject, and
`motion@1` whether that subject moves as it should. The first half of each clip's edits is there to choose a setting
by, the second half to report it on.

Usage: python benchmarks/bench_motion.py --work FOLDER [--edits 8] [--seed 13]   (goes on where it was stopped)
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import publish
from results_schema import Better, Row, row

from tuneavideo.config import TuneAVideoConfig
from videoedit.config import build_config
from videoedit.media.images import contact_rows, write_image
from videoedit.media.video import read_video
from videoedit.metrics import catalogue, measure
from videoedit.metrics.sample import Sample
from videoedit.pipeline import run_method

ROOT = Path(__file__).parents[1]
CLIPS = ROOT / "videoedit/assets/clips"
SUBJECTS = (
    "elephant", "giraffe", "cat", "rabbit", "swan", "turtle", "fish", "butterfly", "penguin", "flamingo", "snail",
    "car", "bus", "bicycle", "airplane", "sailboat", "rocket", "house", "umbrella", "mushroom",
)  # fmt: skip
COLORS = ["red", "orange", "yellow", "green", "blue", "purple", "pink"]
PLACES = {
    "grass": "on grass",
    "snow": "in the snow",
    "beach": "on the beach",
    "desert": "in the desert",
    "space": "in space",
    "city": "in the city",
    "underwater": "underwater",
    "forest": "in the forest",
}
METRICS: dict[str, Better] = {
    "motion@1": "higher",
    "subject@1": "higher",
    "path_correlation@1": "higher",
    "path_error@1": "lower",
}
SETTINGS: dict[str, dict[str, Any]] = {
    "the paper's": {},
    "features, queries, keys": {"structure": {"features": 0.5, "queries_keys": 0.5}},
    "canny 0.5, first half": {"controls": ["canny:0.5"], "control_window": [0.0, 0.5]},
    "canny 0.5, first third": {"controls": ["canny:0.5"], "control_window": [0.0, 0.33]},
    "canny 0.3, first half": {"controls": ["canny:0.3"], "control_window": [0.0, 0.5]},
    "both": {
        "structure": {"features": 0.5, "queries_keys": 0.5},
        "controls": ["canny:0.5"],
        "control_window": [0.0, 0.5],
    },
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--edits", type=int, default=8)
    parser.add_argument("--seed", type=int, default=13)
    arguments = parser.parse_args()
    clips = json.loads((CLIPS / "demo.json").read_text())["clips"]
    prompts = {name: drawn(name, clip, arguments.edits, arguments.seed) for name, clip in clips.items()}
    figures: dict[str, dict[str, list[dict[str, float]]]] = {setting: {} for setting in SETTINGS}
    for name, clip in clips.items():
        for setting, changes in SETTINGS.items():
            frames = edited(clip, prompts[name], changes, arguments.work / name, setting)
            boxes = np.array(clip["boxes"])
            if boxes.max() <= 2:
                boxes = boxes * 128
            figures[setting][name] = [measured(one, prompt, boxes) for prompt, one in frames.items()]
    about = {"seed": arguments.seed, "edits": prompts}
    publish("motion", "Motion of edits", rows_of(figures), method=__doc__, settings=about)


def drawn(name: str, clip: dict[str, Any], count: int, seed: int) -> list[str]:
    """Prompts of edits, each of another subject and color; every second one of another place, too."""
    rng = random.Random(f"{seed} {name}")
    found: list[str] = []
    while len(found) < count:
        subject, color, place = rng.choice(SUBJECTS), rng.choice(COLORS), clip["background"]
        if len(found) % 2:
            place = rng.choice([other for other in PLACES if other != clip["background"]])
        prompt = f"{'an' if color == 'orange' else 'a'} {color} {subject} moving {PLACES[place]}"
        if subject != clip["subject"] and prompt not in found:
            found.append(prompt)
    return found


def edited(
    clip: dict[str, Any], prompts: list[str], changes: dict[str, Any], folder: Path, setting: str
) -> dict[str, np.ndarray]:
    """Frames of each edit, uint8 [F, H, W, 3]; a sheet of them lies in `folder` afterwards."""
    given = {"clip": str(CLIPS / clip["clip"]), "source_prompt": clip["prompt"], "prompts": prompts, **changes}
    result = run_method("tuneavideo", build_config(TuneAVideoConfig, given), folder)
    frames = {prompt: read_video(result.videos[prompt]).frames for prompt in prompts}
    write_image(folder.with_name(f"{folder.name}-{setting}.png"), contact_rows(*(one[::4] for one in frames.values())))
    return frames


def measured(frames: np.ndarray, prompt: str, boxes: np.ndarray) -> dict[str, float]:
    """The figures of `METRICS`."""
    sample = Sample(frames, frames, prompt, boxes=boxes)
    return {name: measure(catalogue.METRICS[name], sample).value for name in METRICS}


def rows_of(figures: dict[str, dict[str, list[dict[str, float]]]]) -> Iterator[Row]:
    for setting, by_clip in figures.items():
        for half in ("to choose by", "to report on"):
            edits: list[dict[str, float]] = []
            for found in by_clip.values():
                middle = len(found) // 2
                edits += found[:middle] if half == "to choose by" else found[middle:]
            for metric, better in METRICS.items():
                values = [one[metric] for one in edits]
                middle_of = np.median if metric.startswith("path") else np.mean
                yield row(f"{setting}, {half}", metric, float(middle_of(values)), better=better, values=values)


if __name__ == "__main__":
    main()
