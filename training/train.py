"""Train every part of the miniature model, measure it and write the model folder.

Each stage keeps its state in the work folder: stop the command at any time and start it again.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from transformers import CLIPTokenizer

from training import autoencoder, clip, clips, controlnet, evaluate, export, judge, latents, locator, redrawn, unet
from training.card import model_card
from training.checkpoint import progress
from training.dataset import Renders, prepare
from training.sampling import Sampler, contact_sheet
from training.start import begin_with
from training.tokenizer import caption_corpus, train_tokenizer
from training.vocabulary import SUBJECT_LIST

TRAINED = ("unet", "vae", "clip", "judge", "locator", "controlnet")
STAGES = (
    "render", "text", "unet", "vae", "clip", "judge", "locator", "controlnet", "eyes", "export", "clips", "evaluate",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Folders, counts of pictures and seconds of training; ``art`` may already hold the npm archive."""

    work: Path
    target: Path
    real_clips: list[Path]
    workers: int
    train_count: int = 60_000
    judge_count: int = 12_000
    locator_count: int = 6_000
    empty_count: int = 3_000
    fresh_count: int = 2_000
    nobody_count: int = 500
    clips_count: int = 24_000  # frames, CLIP of each clip
    redrawn_count: int = 2_500
    unet: float = 9000
    vae: float = 1200
    clip: float = 1800
    judge: float = 400
    locator: float = 240
    controlnet: float = 1500

    @property
    def art(self) -> Path:
        return self.work / "art"

    def renders(self, split: str, count: int, held_out: bool | None) -> Renders:
        return prepare(self.work / "renders", self.art, split, count, held_out=held_out, workers=self.workers)

    def training_renders(self) -> Renders:
        return self.renders("train", self.train_count, False)

    def clip_renders(self) -> Renders:
        return self.renders("clips", self.clips_count, False)

    def empty_renders(self) -> Renders:
        return self.renders("empty", self.empty_count, None)

    def fresh_renders(self) -> Renders:
        return self.renders("fresh", self.fresh_count, None)


def tokenizer(plan: Plan) -> CLIPTokenizer:
    """The fitted tokenizer, from the work folder if it is there."""
    folder = plan.work / "tokenizer"
    if not (folder / "tokenizer.json").exists():
        train_tokenizer(caption_corpus(10_000)).save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder)


def run_render(plan: Plan) -> None:
    latents.prepare(plan.work, plan.training_renders())
    latents.prepare(plan.work, plan.clip_renders(), "clips")
    latents.prepare(plan.work, plan.fresh_renders(), "fresh")
    latents.prepare(plan.work, plan.renders("fresh-clips", plan.fresh_count, None), "fresh-clips")


def run_text(plan: Plan) -> None:
    if not (plan.work / "text.pt").exists():
        clip.train_text(tokenizer(plan), plan.work)


def run_unet(plan: Plan) -> None:
    counts = {"train": plan.train_count, "clips": plan.clips_count}
    unet.train(plan.work, counts, seconds=plan.unet, workers=plan.workers)


def run_vae(plan: Plan) -> None:
    basis = latents.load_basis(plan.work / "basis.safetensors")
    autoencoder.train(plan.training_renders(), basis, plan.work, seconds=plan.vae)


def run_clip(plan: Plan) -> None:
    """After UNet and decoder, whose pictures it sees."""
    export.export(plan.work, plan.work / "so-far")
    sampler, renders = Sampler(plan.work / "so-far"), plan.training_renders()
    drawn = redrawn.prepare(plan.work / "renders", sampler, renders, plan.redrawn_count)
    clip.train(renders, drawn, tokenizer(plan), plan.work, seconds=plan.clip)


def run_judge(plan: Plan) -> None:
    judge.train(plan.renders("judge", plan.judge_count, None), plan.empty_renders(), plan.work, seconds=plan.judge)


def run_locator(plan: Plan) -> None:
    seen = plan.renders("locator", plan.locator_count, None)
    locator.train(seen, plan.empty_renders(), plan.work, seconds=plan.locator)


def run_controlnet(plan: Plan) -> None:
    finished = export.load_unet(plan.work)
    controlnet.train(plan.work, finished, plan.train_count, seconds=plan.controlnet, workers=plan.workers)


def run_eyes(plan: Plan) -> None:
    """Judge and locator into the package, with what they do on renders that neither saw."""
    target, seeing, finding = plan.target / "judge", judge.load(plan.work), locator.load(plan.work)
    fresh, nobody = plan.fresh_renders(), plan.renders("fresh-empty", plan.nobody_count, None)
    apart = locator.distances(locator.locate(finding, fresh.images), fresh.masks)
    answers = judge.classify(seeing, nobody.images)
    figures = {
        "right on fresh renders": judge.accuracy(judge.classify(seeing, fresh.images), fresh.labels),
        "a subject seen in fresh scenes without": float((answers[:, 0] < len(SUBJECT_LIST)).mean()),
        "place missed by, share of the width": float(np.nanmedian(apart)),
        "place missed by less than a tenth": float((apart < 0.1).mean()),
        "place found in fresh scenes without": float(np.isfinite(locator.locate(finding, nobody.images)[:, 0]).mean()),
        "renders": {"fresh": len(fresh), "without": len(nobody)},
    }
    export.export_eyes(seeing, finding, target)
    (target / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")


def run_export(plan: Plan) -> None:
    export.export(plan.work, plan.target / "mini")


def run_clips(plan: Plan) -> None:
    clips.write_all(plan.target / "clips", plan.art)


def run_evaluate(plan: Plan) -> None:
    """Measure the exported folder; writes ``figures.json``, ``MODEL_CARD.md`` and ``samples.webp``."""
    folder = plan.target / "mini"
    figures = measure(plan, folder)
    (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    text = model_card(figures, train_count=plan.train_count, workers=plan.workers)
    (folder / "MODEL_CARD.md").write_text(text)
    print(json.dumps(figures, indent=1))


def measure(plan: Plan, folder: Path, *, steps: int = 50, samples: int = 400, conditions: int = 200) -> dict:
    """Every figure of the model card."""
    sampler, model, fresh = Sampler(folder), judge.load(plan.work), plan.fresh_renders()
    figures: dict = {"judge on fresh renders": judge.accuracy(judge.classify(model, fresh.images), fresh.labels)}
    apart = locator.distances(locator.locate(locator.load(plan.work), fresh.images), fresh.masks)
    figures["locator on fresh renders"] = {
        "found": float(np.isfinite(apart).mean()),
        "distance": float(np.nanmean(apart)),
    }
    figures["autoencoder dB"] = evaluate.autoencoder_figures(sampler, fresh, plan.real_clips, sampler.size)
    figures["clip"] = evaluate.ranking(folder, fresh)
    guidance, figures["guidance"] = evaluate.choose_guidance(sampler, model, steps=steps)
    figures["sampling"] = {"steps": steps, "guidance_scale": guidance, "samples": samples}
    labels = evaluate.held_out_labels(samples)
    given = {"steps": steps, "guidance_scale": guidance}
    figures["held-out samples"], _, images = evaluate.sample_accuracy(sampler, model, labels, **given)
    sheet = contact_sheet(images[:96], 12)
    cv2.imwrite(str(folder / "samples.webp"), sheet[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 88])
    labels = evaluate.every_subject_labels()
    _, found, _ = evaluate.sample_accuracy(sampler, model, labels, **given)
    figures["subjects"] = evaluate.per_subject(found, labels, SUBJECT_LIST)
    figures["edge F1"] = evaluate.control_figures(folder, sampler, fresh, count=conditions, steps=20)
    figures["clip_text and judge"] = evaluate.agreement(folder, sampler, model, plan.art)
    figures["edits"] = {
        file.stem: json.loads(file.read_text()) for file in sorted((plan.work / "edits").glob("*.json"))
    }
    figures["training"] = {part: progress(plan.work / f"{part}.pt") for part in TRAINED}
    figures["megabytes"] = evaluate.megabytes(folder)
    figures["loading seconds"] = evaluate.loading_seconds(folder)
    return figures


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)}; all by default")
    default = os.environ.get("MINI_TRAIN_WORK")
    parser.add_argument("--work", type=Path, default=default, help="folder for renders and checkpoints")
    parser.add_argument("--target", type=Path, default=Path("videoedit/assets"), help="where the results go")
    help_start = "a model folder written earlier: go on from its weights (work folder still empty)"
    parser.add_argument("--start", type=Path, metavar="MODEL", help=help_start)
    parser.add_argument("--real-clips", type=Path, nargs="*", default=[], help="videos to measure the autoencoder on")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes for renders and UNet")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies every training time")
    help_seconds = "training time of one part, e.g. unet=9000; may be repeated"
    parser.add_argument("--seconds", action="append", default=[], metavar="PART=SECONDS", help=help_seconds)
    arguments = parser.parse_args()
    if arguments.work is None:
        parser.error("give --work FOLDER or set MINI_TRAIN_WORK")
    for stage in arguments.stages:
        if stage not in STAGES:
            parser.error(f"unknown stage {stage!r}: choose from {', '.join(STAGES)}")
    return arguments


def main() -> None:
    """Run the chosen stages in their order."""
    given = parse()
    times = {name: getattr(Plan, name) * given.scale for name in TRAINED}
    times |= {part: float(seconds) for part, seconds in (entry.split("=") for entry in given.seconds)}
    plan = Plan(given.work, given.target, given.real_clips, given.workers, **times)
    plan.work.mkdir(parents=True, exist_ok=True)
    if given.start:
        begin_with(given.start, plan.work)
    torch.set_num_threads(max(1, given.workers // 2))
    for stage in STAGES:
        if not given.stages or stage in given.stages:
            print(f"== {stage}", flush=True)
            globals()[f"run_{stage}"](plan)


if __name__ == "__main__":
    main()
