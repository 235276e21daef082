"""Measure the averaged UNet's loss on fresh renders: ``python -m training.validate --work FOLDER``.

Single pictures, and clips whose group norms see all frames or, as before, each its own. Renders, captions, timesteps
and noise are the same every time, so that two checkpoints, or a checkpoint and an exported model, can be compared.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch

from training import export, unet
from training.dataset import CLIP

CASES = {  # name -> (split, frames of a clip, frames that a group norm sees)
    "pictures": ("fresh", 1, 1),
    "clips": ("fresh-clips", CLIP, CLIP),
    "clips, norms of each frame": ("fresh-clips", CLIP, 1),
}
BATCHES, BATCH = 16, 64


@torch.no_grad()
def losses(model: torch.nn.Module, folder: Path, count: int) -> dict[str, float]:
    """The training loss of a UNet in each case; ``count`` pictures are in each split of the work folder."""
    state = unet.pool_norms(model)
    alpha_bar = unet.scheduler().alphas_cumprod
    tables = alpha_bar, unet.loss_weights(alpha_bar)
    found = {}
    for name, (split, frames, state.num_frames) in CASES.items():
        rng = np.random.default_rng(5)
        torch.manual_seed(5)
        batches = unet.Batches(folder, count, rng, split)
        rows = [unet.noise_loss(model, batches.draw(BATCH, frames), tables, rng, frames) for _ in range(BATCHES)]
        found[name] = torch.stack(rows).mean().item()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.validate", description=__doc__)
    parser.add_argument("--work", type=Path, default=os.environ.get("MINI_TRAIN_WORK"), help="folder of the training")
    parser.add_argument("--model", type=Path, help="an exported model folder to measure instead of the checkpoint")
    parser.add_argument("--count", type=int, default=2000, help="fresh pictures (and frames) in the work folder")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = unet.build()
    if given.model:
        unet.start_from(given.model / "unet", model)
    else:
        model = export.load_unet(given.work)
    for name, loss in losses(model.eval().to(unet.device()), given.work, given.count).items():
        print(f"{name}: {loss:.4f}")


if __name__ == "__main__":
    main()
