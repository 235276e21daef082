"""A network that finds the subject in one picture, trained on the judge's renders; it only measures.

The toolkit's own measure of a path sees what moves before a still background; an edit whose background flickers, or
whose subject covers most of its way, defeats it. This one needs no motion.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.checkpoint import Checkpoint, wait_while_paused
from training.clip import displace, disturb, pixels_of, soften
from training.dataset import SIZE, Renders, resize
from training.device import autocast

FACTOR = 4  # pixels of a cell of its map
LEAST = 0.004  # share of the picture that a subject covers at least


def build() -> nn.Sequential:
    """0.5 M parameters: pictures [B, 3, 128, 128] in [-1, 1] to logits [B, 1, 32, 32] that a cell shows the subject."""
    layers: list[nn.Module] = []
    for narrow, wide in itertools.pairwise((3, 24, 48)):
        layers += [nn.Conv2d(narrow, wide, 3, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
    for narrow, wide, gap in ((48, 64, 1), (64, 64, 2), (64, 64, 4), (64, 64, 8), (64, 64, 2), (64, 64, 1)):
        layers += [nn.Conv2d(narrow, wide, 3, 1, gap, gap, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(64, 1, 1)).to(memory_format=torch.channels_last)


def train(renders: Renders, folder: Path, *, seconds: float, batch: int = 64) -> nn.Module:
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
        loss = error(model, renders, np.sort(rng.integers(0, len(renders), batch)), rng)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        state.advance(batch, time.process_time() - start)
        if state.due(30):
            print(f"locator {state.seconds:.0f}s {state.samples} loss {loss.item():.4f}", flush=True)
            state.save()
    state.save()
    return model.eval()


def error(model: nn.Module, renders: Renders, index: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Cross entropy with the share of each cell that the subject covers."""
    masks = torch.from_numpy(renders.masks[index])[:, None].float() / 255
    both = displace(torch.cat([soften(pixels_of(renders, index, SIZE), rng), masks], 1), rng)
    pixels = disturb(both[:, :3], rng).contiguous(memory_format=torch.channels_last)
    with autocast("cpu"):
        logits = model(pixels)
    return F.binary_cross_entropy_with_logits(logits.float(), F.avg_pool2d(both[:, 3:], FACTOR))


def load(folder: Path) -> nn.Module:
    model = build()
    Checkpoint(folder / "locator.pt", model).load()
    return model.eval()


@torch.no_grad()
def locate(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """Centre of mass (x, y) of the subject in uint8 pictures [N, H, W, 3], as shares of the frame: float64 [N, 2].

    ``nan`` where nothing looks like a subject.
    """
    pixels = torch.from_numpy(resize(images, SIZE)).permute(0, 3, 1, 2).float() / 127.5 - 1
    cover = torch.cat([model(part) for part in pixels.split(64)]).sigmoid()[:, 0].double().numpy()
    return centres_of_mass(np.where(cover > 0.5, cover, 0))


def centres_of_mass(cover: np.ndarray) -> np.ndarray:
    """Centres (x, y) [N, 2] of maps [N, h, w] with values from 0 to 1, as shares of the width and height."""
    total = cover.sum((1, 2))
    total[total < LEAST * cover[0].size] = np.nan
    y, x = (np.arange(side) + 0.5 for side in cover.shape[1:])
    rows, columns = cover.sum(2) @ y / cover.shape[1], cover.sum(1) @ x / cover.shape[2]
    return np.stack([columns, rows], 1) / total[:, None]


def distances(found: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """How far places [N, 2] are from the subjects of uint8 masks [N, H, W], as shares of the frame: [N]."""
    return np.linalg.norm(found - centres_of_mass(masks / 255), axis=1)
