"""Rendered pictures on disk: uint8 memory maps plus the attributes their captions are drawn from."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from training import art
from training.captions import random_caption
from training.clips import smooth_path
from training.renderer import Layout, Scene, random_layout, render
from training.vocabulary import (
    BACKGROUND_LIST,
    COLOUR_LIST,
    STYLE_LIST,
    SUBJECT_LIST,
    is_held_out,
)

SIZE = 128  # pixels
CHUNK = 250  # pictures per unit of work
CLIP = 4  # neighbouring pictures of the splits of clips are frames of one clip
FIRST_SEED = {
    "train": 0, "judge": 10_000_000, "fresh": 20_000_000, "clips": 30_000_000, "fresh-clips": 40_000_000,
    "locator": 50_000_000, "empty": 60_000_000, "fresh-empty": 70_000_000,
}  # fmt: skip
SECOND_LOOK = {"judge": 0.3, "locator": 0.3}  # share of subjects in Noto's look; elsewhere none
NOBODY = Layout(-9, -9, 0.5)  # outside the frame: the splits named "empty" show no subject


@dataclass(frozen=True)
class Renders:
    """``images`` uint8 [N, 128, 128, 3], ``masks`` uint8 [N, 128, 128], ``labels`` int16 [N, 4].

    The label columns index SUBJECT_LIST, BACKGROUND_LIST, COLOUR_LIST and STYLE_LIST.
    """

    images: np.ndarray
    masks: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def caption(self, rng: np.random.Generator, index: int) -> str:
        return random_caption(rng, *words(self.labels[index]))


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 [N, S, S, 3] to [N, size, size, 3]; unchanged if they have that size."""
    if images.shape[1] == size:
        return images
    way = cv2.INTER_AREA if images.shape[1] > size else cv2.INTER_CUBIC
    return np.stack([cv2.resize(image, (size, size), interpolation=way) for image in images])


def words(label: np.ndarray) -> tuple[str, str, str | None, str | None]:
    """Subject, background, colour and style of one label row [4]."""
    subject, background, colour, style = (int(v) for v in label)
    return SUBJECT_LIST[subject], BACKGROUND_LIST[background], COLOUR_LIST[colour], STYLE_LIST[style]


def random_label(rng: np.random.Generator, held_out: bool | None) -> list[int]:
    """Draw attributes; ``held_out`` False: training pairs only, True: the others only, None: all."""
    while True:
        subject, background = int(rng.integers(len(SUBJECT_LIST))), int(rng.integers(len(BACKGROUND_LIST)))
        if held_out is None or is_held_out(subject, background) == held_out:
            break
    colour = 0 if rng.random() < 0.4 else int(rng.integers(1, len(COLOUR_LIST)))
    style = 0 if rng.random() < 0.6 else int(rng.integers(1, len(STYLE_LIST)))
    return [subject, background, colour, style]


def draw_scene(art_folder: Path, split: str, index: int, held_out: bool | None) -> tuple[Scene, Layout, list[int]]:
    """What picture ``index`` of a split shows and where, with its label row."""
    clip, frame = divmod(index, CLIP) if "clips" in split else (index, 0)
    seed = FIRST_SEED[split] + clip
    rng = np.random.default_rng((seed, 1))
    label = random_label(rng, held_out)
    look: art.Look = "noto" if rng.random() < SECOND_LOOK.get(split, 0.0) else "fluent"
    scene = Scene(*words(np.asarray(label)), seed=seed, look=look)
    if "empty" in split:
        return scene, NOBODY, [len(SUBJECT_LIST), *label[1:]]
    if "clips" in split:
        return scene, random_moments(rng, scene)[frame], label
    return scene, random_layout(rng, scene, art_folder), label


def random_moments(rng: np.random.Generator, scene: Scene) -> list[Layout]:
    """CLIP moments, in their order, of a random path through the frame."""
    path = smooth_path(scene, rng.uniform(0.46, 0.62), rng.random())
    return [path[i] for i in np.sort(rng.permutation(len(path))[:CLIP])]


def open_renders(folder: Path, split: str, count: int, mode: str = "r") -> Renders:
    """Memory maps of a split; ``mode`` "w+" creates them."""
    shapes = {"images": ((count, SIZE, SIZE, 3), np.uint8), "masks": ((count, SIZE, SIZE), np.uint8)}
    shapes["labels"] = ((count, 4), np.int16)
    maps = {
        name: np.memmap(folder / f"{split}-{name}.raw", dtype, mode, shape=shape)
        for name, (shape, dtype) in shapes.items()
    }
    return Renders(**maps)


def render_chunk(job: tuple[Path, Path, str, int, int, bool | None]) -> int:
    """Render CHUNK pictures of a split in place; returns the first index."""
    folder, art_folder, split, count, first, held_out = job
    cv2.setNumThreads(1)
    renders = open_renders(folder, split, count, "r+")
    for index in range(first, min(first + CHUNK, count)):
        scene, layout, renders.labels[index] = draw_scene(art_folder, split, index, held_out)
        renders.images[index], renders.masks[index] = render(scene, layout, art_folder)
    return first


def prepare(
    folder: Path, art_folder: Path, split: str, count: int, *, held_out: bool | None, workers: int = 2
) -> Renders:
    """Render a split unless it is there; an interrupted one starts again."""
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / f"{split}-{count}.done"
    if not done.exists():
        art.fetch(art_folder)
        open_renders(folder, split, count, "w+")
        jobs = [(folder, art_folder, split, count, first, held_out) for first in range(0, count, CHUNK)]
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            for number, _ in enumerate(pool.imap(render_chunk, jobs)):
                if number % 20 == 0:
                    print(f"render {split}: {number * CHUNK}/{count}", flush=True)
        done.touch()
    return open_renders(folder, split, count)
