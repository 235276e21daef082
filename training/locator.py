"""A network that finds the subject in one picture, trained on the judge's renders; it only measures.

The toolkit's own measure of a path sees what moves before a still background; an edit whose background flickers, or
whose subject covers most of its way, defeats it. This one needs no motion.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.checkpoint import Checkpoint, wait_while_paused
from training.clip import displace, disturb, pixels_of, soften
from training.dataset import SIZE, Renders
from training.device import autocast
from training.looks import without_subject, worn
from videoedit.metrics.judge import FACTOR, centers_of_mass, locate
from videoedit.metrics.judge import build_locator as build

__all__ = ["FACTOR", "build", "centers_of_mass", "distances", "load", "locate", "train"]


def train(renders: Renders, empty: Renders, folder: Path, *, seconds: float, batch: int = 48) -> nn.Module:
    """Train for a budget of CPU seconds."""
    model = build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01, fused=True)
    state = Checkpoint(folder / "locator.pt", model, optimizer)
    state.load()
    rng = np.random.default_rng(state.samples + 6)
    while state.seconds < seconds:
        wait_while_paused(folder)
        start = time.process_time()
        for group in optimizer.param_groups:
            fade = float(np.cos(np.pi / 2 * min(1, state.seconds / seconds)) ** 2)
            group["lr"] = 3e-3 * min(1, state.samples / 3000 + 0.02) * (0.005 + fade)
        loss = error(model, renders, empty, np.sort(rng.integers(0, len(renders), batch)), rng)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        state.advance(batch, time.process_time() - start)
        if state.due(30):
            print(f"locator {state.seconds:.0f}s {state.samples} loss {loss.item():.4f}", flush=True)
            state.save()
    state.save()
    return model.eval()


def error(model: nn.Module, renders: Renders, empty: Renders, index: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Cross entropy with the share of each cell that the subject covers; a quarter of the pictures show none."""
    masks = torch.from_numpy(renders.masks[index])[:, None].float() / 255
    pixels = pixels_of(renders, index, SIZE)
    scenes = pixels_of(empty, np.sort(rng.integers(0, len(empty), len(index) // 3)), SIZE)
    blank = without_subject(pixels, masks, scenes, rng)
    shown = torch.cat([worn(soften(pixels, rng), rng), masks], 1)
    both = displace(torch.cat([shown, torch.cat([blank, torch.zeros(len(blank), 1, SIZE, SIZE)], 1)]), rng)
    pixels = disturb(both[:, :3], rng).contiguous(memory_format=torch.channels_last)
    with autocast("cpu"):
        logits = model(pixels)
    return F.binary_cross_entropy_with_logits(logits.float(), F.avg_pool2d(both[:, 3:], FACTOR))


def load(folder: Path) -> nn.Module:
    model = build()
    Checkpoint(folder / "locator.pt", model).load()
    return model.eval()


def distances(found: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """How far places [N, 2] are from the subjects of uint8 masks [N, H, W], as shares of the frame: [N]."""
    return np.linalg.norm(found - centers_of_mass(masks / 255), axis=1)
