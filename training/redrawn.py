"""Renders as the model draws them: noised and denoised again, so that CLIP learns on what it will have to judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.captions import plain_caption
from training.dataset import Renders, open_renders, words
from training.sampling import Sampler

CHUNK = 50
STEPS, GUIDANCE = 6, 3.0
STRENGTHS = 0.3, 0.9


def prepare(folder: Path, sampler: Sampler, renders: Renders, count: int) -> Renders:
    """The first ``count`` renders, drawn again with their own captions; opened if they are there."""
    done = folder / f"redrawn-{count}.done"
    if done.exists():
        return open_renders(folder, "redrawn", count)
    drawn = open_renders(folder, "redrawn", count, "w+")
    rng = np.random.default_rng(12)
    for first in range(0, count, CHUNK):
        part = slice(first, min(first + CHUNK, count))
        latents = sampler.latents(
            [plain_caption(*words(label)) for label in renders.labels[part]],
            steps=STEPS,
            guidance_scale=GUIDANCE,
            rng=rng,
            denoiser=sampler.unet,
            source=sampler.encode(np.array(renders.images[part])),
            strength=float(rng.uniform(*STRENGTHS)),
        )
        drawn.images[part], drawn.labels[part] = sampler.decode(latents), renders.labels[part]
    done.touch()
    return drawn
