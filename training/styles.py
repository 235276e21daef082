"""Styles that act on the whole picture: (rng, image float32 [S, S, 3] in [0, 1]) to an image of the same kind."""

from __future__ import annotations

import cv2
import numpy as np

from training.backgrounds import fractal


def kuwahara(image: np.ndarray, radius: int) -> np.ndarray:
    """Edge-keeping smoothing: the mean of whichever of four quadrants varies least."""
    window = (2 * radius + 1,) * 2
    mean = cv2.blur(image, window)
    grey = image.mean(-1)
    variance = cv2.blur(grey * grey, window) - cv2.blur(grey, window) ** 2
    best, result = None, mean
    for dy, dx in ((radius, radius), (radius, -radius), (-radius, radius), (-radius, -radius)):
        candidate, spread = np.roll(mean, (dy, dx), (0, 1)), np.roll(variance, (dy, dx), (0, 1))
        if best is None:
            best, result = spread, candidate
        else:
            better = spread < best
            best, result = np.where(better, spread, best), np.where(better[..., None], candidate, result)
    return result


def watercolor(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Washed-out flat patches that bleed and fade into white paper towards the frame."""
    size = len(image)
    wash = kuwahara(image, max(1, size // 64))
    wash = 0.42 + 0.58 * wash + 0.05 * fractal(rng, size, 8, 3)[..., None]
    edge = np.minimum(np.arange(size), np.arange(size)[::-1]).astype(np.float32) / size
    frame = np.minimum(edge[:, None], edge[None]) + 0.035 * fractal(rng, size, 5, 3)
    paper = np.array([0.98, 0.97, 0.93], np.float32)
    return paper + (wash - paper) * np.clip(frame * 14 - 0.3, 0, 1)[..., None]


def neon(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Glowing coloured outlines on near black."""
    size = len(image)
    smooth = cv2.GaussianBlur(image, (0, 0), size / 110)
    gx, gy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    edge = np.clip(np.sqrt(gx**2 + gy**2).max(-1) * 1.5 * size / 128 - 0.12, 0, 1)
    hue = cv2.GaussianBlur(image, (0, 0), size / 40)
    low = hue.min(-1, keepdims=True)
    vivid = (hue - 0.85 * low) / np.maximum(hue.max(-1, keepdims=True) - 0.85 * low, 0.05)
    lines = edge[..., None] * vivid
    glow = cv2.GaussianBlur(lines, (0, 0), size / 32)
    return 0.16 * image * vivid + lines + 0.9 * glow


def pixel_art(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Large square blocks (a grid of 21) in few, vivid colours."""
    size, grid = len(image), 21
    small = cv2.resize(image, (grid, grid), interpolation=cv2.INTER_AREA)
    small = np.round(np.clip(0.5 + 1.15 * (small - 0.5), 0, 1) * 6) / 6
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_NEAREST)


def cartoon(rng: np.random.Generator, image: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Flat vivid patches with ink lines; the subject's outline (mask [S, S]) is always inked."""
    size = len(image)
    flat = np.round(kuwahara(image, max(1, size // 64)) * 4) / 4
    mean = flat.mean(-1, keepdims=True)
    flat = np.clip(mean + 1.35 * (flat - mean), 0, 1)
    grey = cv2.GaussianBlur(image.mean(-1), (0, 0), size / 100)
    edge = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)) * size / 128
    ink = np.clip(edge * 2.2 - 0.45, 0, 1)
    if mask is not None:
        width = max(3, size // 32 | 1)
        outline = cv2.dilate(mask, np.ones((width, width))) - cv2.erode(mask, np.ones((3, 3)))
        ink = np.maximum(ink, np.clip(outline, 0, 1))
    return flat * (1 - ink[..., None])


def apply(rng: np.random.Generator, image: np.ndarray, style: str | None, mask: np.ndarray) -> np.ndarray:
    """The picture in that style, clipped to [0, 1]; ``mask`` float32 [S, S] is the subject's alpha."""
    if style is None:
        return image
    if style == "cartoon":
        return np.clip(cartoon(rng, image, mask), 0, 1)
    return np.clip({"watercolor": watercolor, "neon": neon, "pixel art": pixel_art}[style](rng, image), 0, 1)
