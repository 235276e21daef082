"""Measures of motion: how well an edit follows its source's optical flow, which is an argument of every function.

Convention of everything that warps: `flow` is *backward*, frame i + 1 -> i, one [2, H, W] for each of F - 1 steps, in
pixels, x to the right and y down; frame i is sampled at ``p + flow(p)``. `occlusion` is bool, one [H, W] (or
[1, H, W]) a step, True where frame i + 1 shows nothing of frame i. Pixels sampled from outside the frame do not count.
Both may be arrays or lists of arrays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from videoedit.errors import ShapeError
from videoedit.metrics.pixels import LEAST, ssim_map
from videoedit.metrics.sample import Figure, Sample

Arrays = Sequence[np.ndarray] | np.ndarray

VALID_LEVELS = 5  # FF-alpha: grey levels by which the source may change along its own flow
VALID_SHARE = 0.7  # FF-alpha: share of the pixels that must be so
STILL = 0.05  # FF-beta: pixels of mean movement under which nothing moves
SEAM_REACH = 4  # frames: a key frame is compared with what is this near
SEAM_FLOOR = 0.5 / 255  # half a grey level: less is rounding


def moved_pairs(frames: np.ndarray, flow: Arrays, occlusion: Arrays) -> Iterator[tuple[np.ndarray, ...]]:
    """For each step: frame i brought onto i + 1 (float32 [H, W, 3], 0 to 255), frame i + 1, what is visible [H, W]."""
    count, height, width = len(frames), *frames.shape[1:3]
    fits = set(map(np.shape, flow)) <= {(2, height, width)} and set(map(np.size, occlusion)) <= {height * width}
    if not fits or not len(flow) == len(occlusion) == count - 1:
        raise ShapeError(
            f"{count} frames of {height} x {width} need flow {(count - 1, 2, height, width)} and occlusion "
            f"{(count - 1, height, width)}, got {_shapes(flow)} and {_shapes(occlusion)}"
        )
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    for index in range(count - 1):
        step, hidden = np.asarray(flow[index], np.float32), np.asarray(occlusion[index], bool)
        x, y = columns + step[0], rows + step[1]
        moved = cv2.remap(frames[index].astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        yield moved, frames[index + 1], inside & ~hidden.reshape(height, width)


def _shapes(arrays: Arrays) -> str:
    return f"{len(arrays)} of {sorted(set(map(np.shape, arrays)))}"


def warp_error(frames: np.ndarray, flow: Arrays, occlusion: Arrays) -> float:
    """Mean squared difference of frame i + 1 and frame i brought onto it, over visible pixels, values in [0, 1].

    Conventions: see the module. ``nan`` if under 1 % is visible.
    """
    return _pooled(warp_errors(frames, flow, occlusion), frames)


def warp_errors(frames: np.ndarray, flow: Arrays, occlusion: Arrays) -> list[tuple[float, int]]:
    """For each step, the sum of the squared differences and the number of pixels that `warp_error` divides it by."""
    steps = []
    for moved, after, visible in moved_pairs(frames, flow, occlusion):
        squares = (((moved - after) / 255) ** 2).mean(-1)[visible]
        steps.append((float(squares.sum()), int(squares.size)))
    return steps


def pixel_mse(frames: np.ndarray, flow: Arrays) -> float:
    """`warp_error` with nothing masked: hidden pixels count, and outside the frame its border goes on."""
    errors = []
    for moved, after, _ in moved_pairs(frames, flow, _nothing(frames)):
        errors.append(float((((moved - after) / 255) ** 2).mean()))
    return float(np.mean(errors)) if errors else math.nan


def warp_ssim(frames: np.ndarray, flow: Arrays, occlusion: Arrays) -> float:
    """SSIM of frame i + 1 and frame i brought onto it, mean over visible pixels; ``nan`` if those are under 1 %."""
    steps = []
    for moved, after, visible in moved_pairs(frames, flow, occlusion):
        scores = ssim_map(moved, after.astype(np.float32), visible)
        steps.append((float(scores.mean(-1).sum()), len(scores)))
    return _pooled(steps, frames)


def warp_ssim_rave(frames: np.ndarray, flow_fwd: Arrays) -> float:
    """WarpSSIM as RAVE's code computes it; wrong, and here only so that its numbers can be compared.

    Frame i is sampled at ``p + flow_fwd(p)``, the *forward* flow i -> i + 1, which moves it the wrong way; nothing is
    masked, and frame 0 against itself is averaged in as a 1.
    """
    scores = [1.0]
    for moved, after, _ in moved_pairs(frames, flow_fwd, _nothing(frames)):
        scores.append(float(ssim_map(moved, after.astype(np.float32)).mean()))
    return float(np.mean(scores))


def seam_score(frames: np.ndarray, flow: Arrays, occlusion: Arrays, keyframes: Sequence[int]) -> float:
    """Change along the flow into and out of key frames, as a multiple of that between the frames around them.

    The change of a step is the root of its warp error. At each key frame, the mean over the steps into and out of it
    stands against the mean over the other steps within SEAM_REACH frames; the score is the ratio of the sums of both
    over all key frames. Since the two are near in time, how fast the clip moves cancels. Nothing under half a grey
    level counts as change, so that a clip without any scores 1. Steps of which under 1 % is visible (cuts) are left
    out. ``nan`` if no key frame has a step of each kind, as when every other frame is a key frame.
    """
    least = LEAST * frames[0, ..., 0].size
    change: dict[int, float] = {}  # into a frame
    for frame, (squares, pixels) in enumerate(warp_errors(frames, flow, occlusion), 1):
        if pixels > least:
            change[frame] = max(math.sqrt(squares / pixels), SEAM_FLOOR)
    touching: set[int] = set()
    for key in keyframes:
        touching |= {key, key + 1}
    at, around = 0.0, 0.0
    for key in keyframes:
        here, there = [], []
        for step in (key, key + 1):
            if step in change:
                here.append(change[step])
        for step in range(key - SEAM_REACH + 1, key + SEAM_REACH + 1):
            if step in change and step not in touching:
                there.append(change[step])
        if here and there:
            at, around = at + float(np.mean(here)), around + float(np.mean(there))
    return at / around if around else math.nan


def ff_alpha(frames: np.ndarray, source: np.ndarray, flow: Arrays) -> tuple[float, float]:
    """EditBoard's FF-alpha, corrected: ``(value, share)``; the share of valid pixels must be 70 % for it to count.

    A pixel is valid where the source, moved along its own flow, differs from its next frame by at most 5 grey levels.
    There, the largest difference of a channel of the moved edit, in grey levels, is averaged: over the pixels of each
    step, then over steps. EditBoard returns 0, the best value, under 70 %, which it takes of 512 x 512 pixels whatever
    the frames' size; here the value is ``nan``, the frames' own size counts, and flow is backward, not approximated.
    """
    nothing = _nothing(frames)
    values, shares = [], []
    edits, sources = moved_pairs(frames, flow, nothing), moved_pairs(source, flow, nothing)
    for (moved, after, visible), (moved_source, after_source, _) in zip(edits, sources, strict=True):
        difference = np.abs(moved_source - after_source) @ np.array([0.299, 0.587, 0.114], np.float32)
        valid = visible & (difference <= VALID_LEVELS)
        shares.append(float(valid.mean()))
        if valid.any():
            values.append(float(np.abs(moved - after).max(-1)[valid].mean()))
    share = float(np.mean(shares)) if shares else 0.0
    return (float(np.mean(values)) if share >= VALID_SHARE else math.nan), share


def ff_beta(flow_edit: Arrays, flow_source: Arrays) -> float:
    """EditBoard's FF-beta, corrected: 1 - cosine of two flows, in [0, 2], weighted by the longer of the two vectors.

    Where only one moves the cosine counts as 0. EditBoard averages over all pixels alike, so that what stands still in
    both counts as 1, as if it were wrong. Flows are [2, h, w], one a step; ``nan`` if their mean length is under 0.05
    pixels: nothing moves.
    """
    total = weights = count = 0.0
    for ours, theirs in zip(flow_edit, flow_source, strict=True):
        a, b = np.linalg.norm(ours, axis=0), np.linalg.norm(theirs, axis=0)
        cosine = (ours * theirs).sum(0) / np.maximum(a * b, 1e-9)
        weight = np.maximum(a, b)
        total, weights = total + float((weight * (1 - cosine)).sum()), weights + float(weight.sum())
        count += weight.size
    return total / weights if count and weights / count >= STILL else math.nan


def motion_alignment(flow_edit: Arrays, flow_source: Arrays, visible: Arrays) -> float:
    """Mean distance of two flows [2, h, w] where `visible` [h, w] is True, in per cent of the frame's diagonal.

    V2VBench takes it in pixels at the clip's own size, so that large clips look worse. ``nan`` if under 1 % is visible.
    """
    steps = []
    for ours, theirs, seen in zip(flow_edit, flow_source, visible, strict=True):
        distance = np.linalg.norm(ours - theirs, axis=0)[seen]
        steps.append((100 * float(distance.sum()) / math.hypot(*seen.shape), int(distance.size)))
    total, pixels = _totals(steps)
    enough = pixels >= LEAST * sum(map(np.size, visible)) and pixels > 0
    return total / pixels if enough else math.nan


def _pooled(steps: Sequence[tuple[float, int]], frames: np.ndarray) -> float:
    """Sum over all steps by the number of pixels; ``nan`` if that is under 1 % of all."""
    total, pixels = _totals(steps)
    return total / pixels if pixels >= max(1, LEAST * frames[1:, ..., 0].size) else math.nan


def _totals(steps: Sequence[tuple[float, int]]) -> tuple[float, int]:
    """Sum of the values of all steps, and of their numbers of pixels."""
    if not steps:
        return 0.0, 0
    values, pixels = zip(*steps, strict=True)
    return sum(values), sum(pixels)


def _nothing(frames: np.ndarray) -> list[np.ndarray]:
    """No occlusion at all."""
    return [np.zeros(frames.shape[1:3], bool)] * (len(frames) - 1)


# ------------------------------------------------------------------------------------------- of a sample

UNSEEN = "under 1 % of the pixels can be followed from frame to frame"


def warp_error_of(sample: Sample) -> Figure:
    steps = warp_errors(sample.frames, sample.flow_bwd, sample.occ_bwd)
    value = _pooled(steps, sample.frames)
    series = [0.0]
    for squares, pixels in steps:
        series.append(squares / pixels if pixels else math.nan)
    return Figure(value, tuple(series), UNSEEN if math.isnan(value) else "")


def warp_ssim_of(sample: Sample) -> Figure:
    value = warp_ssim(sample.frames, sample.flow_bwd, sample.occ_bwd)
    return Figure(value, reason=UNSEEN if math.isnan(value) else "")


def warp_ssim_rave_of(sample: Sample) -> float:
    return warp_ssim_rave(sample.frames, [pair.fwd[0].numpy() for pair in sample.pairs])


def pixel_mse_of(sample: Sample) -> float:
    return pixel_mse(sample.frames, sample.flow_bwd)


def seam_score_of(sample: Sample) -> Figure:
    value = seam_score(sample.frames, sample.flow_bwd, sample.occ_bwd, sample.keyframes)
    return Figure(value, reason="no frames around a key frame to compare it with" if math.isnan(value) else "")


def ff_alpha_of(sample: Sample) -> Figure:
    value, share = ff_alpha(sample.frames, sample.source, sample.flow_bwd)
    needed = f"the flow explains {100 * share:.0f} % of the source's pixels, {100 * VALID_SHARE:.0f} % are needed"
    return Figure(value, reason=needed if math.isnan(value) else "")


def ff_beta_of(sample: Sample) -> Figure:
    edit, source, _ = sample.motion
    value = ff_beta(edit, source)
    return Figure(value, reason="nothing moves" if math.isnan(value) else "")


def motion_alignment_of(sample: Sample) -> Figure:
    value = motion_alignment(*sample.motion)
    return Figure(value, reason=UNSEEN if math.isnan(value) else "")
