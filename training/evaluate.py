"""Measure an exported model folder: judge, autoencoder, edges, ranking of captions and of edits, loading time."""

from __future__ import annotations

import time
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from diffusers import ControlNetModel
from scipy.stats import spearmanr
from torch import nn

from training import autoencoder, clips, controlnet, judge
from training.captions import plain_caption
from training.clip import CLASSES
from training.dataset import Renders, random_label, resize, words
from training.device import device
from training.renderer import Scene
from training.sampling import Sampler
from videoedit.metrics import clip_text, embed_frames, embed_prompts, load_clip

GUIDANCES = (3.0, 4.0, 5.0, 7.0)


def held_out_labels(count: int, seed: int = 99) -> np.ndarray:
    """Attributes [N, 4] whose pair of subject and background never occurred in training."""
    rng = np.random.default_rng(seed)
    return np.array([random_label(rng, True) for _ in range(count)])


def every_subject_labels(each: int = 10, seed: int = 98) -> np.ndarray:
    """Attributes [20 * each, 4]: every subject equally often, the rest at random."""
    rng = np.random.default_rng(seed)
    rows = np.array([random_label(rng, None) for _ in range(each * CLASSES[0])])
    rows[:, 0] = np.arange(len(rows)) % CLASSES[0]
    return rows


def sample_accuracy(
    sampler: Sampler,
    model: nn.Module,
    labels: np.ndarray,
    *,
    steps: int,
    guidance_scale: float,
    seed: int = 4,
) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    """(share of samples the judge finds right, its answers [N, 4], the samples uint8 [N, H, W, 3])."""
    prompts = [plain_caption(*words(label)) for label in labels]
    rng = np.random.default_rng(seed)
    images = sampler(prompts, steps=steps, guidance_scale=guidance_scale, rng=rng)
    found = judge.classify(model, images)
    return judge.accuracy(found, labels), found, images


def choose_guidance(sampler: Sampler, model: nn.Module, *, steps: int, count: int = 100) -> tuple[float, dict]:
    """(the scale with the best mean accuracy, the accuracies of all) on other held-out prompts and other noise."""
    labels, table = held_out_labels(count, seed=77), {}
    for scale in GUIDANCES:
        table[scale], _, _ = sample_accuracy(sampler, model, labels, steps=steps, guidance_scale=scale, seed=7)
        print(f"guidance {scale}: {table[scale]}", flush=True)
    return max(table, key=lambda scale: sum(table[scale].values())), table


def per_subject(found: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> dict[str, float]:
    """How often each subject is recognised, best first."""
    hits = {
        name: float((found[labels[:, 0] == i, 0] == i).mean())
        for i, name in enumerate(names)
        if (labels[:, 0] == i).any()
    }
    return dict(sorted(hits.items(), key=lambda item: -item[1]))


def clip_frames(path: Path, size: int, frames: int = 24) -> np.ndarray:
    """The centre square of a clip's first frames, uint8 [F, size, size, 3]."""
    pictures = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            image = frame.to_ndarray(format="rgb24")
            side = min(image.shape[:2])
            y, x = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
            pictures.append(cv2.resize(image[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_AREA))
            if len(pictures) == frames:
                break
    return np.stack(pictures)


def autoencoder_figures(sampler: Sampler, renders: Renders, clips: list[Path], size: int) -> dict[str, float]:
    """PSNR in dB after encode and decode, of fresh renders and of real clips (24 and 80 frames) at ``size`` pixels."""
    sets = {"fresh renders": resize(renders.images[:300], size)} | {p.name: clip_frames(p, size) for p in clips}
    sets |= {f"{p.name} (80 frames)": clip_frames(p, size, 80) for p in clips}
    return {
        name: autoencoder.psnr(images, autoencoder.reconstruct(sampler.vae, images)) for name, images in sets.items()
    }


def edge_f1(images: np.ndarray, wanted: np.ndarray, slack: int = 1) -> float:
    """Mean F1 of Canny edges against wanted edges bool [N, H, W], with ``slack`` pixels of tolerance."""
    kernel = np.ones((2 * slack + 1,) * 2, np.uint8)
    scores = []
    for image, truth in zip(images, wanted, strict=True):
        edges = controlnet.canny(image) > 0
        near_truth = cv2.dilate(truth.astype(np.uint8), kernel) > 0
        near_edges = cv2.dilate(edges.astype(np.uint8), kernel) > 0
        precision = near_truth[edges].mean() if edges.any() else 0.0
        recall = near_edges[truth].mean() if truth.any() else 0.0
        scores.append(2 * precision * recall / max(precision + recall, 1e-9))
    return float(np.mean(scores))


def control_figures(folder: Path, sampler: Sampler, renders: Renders, *, count: int, steps: int) -> dict[str, float]:
    """Edge F1 of samples with and without the ControlNet, for unstyled fresh renders and their own captions."""
    chosen = np.where(renders.labels[:, 3] == 0)[0][:count]
    images = resize(renders.images[chosen], sampler.size)
    prompts = [plain_caption(*words(label)) for label in renders.labels[chosen]]
    control = ControlNetModel.from_pretrained(folder / "controlnet-canny").eval().to(device())
    scores: dict[str, list[float]] = {"without": [], "with": []}
    for first in range(0, len(prompts), 50):
        part = slice(first, first + 50)
        condition = controlnet.conditions(images[part])
        steered = controlnet.ControlledUNet(sampler.unet, control, torch.cat([condition, condition]).to(device()))
        for name, denoiser in (("without", None), ("with", steered)):
            rng = np.random.default_rng((8, first))
            samples = sampler(prompts[part], steps=steps, guidance_scale=3.0, rng=rng, denoiser=denoiser)
            scores[name].append(edge_f1(samples, condition[:, 0].numpy() > 0.5))
    return {name: float(np.mean(values)) for name, values in scores.items()}


def ranking(folder: Path, renders: Renders, count: int = 500, choices: int = 100) -> dict[str, float]:
    """How often a fresh render ranks its own caption first among ``choices`` different ones (chance 0.01).

    Also how often the right word wins when only one attribute of the caption changes.
    """
    clip = load_clip(folder / "clip")
    labels = renders.labels[:count]
    image = embed_frames(clip, renders.images[:count])
    own = embed_prompts(clip, [plain_caption(*words(label)) for label in labels])
    rng = np.random.default_rng(0)
    hits = []
    for i in range(count):
        others = [j for j in rng.permutation(count) if (labels[j] != labels[i]).any()][: choices - 1]
        hits.append(float((image[i] @ own[others].T).max() < image[i] @ own[i]))
    result = {f"own caption first of {choices}": float(np.mean(hits))}
    for column, name in enumerate(judge.NAMES):
        options = range(1 if name in ("colour", "style") else 0, CLASSES[column])
        right = []
        for i in (i for i in range(count) if labels[i, column] in options):
            changed = [np.where(np.arange(4) == column, option, labels[i]) for option in options]
            best = int((embed_prompts(clip, [plain_caption(*words(label)) for label in changed]) @ image[i]).argmax())
            right.append(options[best] == labels[i, column])
        result[f"right {name}"] = float(np.mean(right))
    return result


def other_word(rng: np.random.Generator, label: np.ndarray, column: int) -> int:
    """A word for one attribute that ``label`` [4] does not have there; never the absence of a colour or style."""
    return int(rng.choice([w for w in range(column > 1, CLASSES[column]) if w != label[column]]))


def agreement(folder: Path, sampler: Sampler, model: nn.Module, art: Path, count: int = 100, frames: int = 4) -> dict:
    """Rank correlation of ``clip_text@mini`` with the judge's belief over edits of many strengths, good and bad.

    An edit is a rendered clip whose frames are sampled anew from a noisy state of themselves with another prompt.
    """
    clip = load_clip(folder / "clip")
    rng = np.random.default_rng(66)
    believed, scored = [], []
    for number in range(count):
        label = np.array(random_label(rng, None))
        scene = Scene(*words(label), seed=2000 + number)
        path = clips.smooth_path(scene, phase=rng.random())[2 :: clips.FRAMES // frames]
        source = sampler.encode(resize(clips.render_clip(scene, path, art)[0], sampler.size))
        label[number % 4] = other_word(rng, label, number % 4)
        prompt = plain_caption(*words(label))
        latents = sampler.latents(
            [prompt] * len(path),
            steps=20,
            guidance_scale=float(rng.uniform(1, 7)),
            rng=rng,
            denoiser=sampler.unet,
            source=source,
            strength=float(rng.uniform(0.3, 1)),
        )
        pictures = sampler.decode(latents)
        believed.append(judge.belief(model, pictures, label))
        scored.append(clip_text(pictures, prompt, clip))
    return {"edits": count, "rank correlation": float(spearmanr(believed, scored).statistic)}


def loading_seconds(folder: Path) -> float:
    """Time to load the whole pipeline once everything is imported."""
    from diffusers import StableDiffusionPipeline

    start = time.perf_counter()
    StableDiffusionPipeline.from_pretrained(folder)
    return time.perf_counter() - start


def megabytes(folder: Path) -> float:
    """Size of the weights in 10^6 bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / 1e6
