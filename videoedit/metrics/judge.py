"""The judge, which names what a picture shows, and the locator, which finds its subject; and what they say of an edit.

Both were trained on renders of their own (``training/judge.py``, ``training/locator.py``), on no picture that the
embedded model drew and with no text. They know the rendered subjects only. Flat boxes, mosaics and empty scenes were
among their pictures as what shows no subject.
"""

from __future__ import annotations

import functools
import itertools
import math
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from videoedit.errors import WeightsError
from videoedit.metrics.sample import Figure, Sample
from videoedit.models.assets import JUDGE
from videoedit.models.words import split_words

SIZE = 128  # pixels of the pictures that both take
FACTOR = 4  # pixels of a cell of the locator's map
LEAST = 0.004  # share of the picture that a subject covers at least
NEAR = 0.05  # share of the frame: so far from the middle half of its true box a subject is still on the path
CLASSES = (21, 8, 8, 5)  # subjects and none of them, backgrounds, colors and none, styles and none


def build_judge() -> nn.Sequential:
    """1 M parameters: pictures [B, 3, 128, 128] in [-1, 1] to one row of logits, `CLASSES` side by side."""
    layers: list[nn.Module] = []
    for narrow, wide in itertools.pairwise((3, 24, 32, 64, 128, 192)):
        layers += [nn.Conv2d(narrow, wide, 3, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
        if wide > 32:
            layers += [nn.Conv2d(wide, wide, 3, 1, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
    head = [nn.Flatten(), nn.Dropout(0.3), nn.Linear(192 * 16, sum(CLASSES))]
    return nn.Sequential(*layers, *head).to(memory_format=torch.channels_last)


def build_locator() -> nn.Sequential:
    """0.5 M parameters: pictures [B, 3, 128, 128] in [-1, 1] to logits [B, 1, 32, 32] that a cell shows the subject."""
    layers: list[nn.Module] = []
    for narrow, wide in itertools.pairwise((3, 24, 48)):
        layers += [nn.Conv2d(narrow, wide, 3, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
    for narrow, wide, gap in ((48, 64, 1), (64, 64, 2), (64, 64, 4), (64, 64, 8), (64, 64, 2), (64, 64, 1)):
        layers += [nn.Conv2d(narrow, wide, 3, 1, gap, gap, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(64, 1, 1)).to(memory_format=torch.channels_last)


@functools.cache
def load_judge(folder: Path = JUDGE) -> tuple[nn.Module, nn.Module, tuple[str, ...]]:
    """Judge, locator and the subjects in the order of the judge's columns; raises WeightsError if they are not here."""
    networks: list[nn.Module] = []
    for name, network in (("judge", build_judge()), ("locator", build_locator())):
        file = folder / f"{name}.safetensors"
        if not file.is_file():
            raise WeightsError(f"needs the {name}, which is not in this installation; reinstall videoedit")
        network.load_state_dict(load_file(file))
        networks.append(network.eval())
    with safe_open(folder / "judge.safetensors", "pt") as opened:
        subjects = tuple(opened.metadata()["subjects"].split(","))
    return networks[0], networks[1], subjects


def pixels_of(frames: np.ndarray) -> Tensor:
    """uint8 [N, H, W, 3] as float [N, 3, 128, 128] in [-1, 1]."""
    way = cv2.INTER_AREA if frames.shape[1] > SIZE else cv2.INTER_CUBIC
    small = [frame if frame.shape[:2] == (SIZE, SIZE) else cv2.resize(frame, (SIZE, SIZE), interpolation=way)
             for frame in frames]  # fmt: skip
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def subject_probabilities(judge: nn.Module, frames: np.ndarray) -> np.ndarray:
    """Probability of each subject, the last column of none: float32 [N, 21]; mean over the picture and its mirror."""
    looks = []
    for part in pixels_of(frames).split(64):
        logits = [judge(look).split(CLASSES, 1)[0] for look in (part, part.flip(-1))]
        looks.append((logits[0].softmax(1) + logits[1].softmax(1)) / 2)
    return torch.cat(looks).numpy()


@torch.no_grad()
def locate(locator: nn.Module, frames: np.ndarray) -> np.ndarray:
    """Center of mass (x, y) of the subject in uint8 frames [N, H, W, 3], as shares of the frame: float64 [N, 2].

    ``nan`` where nothing looks like a subject.
    """
    cover = torch.cat([locator(part) for part in pixels_of(frames).split(64)]).sigmoid()[:, 0].double().numpy()
    return centers_of_mass(np.where(cover > 0.5, cover, 0))


def centers_of_mass(cover: np.ndarray) -> np.ndarray:
    """Centers (x, y) [N, 2] of maps [N, h, w] with values from 0 to 1, as shares of the width and height."""
    total = cover.sum((1, 2))
    total[total < LEAST * cover[0].size] = np.nan
    y, x = (np.arange(side) + 0.5 for side in cover.shape[1:])
    rows, columns = cover.sum(2) @ y / cover.shape[1], cover.sum(1) @ x / cover.shape[2]
    return np.stack([columns, rows], 1) / total[:, None]


def agreement(found: np.ndarray, wanted: np.ndarray) -> float:
    """Likeness of two movements [F, 2], 2 sum(ab) / (sum(aa) + sum(bb)) about their means, 0 where it is negative.

    1 = the same movement, wherever it is; one that stands still has about 0, and so has one that trembles. Frames
    in which nothing is found (``nan``) are left out; 0 with fewer than three. ``nan`` if `wanted` stands still.
    """
    there = np.isfinite(found).all(1)
    if np.ptp(wanted, axis=0).max() < 1e-3:
        return math.nan
    if there.sum() < 3:
        return 0.0
    a, b = found[there] - found[there].mean(0), wanted[there] - wanted[there].mean(0)
    total = float((a * a).sum() + (b * b).sum())
    return max(0.0, 2 * float((a * b).sum()) / total) if total > 0 else 0.0


def named_subject(prompt: str, subjects: tuple[str, ...]) -> int | None:
    """The column of the one subject that a prompt names; None if it names none of them, or several."""
    named = set(split_words(prompt)) & set(subjects)
    return subjects.index(named.pop()) if len(named) == 1 else None


# ------------------------------------------------------------------------------------------- of a sample

_UNKNOWN = "the prompt names no subject that the judge knows, or several"


def subject_of(sample: Sample) -> Figure:
    """Share of the frames in which nothing is likelier than the prompt's subject."""
    there = _probabilities(sample)
    if there is None:
        return Figure(math.nan, reason=_UNKNOWN)
    return Figure(float(_is_there(sample).mean()), tuple(map(float, there)))


def subject_confidence_of(sample: Sample) -> Figure:
    """Mean probability of the prompt's subject."""
    there = _probabilities(sample)
    return Figure(math.nan, reason=_UNKNOWN) if there is None else Figure(float(there.mean()))


def path_of(sample: Sample) -> Figure:
    """Share of the frames in which the subject's center of mass is within `NEAR` of the middle half of its true box."""
    found, wanted = _paths(sample)
    assert sample.boxes is not None
    height, width = sample.size
    half = (sample.boxes[:, 2:] - sample.boxes[:, :2]) / (2 * width, 2 * height)
    beyond = np.maximum(np.abs(found - wanted) - half / 2, 0)
    near = np.nan_to_num(np.linalg.norm(beyond, axis=1), nan=1.0) <= NEAR
    return Figure(float(near.mean()), tuple(map(float, near)))


def motion_of(sample: Sample) -> Figure:
    """`subject_of` times `agreement` with the true path, over frames with the right subject."""
    if _probabilities(sample) is None:
        return Figure(math.nan, reason=_UNKNOWN)
    found, wanted = _paths(sample)
    there = _is_there(sample)
    moves = agreement(np.where(there[:, None], found, np.nan), wanted)
    if math.isnan(moves):
        return Figure(math.nan, reason="the subject's true place does not change")
    return Figure(float(there.mean()) * moves)


def _of_subject(sample: Sample) -> tuple[np.ndarray, int | None]:
    judge, _, subjects = load_judge()
    if "judge" not in sample.memo:
        sample.memo["judge"] = subject_probabilities(judge, sample.frames)
    return sample.memo["judge"], named_subject(sample.prompt, subjects)


def _probabilities(sample: Sample) -> np.ndarray | None:
    """Of the prompt's subject in each frame [F]; None if the prompt names none, or several."""
    seen, column = _of_subject(sample)
    return None if column is None else seen[:, column]


def _is_there(sample: Sample) -> np.ndarray:
    """bool [F]: no other subject, nor none, is likelier than the prompt's."""
    seen, column = _of_subject(sample)
    there: np.ndarray = seen.argmax(1) == column
    return there


def _paths(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Where the subject is and where it should be, [F, 2] each, as shares of the frame."""
    assert sample.boxes is not None
    if "located" not in sample.memo:
        sample.memo["located"] = locate(load_judge()[1], sample.frames)
    height, width = sample.size
    return sample.memo["located"], (sample.boxes[:, :2] + sample.boxes[:, 2:]) / (2 * width, 2 * height)
