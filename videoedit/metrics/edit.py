"""Every measure of one edit that the given clips allow, for a run's record and report."""

from __future__ import annotations

import numpy as np

from videoedit.metrics.clip import MINI_CLIP, clip_frame, clip_text, load_clip
from videoedit.metrics.pixels import color_drift, edge_f1, flicker_ratio, psnr, ssim
from videoedit.metrics.subject import find_subject, measure_subject


def measure_edit(
    source: np.ndarray,
    frames: np.ndarray,
    prompt: str,
    truth: np.ndarray | None = None,
    *,
    boxes: np.ndarray | None = None,
    with_clip: bool = True,
) -> dict[str, float]:
    """Every measure of one edit that the given clips allow, by versioned name.

    `truth` are the frames that the edit should show (a rendered clip: same path, other words); only with them
    come PSNR and SSIM, since closeness to the source says nothing good or bad about an edit. `boxes` [F, 4]
    are the subject's true places; without them they are read off `truth` (`find_subject`), and without both
    nothing is said about the subject. The CLIP measures come `with_clip`, if the embedded model is there: ask
    for them only for rendered clips.
    """
    figures = {
        "flicker_ratio@1": flicker_ratio(frames, source),
        "edge_f1@1": edge_f1(frames, source),
        "colour_drift@1": color_drift(frames),
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
