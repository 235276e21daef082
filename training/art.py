"""Subject pictures: fetch them once, cut them out, recolour them."""

from __future__ import annotations

import functools
import subprocess
import tarfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from training.vocabulary import COLOURS, SUBJECTS

PACKAGE = "@lobehub/fluent-emoji-3d@1.1.0"  # Microsoft Fluent emoji, MIT licence


def fetch(folder: Path) -> Path:
    """Unpack the subjects' pictures into ``folder`` (with ``npm pack`` if no archive lies there); return it."""
    names = {f"package/assets/{code}.webp" for code in SUBJECTS.values()}
    if all((folder / Path(name).name).exists() for name in names):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    archives = sorted(folder.glob("*fluent-emoji-3d*.tgz"))
    if not archives:
        subprocess.run(["npm", "pack", PACKAGE], cwd=folder, check=True)
        archives = sorted(folder.glob("*fluent-emoji-3d*.tgz"))
    with tarfile.open(archives[0]) as archive:
        for member in archive.getmembers():
            if member.name in names:
                data = archive.extractfile(member)
                if data is not None:
                    (folder / Path(member.name).name).write_bytes(data.read())
    return folder


@functools.cache
def sprite(folder: Path, subject: str, colour: str | None = None) -> np.ndarray:
    """Cut-out picture of a subject: float32 [h, w, 4], RGB and alpha in [0, 1], not premultiplied."""
    image = Image.open(folder / f"{SUBJECTS[subject]}.webp").convert("RGBA")
    rgba = np.asarray(image, np.float32) / 255
    rows, cols = np.where(rgba[..., 3] > 0.05)
    rgba = rgba[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1].copy()
    if colour is not None:
        rgba[..., :3] = recolour(rgba, colour)
    return rgba


def recolour(rgba: np.ndarray, colour: str) -> np.ndarray:
    """Blend a dark-colour-light ramp over the luminance of a sprite [h, w, 4]; returns RGB [h, w, 3].

    A rotation of the hue would leave grey, white and black subjects unchanged.
    """
    target = np.asarray(COLOURS[colour], np.float32) / 255
    luminance = cv2.cvtColor(np.ascontiguousarray(rgba[..., :3]), cv2.COLOR_RGB2GRAY)
    low, high = np.percentile(luminance[rgba[..., 3] > 0.5], (4, 96))
    level = np.clip((luminance - low) / max(high - low, 0.1), 0, 1)[..., None]
    ramp = np.where(
        level < 0.55,
        target * (0.25 + 0.75 * level / 0.55),
        target + (1 - target) * 0.55 * (level - 0.55) / 0.45,
    )
    return (0.9 * ramp + 0.1 * rgba[..., :3]).astype(np.float32)
