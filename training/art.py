"""Subject pictures: fetch them once, cut them out, recolour them."""

from __future__ import annotations

import functools
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from training.vocabulary import COLOURS, NOTO_NAMES, SUBJECTS

Look = Literal["fluent", "noto"]
PACKAGES = {
    "fluent-emoji-3d": "@lobehub/fluent-emoji-3d@1.1.0",  # Microsoft Fluent emoji, MIT licence
    "json-noto": "@iconify-json/noto@1.2.9",  # Google Noto emoji, Apache-2.0
}
DRAWN = 256  # pixels, of the rasterised Noto pictures


def fetch(folder: Path) -> Path:
    """Unpack both looks of every subject into ``folder`` (with ``npm pack`` if no archive lies there); return it."""
    names = {f"package/assets/{code}.webp" for code in SUBJECTS.values()} | {"package/icons.json"}
    if all((folder / Path(name).name).exists() for name in names):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for part, package in PACKAGES.items():
        if not list(folder.glob(f"*{part}*.tgz")):
            subprocess.run(["npm", "pack", package], cwd=folder, check=True)
        with tarfile.open(min(folder.glob(f"*{part}*.tgz"))) as archive:
            for member in archive.getmembers():
                data = archive.extractfile(member) if member.name in names else None
                if data is not None:
                    (folder / Path(member.name).name).write_bytes(data.read())
    return folder


def noto_picture(folder: Path, subject: str) -> Image.Image:
    """The subject in Noto's look, rasterised."""
    import cairosvg

    icons = json.loads((folder / "icons.json").read_text())
    body, side = icons["icons"][NOTO_NAMES.get(subject, subject)]["body"], icons.get("width", 128)
    links = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    svg = f'<svg {links} viewBox="0 0 {side} {side}">{body}</svg>'
    return Image.open(io.BytesIO(cairosvg.svg2png(svg.encode(), output_width=DRAWN, output_height=DRAWN)))


@functools.cache
def sprite(folder: Path, subject: str, colour: str | None = None, look: Look = "fluent") -> np.ndarray:
    """Cut-out picture of a subject: float32 [h, w, 4], RGB and alpha in [0, 1], not premultiplied."""
    picture = Image.open(folder / f"{SUBJECTS[subject]}.webp") if look == "fluent" else noto_picture(folder, subject)
    rgba = np.asarray(picture.convert("RGBA"), np.float32) / 255
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
