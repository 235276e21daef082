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
import torch
from transformers import CLIPTokenizer

from training import autoencoder, clip, clips, controlnet, evaluate, export, judge, latents, unet
from training.card import model_card
from training.checkpoint import progress
from training.dataset import Renders, facing_as_drawn, prepare
from training.sampling import Sampler, contact_sheet
from training.tokenizer import caption_corpus, train_tokenizer
from training.vocabulary import SUBJECT_LIST

TRAINED = ("unet", "vae", "clip", "judge", "controlnet")
STAGES = ("render", "text", "unet", "vae", "clip", "judge", "controlnet", "export", "clips", "evaluate")


@dataclass(frozen=True)
class Plan:
    """Folders, counts of pictures and seconds of training; ``art`` may already hold the npm archive."""

    work: Path
    target: Path
    real_clips: Path | None
    workers: int
    train_count: int = 50_000
    judge_count: int = 16_000
    fresh_count: int = 2_000
    unet: float = 3600
    vae: float = 700
    clip: float = 1250
    judge: float = 240
    controlnet: float = 700

    @property
    def art(self) -> Path:
        return self.work / "art"

    def renders(self, split: str, count: int, held_out: bool | None) -> Renders:
        return prepare(self.work / "renders", self.art, split, count, held_out=held_out, workers=self.workers)

    def training_renders(self) -> Renders:
        return self.renders("train", self.train_count, False)

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
    facing_as_drawn(plan.work / "renders", plan.art, "train", plan.train_count, False)
    plan.fresh_renders()


def run_text(plan: Plan) -> None:
    if not (plan.work / "text.pt").exists():
        clip.train_text(tokenizer(plan), plan.work)


def run_unet(plan: Plan) -> None:
    unet.train(plan.work, plan.train_count, seconds=plan.unet, workers=plan.workers)


def run_vae(plan: Plan) -> None:
    basis = latents.load_basis(plan.work / "basis.safetensors")
    autoencoder.train(plan.training_renders(), basis, plan.work, seconds=plan.vae)


def run_clip(plan: Plan) -> None:
    clip.train(plan.training_renders(), tokenizer(plan), plan.work, seconds=plan.clip)


def run_judge(plan: Plan) -> None:
    judge.train(plan.renders("judge", plan.judge_count, None), plan.work, seconds=plan.judge)


def run_controlnet(plan: Plan) -> None:
    finished = export.load_unet(plan.work)
    controlnet.train(plan.work, finished, plan.train_count, seconds=plan.controlnet, workers=plan.workers)


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


def measure(plan: Plan, folder: Path, *, steps: int = 20, guidance_scale: float = 5.0) -> dict:
    """Every figure of the model card."""
    sampler, model, fresh = Sampler(folder), judge.load(plan.work), plan.fresh_renders()
    labels = evaluate.held_out_labels(400)
    accuracy, _, images = evaluate.sample_accuracy(sampler, model, labels, steps=steps, guidance_scale=guidance_scale)
    all_labels = evaluate.every_subject_labels()
    _, found_all, _ = evaluate.sample_accuracy(sampler, model, all_labels, steps=steps, guidance_scale=guidance_scale)
    sheet = contact_sheet(images[:96], 16)
    cv2.imwrite(str(folder / "samples.webp"), sheet[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 92])
    figures = {
        "sampling": {"steps": steps, "guidance_scale": guidance_scale, "samples": len(labels)},
        "judge on fresh renders": judge.accuracy(judge.classify(model, fresh.images), fresh.labels),
        "held-out samples": accuracy,
        "subjects": evaluate.per_subject(found_all, all_labels, SUBJECT_LIST),
        "autoencoder dB": {"fresh renders": reconstruction(sampler, fresh)},
        "edge F1": evaluate.control_figures(folder, sampler, fresh),
        "clip": evaluate.ranking(folder, fresh),
        "training": {part: progress(plan.work / f"{part}.pt") for part in TRAINED},
        "megabytes": evaluate.megabytes(folder),
        "loading seconds": evaluate.loading_seconds(folder),
    }
    for path in sorted(plan.real_clips.glob("*.mp4")) if plan.real_clips else ():
        figures["autoencoder dB"][path.name] = evaluate.clip_psnr(sampler.vae, path)
    return figures


def reconstruction(sampler: Sampler, renders: Renders, count: int = 300) -> float:
    images = renders.images[:count]
    return autoencoder.psnr(images, autoencoder.reconstruct(sampler.vae, images))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)}; all by default")
    default = os.environ.get("MINI_TRAIN_WORK")
    parser.add_argument("--work", type=Path, default=default, help="folder for renders and checkpoints")
    parser.add_argument("--target", type=Path, default=Path("videoedit/assets"), help="where the results go")
    parser.add_argument("--real-clips", type=Path, help="folder of mp4 files the autoencoder is measured on")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes for renders and UNet")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies every training time")
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
    plan = Plan(given.work, given.target, given.real_clips, given.workers, **times)
    plan.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    for stage in STAGES:
        if not given.stages or stage in given.stages:
            print(f"== {stage}", flush=True)
            globals()[f"run_{stage}"](plan)


if __name__ == "__main__":
    main()
