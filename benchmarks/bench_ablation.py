"""What each constraint of the key-frame translation does: key frames of rendered clips with one of them switched off.

Two edits of every clip are translated on the embedded model at key frames 6 apart, with all constraints and without
each; means over the six edits. Figures, over pairs of key frames (each with the one before, and with the anchor), the
earlier one moved along the source's flow onto the later, where that is visible:

- warp error: mean difference of the pixels, 0 to 255;
- shape drift: the same of the pictures less their local means (5x5), which leaves edges and texture;
- colour drift: difference of the CIELAB means plus that of the standard deviations, against the anchor;
- edge F1 with the source: how much of its shape stays.

Usage: python benchmarks/bench_ablation.py [--sheet docs/ablation.png]
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import publish
from results_schema import Better, Row, row

from rerender.config import TranslateConfig
from rerender.keyframes import uniform
from rerender.translation.keyframe import Translator
from videoedit.controls.controlnets import Controls, ControlSpec, load_controls
from videoedit.media.video import read_video, stretch_frames
from videoedit.metrics import edge_f1
from videoedit.models.loading import load_models
from videoedit.motion.estimators import flow_pair, load_flow
from videoedit.pages.contact_sheet import contact_sheet

ROOT = Path(__file__).parents[1]
CLIPS = ROOT / "videoedit/assets/clips"
INTERVAL = 6
SIZE = (128, 128)
SETTINGS: dict[str, Any] = {"strength": 0.85, "guidance_scale": 3.0}  # those of the demo
WITHOUT: dict[str, dict[str, Any]] = {
    "all constraints": {},
    "no cross-frame attention": {"attention_window": None},
    "no shape-aware fusion": {"shape_window": None},
    "no pixel-aware fusion": {"fusion_window": None},
    "no fidelity encoding": {"fidelity": False},
    "no AdaIN": {"adain_window": None},
    "none of these": {
        "attention_window": None,
        "shape_window": None,
        "fusion_window": None,
        "adain_window": None,
    },
    "no ControlNet": {},
}
BETTER: dict[str, Better] = {
    "warp_error": "lower",
    "shape_drift": "lower",
    "colour_drift": "lower",
    "edge_f1": "higher",
}
EDITS = ("background", "attribute")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sheet", type=Path, default=ROOT / "docs/ablation.png")
    arguments = parser.parse_args()
    models, estimator = load_models("mini"), load_flow("auto")
    controls = load_controls([ControlSpec.parse("canny")], models)
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in WITHOUT}
    rows: dict[str, np.ndarray] = {}
    for name, clip in json.loads((CLIPS / "demo.json").read_text())["clips"].items():
        frames = stretch_frames(read_video(CLIPS / clip["clip"]).frames, SIZE)
        for kind in EDITS:
            prompt = clip["edits"][kind]["prompt"]
            for variant, changes in WITHOUT.items():
                used = Controls() if variant == "no ControlNet" else controls
                edited = translate(models, used, changes, estimator, frames, prompt)
                figures[variant].append(measure(frames, edited, estimator))
                if name == "car-grass" and kind == "background":
                    rows[variant] = np.stack(list(edited.values()))
    cv2.imwrite(str(arguments.sheet), contact_sheet(rows, columns=8)[..., ::-1])
    about = {"flow": estimator.name, "interval": INTERVAL} | SETTINGS
    publish("ablation", "Rerender: each constraint switched off", rows_of(figures), method=__doc__, settings=about)


def rows_of(figures: dict[str, list[dict[str, float]]]) -> Iterator[Row]:
    for variant, found in figures.items():
        for key, better in BETTER.items():
            values = [one[key] for one in found]
            yield row(variant, key.replace("_", " "), float(np.mean(values)), better=better, values=values)


def translate(
    models: Any, controls: Controls, changes: dict[str, Any], estimator: Any, frames: np.ndarray, prompt: str
) -> dict[int, np.ndarray]:
    """Edited key frames by number."""
    settings = TranslateConfig(**SETTINGS, **changes)
    motion = partial(flow_pair, estimator)
    translator = Translator(models, controls, settings, motion, prompt=prompt)
    return {index: translator.translate(frames[index], index) for index in uniform(len(frames), INTERVAL)}


def measure(frames: np.ndarray, edited: dict[int, np.ndarray], estimator: Any) -> dict[str, float]:
    keys = list(edited)
    pairs = [*itertools.pairwise(keys), *((keys[0], key) for key in keys[2:])]
    drifts = [drift(frames, edited, pair, estimator) for pair in pairs]
    tones = {key: tone(image) for key, image in edited.items()}
    return {
        "warp_error": float(np.mean([warped for warped, _ in drifts])),
        "shape_drift": float(np.mean([shape for _, shape in drifts])),
        "colour_drift": float(np.mean([np.abs(tones[key] - tones[keys[0]]).mean(-1).sum() for key in keys[1:]])),
        "edge_f1": edge_f1(np.stack(list(edited.values())), frames[keys]),
    }


def drift(
    frames: np.ndarray, edited: dict[int, np.ndarray], pair: tuple[int, int], estimator: Any
) -> tuple[float, float]:
    """(warp error, shape drift) from one key frame to a later one."""
    first, second = pair
    motion = flow_pair(estimator, frames[first], frames[second], indices=pair)
    visible = ~motion.occ_bwd[0, 0].numpy()
    x, y = (plane + flow for plane, flow in zip(np.indices(visible.shape)[::-1], motion.bwd[0].numpy(), strict=True))
    moved = cv2.remap(edited[first].astype(np.float32), x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
    there = edited[second].astype(np.float32)
    shape = details(moved) - details(there)
    return float(np.abs(moved - there)[visible].mean()), float(np.abs(shape)[visible].mean())


def details(image: np.ndarray) -> np.ndarray:
    grey = image.mean(-1)
    return grey - cv2.blur(grey, (5, 5))


def tone(image: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of each Lab channel, [2, 3]."""
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    return np.stack([lab.mean(0), lab.std(0)])


if __name__ == "__main__":
    main()
