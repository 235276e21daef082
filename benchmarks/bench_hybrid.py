"""The hybrid on a whole clip against Tune-A-Video on the frames that it can hold, brought to the clip's full rate.

Both tune with the settings of ``methods/hybrid/demo.yaml`` and make one edit. The hybrid edits at most 24 key frames
and makes all others from them. Tune-A-Video edits 24 frames, spread over the clip by a stride; to fill the places
between, each is held until the next, or two neighbours are blended by their distance in time. All are measured over the
frames that Tune-A-Video spans, at the clip's own size, with one and the same flow and occlusion, estimated on the
source by DIS. The source itself and the source held are measured alike: what the clip is like, and what holding alone
costs. Edit strength stands beside, for an edit that does nothing is perfectly smooth.

The flicker ratio takes motion for flicker: frames that are left out lower it, however they are filled in. So flicker is
also measured along the flow, as the mean change of what is seen in both of two neighbouring frames, and the largest
change from one frame to the next is given, which is what an eye sees of held frames.

Costs are the CPU seconds, child processes included, of all steps that make the edit, for each frame: of the hybrid for
each frame of the clip, of Tune-A-Video for each of those that it edits and for each of those that it spans.

Usage: python benchmarks/bench_hybrid.py CLIP [--source-prompt TEXT] [--prompt TEXT] [--set KEY=VALUE]... [--work DIR]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import publish
from results_schema import Row, row

from videoedit.config import build_config, parse_assignments, set_value
from videoedit.media.video import probe, read_video
from videoedit.metrics import METRICS, Sample, measure
from videoedit.metrics.motion import moved_pairs
from videoedit.metrics.pixels import changes
from videoedit.pages.contact_sheet import contact_sheet
from videoedit.pipeline import demo_config, run_method
from videoedit.plugins import get_method
from videoedit.runs.planning import DEFAULT_FRAMES
from videoedit.runs.progress import Progress

SHARED = ("network", "tune", "invert", "sample")  # sections that both methods have
FIGURES = ("warp_error@1", "warp_ssim@1", "flicker_ratio@1", "strength@1")
HYBRID, HELD, BLENDED = "hybrid", "tuneavideo, held", "tuneavideo, blended"
SOURCE, SOURCE_HELD = "source", "source, held"
SHOWING = ("measure", "reconstruct", "picture")  # beginnings of the names of steps that make nothing of the edit
SHOWN = 12  # frames in the contact sheet


def hold(frames: np.ndarray, stride: int) -> np.ndarray:
    """Each frame for `stride` places, the last for one: uint8 [F, H, W, 3] -> [(F - 1) * stride + 1, H, W, 3]."""
    return np.repeat(frames, stride, axis=0)[: (len(frames) - 1) * stride + 1]


def fade(frames: np.ndarray, stride: int) -> np.ndarray:
    """The same span, each place the mean of the two frames around it, weighted by nearness."""
    places = np.arange((len(frames) - 1) * stride + 1)
    before, after = places // stride, -(-places // stride)
    share = (places % stride / stride).astype(np.float32)[:, None, None, None]
    return np.rint(frames[before] * (1 - share) + frames[after] * share).astype(np.uint8)


def figures(sample: Sample) -> dict[str, float]:
    """Everything that is measured of one version of the clip."""
    along = [
        float(np.abs(moved - after)[visible].mean())
        for moved, after, visible in moved_pairs(sample.frames, sample.flow_bwd, sample.occ_bwd)
        if visible.any()
    ]
    own = {"flicker along the flow": float(np.mean(along)), "largest change of a frame": max(changes(sample.frames))}
    return {name: measure(METRICS[name], sample).value for name in FIGURES} | own


def edit(method: str, settings: Mapping[str, Any], folder: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """The frames [F, H, W, 3] of a run's one edit, and its record."""
    config = build_config(get_method(method).load("config"), settings)
    (path,) = run_method(method, config, folder, progress=Progress()).videos.values()
    return read_video(path).frames, json.loads((folder / "run.json").read_text(encoding="utf-8"))


def cost(record: Mapping[str, Any]) -> float:
    """CPU seconds of the steps that make the edit."""
    steps = record["steps"].items()
    return float(sum(step["cpu_seconds"] for name, step in steps if not name.startswith(SHOWING)))


def rows(clip: Path, settings: dict[str, Any], work: Path, sheet: Path) -> Iterator[Row]:
    there = probe(clip).frames
    stride = max(1, (there - 1) // (DEFAULT_FRAMES - 1))
    span = (min(DEFAULT_FRAMES, there) - 1) * stride + 1
    own = {name: value for name, value in settings.items() if name not in ("keyframes", "propagate")}
    video = {"stride": stride, "num_frames": min(DEFAULT_FRAMES, there)}
    sparse, sparse_record = edit("tuneavideo", {**own, "video": video}, work / "tuneavideo")
    whole, record = edit("hybrid", settings, work / "hybrid")
    source = read_video(clip, num_frames=span).frames
    versions = {
        HYBRID: whole[:span],
        HELD: hold(sparse, stride),
        BLENDED: fade(sparse, stride),
        SOURCE: source,
        SOURCE_HELD: hold(source[::stride], stride),
    }
    group = f"{clip.stem}, {span} of {there} frames"
    yield row(HYBRID, "frames", float(len(whole)), better="none", group=group)
    yield row(HYBRID, "key frames", float(len(record["keyframes"])), better="none", group=group)
    yield row("tuneavideo", "frames", float(len(sparse)), better="none", group=group)
    sample = partial(Sample, source=source, prompt=settings["prompts"][0], flow="dis", flow_cache=work / "flow")
    found = {name: figures(sample(frames=frames)) for name, frames in versions.items()}
    for figure, first in found[HYBRID].items():
        known = METRICS.get(figure)
        unit, better = (known.unit, known.better) if known else ("levels", "lower")
        for name in versions:
            against = (HYBRID, first) if name in (HELD, BLENDED) else None
            yield row(name, figure, found[name][figure], unit, better=better, group=group, against=against)
    per_frame = cost(record) / len(whole)
    yield row(HYBRID, "CPU time a frame", per_frame, "s", group=group)
    for name, count in (("tuneavideo, of those edited", len(sparse)), ("tuneavideo, of those spanned", span)):
        seconds = cost(sparse_record) / count
        yield row(name, "CPU time a frame", seconds, "s", group=group, against=(HYBRID, per_frame))
    for name, step in record["steps"].items():
        yield row(f"hybrid, {name}", "CPU time", step["cpu_seconds"], "s", group=group)
    shown = np.linspace(0, span - 1, SHOWN).round().astype(int)
    cv2.imwrite(str(sheet), contact_sheet({n: f[shown] for n, f in versions.items()}, columns=SHOWN)[..., ::-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("clip", type=Path)
    parser.add_argument("--source-prompt", default="a car moving on grass")
    parser.add_argument("--prompt", default="a blue car moving on grass")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the hybrid")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "videoedit-hybrid")
    parser.add_argument("--sheet", type=Path, help="where the contact sheet goes; by default into the work folder")
    arguments = parser.parse_args()
    demo = demo_config("hybrid").model_dump(mode="json")
    settings: dict[str, Any] = {name: demo[name] for name in SHARED}
    for key, value in parse_assignments(arguments.set):
        set_value(settings, key, value)
    texts = {"source_prompt": arguments.source_prompt, "prompts": [arguments.prompt]}
    publish(
        "hybrid",
        "A whole clip by the hybrid, and by Tune-A-Video at a third of its rate",
        rows(
            arguments.clip,
            {"clip": str(arguments.clip.absolute()), **texts, **settings},
            arguments.work,
            arguments.sheet or arguments.work / "frames.png",
        ),
        method=__doc__,
        settings={"clip": arguments.clip.name, **texts, **settings},
    )


if __name__ == "__main__":
    main()
