"""The paper's four applications on the rendered clips with the embedded model: figures and a contact sheet.

For each bundled clip: one tuning and four edits (subject, background, attribute, style), and the same edits
"untuned": the image model on each frame alone, from the same inverted noise. The ground truth of every edit is known.
Means over the clips; the measures are those of the toolkit's reports.

Usage: python benchmarks/bench_applications.py [--work DIR] [--config FILE]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import publish
from results_schema import Row, row

from tuneavideo.config import TuneAVideoConfig
from videoedit.config import build_config
from videoedit.media.video import read_video
from videoedit.metrics import METRICS
from videoedit.pages.contact_sheet import contact_sheet
from videoedit.pipeline import demo_config, run_method
from videoedit.runs.progress import Progress

ROOT = Path(__file__).parents[1]
CLIPS = ROOT / "videoedit/assets/clips"
TITLE = "Tune-A-Video: the four applications, tuned and untuned"
FRAME_WISE = {"attention": "self", "group_norm": "frame"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "videoedit-applications")
    parser.add_argument("--sheet", type=Path, default=ROOT / "docs/applications.png")
    arguments = parser.parse_args()
    demo = demo_config("tuneavideo").model_dump(mode="json")
    settings = {name: demo[name] for name in ("network", "tune", "invert", "sample")}
    rows: dict[str, np.ndarray] = {}
    figures: list[dict[str, Any]] = []
    for name, clip in json.loads((CLIPS / "demo.json").read_text())["clips"].items():
        edits = clip["edits"]
        base = {
            "clip": str(CLIPS / clip["clip"]),
            "source_prompt": clip["prompt"],
            "prompts": [edit["prompt"] for edit in edits.values()],
            "truth": [str(CLIPS / edit["ground_truth"]) for edit in edits.values()],
            **settings,
        }
        tuned = run(base, arguments.work / f"{name}-tuned")
        untuned = {
            **base,
            "network": FRAME_WISE,
            "tune": {"steps": 0},
            "invert": {**settings["invert"], "latents": str(arguments.work / f"{name}-tuned/inverted.safetensors")},
        }
        alone = run(untuned, arguments.work / f"{name}-untuned")
        rows[f"{clip['prompt']} (source)"] = shown(Path(base["clip"]))
        for kind, edit in edits.items():
            prompt = edit["prompt"]
            rows[f"{kind}: {prompt}"] = shown(tuned.videos[prompt])
            figures.append(
                {"clip": name, "application": kind, "tuned": tuned.metrics[prompt], "untuned": alone.metrics[prompt]}
            )
    arguments.sheet.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(arguments.sheet), contact_sheet(rows, columns=8)[..., ::-1])
    publish("applications", TITLE, rows_of(figures), method=__doc__, settings=settings)


def run(data: dict[str, Any], folder: Path) -> Any:
    return run_method("tuneavideo", build_config(TuneAVideoConfig, data), folder, progress=Progress())


def shown(path: Path) -> np.ndarray:
    return read_video(path, stride=3).frames


def rows_of(figures: list[dict[str, Any]]) -> Iterator[Row]:
    """Means over all edits and over those of each application; `values` in the order of the clips."""
    for group in ("all edits", *dict.fromkeys(f["application"] for f in figures)):
        chosen = [f for f in figures if group in ("all edits", f["application"])]
        for name in [name for name in METRICS if name in figures[0]["tuned"]]:
            for kind in ("tuned", "untuned"):
                values = [f[kind][name] for f in chosen if np.isfinite(f[kind][name])]
                if values:
                    better = METRICS[name].better
                    yield row(kind, name, float(np.mean(values)), group=group, better=better, values=values)


if __name__ == "__main__":
    main()
