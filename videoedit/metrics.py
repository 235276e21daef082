"""Measures of an edited clip: pure functions of frames, each with a versioned name and what it needs.

Frames are uint8 ``[F, H, W, 3]``, RGB. Optical flow is an argument, never computed here. A measure that has
nothing to measure returns ``nan`` (no moving pixel, no edge, no visible pixel); it never invents a perfect or a
worst score.
A figure counts only beside one of edit strength: an edit that does nothing is perfectly smooth.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from videoedit.errors import ShapeError, WeightsError

if TYPE_CHECKING:
    import torch

MINI_CLIP = Path(__file__).parent / "assets" / "mini" / "clip"


@dataclass(frozen=True)
class Metric:
    """What a figure is called, what it says and what it takes to compute it."""

    id: str  # "name@version"; a change of definition changes the version
    title: str
    meaning: str
    better: Literal["higher", "lower", "one", "none"]  # "one": the nearer to 1; "none": a description
    needs: tuple[str, ...]  # frames, source, truth, prompt, boxes, flow, occlusion, clip
    unit: str = ""


METRICS: dict[str, Metric] = {
    metric.id: metric
    for metric in (
        Metric("psnr@1", "PSNR",
               "Closeness of the pixels to the reference (of an edit: the ground truth; of a reconstruction: the "
               "source). 20 is alike, 30 close.",
               "higher", ("frames", "source"), "dB"),
        Metric("psnr_autoencoder@1", "PSNR of the autoencoder",
               "The source, encoded and decoded, against the source: no reconstruction can come closer.",
               "higher", ("frames", "source"), "dB"),
        Metric("ssim@1", "SSIM", "Closeness of the local structure to the same reference, 1 = identical.",
               "higher", ("frames", "source")),
        Metric("flicker_ratio@1", "Flicker ratio",
               "Change from frame to frame as a multiple of the source's: 1 is as calm as the source.",
               "one", ("frames", "source"), "x"),
        Metric("colour_drift@1", "Colour drift",
               "How far the colours move from the first frame's, in CIELAB units; 2 is just visible.",
               "lower", ("frames",)),
        Metric("warp_error@1", "Warp error",
               "Mean squared difference (values 0 to 1) after each frame is moved onto the next along the flow.",
               "lower", ("frames", "flow", "occlusion")),
        Metric("edge_f1@1", "Edge F1",
               "Agreement of the Canny edges with the source's within one pixel: how much of the layout stays.",
               "higher", ("frames", "source")),
        Metric("path_error@1", "Path error",
               "Mean distance of the subject from the ground-truth path, as a share of the frame width.",
               "lower", ("frames", "boxes")),
        Metric("path_correlation@1", "Path correlation",
               "Correlation of the subject's movement with the ground-truth path, 1 = the same motion.",
               "higher", ("frames", "boxes")),
        Metric("appearance_consistency@1", "Appearance consistency",
               "How alike the subject looks in every two frames (colours and shape), 1 = unchanged.",
               "higher", ("frames", "boxes")),
        Metric("clip_text@mini", "CLIP text (mini)",
               "Likeness of the frames to the prompt, by the miniature CLIP. Honest only for the rendered "
               "subjects, backgrounds, colours and styles that it was trained on.",
               "higher", ("frames", "prompt", "clip")),
        Metric("clip_text_gain@mini", "CLIP text gain (mini)",
               "The edit's likeness to its prompt minus the source's: above 0, the edit moved towards the prompt. "
               "Only for rendered clips, as above.",
               "higher", ("frames", "source", "prompt", "clip")),
        Metric("clip_frame@mini", "CLIP frames (mini)",
               "Mean likeness of every two frames, by the miniature CLIP. Only for rendered clips, as above.",
               "higher", ("frames", "clip")),
    )
}  # fmt: skip


def describe(name: str) -> Metric | None:
    """The metric called `name`, with or without its version; None if unknown."""
    if name in METRICS:
        return METRICS[name]
    return next((metric for metric in METRICS.values() if metric.id.split("@")[0] == name), None)


def _same_shape(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape or a.ndim != 4 or a.shape[-1] != 3:
        raise ShapeError(f"expected two clips of one shape [F, H, W, 3], got {a.shape} and {b.shape}")


# ---------------------------------------------------------------------------------------------- pixels


def psnr(frames: np.ndarray, reference: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB over all frames at once; ``inf`` for identical clips."""
    _same_shape(frames, reference)
    error = float(np.mean((frames.astype(np.float64) - reference) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ssim(frames: np.ndarray, reference: np.ndarray, *, window: int = 11) -> float:
    """Structural similarity (Wang et al. 2004), Gaussian window, mean over frames and channels; at most 1."""
    _same_shape(frames, reference)
    if min(frames.shape[1:3]) < window:
        raise ShapeError(f"SSIM needs frames of at least {window} x {window} pixels, got {frames.shape[1:3]}")
    import torch
    from kornia.metrics import ssim as ssim_map

    total = 0.0
    for a, b in zip(frames, reference, strict=True):  # frame by frame: long clips stay small
        pair = torch.from_numpy(np.stack([a, b])).permute(0, 3, 1, 2).float() / 255
        total += float(ssim_map(pair[:1], pair[1:], window, padding="valid").mean())
    return total / len(frames)


def flicker(frames: np.ndarray) -> float:
    """Mean absolute change from each frame to the next, in grey levels (0-255); ``nan`` for one frame."""
    if len(frames) < 2:
        return math.nan
    changes = [float(np.abs(b.astype(np.int16) - a).mean()) for a, b in itertools.pairwise(frames)]
    return sum(changes) / len(changes)


def flicker_ratio(frames: np.ndarray, source: np.ndarray) -> float:
    """`flicker` of an edit over that of its source; ``nan`` if the source does not change."""
    still = flicker(source)
    return flicker(frames) / still if still > 0 else math.nan


def colour_drift(frames: np.ndarray) -> float:
    """Mean distance of the colours of frames 1.. from those of frame 0, in CIELAB units.

    The distance of two frames is the earth mover's distance of their values, channel by channel, added in
    quadrature: blind to where a colour is, so motion alone costs nothing. ``nan`` for one frame.
    """
    if len(frames) < 2:
        return math.nan
    values = [np.sort(_lab(frame).reshape(-1, 3), axis=0) for frame in frames]
    return float(np.mean([np.linalg.norm(np.abs(v - values[0]).mean(0)) for v in values[1:]]))


def _lab(frame: np.ndarray) -> np.ndarray:
    """CIELAB of an RGB frame, float32 [H, W, 3], L in 0-100."""
    return cv2.cvtColor(np.ascontiguousarray(frame, np.float32) / 255, cv2.COLOR_RGB2Lab)


def warp_error(frames: np.ndarray, flow: np.ndarray, occlusion: np.ndarray) -> float:
    """Mean squared difference of frame i+1 and frame i brought onto it, over visible pixels, values in [0, 1].

    Convention: `flow` [F-1, 2, H, W] is *backward*, frame i+1 -> i, in pixels, x right and y down; frame i is
    sampled at ``p + flow(p)``. `occlusion` [F-1, H, W] (or [F-1, 1, H, W]) is True where frame i+1 shows
    nothing of frame i. Pixels sampled from outside the frame do not count. ``nan`` if under 1 % is visible.
    """
    count, height, width = len(frames), *frames.shape[1:3]
    flow, occlusion = np.asarray(flow, np.float32), np.asarray(occlusion, bool)
    occlusion = occlusion[:, 0] if occlusion.ndim == 4 else occlusion
    if flow.shape != (count - 1, 2, height, width) or occlusion.shape != (count - 1, height, width):
        raise ShapeError(
            f"{count} frames of {height} x {width} need flow {(count - 1, 2, height, width)} and occlusion "
            f"{(count - 1, height, width)}, got {flow.shape} and {occlusion.shape}"
        )
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    error, visible_total = 0.0, 0
    for index in range(count - 1):
        x, y = columns + flow[index, 0], rows + flow[index, 1]
        moved = cv2.remap(frames[index].astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        visible = ~occlusion[index] & (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        error += float((((moved - frames[index + 1]) / 255) ** 2).mean(-1)[visible].sum())
        visible_total += int(visible.sum())
    if visible_total < 0.01 * (count - 1) * height * width or count < 2:
        return math.nan
    return error / visible_total


def edge_f1(frames: np.ndarray, source: np.ndarray, *, tolerance: int = 1) -> float:
    """F1 of the Canny edges of an edit against the source's, a hit being an edge within `tolerance` pixels.

    Mean over the frames that have an edge in either clip; ``nan`` if none has.
    """
    _same_shape(frames, source)
    kernel = np.ones((2 * tolerance + 1,) * 2, np.uint8)
    scores = []
    for ours, theirs in zip(frames, source, strict=True):
        a, b = (
            cv2.Canny(cv2.cvtColor(np.ascontiguousarray(f), cv2.COLOR_RGB2GRAY), 100, 200) > 0 for f in (ours, theirs)
        )
        if not a.any() and not b.any():
            continue
        near_a, near_b = (cv2.dilate(edges.astype(np.uint8), kernel) > 0 for edges in (a, b))
        precision, recall = (a & near_b).sum() / max(a.sum(), 1), (b & near_a).sum() / max(b.sum(), 1)
        scores.append(2 * precision * recall / max(precision + recall, 1e-12))
    return float(np.mean(scores)) if scores else math.nan


# -------------------------------------------------------------------------------------- the subject's path


def locate_subject(frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Where the moving subject of a clip with a still camera is: boxes [F, 4] (x0, y0, x1, y1), pixels.

    `boxes` [F, 4] are the ground truth of a rendered clip: they give the subject's size and a first guess of
    the places. In turn, the background is taken as the per-pixel median over the frames in which the present
    boxes leave a pixel free, and each frame's box moves to where most of what differs from that background is.
    Pixels that no frame leaves free count for nothing. Other first guesses are the truth backwards in time and
    what `find_subject` sees; their results win where the boxes hold clearly more of the difference. So an edit that
    moves otherwise is found where it is, also a reversed or shortened one. Measured on rendered clips: within
    0.03 of the width of the truth (0.05 for subjects of 0.7 of the frame), correlation 0.97 and above.

    All ``nan`` if no moving subject stands out: a still clip, noise.
    """
    boxes = np.asarray(boxes, np.float64)
    if boxes.shape != (len(frames), 4):
        raise ShapeError(f"expected one box (x0, y0, x1, y1) for each of {len(frames)} frames, got {boxes.shape}")
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    guesses = [_centres(boxes), _centres(boxes)[::-1], _centres(find_subject(frames))]
    sigma = max(0.8, frames.shape[2] / 80)
    lab = np.stack([cv2.GaussianBlur(_lab(frame), (0, 0), sigma) for frame in frames])
    fits = [
        _settle(lab, np.concatenate([centre - half, centre + half], axis=1))
        for centre in guesses
        if np.isfinite(centre).all()
    ]
    best, contrast = fits[0]
    for other, clearer in fits[1:]:
        if clearer > contrast + 0.02:
            best, contrast = other, clearer
    return best if contrast >= 0.1 else np.full_like(boxes, math.nan)


def _settle(lab: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, float]:
    """Move boxes to where the foreground is until they rest; also how much more of it is inside than outside."""
    height, width = lab.shape[1:3]
    for _ in range(6):
        evidence, known = _foreground(lab, boxes)
        moved = np.stack([_best_box(e, b) for e, b in zip(evidence, boxes, strict=True)])
        if np.array_equal(moved, boxes):
            break
        boxes = moved
    inside = _inside(boxes, height, width)
    within, without = inside & known, ~inside & known
    if not within.any() or not without.any():
        return boxes, -1.0
    return boxes, float(evidence[within].mean() - evidence[without].mean())


def find_subject(frames: np.ndarray) -> np.ndarray:
    """Boxes [F, 4] of the one subject that moves in a clean clip with a still background; ``nan`` if none does.

    Meant for rendered clips (a ground truth without a list of boxes). What differs between two frames is the
    union of the subject's two places; the place in frame t is what t's unions with all others have in common.
    The size is the median over the frames, since the first and last place lack a neighbour on one side.
    """
    count, height, width = frames.shape[:3]
    lab = np.stack([cv2.GaussianBlur(_lab(frame), (0, 0), 0.7) for frame in frames])
    boxes = np.full((count, 4), math.nan)
    for t in range(count):
        unions = [_extent(np.linalg.norm(lab[t] - other, axis=-1)) for other in lab]
        seen = np.array([union for union in unions if union is not None])
        if len(seen):
            boxes[t] = [*seen[:, :2].max(0), *seen[:, 2:].min(0)]
    if not np.isfinite(boxes).all():
        return np.full_like(boxes, math.nan)
    size = np.maximum(np.median(boxes[:, 2:] - boxes[:, :2], axis=0), 1)
    if size.prod() > 0.8 * height * width:  # the camera moves: all is different
        return np.full_like(boxes, math.nan)
    low, high = boxes[:, :2], boxes[:, 2:]
    # The foremost place is too long on the side of its neighbour: its far side is right.
    foremost = (high == high.max(0)) & (low > low.min(0))
    low = np.where(foremost, high - size, np.where(low == low.min(0), low, (low + high - size) / 2))
    return np.concatenate([low, low + size], axis=1)


def _extent(difference: np.ndarray) -> tuple[int, int, int, int] | None:
    """Box of what differs clearly in a map [H, W] of colour differences; None if nothing does."""
    changed = cv2.morphologyEx((difference > 8).astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    rows, columns = np.nonzero(changed)
    if len(rows) < max(4, changed.size // 1000):
        return None
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def _inside(boxes: np.ndarray, height: int, width: int, grow: int = 0) -> np.ndarray:
    """bool [F, H, W]: True where a pixel's centre is in its frame's box, grown by so many pixels."""
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    x0, y0, x1, y1 = (side[:, None] for side in (boxes + np.array([-grow, -grow, grow, grow])).T)
    return ((x >= x0) & (x < x1))[:, None, :] & ((y >= y0) & (y < y1))[:, :, None]


def _foreground(lab: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Evidence [F, H, W] that a pixel is not background, in [-0.2, 0.5], and which pixels [H, W] are known.

    The scale of a difference is twice its median over the clip: noise and flicker raise it.
    """
    height, width = lab.shape[1:3]
    covered = _inside(boxes, height, width, grow=1)
    known: np.ndarray = np.logical_not(covered.all(0))
    ordered = np.sort(np.where(covered[..., None], np.inf, lab), axis=0)  # the free values come first
    middle = np.maximum(np.sum(~covered, axis=0) - 1, 0)[None, ..., None] / 2
    low, high = (np.take_along_axis(ordered, side(middle).astype(int), axis=0)[0] for side in (np.floor, np.ceil))
    plate = np.where(known[..., None], (low + high) / 2, 0)
    difference = np.linalg.norm(lab - plate, axis=-1)
    if not known.any():
        return np.zeros_like(difference), known
    scale = max(4.0, 2 * float(np.median(difference[:, known])))
    return np.where(known, np.maximum(difference / (difference + scale) - 0.5, -0.2), 0), known


def _best_box(evidence: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The box of the given box's size that holds most evidence; up to a third may lie outside the frame."""
    width, height = (max(1, round(float(side))) for side in (box[2] - box[0], box[3] - box[1]))
    pad_x, pad_y = width // 3, height // 3
    total = cv2.integral(np.pad(evidence, ((pad_y, pad_y), (pad_x, pad_x))))
    sums = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    if sums.size == 0 or np.ptp(sums) == 0:
        return box
    y, x = np.unravel_index(int(sums.argmax()), sums.shape)
    return np.array([x - pad_x, y - pad_y, x - pad_x + width, y - pad_y + height], np.float64)


def _centres(boxes: np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes, np.float64)
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def path_error(found: np.ndarray, truth: np.ndarray, width: int) -> float:
    """Mean distance of the centres of two series of boxes [F, 4], as a share of the frame's `width`."""
    return float(np.linalg.norm(_centres(found) - _centres(truth), axis=1).mean() / width)


def path_correlation(found: np.ndarray, truth: np.ndarray) -> float:
    """Correlation of two paths (boxes [F, 4]), both axes together; ``nan`` if either stands still."""
    a, b = (_centres(boxes) - _centres(boxes).mean(0) for boxes in (found, truth))
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum() / norm) if norm > 0 else math.nan


def appearance_consistency(frames: np.ndarray, boxes: np.ndarray, *, size: int = 32) -> float:
    """How alike the subject looks in every two frames: mean over all pairs, 1 = the same picture.

    The subject is cut out at `boxes` [F, 4] (see `locate_subject`), resized to `size` x `size` and weighted
    towards the centre, where a box holds little background. A pair's likeness is the mean of two: the
    overlap of the colour histograms (CIELAB, 4 x 8 x 8), and the correlation of the pictures at the best shift
    of up to an eighth. Measures identity, not motion: a still picture scores 1. ``nan`` without a subject.
    """
    boxes = np.asarray(boxes, np.float64)
    if boxes.shape != (len(frames), 4):
        raise ShapeError(f"expected one box (x0, y0, x1, y1) for each of {len(frames)} frames, got {boxes.shape}")
    if len(frames) < 2 or not np.isfinite(boxes).all():
        return math.nan
    crops = [_crop(frame, box, size) for frame, box in zip(frames, boxes, strict=True)]
    axis = np.linspace(-1, 1, size)
    weight = np.exp(-2 * (axis[:, None] ** 2 + axis[None] ** 2)).astype(np.float32)
    histograms = [_histogram(crop, weight) for crop in crops]
    scores = []
    for i in range(len(crops)):
        for j in range(i + 1, len(crops)):
            overlap = float(np.minimum(histograms[i], histograms[j]).sum())
            scores.append((overlap + max(0.0, _shifted_correlation(crops[i], crops[j], weight))) / 2)
    return float(np.mean(scores))


def _crop(frame: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """A box cut out of a frame and resized, CIELAB float32 [size, size, 3]; edges repeat outside the frame."""
    x = (box[0] + (np.arange(size) + 0.5) * (box[2] - box[0]) / size - 0.5).astype(np.float32)
    y = (box[1] + (np.arange(size) + 0.5) * (box[3] - box[1]) / size - 0.5).astype(np.float32)
    columns, rows = np.meshgrid(x, y)
    return cv2.remap(_lab(frame), columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _histogram(crop: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted colour histogram [4, 8, 8], softened by one neighbour each way so that shading does not jump."""
    ranges = [(0, 100), (-100, 100), (-100, 100)]
    counts, _ = np.histogramdd(crop.reshape(-1, 3), bins=(4, 8, 8), range=ranges, weights=weight.ravel())
    for axis in range(3):
        padded = np.pad(counts, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        before, here, after = (np.take(padded, np.arange(counts.shape[axis]) + shift, axis=axis) for shift in range(3))
        counts = 0.25 * before + 0.5 * here + 0.25 * after
    return np.asarray(counts / counts.sum())


def _shifted_correlation(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> float:
    """Best weighted correlation of two crops over shifts of up to an eighth of their side."""
    reach = len(a) // 8
    best = -1.0
    for dy in range(-reach, reach + 1, 2):
        for dx in range(-reach, reach + 1, 2):
            best = max(best, _correlation(a, np.roll(b, (dy, dx), (0, 1)), weight))
    return best


def _correlation(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> float:
    share = (weight / weight.sum())[..., None]
    a, b = a - (a * share).sum((0, 1)), b - (b * share).sum((0, 1))
    norm = math.sqrt(float((a * a * share).sum()) * float((b * b * share).sum()))
    return float((a * b * share).sum()) / norm if norm > 1e-6 else 1.0


# ---------------------------------------------------------------------------------------- miniature CLIP


@dataclass(frozen=True)
class Clip:
    """A CLIP model, its tokenizer, and how it wants its pictures."""

    model: Any  # transformers.CLIPModel, eval mode, float32
    tokenizer: Any  # transformers.CLIPTokenizer
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@functools.lru_cache(maxsize=2)
def load_clip(folder: Path = MINI_CLIP) -> Clip:
    """Load a `CLIPModel` saved with ``save_pretrained``; never downloads.

    The tokenizer is that of the folder, or of ``tokenizer/`` beside it. Mean and deviation of the pictures
    come from ``preprocessor_config.json``; without one they are CLIP's own.
    """
    if not (folder / "config.json").is_file():
        raise WeightsError(f"no CLIP model in {folder}: expected config.json and model.safetensors")
    import json

    from safetensors import SafetensorError
    from transformers import CLIPModel, CLIPTokenizer
    from transformers.utils import logging as transformers_logging

    own = any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json"))
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        model = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).float().eval()
        tokenizer = CLIPTokenizer.from_pretrained(folder if own else folder.parent / "tokenizer", local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"cannot load the CLIP model in {folder}: {str(error).splitlines()[0]}") from error
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
    model.requires_grad_(False)
    preprocessor = folder / "preprocessor_config.json"
    settings = json.loads(preprocessor.read_text()) if preprocessor.is_file() else {}
    mean = tuple(settings.get("image_mean", (0.48145466, 0.4578275, 0.40821073)))
    std = tuple(settings.get("image_std", (0.26862954, 0.26130258, 0.27577711)))
    return Clip(model, tokenizer, int(model.config.vision_config.image_size), mean, std)


def _features(output: Any) -> torch.Tensor:
    """Projected features of norm 1; transformers 5 wraps them in an object."""
    features = output if hasattr(output, "norm") else output.pooler_output
    return features / features.norm(dim=-1, keepdim=True)


def embed_frames(clip: Clip, frames: np.ndarray) -> torch.Tensor:
    """Unit image features [F, D] of frames: resized to fit, centre-cropped to a square, normalised."""
    import torch

    pictures = []
    for frame in frames:
        height, width = frame.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = np.ascontiguousarray(frame[top : top + side, left : left + side])
        way = cv2.INTER_AREA if side > clip.size else cv2.INTER_CUBIC
        pictures.append(cv2.resize(square, (clip.size, clip.size), interpolation=way))
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (clip.mean, clip.std))
    with torch.inference_mode():
        return _features(clip.model.get_image_features(pixel_values=(pixels - mean) / std))


def embed_prompts(clip: Clip, prompts: Sequence[str]) -> torch.Tensor:
    """Unit text features [N, D]; prompts that are too long are cut."""
    import torch

    length = clip.model.config.text_config.max_position_embeddings
    tokens = clip.tokenizer(
        list(prompts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    )
    with torch.inference_mode():
        return _features(clip.model.get_text_features(tokens.input_ids, attention_mask=tokens.attention_mask))


def clip_text(frames: np.ndarray, prompt: str, clip: Clip | None = None) -> float:
    """Mean cosine of the frames and the prompt (LOVEU-TGVE's text alignment), by the miniature CLIP.

    Honest only in that model's domain: the subjects, backgrounds, colours and styles of the rendered clips.
    On a real video the figure means nothing.
    """
    clip = clip or load_clip()
    return float((embed_frames(clip, frames) @ embed_prompts(clip, [prompt])[0]).mean())


def clip_frame(frames: np.ndarray, clip: Clip | None = None) -> float:
    """Mean cosine of every two frames (the frame consistency of Tune-A-Video's paper); ``nan`` for one frame.

    Rewards doing nothing, and is honest only in the model's domain (see `clip_text`).
    """
    if len(frames) < 2:
        return math.nan
    features = embed_frames(clip or load_clip(), frames)
    count = len(frames)
    return float(((features @ features.T).sum() - count) / (count * (count - 1)))


# ------------------------------------------------------------------------------------------- all at once


def measure_edit(
    source: np.ndarray,
    frames: np.ndarray,
    prompt: str,
    truth: np.ndarray | None = None,
    *,
    boxes: np.ndarray | None = None,
    with_clip: bool = True,
) -> dict[str, float]:
    """Every measure of one edit that the given material allows, by versioned name.

    `truth` are the frames that the edit should show (a rendered clip: same path, other words); only with them
    come PSNR and SSIM, since closeness to the source says nothing good or bad about an edit. `boxes` [F, 4]
    are the subject's true places; without them they are read off `truth` (`find_subject`), and without both
    nothing is said about the subject. The CLIP measures come `with_clip`, if the embedded model is there: ask
    for them only for rendered clips.
    """
    figures = {
        "flicker_ratio@1": flicker_ratio(frames, source),
        "edge_f1@1": edge_f1(frames, source),
        "colour_drift@1": colour_drift(frames),
    }
    if truth is not None:
        figures |= {"psnr@1": psnr(frames, truth), "ssim@1": ssim(frames, truth)}
        boxes = find_subject(truth) if boxes is None else boxes
    if boxes is not None:
        figures |= measure_subject(frames, boxes)
    if with_clip and (MINI_CLIP / "config.json").is_file():
        clip = load_clip()
        aligned = clip_text(frames, prompt, clip)
        figures |= {
            "clip_text@mini": aligned,
            "clip_text_gain@mini": aligned - clip_text(source, prompt, clip),
            "clip_frame@mini": clip_frame(frames, clip),
        }
    return figures


def measure_subject(frames: np.ndarray, boxes: np.ndarray) -> dict[str, float]:
    """Path and appearance of the subject against its true `boxes` [F, 4]; all ``nan`` if it is not found."""
    found = locate_subject(frames, boxes)
    return {
        "path_error@1": path_error(found, boxes, frames.shape[2]),
        "path_correlation@1": path_correlation(found, boxes),
        "appearance_consistency@1": appearance_consistency(frames, found),
    }
