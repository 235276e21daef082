"""Measures of the moving subject: where it is, whether it keeps its path and its looks."""

from __future__ import annotations

import math

import cv2
import numpy as np

from videoedit.errors import ShapeError
from videoedit.metrics.pixels import cielab
from videoedit.metrics.sample import Figure, Sample, inside_boxes


def locate_subject(frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Find the moving subject of a clip with a still camera: boxes [F, 4] (x0, y0, x1, y1), pixels.

    `boxes` [F, 4] are the ground truth of a rendered clip: they give the subject's size and a first guess of
    the places. In turn, the background is taken as the per-pixel median over the frames in which the present
    boxes leave a pixel free, and each frame's box moves to where most of what differs from that background is.
    Pixels that no frame leaves free count for nothing. Other first guesses are the given boxes backwards in time and
    what `find_subject` sees; their results win where the boxes hold clearly more of the difference. So an edit that
    moves otherwise is found where it is, also a reversed or shortened one. Measured on rendered clips: within
    0.03 of the width of the true place (0.05 for subjects of 0.7 of the frame), correlation 0.97 and above.

    All ``nan`` if no moving subject stands out: a still clip, noise.
    """
    boxes = np.asarray(boxes, np.float64)
    if boxes.shape != (len(frames), 4):
        raise ShapeError(f"expected one box (x0, y0, x1, y1) for each of {len(frames)} frames, got {boxes.shape}")
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    guesses = [_centers(boxes), _centers(boxes)[::-1], _centers(find_subject(frames))]
    sigma = max(0.8, frames.shape[2] / 80)
    lab = _soft_cielab(frames, sigma)
    fits = []
    for center in guesses:
        if np.isfinite(center).all():
            fits.append(_settle(lab, np.concatenate([center - half, center + half], axis=1)))
    best, contrast = fits[0]
    for other, clearer in fits[1:]:
        if clearer > contrast + 0.02:
            best, contrast = other, clearer
    return best if contrast >= 0.1 else np.full_like(boxes, math.nan)


def _soft_cielab(frames: np.ndarray, sigma: float) -> np.ndarray:
    """CIELAB of frames [F, H, W, 3], each blurred by a Gaussian."""
    return np.stack([cv2.GaussianBlur(cielab(frame), (0, 0), sigma) for frame in frames])


def _settle(lab: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, float]:
    """Move boxes to where the foreground is until they rest; also how much more of it is inside than outside."""
    height, width = lab.shape[1:3]
    for _ in range(6):
        evidence, known = _foreground(lab, boxes)
        moved = np.stack([_best_box(e, b) for e, b in zip(evidence, boxes, strict=True)])
        if np.array_equal(moved, boxes):
            break
        boxes = moved
    inside = inside_boxes(boxes, height, width)
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
    lab = _soft_cielab(frames, 0.7)
    boxes = np.full((count, 4), math.nan)
    for t in range(count):
        unions = []
        for other in lab:
            if union := _extent(np.linalg.norm(lab[t] - other, axis=-1)):
                unions.append(union)
        if unions:
            seen = np.array(unions)
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


def _foreground(lab: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Evidence [F, H, W] that a pixel is not background, in [-0.2, 0.5], and which pixels [H, W] are known.

    The scale of a difference is twice its median over the clip: noise and flicker raise it.
    """
    height, width = lab.shape[1:3]
    covered = inside_boxes(boxes, height, width, grow=1)
    known: np.ndarray = np.logical_not(covered.all(0))
    ordered = np.sort(np.where(covered[..., None], np.inf, lab), axis=0)  # the free values come first
    middle = np.maximum(np.sum(~covered, axis=0) - 1, 0)[None, ..., None] / 2
    low = np.take_along_axis(ordered, np.floor(middle).astype(int), axis=0)[0]
    high = np.take_along_axis(ordered, np.ceil(middle).astype(int), axis=0)[0]
    plate = np.where(known[..., None], (low + high) / 2, 0)
    difference = np.linalg.norm(lab - plate, axis=-1)
    if not known.any():
        return np.zeros_like(difference), known
    scale = max(4.0, 2 * float(np.median(difference[:, known])))
    return np.where(known, np.maximum(difference / (difference + scale) - 0.5, -0.2), 0), known


def _best_box(evidence: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The box of the given box's size that holds most evidence; up to a third may lie outside the frame."""
    width, height = max(1, round(float(box[2] - box[0]))), max(1, round(float(box[3] - box[1])))
    pad_x, pad_y = width // 3, height // 3
    total = cv2.integral(np.pad(evidence, ((pad_y, pad_y), (pad_x, pad_x))))
    sums = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    if sums.size == 0 or np.ptp(sums) == 0:
        return box
    y, x = np.unravel_index(int(sums.argmax()), sums.shape)
    return np.array([x - pad_x, y - pad_y, x - pad_x + width, y - pad_y + height], np.float64)


def _centers(boxes: np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes, np.float64)
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def path_error(found: np.ndarray, reference: np.ndarray, width: int) -> float:
    """Mean distance of the centres of two series of boxes [F, 4], as a share of the frame's `width`."""
    return float(np.linalg.norm(_centers(found) - _centers(reference), axis=1).mean() / width)


def path_correlation(found: np.ndarray, reference: np.ndarray) -> float:
    """Correlation of two paths (boxes [F, 4]), both axes together; ``nan`` if either stands still."""
    a, b = _centers(found), _centers(reference)
    a, b = a - a.mean(0), b - b.mean(0)
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum() / norm) if norm > 0 else math.nan


def appearance_consistency(frames: np.ndarray, boxes: np.ndarray, *, size: int = 32) -> float:
    """Likeness of the subject in every two frames: mean over all pairs, 1 = the same picture.

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
    axis = np.linspace(-1, 1, size)
    weight = np.exp(-2 * (axis[:, None] ** 2 + axis[None] ** 2)).astype(np.float32)
    crops, histograms, scores = [], [], []
    for frame, box in zip(frames, boxes, strict=True):
        crops.append(_crop(frame, box, size))
        histograms.append(_histogram(crops[-1], weight))
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
    return cv2.remap(cielab(frame), columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _histogram(crop: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted colour histogram [4, 8, 8], softened by one neighbour each way so that shading does not jump."""
    ranges = [(0, 100), (-100, 100), (-100, 100)]
    counts, _ = np.histogramdd(crop.reshape(-1, 3), bins=(4, 8, 8), range=ranges, weights=weight.ravel())
    for axis in range(3):
        pads = [(0, 0)] * 3
        pads[axis] = (1, 1)
        padded = np.pad(counts, pads, mode="edge")
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


def measure_subject(frames: np.ndarray, boxes: np.ndarray) -> dict[str, float]:
    """Path and appearance of the subject against its true `boxes` [F, 4]; all ``nan`` if it is not found."""
    found = locate_subject(frames, boxes)
    return {
        "path_error@1": path_error(found, boxes, frames.shape[2]),
        "path_correlation@1": path_correlation(found, boxes),
        "appearance_consistency@1": appearance_consistency(frames, found),
    }


# ------------------------------------------------------------------------------------------- of a sample


def path_error_of(sample: Sample) -> Figure | float:
    return _of_subject(sample, "path_error@1")


def path_correlation_of(sample: Sample) -> Figure | float:
    return _of_subject(sample, "path_correlation@1")


def appearance_consistency_of(sample: Sample) -> Figure | float:
    return _of_subject(sample, "appearance_consistency@1")


def _of_subject(sample: Sample, name: str) -> Figure | float:
    assert sample.boxes is not None
    if "subject" not in sample.memo:
        sample.memo["subject"] = measure_subject(sample.frames, sample.boxes)
    value: float = sample.memo["subject"][name]
    return Figure(value, reason="no moving subject stands out" if math.isnan(value) else "")
