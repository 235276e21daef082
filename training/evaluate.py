"""Measure an exported model folder: judge, autoencoder, edges, ranking of captions, loading time."""

from __future__ import annotations

import time
from pathlib import Path

import av
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from diffusers import ControlNetModel
from torch import nn
from transformers import CLIPModel, CLIPTokenizer

from training import autoencoder, controlnet, judge
from training.captions import plain_caption
from training.clip import MEAN, STD, features
from training.dataset import SIZE, Renders, random_label, words
from training.sampling import Sampler
from training.tokenizer import token_ids


def held_out_labels(count: int, seed: int = 99) -> np.ndarray:
    """Attributes [N, 4] whose pair of subject and background never occurred in training."""
    rng = np.random.default_rng(seed)
    return np.array([random_label(rng, True) for _ in range(count)])


def every_subject_labels(each: int = 10, seed: int = 98) -> np.ndarray:
    """Attributes [20 * each, 4]: every subject equally often, the rest at random."""
    rng = np.random.default_rng(seed)
    rows = np.array([random_label(rng, None) for _ in range(each * judge.CLASSES[0])])
    rows[:, 0] = np.arange(len(rows)) % judge.CLASSES[0]
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
    """(share of samples the judge finds right, its answers [N, 4], the samples uint8 [N, 64, 64, 3])."""
    prompts = [plain_caption(*words(label)) for label in labels]
    rng = np.random.default_rng(seed)
    images = sampler(prompts, steps=steps, guidance_scale=guidance_scale, rng=rng)
    found = judge.classify(model, images)
    return judge.accuracy(found, labels), found, images


def per_subject(found: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> dict[str, float]:
    """How often each subject is recognised, best first."""
    hits = {
        name: float((found[labels[:, 0] == i, 0] == i).mean())
        for i, name in enumerate(names)
        if (labels[:, 0] == i).any()
    }
    return dict(sorted(hits.items(), key=lambda item: -item[1]))


def clip_psnr(vae: nn.Module, path: Path, size: int = SIZE, frames: int = 24) -> float:
    """PSNR in dB of a clip's centre square after encode and decode."""
    pictures = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            image = frame.to_ndarray(format="rgb24")
            side = min(image.shape[:2])
            y, x = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
            pictures.append(cv2.resize(image[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_AREA))
            if len(pictures) == frames:
                break
    images = np.stack(pictures)
    return autoencoder.psnr(images, autoencoder.reconstruct(vae, images))


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


def control_figures(folder: Path, sampler: Sampler, renders: Renders, *, count: int = 50, steps: int = 20) -> dict:
    """Edge F1 of samples with and without the ControlNet, for unstyled fresh renders and their own captions."""
    chosen = np.where(renders.labels[:, 3] == 0)[0][:count]
    images = renders.images[chosen]
    prompts = [plain_caption(*words(label)) for label in renders.labels[chosen]]
    condition = controlnet.conditions(images)
    wanted = condition[:, 0].numpy() > 0.5
    control = ControlNetModel.from_pretrained(folder / "controlnet-canny").eval()
    with_control = controlnet.ControlledUNet(sampler.unet, control, torch.cat([condition, condition]))
    scores = {}
    for name, denoiser in (("without", None), ("with", with_control)):
        rng = np.random.default_rng(8)
        samples = [sampler(prompts[:50], steps=steps, guidance_scale=3.0, rng=rng, denoiser=denoiser)]
        scores[name] = edge_f1(np.concatenate(samples), wanted[:50])
    return scores


@torch.no_grad()
def ranking(folder: Path, renders: Renders, count: int = 500, choices: int = 100) -> dict[str, float]:
    """How often a fresh render ranks its own caption first among ``choices`` different ones (chance 0.01).

    Also how often the right word wins when only one attribute of the caption changes.
    """
    model = CLIPModel.from_pretrained(folder / "clip").float().eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder / "clip")
    labels, images = renders.labels[:count], renders.images[:count]
    mean, std = (torch.tensor(v)[None, :, None, None] for v in (MEAN, STD))
    pixels = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / std
    image = F.normalize(features(model.get_image_features(pixel_values=pixels)), dim=-1)

    def embed(captions: list[str]) -> torch.Tensor:
        ids = torch.from_numpy(token_ids(tokenizer, captions)[:, :24])
        return F.normalize(features(model.get_text_features(input_ids=ids)), dim=-1)

    own = embed([plain_caption(*words(label)) for label in labels])
    rng, result = np.random.default_rng(0), {}
    hits = []
    for i in range(count):
        others = [j for j in rng.permutation(count) if (labels[j] != labels[i]).any()][: choices - 1]
        hits.append(float((image[i] @ own[others].T).max() < image[i] @ own[i]))
    result[f"own caption first of {choices}"] = float(np.mean(hits))
    for column, name in enumerate(judge.NAMES):
        options = range(1 if name in ("colour", "style") else 0, judge.CLASSES[column])
        rows = [i for i in range(count) if labels[i, column] in options]
        right = []
        for i in rows:
            changed = [np.where(np.arange(4) == column, option, labels[i]) for option in options]
            best = int((embed([plain_caption(*words(label)) for label in changed]) @ image[i]).argmax())
            right.append(options[best] == labels[i, column])
        result[f"right {name}"] = float(np.mean(right))
    return result


def loading_seconds(folder: Path) -> float:
    """Time to load the whole pipeline once everything is imported."""
    from diffusers import StableDiffusionPipeline

    start = time.perf_counter()
    StableDiffusionPipeline.from_pretrained(folder)
    return time.perf_counter() - start


def megabytes(folder: Path) -> float:
    """Size of the weights in 10^6 bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / 1e6
