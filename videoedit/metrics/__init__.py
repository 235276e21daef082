"""Measures of an edited clip: pure functions of frames, each with a versioned name and what it needs.

Frames are uint8 ``[F, H, W, 3]``, RGB. Optical flow is an argument, never computed here. A measure that has
nothing to measure returns ``nan`` (no moving pixel, no edge, no visible pixel); it never invents a perfect or a
worst score.
A figure counts only beside one of edit strength: an edit that does nothing is perfectly smooth.
"""

from videoedit.metrics.catalogue import METRICS, Metric, describe
from videoedit.metrics.clip import MINI_CLIP, Clip, clip_frame, clip_text, embed_frames, embed_prompts, load_clip
from videoedit.metrics.edit import measure_edit
from videoedit.metrics.motion import warp_error
from videoedit.metrics.pixels import colour_drift, edge_f1, flicker, flicker_ratio, psnr, ssim
from videoedit.metrics.subject import (
    appearance_consistency,
    find_subject,
    locate_subject,
    measure_subject,
    path_correlation,
    path_error,
)

__all__ = [
    "METRICS",
    "MINI_CLIP",
    "Clip",
    "Metric",
    "appearance_consistency",
    "clip_frame",
    "clip_text",
    "colour_drift",
    "describe",
    "edge_f1",
    "embed_frames",
    "embed_prompts",
    "find_subject",
    "flicker",
    "flicker_ratio",
    "load_clip",
    "locate_subject",
    "measure_edit",
    "measure_subject",
    "path_correlation",
    "path_error",
    "psnr",
    "ssim",
    "warp_error",
]
