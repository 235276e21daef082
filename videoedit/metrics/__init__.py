"""Measures of an edited clip: pure functions of frames, each with a versioned name and what it needs.

Frames are uint8 ``[F, H, W, 3]``, RGB. Optical flow is an argument, never computed here. A measure that has
nothing to measure returns ``nan`` (no moving pixel, no edge, no visible pixel); it never invents a perfect or a
worst score.
A figure counts only beside one of edit strength: an edit that does nothing is perfectly smooth.
"""

from videoedit.metrics.catalogue import METRICS, Metric, all_metrics, describe, full_id, measure, why_skipped
from videoedit.metrics.clip import MINI_CLIP, ClipModel, clip_frame, clip_text, embed_frames, embed_prompts, load_clip
from videoedit.metrics.edit import measure_edit
from videoedit.metrics.motion import (
    ff_alpha,
    ff_beta,
    motion_alignment,
    pixel_mse,
    seam_score,
    warp_error,
    warp_ssim,
    warp_ssim_rave,
)
from videoedit.metrics.parity import audio_parity, duration_parity, frame_share, rate_parity, size_parity
from videoedit.metrics.pixels import color_drift, edge_f1, flicker, flicker_ratio, psnr, ssim, strength
from videoedit.metrics.sample import Facts, Figure, Sample
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
    "ClipModel",
    "Facts",
    "Figure",
    "Metric",
    "Sample",
    "all_metrics",
    "appearance_consistency",
    "audio_parity",
    "clip_frame",
    "clip_text",
    "color_drift",
    "describe",
    "duration_parity",
    "edge_f1",
    "embed_frames",
    "embed_prompts",
    "ff_alpha",
    "ff_beta",
    "find_subject",
    "flicker",
    "flicker_ratio",
    "frame_share",
    "full_id",
    "load_clip",
    "locate_subject",
    "measure",
    "measure_edit",
    "measure_subject",
    "motion_alignment",
    "path_correlation",
    "path_error",
    "pixel_mse",
    "psnr",
    "rate_parity",
    "seam_score",
    "size_parity",
    "ssim",
    "strength",
    "warp_error",
    "warp_ssim",
    "warp_ssim_rave",
    "why_skipped",
]
