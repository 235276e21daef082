"""A classifier of subject, background, colour and style, trained apart on renders with other seeds."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.checkpoint import Checkpoint, wait_while_paused
from training.clip import augment, pixels_of, soften
from training.dataset import SIZE, Renders, resize
from training.device import autocast
from training.looks import without_subject, worn
from videoedit.metrics.judge import CLASSES
from videoedit.metrics.judge import build_judge as build

REACH = 4  # pixels between two looks
SHIFTS = ((0, 0), (REACH, REACH), (-REACH, -REACH), (REACH, -REACH), (-REACH, REACH))
NAMES = ("subject", "background", "colour", "style")


def error(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum of the four cross entropies; labels int64 [B, 4], of a picture without a subject its first column only."""
    parts = logits.split(CLASSES, 1)
    shown = labels[:, 0] < CLASSES[0] - 1
    total = F.cross_entropy(parts[0], labels[:, 0], label_smoothing=0.05)
    for i in range(1, 4):
        total = total + F.cross_entropy(parts[i][shown], labels[shown, i], label_smoothing=0.05)
    return total


def train(renders: Renders, empty: Renders, folder: Path, *, seconds: float, batch: int = 96) -> nn.Module:
    """Train for a budget of CPU seconds; a quarter of each batch shows no subject."""
    model = build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02, fused=True)
    state = Checkpoint(folder / "judge.pt", model, optimizer)
    state.load()
    rng = np.random.default_rng(state.samples + 5)
    while state.seconds < seconds:
        wait_while_paused(folder)
        start = time.process_time()
        for group in optimizer.param_groups:
            fade = float(np.cos(np.pi / 2 * min(1, state.seconds / seconds)) ** 2)
            group["lr"] = 3e-3 * min(1, state.samples / 6000 + 0.02) * (0.005 + fade)
        index = np.sort(rng.integers(0, len(renders), batch))
        nobody = torch.full((batch // 3, 4), CLASSES[0] - 1)
        labels = torch.cat([torch.from_numpy(renders.labels[index].astype(np.int64)), nobody])
        pixels = pixels_of(renders, index, SIZE)
        masks = torch.from_numpy(renders.masks[index])[:, None].float() / 255
        scenes = pixels_of(empty, np.sort(rng.integers(0, len(empty), batch // 3)), SIZE)
        blank = without_subject(pixels, masks, scenes, rng)
        pixels = augment(torch.cat([worn(soften(pixels, rng), rng), blank]), rng)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with autocast("cpu"):
            logits = model(pixels)
        loss = error(logits.float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        state.advance(batch, time.process_time() - start)
        if state.due(30):
            print(f"judge {state.seconds:.0f}s {state.samples} loss {loss.item():.3f}", flush=True)
            state.save()
    state.save()
    return model.eval()


def load(folder: Path) -> nn.Module:
    model = build()
    Checkpoint(folder / "judge.pt", model).load()
    return model.eval()


@torch.no_grad()
def probabilities(model: nn.Module, images: np.ndarray) -> list[np.ndarray]:
    """For each attribute the probability of each word, float32 [N, words], of uint8 pictures [N, H, W, 3]."""
    pixels = torch.from_numpy(resize(images, SIZE)).permute(0, 3, 1, 2).float() / 127.5 - 1
    logits = torch.cat([model(part) for part in pixels.split(64)])
    return [part.softmax(1).numpy() for part in logits.split(CLASSES, 1)]


def classify(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """Attribute indices int64 [N, 4] of uint8 pictures [N, H, W, 3]."""
    return np.stack([part.argmax(1) for part in probabilities(model, images)], 1)


def belief(model: nn.Module, images: np.ndarray, label: np.ndarray) -> float:
    """How sure the judge is, on average over pictures, attributes and looks, that they show what ``label`` [4] says.

    One look is noisy (of two a few pixels apart one may convince it, the other not), so it looks ten times: at five
    places, as displaced as its training pictures were, and mirrored.
    """
    looks = [displaced(images, *shift)[:, :, ::way] for shift in SHIFTS for way in (1, -1)]
    parts = [probabilities(model, np.ascontiguousarray(look)) for look in looks]
    return float(np.mean([part[:, word] for look in parts for part, word in zip(look, label, strict=True)]))


def displaced(images: np.ndarray, down: int, right: int) -> np.ndarray:
    """Pictures [N, H, W, 3] moved by up to REACH pixels, their borders repeated."""
    size = images.shape[1]
    wide = np.pad(images, ((0, 0), (REACH, REACH), (REACH, REACH), (0, 0)), mode="edge")
    return wide[:, REACH - down :, REACH - right :][:, :size, :size]


def accuracy(found: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """Share of right answers per attribute; colour and style count only where the caption names one."""
    result = {}
    for column, name in enumerate(NAMES):
        named = wanted[:, column] > 0 if name in ("colour", "style") else np.ones(len(wanted), bool)
        result[name] = float((found[named, column] == wanted[named, column]).mean())
    return result
