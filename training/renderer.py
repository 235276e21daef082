"""Pictures of a subject on a background in a colour and a style, from random but repeatable parameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from training import art, backgrounds, styles
from training.vocabulary import FLOATING, FLYING

CANVAS = 128  # pixels; pictures are painted at this size


@dataclass(frozen=True)
class Scene:
    """What a picture shows; ``seed`` fixes the background and the grain of the style."""

    subject: str
    background: str
    colour: str | None = None
    style: str | None = None
    seed: int = 0
    look: art.Look = "fluent"


@dataclass(frozen=True)
class Layout:
    """Where the subject is and how it is bent.

    ``x``, ``y``: centre of the unbent subject, ``extent``: its longer side, fractions of the frame; ``angle``:
    degrees about the centre. ``stretch`` makes it thinner and taller (below zero: flatter and wider) and ``lean`` moves
    its top sideways by that fraction of its height; in both cases its feet stay where they are.
    """

    x: float
    y: float
    extent: float
    angle: float = 0.0
    stretch: float = 0.0
    lean: float = 0.0


def half_size(scene: Scene, extent: float, folder: Path) -> tuple[float, float]:
    """Half width and half height of the unbent subject as fractions of the frame."""
    height, width = art.sprite(folder, scene.subject, None, scene.look).shape[:2]
    longer = max(height, width)
    return extent * width / longer / 2, extent * height / longer / 2


def random_layout(rng: np.random.Generator, scene: Scene, folder: Path) -> Layout:
    """A place and a pose with the whole subject inside the frame, standing on the ground if there is one."""
    extent = rng.uniform(0.48, 0.72)
    stretch = float(np.clip(rng.normal(0, 0.05), -0.12, 0.12))
    lean = float(np.clip(rng.normal(0, 0.06), -0.15, 0.15))
    angle = float(np.clip(rng.normal(0, 4.5), -11, 11))
    half_w, half_h = half_size(scene, extent, folder)
    room_w = half_w * (1 + max(0, -stretch)) + abs(lean) * half_h
    x = rng.uniform(min(0.5, room_w + 0.03), max(0.5, 0.97 - room_w))
    top = half_h + 0.04 + 2 * half_h * max(0, stretch)
    if scene.background in FLOATING:
        y = rng.uniform(top, max(top, 0.96 - half_h))
    elif scene.subject in FLYING:
        y = rng.uniform(top, max(top + 0.02, 0.75 - half_h))
    else:
        y = rng.uniform(0.78, 0.93) - half_h
    return Layout(x, y, extent, angle, stretch, lean)


def place(rgba: np.ndarray, layout: Layout, size: int) -> np.ndarray:
    """The sprite [h, w, 4] scaled, bent, turned and moved into a frame [size, size, 4], premultiplied."""
    premultiplied = np.concatenate([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], -1)
    height, width = rgba.shape[:2]
    scale = layout.extent * size / max(height, width)
    if scale < 0.6:
        half = (max(1, round(width * scale * 1.5)), max(1, round(height * scale * 1.5)))
        premultiplied = cv2.resize(premultiplied, half, interpolation=cv2.INTER_AREA)
        scale *= width / half[0]
        height, width = premultiplied.shape[:2]
    tall = 1 + layout.stretch
    bend = scale * np.array([[1 / tall, -layout.lean], [0, tall]])
    turn = cv2.getRotationMatrix2D((0, 0), layout.angle, 1)[:, :2]
    feet = np.array([width / 2, height])
    middle = np.array([layout.x, layout.y]) * size
    lower = np.array([0, height / 2 * scale])  # from the middle to the feet, unbent
    offset = middle + turn @ (lower - bend @ feet)
    matrix = np.concatenate([turn @ bend, offset[:, None]], 1)
    return cv2.warpAffine(np.ascontiguousarray(premultiplied), matrix, (size, size), flags=cv2.INTER_LINEAR)


def contact_shadow(scene: Scene, layout: Layout, alpha: np.ndarray) -> np.ndarray:
    """Darkness [size, size] in [0, 1] under a standing subject; zero for floating ones."""
    size = len(alpha)
    shadow = np.zeros((size, size), np.float32)
    rows = np.where(alpha.max(1) > 0.5)[0]
    if scene.background in FLOATING or scene.subject in FLYING or len(rows) == 0:
        return shadow
    columns = np.where(alpha[rows[-1] - size // 16 : rows[-1] + 1].max(0) > 0.5)[0]
    centre = int(columns.mean()), int(rows[-1])
    axes = max(4, int((columns[-1] - columns[0]) * 0.55)), max(2, size // 28)
    cv2.ellipse(shadow, centre, axes, 0, 0, 360, 0.45, -1)
    return cv2.GaussianBlur(shadow, (0, 0), size / 45)


def render(scene: Scene, layout: Layout, folder: Path, size: int = CANVAS) -> tuple[np.ndarray, np.ndarray]:
    """Paint a scene: (RGB uint8 [size, size, 3], subject mask uint8 [size, size], 255 = subject)."""
    rng = np.random.default_rng(scene.seed)
    image = backgrounds.paint(rng, scene.background, CANVAS)
    sprite = place(art.sprite(folder, scene.subject, scene.colour, scene.look), layout, CANVAS)
    alpha = np.clip(sprite[..., 3:], 0, 1)
    image *= 1 - contact_shadow(scene, layout, alpha[..., 0])[..., None]
    image = image * (1 - alpha) + np.clip(sprite[..., :3] * rng.uniform(0.92, 1.06), 0, 1)
    image = styles.apply(rng, np.clip(image, 0, 1), scene.style, alpha[..., 0])
    pixels = np.round(np.stack([*np.moveaxis(image, -1, 0), alpha[..., 0]], -1) * 255).astype(np.uint8)
    if size != CANVAS:
        pixels = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(pixels[..., :3]), np.ascontiguousarray(pixels[..., 3])
