"""What the figures are called, what they say and what they take: data only, nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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
