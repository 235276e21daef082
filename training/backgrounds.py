"""One procedural painter per background word; every parameter is random.

Each painter takes (rng, size) and returns a float32 RGB image [size, size, 3] in [0, 1].
"""

from __future__ import annotations

import cv2
import numpy as np


def fractal(rng: np.random.Generator, size: int, base: int = 3, octaves: int = 4) -> np.ndarray:
    """Smooth noise [size, size] in about [-1, 1]: octaves of random grids, each finer and fainter."""
    out = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        grid = rng.standard_normal((base * 2**octave + 1,) * 2).astype(np.float32)
        out += cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC) / 2**octave
    return out / 2


def colour(rng: np.random.Generator, rgb: tuple[int, int, int], spread: float = 10) -> np.ndarray:
    """A colour near ``rgb`` (0-255), as float32 [3] in [0, 1]."""
    return np.clip((np.asarray(rgb) + rng.normal(0, spread, 3)) / 255, 0, 1).astype(np.float32)


def gradient(size: int, top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    level = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    return np.broadcast_to(top + (bottom - top) * level, (size, size, 3)).copy()


def ramp(size: int) -> np.ndarray:
    """Pixel centres along one axis as fractions of the frame."""
    return (np.arange(size, dtype=np.float32) + 0.5) / size


def curve(rng: np.random.Generator, size: int, height: float, wobble: float) -> np.ndarray:
    """A smooth line: its y (fraction of the frame) for each column [size]."""
    points = rng.normal(0, wobble, (1, 4)).astype(np.float32)
    return height + cv2.resize(points, (size, 1), interpolation=cv2.INTER_CUBIC)[0]


def below(line: np.ndarray) -> np.ndarray:
    """Soft mask [size, size, 1] in [0, 1]: 1 under the line [size] (fractions)."""
    size = len(line)
    return np.clip((ramp(size)[:, None] - line[None]) * size + 0.5, 0, 1)[..., None]


def over(image: np.ndarray, paint: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return image + (paint - image) * mask


def sky(rng: np.random.Generator, size: int, top: tuple, bottom: tuple, clouds: float = 0.5) -> np.ndarray:
    image = gradient(size, colour(rng, top), colour(rng, bottom))
    if rng.random() < clouds:
        noise = fractal(rng, size, 2, 3)
        mask = np.clip(noise * 1.6 - 0.3, 0, 0.85)[..., None] * np.clip(0.75 - ramp(size), 0, 1)[:, None, None]
        image = over(image, np.float32(1), mask)
    return image


def grass(rng: np.random.Generator, size: int) -> np.ndarray:
    image = sky(rng, size, (90, 165, 240), (195, 225, 250))
    image = over(image, colour(rng, (110, 175, 80)), below(curve(rng, size, rng.uniform(0.38, 0.48), 0.03)))
    field = gradient(size, colour(rng, (95, 185, 60)), colour(rng, (45, 130, 35)))
    blades = cv2.resize(rng.standard_normal((size // 4, size // 2)).astype(np.float32), (size, size))
    field *= 1 + 0.12 * blades[..., None]
    return over(image, field, below(curve(rng, size, rng.uniform(0.5, 0.6), 0.03)))


def snow(rng: np.random.Generator, size: int) -> np.ndarray:
    image = sky(rng, size, (165, 195, 225), (225, 235, 245), 0.3)
    line = curve(rng, size, rng.uniform(0.46, 0.56), 0.025)
    image = over(image, colour(rng, (205, 218, 235), 5), below(line - 0.06))
    for _ in range(rng.integers(2, 6)):
        pine(rng, image, rng.uniform(0, 1), rng.uniform(0.44, 0.56), rng.uniform(0.12, 0.3))
    field = gradient(size, colour(rng, (232, 238, 246), 4), colour(rng, (250, 251, 254), 3))
    field += 0.025 * fractal(rng, size)[..., None]
    return over(image, field, below(line))


def pine(rng: np.random.Generator, image: np.ndarray, x: float, foot: float, height: float) -> None:
    """Draw a fir tree into ``image``: foot and height are fractions of the frame."""
    size = len(image)
    shade = [float(v) for v in colour(rng, (50, 90, 75), 8)]
    for level in range(3):
        half = height * (0.16 + 0.09 * level)
        top = foot - height * (1 - 0.25 * level)
        bottom = foot - height * (0.55 - 0.27 * level)
        points = np.array([[x, top], [x - half, bottom], [x + half, bottom]]) * size
        cv2.fillPoly(image, [points.astype(np.int32)], shade, cv2.LINE_8)


def beach(rng: np.random.Generator, size: int) -> np.ndarray:
    image = sky(rng, size, (60, 145, 235), (190, 228, 250))
    horizon = rng.uniform(0.36, 0.46)
    sea = gradient(size, colour(rng, (20, 95, 170)), colour(rng, (60, 200, 215)))
    image = over(image, sea, below(np.full(size, horizon, np.float32)))
    shore = curve(rng, size, horizon + rng.uniform(0.14, 0.2), 0.02)
    image = over(image, np.float32(0.97), below(shore - 0.03))
    sand = gradient(size, colour(rng, (240, 218, 165), 6), colour(rng, (225, 190, 130), 6))
    sand += 0.03 * fractal(rng, size, 6, 3)[..., None]
    return over(image, sand, below(shore))


def desert(rng: np.random.Generator, size: int) -> np.ndarray:
    image = sky(rng, size, (95, 160, 215), (250, 215, 165), 0.0)
    if rng.random() < 0.6:
        centre = (int(rng.uniform(0.1, 0.9) * size), int(rng.uniform(0.08, 0.25) * size))
        cv2.circle(image, centre, int(size * 0.06), (1.0, 0.96, 0.75), -1, cv2.LINE_8)
    for level in range(3):
        line = curve(rng, size, 0.44 + 0.11 * level + rng.uniform(-0.03, 0.03), 0.045)
        dune = gradient(size, colour(rng, (228, 165, 85), 9), colour(rng, (190, 115, 50), 9))
        dune *= 1 + 0.05 * fractal(rng, size, 4, 3)[..., None]
        image = over(image, dune, below(line))
    return image


def space(rng: np.random.Generator, size: int) -> np.ndarray:
    image = gradient(size, colour(rng, (10, 8, 30), 4), colour(rng, (18, 10, 42), 5))
    tint = ((140, 40, 190), (40, 70, 200), (190, 40, 130))[rng.integers(3)]
    image = over(image, colour(rng, tint), np.clip(fractal(rng, size, 2, 4) * 0.8 - 0.1, 0, 0.6)[..., None])
    for _ in range(rng.integers(25, 55)):
        x, y = rng.integers(0, size, 2)
        light = float(rng.uniform(0.5, 1))
        radius = int(size * 0.012) if rng.random() < 0.25 else 0
        cv2.circle(image, (int(x), int(y)), radius, (light, light, light), -1, cv2.LINE_8)
    return image


def city(rng: np.random.Generator, size: int) -> np.ndarray:
    image = sky(rng, size, (130, 175, 220), (225, 225, 225), 0.3)
    ground = rng.uniform(0.6, 0.68)
    x = -rng.uniform(0, 0.1)
    while x < 1:
        width, height = rng.uniform(0.11, 0.2), rng.uniform(0.28, 0.58)
        tower(rng, image, x, width, ground - height, ground)
        x += width + rng.uniform(0, 0.02)
    image = over(image, colour(rng, (165, 165, 165), 5), below(np.full(size, ground, np.float32)))
    image = over(image, colour(rng, (72, 74, 82), 5), below(np.full(size, ground + 0.05, np.float32)))
    y = int((ground + 0.24) * size)
    for start in np.arange(rng.uniform(-0.2, 0), 1, 0.25):
        box = (int(start * size), y), (int((start + 0.13) * size), y + max(1, size // 48))
        cv2.rectangle(image, *box, (0.95, 0.95, 0.9), -1)
    return image


def tower(rng: np.random.Generator, image: np.ndarray, x: float, width: float, top: float, foot: float) -> None:
    """Draw a building with lit windows into ``image`` (fractions of the frame)."""
    size = len(image)
    wall = ((120, 125, 145), (165, 140, 120), (95, 105, 130), (180, 175, 165))[rng.integers(4)]
    shade = [float(v) for v in colour(rng, wall)]
    cv2.rectangle(image, (int(x * size), int(top * size)), (int((x + width) * size), int(foot * size)), shade, -1)
    step = 0.055
    for wy in np.arange(top + 0.03, foot - 0.03, step):
        for wx in np.arange(x + 0.02, x + width - 0.035, step):
            light = (0.98, 0.9, 0.55) if rng.random() < 0.6 else (0.35, 0.42, 0.55)
            corner = int(wx * size), int(wy * size)
            cv2.rectangle(image, corner, (int((wx + 0.024) * size), int((wy + 0.028) * size)), light, -1)


def underwater(rng: np.random.Generator, size: int) -> np.ndarray:
    image = gradient(size, colour(rng, (55, 175, 225)), colour(rng, (10, 60, 135)))
    columns = cv2.resize(rng.standard_normal((2, 7)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    fade = np.clip(0.8 - ramp(size), 0, 1)[:, None]
    image += (np.clip(columns, 0, 1) * fade * 0.22)[..., None]
    floor = colour(rng, (70, 135, 140)) * (1 + 0.15 * fractal(rng, size, 4, 3)[..., None])
    image = over(image, floor, below(curve(rng, size, rng.uniform(0.84, 0.9), 0.02)))
    for _ in range(rng.integers(4, 12)):
        centre = int(rng.uniform(0, 1) * size), int(rng.uniform(0, 0.85) * size)
        radius = int(rng.uniform(0.008, 0.025) * size)
        cv2.circle(image, centre, radius, (0.8, 0.93, 1.0), max(1, size // 96), cv2.LINE_AA)
    return image


def forest(rng: np.random.Generator, size: int) -> np.ndarray:
    image = gradient(size, colour(rng, (45, 85, 50)), colour(rng, (85, 125, 70)))
    image *= 1 + 0.25 * fractal(rng, size, 4, 4)[..., None]
    ground = rng.uniform(0.62, 0.7)
    for depth in (0.55, 1.0):
        for _ in range(rng.integers(3, 6)):
            x, half = rng.uniform(0, 1), rng.uniform(0.015, 0.035) * depth
            bark = [float(v) for v in colour(rng, (85, 58, 38), 8) * (1.25 - 0.4 * depth)]
            foot = ground + 0.06 * depth
            cv2.rectangle(image, (int((x - half) * size), 0), (int((x + half) * size), int(foot * size)), bark, -1)
    floor = gradient(size, colour(rng, (70, 88, 42), 7), colour(rng, (52, 60, 30), 7))
    floor *= 1 + 0.2 * fractal(rng, size, 7, 3)[..., None]
    return over(image, floor, below(curve(rng, size, ground, 0.02)))


PAINTERS = {
    "grass": grass,
    "snow": snow,
    "beach": beach,
    "desert": desert,
    "space": space,
    "city": city,
    "underwater": underwater,
    "forest": forest,
}


def paint(rng: np.random.Generator, background: str, size: int) -> np.ndarray:
    """The background of that name: float32 RGB [size, size, 3] in [0, 1]."""
    return np.clip(PAINTERS[background](rng, size), 0, 1).astype(np.float32)
