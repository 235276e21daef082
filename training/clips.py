"""Moving clips from the renderer, with the true result of every edit: same path and seed, other words."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from training import art
from training.captions import plain_caption
from training.renderer import Layout, Scene, render
from training.vocabulary import FLOATING, FLYING

FRAMES, RATE, SIZE = 24, 8, 128  # frames, frames per second, pixels
FACING_RIGHT = frozenset({"rocket", "airplane"})  # the others face left, and so go left
EDITS = ("subject", "background", "attribute", "style")

DEMOS = {  # name -> (scene, the same scene edited once per kind of edit)
    "car-grass": (
        Scene("car", "grass", "red", seed=11),
        {"subject": "elephant", "background": "snow", "attribute": "blue", "style": "neon"},
    ),
    "elephant-beach": (
        Scene("elephant", "beach", seed=21),
        {"subject": "bus", "background": "desert", "attribute": "pink", "style": "cartoon"},
    ),
    "rocket-space": (
        Scene("rocket", "space", seed=31),
        {"subject": "butterfly", "background": "underwater", "attribute": "green", "style": "pixel art"},
    ),
}
FIELD = {"subject": "subject", "background": "background", "attribute": "colour", "style": "style"}


def smooth_path(scene: Scene, extent: float = 0.54, phase: float = 0.0) -> list[Layout]:
    """One pass through the frame; ``phase`` (of 1) shifts the rhythm of bob, tilt, squash and growth.

    What stands on the ground hops twice, leaning into its way, flat when it lands and long in the air; what floats
    swings up and down, nose first, and comes a little nearer. The subject stays inside the frame even at its longest.
    """
    time = np.linspace(0, 1, FRAMES)
    right = scene.subject in FACING_RIGHT
    reach = 0.95 - extent * 1.06  # of the centre, across the frame
    x = 0.5 + reach / 2 * np.cos(np.pi * (1 - time)) * (1 if right else -1)
    speed = np.sin(np.pi * time)
    swing = 2 * np.pi * (time + phase)
    if scene.background in FLOATING or scene.subject in FLYING:
        y = 0.5 + reach / 2 * 0.55 * np.sin(swing + 0.6)
        angle = 7 * np.cos(swing + 0.6) * (-1 if right else 1)
        stretch, lean = 0.04 * np.sin(2 * swing), 0 * time
        size = extent * (1 + 0.06 * np.sin(swing))
    else:
        air = np.abs(np.sin(swing))
        y = 0.63 - 0.04 * air
        angle = 3 * np.sin(2 * swing)
        stretch = 0.07 * (2 * air - 1)
        lean = 0.09 * speed * (1 if right else -1)
        size = np.full(FRAMES, extent)
    return [Layout(*(float(v) for v in values)) for values in zip(x, y, size, angle, stretch, lean, strict=True)]


def caption(scene: Scene, verb: str = "moving") -> str:
    """A prompt in the wording of video prompts, e.g. ``a red car moving on grass``."""
    words = plain_caption(scene.subject, scene.background, scene.colour, scene.style)
    return words.replace(scene.subject, f"{scene.subject} {verb}", 1)


def render_clip(scene: Scene, path: list[Layout], art_folder: Path, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """(frames uint8 [F, size, size, 3], masks uint8 [F, size, size])."""
    frames, masks = zip(*(render(scene, layout, art_folder, size) for layout in path), strict=True)
    return np.stack(frames), np.stack(masks)


def write_mp4(frames: np.ndarray, path: Path, crf: int = 12) -> None:
    """Write uint8 RGB frames [F, H, W, 3] as H.264."""
    part = path.with_suffix(".part.mp4")
    with av.open(str(part), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE), options={"crf": str(crf), "preset": "slow"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    part.replace(path)


def bounding_box(mask: np.ndarray) -> list[float]:
    """Left, top, right, bottom of a mask [H, W] as fractions of the frame."""
    rows, cols = np.where(mask > 127)
    height, width = mask.shape
    box = cols.min() / width, rows.min() / height, (cols.max() + 1) / width, (rows.max() + 1) / height
    return [round(float(v), 4) for v in box]


def write_demo(name: str, target: Path, art_folder: Path) -> dict:
    """Write ``name``.mp4 and the true clip of each edit; returns what ``demo.json`` says about them."""
    scene, changes = DEMOS[name]
    path = smooth_path(scene)
    frames, masks = render_clip(scene, path, art_folder)
    write_mp4(frames, target / f"{name}.mp4")
    edits = {}
    for kind in EDITS:
        edited = replace(scene, **{FIELD[kind]: changes[kind]})
        file = f"{name}--{kind}.mp4"
        write_mp4(render_clip(edited, path, art_folder)[0], target / file)
        edits[kind] = {"prompt": caption(edited), "word": changes[kind], "ground_truth": file}
    return {
        "clip": f"{name}.mp4",
        "prompt": caption(scene),
        "subject": scene.subject,
        "background": scene.background,
        "attribute": scene.colour,
        "frames": FRAMES,
        "fps": RATE,
        "size": SIZE,
        "path": [[round(p.x, 4), round(p.y, 4)] for p in path],
        "boxes": [bounding_box(mask) for mask in masks],
        "edits": edits,
    }


def write_all(target: Path, art_folder: Path) -> None:
    """All demo clips and ``demo.json``: the first is the demo, ``clips`` has every one."""
    cv2.setNumThreads(1)
    art.fetch(art_folder)
    target.mkdir(parents=True, exist_ok=True)
    clips = {name: write_demo(name, target, art_folder) for name in DEMOS}
    first = next(iter(clips))
    text = json.dumps({"demo": first, **clips[first], "clips": clips}, indent=1)
    part = target / "demo.part"
    part.write_text(text + "\n")
    part.replace(target / "demo.json")
