"""Edit rendered clips with a model folder as if it were the embedded one, and let the judge say what came out.

``python -m training.edits MODEL --work FOLDER``: Tune-A-Video on 24 clips, six of each application, for each guidance
scale; ``--method rerender`` translates those whose background or style changes. The pair of subject and background to
be made never occurred in training. Runs are kept: the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch

from rerender.config import RerenderConfig
from training import clips, judge, locator
from training.dataset import random_label, words
from training.evaluate import other_word
from training.renderer import Layout, Scene
from tuneavideo.config import TuneAVideoConfig
from videoedit.config import build_config, read_yaml
from videoedit.media.video import read_video
from videoedit.metrics import edge_f1
from videoedit.pages.contact_sheet import contact_sheet
from videoedit.pipeline import demo_config, run_method

LOST = 0.5  # distance from the truth, as a share of the frame, of a subject that is not found
COLUMN = {"subject": 0, "background": 1, "attribute": 2, "style": 3}


@dataclass(frozen=True)
class Case:
    """One clip and one edit of it; labels [4] name the attributes before and after."""

    kind: str
    source: np.ndarray
    target: np.ndarray
    seed: int

    @property
    def name(self) -> str:
        return f"{self.seed:02d}-{self.kind}"

    def scene(self, label: np.ndarray) -> Scene:
        return Scene(*words(label), seed=1000 + self.seed)

    def path(self) -> list[Layout]:
        """Of the source, whatever it is edited into."""
        rng = np.random.default_rng(self.seed)
        return clips.smooth_path(self.scene(self.source), rng.uniform(0.48, 0.58), rng.random())


def cases(count: int = 24, seed: int = 3) -> list[Case]:
    """Edits of the four kinds in turn; the pair of subject and background to be made is a held-out one."""
    rng = np.random.default_rng(seed)
    chosen = []
    for number in range(count):
        kind = clips.EDITS[number % 4]
        target = np.array(random_label(rng, True))
        target[3] = 0
        if kind in ("attribute", "style"):
            target[COLUMN[kind]] = other_word(rng, np.zeros(4, int), COLUMN[kind])
        source = target.copy()
        source[COLUMN[kind]] = 0 if kind == "style" else other_word(rng, target, COLUMN[kind])
        chosen.append(Case(kind, source, target, number))
    return chosen


@contextmanager
def embedded(model: Path) -> Iterator[None]:
    """Let ``mini`` mean this folder, with all that the toolkit does for the embedded model only."""
    with mock.patch("videoedit.models.loading.MINI", model.resolve()):
        yield


def write_clips(case: Case, art: Path, folder: Path, frames: int) -> tuple[Path, Path, np.ndarray]:
    """(source mp4, mp4 of the true result, the true subject's masks uint8 [F, H, W]), every n-th frame of the clip."""
    folder.mkdir(parents=True, exist_ok=True)
    path = case.path()[:: clips.FRAMES // frames]
    source, target = folder / "source.mp4", folder / "truth.mp4"
    clips.write_mp4(clips.render_clip(case.scene(case.source), path, art)[0], source)
    pictures, masks = clips.render_clip(case.scene(case.target), path, art)
    clips.write_mp4(pictures, target)
    return source, target, masks


def settings_of(method: str, changes: dict[str, Any]) -> dict[str, Any]:
    """The demo's sections for that method, with some values changed (``section.name``)."""
    data = demo_config(method).model_dump(mode="json")
    kept = {name: value for name, value in data.items() if isinstance(value, dict)}
    for dotted, value in changes.items():
        section, name = dotted.split(".")
        kept.setdefault(section, {})[name] = value
    return kept


def tune_a_video(case: Case, given: tuple[Path, Path], folder: Path, changes: dict[str, Any], scale: float) -> Path:
    """The edited video for one guidance scale; other scales share its tuning and inversion."""
    settings = settings_of("tuneavideo", changes)
    prompt = clips.caption(case.scene(case.target))
    tuned = folder / "tuned"
    adapter, inverted = tuned / "adapter.safetensors", tuned / "inverted.safetensors"
    settings["sample"]["guidance_scale"] = scale
    data = {
        "clip": str(given[0]),
        "source_prompt": clips.caption(case.scene(case.source)),
        "prompts": [prompt],
        **settings,
    }
    run_folder = tuned
    if inverted.exists() and read_yaml(tuned / "config.yaml")["sample"]["guidance_scale"] != scale:
        run_folder = folder / f"guidance-{scale:g}"
        data |= {"adapter": str(adapter), "tune": {"steps": 0}}
        data["invert"] = {**settings["invert"], "latents": str(inverted)}
    return run_method("tuneavideo", build_config(TuneAVideoConfig, data), run_folder).videos[prompt]


def rerender(case: Case, given: tuple[Path, Path], folder: Path, changes: dict[str, Any], scale: float) -> Path:
    """The edited video for one guidance scale."""
    settings = settings_of("rerender", changes)
    settings["translate"]["guidance_scale"] = scale
    prompt = clips.caption(case.scene(case.target))
    config = build_config(RerenderConfig, {"clip": str(given[0]), "prompt": prompt, **settings})
    return run_method("rerender", config, folder / f"rerender-{scale:g}").videos[prompt]


@dataclass(frozen=True)
class Eyes:
    """What looks at the edits: names attributes, and finds the subject."""

    judge: torch.nn.Module
    locator: torch.nn.Module

    def path_error(self, frames: np.ndarray, masks: np.ndarray) -> tuple[float, float]:
        """(mean distance from the subject of ``masks`` [F, H, W], share of the frames in which one is found)."""
        distance = locator.distances(locator.locate(self.locator, frames), masks)
        return float(np.nan_to_num(distance, nan=LOST).mean()), float(np.isfinite(distance).mean())


def figures_of(case: Case, eyes: Eyes, videos: dict[str, np.ndarray], masks: np.ndarray) -> dict[str, Any]:
    """What the judge sees in source, truth and edit, and how the edit moves; distances in widths of the frame."""
    column = COLUMN[case.kind]
    seen = {
        name: float((judge.classify(eyes.judge, frames)[:, column] == case.target[column]).mean())
        for name, frames in videos.items()
    }
    error, found = eyes.path_error(videos["edit"], masks)
    return {
        "seen": seen,
        "path_error": error,
        "found": found,
        "path_error_of_truth": eyes.path_error(videos["truth"], masks)[0],
        "edge_f1": edge_f1(videos["edit"], videos["source"]),
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means by application and over all."""
    result = {}
    for kind in ("all", *clips.EDITS):
        part = [row for row in rows if kind in ("all", row["kind"])]
        if not part:
            continue
        result[kind] = {
            "clips": len(part),
            **{f"seen in {name}": float(np.mean([row["seen"][name] for row in part])) for name in part[0]["seen"]},
            "path error": float(np.mean([row["path_error"] for row in part])),
            "path error of the truth": float(np.mean([row["path_error_of_truth"] for row in part])),
            "found": float(np.mean([row["found"] for row in part])),
            "edge F1": float(np.nanmean([row["edge_f1"] for row in part])),
        }
    return result


METHODS = {"tuneavideo": tune_a_video, "rerender": rerender}


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Every edit with every guidance scale: rows, their summary, and a picture of source, truth and edit."""
    eyes = Eyes(judge.load(given.work), locator.load(given.work))
    changes = {name: json.loads(value) for name, value in (entry.split("=", 1) for entry in given.set)}
    chosen = [case for case in cases() if given.method == "tuneavideo" or case.kind in ("background", "style")]
    chosen = chosen[: given.clips]
    results: dict[str, Any] = {"method": given.method, "settings": settings_of(given.method, changes)}
    for scale in given.guidance:
        rows, shown = [], {}
        for case in chosen:
            folder = given.out / case.name
            source, truth, masks = write_clips(case, given.work / "art", folder, given.frames)
            with embedded(given.model):
                edited = METHODS[given.method](case, (source, truth), folder, changes, scale)
            files = {"source": source, "truth": truth, "edit": edited}
            videos = {name: read_video(path).frames for name, path in files.items()}
            row = {"clip": case.name, "kind": case.kind, "prompt": clips.caption(case.scene(case.target))}
            rows.append(row | figures_of(case, eyes, videos, masks))
            step = max(1, given.frames // 8)
            shown |= {f"{case.name} {name}: {row['prompt']}": frames[::step] for name, frames in videos.items()}
            print(json.dumps(rows[-1]), flush=True)
        results[f"guidance {scale:g}"] = {"summary": summary(rows), "edits": rows}
        picture = contact_sheet(shown, columns=8)
        cv2.imwrite(str(given.out / f"{given.method}-guidance-{scale:g}.png"), picture[..., ::-1])
    return results


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.edits", description=__doc__)
    parser.add_argument("model", type=Path, help="model folder in diffusers' layout")
    parser.add_argument("--work", type=Path, required=True, help="work folder of the training: the judge and the art")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs, pictures and figures")
    parser.add_argument("--method", choices=METHODS, default="tuneavideo")
    parser.add_argument("--guidance", type=float, nargs="+", default=[5.0], help="scales, one table each")
    parser.add_argument("--clips", type=int, default=24, help="only the first so many")
    parser.add_argument("--frames", type=int, default=clips.FRAMES, help="of each clip; a divisor of 24")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.NAME=VALUE", help="e.g. tune.steps=150")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    results = measure(given)
    (given.out / f"{given.method}.json").write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps({name: part["summary"] for name, part in results.items() if "guidance" in name}, indent=1))


if __name__ == "__main__":
    main()
