"""The catalogue of measures: what each is called, what it says, what it takes; and `measure`, which takes it.

Nothing heavy is imported until something is measured. Other packages add measures by an entry point of the group
``videoedit.metrics`` that names a tuple of `Metric`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Literal, get_args

from videoedit.errors import VideoEditError

if TYPE_CHECKING:
    from videoedit.metrics.sample import Figure, Sample

ENTRY_POINTS = "videoedit.metrics"
logger = logging.getLogger(__name__)

Better = Literal["higher", "lower", "one", "none"]  # "one": the nearer to 1; "none": a description
Group = Literal["strength", "alignment", "consistency", "fidelity", "motion", "parity", "cost"]
NEEDS = {  # what a measure may need -> in words, for who lacks it
    "frames": "frames",
    "source": "the source",
    "truth": "a ground truth",
    "prompt": "a prompt",
    "boxes": "the subject's places (boxes)",
    "keep": "a region that the edit should leave alone: a mask or boxes, and an edit of the type subject, attribute or "
    "background",
    "flow": "two frames at least",
    "keyframes": "key frames",
    "cost": "the time and memory that the edit took",
    "facts": "the facts of the video file",
}


@dataclass(frozen=True)
class Metric:
    """A figure's name and meaning, and all that it takes to compute it."""

    id: str  # "name@version"; a change of definition changes the version
    title: str
    meaning: str
    better: Better
    needs: tuple[str, ...]  # keys of NEEDS
    unit: str = ""
    measure: str = ""  # "module:function", Sample -> Figure or float; "": not for benchmarks
    group: Group = "fidelity"
    weights: tuple[str, ...] = ()  # names that `videoedit.metrics.weights` knows
    headline: bool = False  # belongs into the first, small table

    @property
    def name(self) -> str:
        """The id without its version."""
        return self.id.partition("@")[0]


_PIXELS = "videoedit.metrics.pixels:"
_MOTION = "videoedit.metrics.motion:"
_SUBJECT = "videoedit.metrics.subject:"
_JUDGE = "videoedit.metrics.judge:"
_PARITY = "videoedit.metrics.parity:"
_CLIP = "videoedit.metrics.clip_figures:"
_LPIPS = "videoedit.metrics.lpips:"
_L14, _B32 = ("clip-vit-large-patch14",), ("clip-vit-base-patch32",)
_PICKSCORE = ("PickScore_v1", "CLIP-ViT-H-14-laion2B-s32B-b79K")
_ONLY_RENDERED = "Only for rendered clips, as above."
_OF_JUDGE = "By the bundled judge, for rendered clips and their 20 subjects."

_OURS = (
    # -- how much was changed: always beside consistency, which doing nothing wins ----------------------------
    Metric("strength@1", "Edit strength",
           "Mean distance of the pixels' colours from the source's, in CIELAB units: how much was changed, for better "
           "or worse. An untouched copy has 0, and wins every measure of consistency.",
           "none", ("frames", "source"), measure=_PIXELS + "strength_of", group="strength", headline=True),
    Metric("strength_region@1", "Edit strength, region",
           "The same, only where the edit should change something (the subject, or all but the subject).",
           "none", ("frames", "source", "keep"), measure=_PIXELS + "strength_region_of", group="strength"),
    # -- closeness to what should be seen ---------------------------------------------------------------------
    Metric("psnr@1", "PSNR",
           "Closeness of the pixels to the reference (of an edit: the ground truth; of a reconstruction: the "
           "source). 20 is alike, 30 close; in a benchmark an exact copy counts as 100.",
           "higher", ("frames", "truth"), "dB", _PIXELS + "psnr_of"),
    Metric("psnr_autoencoder@1", "PSNR of the autoencoder",
           "The source, encoded and decoded, against the source: no reconstruction can come closer.",
           "higher", ("frames", "source"), "dB"),
    Metric("ssim@1", "SSIM", "Closeness of the local structure to the same reference, 1 = identical.",
           "higher", ("frames", "truth"), measure=_PIXELS + "ssim_of"),
    Metric("background_psnr@1", "Preservation, PSNR",
           "Closeness to the source of what the edit should leave alone; an exact copy counts as 100.",
           "higher", ("frames", "source", "keep"), "dB", _PIXELS + "background_psnr_of", headline=True),
    Metric("background_ssim@1", "Preservation, SSIM",
           "The same by local structure, 1 = untouched.",
           "higher", ("frames", "source", "keep"), measure=_PIXELS + "background_ssim_of"),
    Metric("edge_f1@1", "Edge F1",
           "Agreement of the Canny edges with the source's within one pixel: how much of the layout stays.",
           "higher", ("frames", "source"), measure=_PIXELS + "edge_f1_of"),
    # -- calm over time ---------------------------------------------------------------------------------------
    Metric("warp_error@1", "Warp error",
           "Mean squared difference (values 0 to 1) after each frame is moved onto the next along the flow.",
           "lower", ("frames", "source", "flow"), measure=_MOTION + "warp_error_of",
           group="consistency", headline=True),
    Metric("warp_ssim@1", "Warp SSIM",
           "Likeness of the local structure after each frame is moved onto the next along the source's flow, where "
           "both show the same.",
           "higher", ("frames", "source", "flow"), measure=_MOTION + "warp_ssim_of", group="consistency"),
    Metric("warp_ssim@rave-compat", "Warp SSIM (RAVE's)",
           "As RAVE's code has it, for comparison only: it is wrong. The flow is followed in the wrong direction, "
           "nothing is masked, and the first frame, compared with itself, counts as 1.",
           "higher", ("frames", "source", "flow"), measure=_MOTION + "warp_ssim_rave_of", group="consistency"),
    Metric("pixel_mse@1", "Pixel-MSE",
           "The warp error over all pixels, hidden or not (values 0 to 1): our reading of the Rerender paper, which "
           "gives neither its flow nor its scale, so its numbers cannot be set beside ours.",
           "lower", ("frames", "source", "flow"), measure=_MOTION + "pixel_mse_of", group="consistency"),
    Metric("seam_score@1", "Seam at key frames",
           "Change along the flow into and out of key frames as a multiple of that between the frames around them: "
           "1 = no seam.",
           "one", ("frames", "source", "flow", "keyframes"), "x", _MOTION + "seam_score_of", "consistency"),
    Metric("flicker_ratio@1", "Flicker ratio",
           "Change from frame to frame as a multiple of the source's: 1 is as calm as the source.",
           "one", ("frames", "source"), "x", _PIXELS + "flicker_ratio_of", "consistency", headline=True),
    Metric("colour_drift@1", "Colour drift",
           "How far the colours move from the first frame's, in CIELAB units; 2 is just visible.",
           "lower", ("frames",), measure=_PIXELS + "color_drift_of", group="consistency"),
    Metric("ff_alpha@1", "FF-alpha (corrected)",
           "EditBoard's first fidelity of flow: largest change of a colour channel along the source's flow, in grey "
           "levels, where the source itself changes by 5 at most. Nothing is said if that is under 70 % of the "
           "frame (EditBoard: 0, the best value).",
           "lower", ("frames", "source", "flow"), measure=_MOTION + "ff_alpha_of", group="consistency"),
    # -- the source's motion ----------------------------------------------------------------------------------
    Metric("ff_beta@1", "FF-beta (corrected)",
           "EditBoard's second: 1 - cosine of the edit's own flow and the source's, weighted by the longer of the two "
           "(EditBoard: what stands still counts as wrong). 0 = same directions, 1 = unrelated, 2 = opposite.",
           "lower", ("frames", "source", "flow"), measure=_MOTION + "ff_beta_of", group="motion"),
    Metric("motion_alignment@1", "Motion alignment",
           "Mean distance of the edit's own flow from the source's, in per cent of the frame's diagonal, at a working "
           "size that does not depend on the clip's.",
           "lower", ("frames", "source", "flow"), "%", _MOTION + "motion_alignment_of", "motion"),
    Metric("path_error@1", "Path error",
           "Mean distance of the subject from the ground-truth path, as a share of the frame width.",
           "lower", ("frames", "boxes"), measure=_SUBJECT + "path_error_of", group="motion"),
    Metric("path_correlation@1", "Path correlation",
           "Correlation of the subject's movement with the ground-truth path, 1 = the same motion.",
           "higher", ("frames", "boxes"), measure=_SUBJECT + "path_correlation_of", group="motion"),
    Metric("subject@1", "Right subject",
           f"Share of the frames in which the prompt's subject is seen rather than another, or none. {_OF_JUDGE}",
           "higher", ("frames", "prompt"), measure=_JUDGE + "subject_of", group="alignment", weights=("judge",)),
    Metric("subject_confidence@1", "Right subject, confidence",
           f"Mean probability of the prompt's subject, 0 to 1. {_OF_JUDGE}",
           "higher", ("frames", "prompt"), measure=_JUDGE + "subject_confidence_of", group="alignment",
           weights=("judge",)),
    Metric("path@1", "On the path",
           "Share of the frames in which a subject is found in the middle half of its true box, or a twentieth of the "
           "frame from it. "
           f"{_OF_JUDGE}",
           "higher", ("frames", "boxes"), measure=_JUDGE + "path_of", group="motion", weights=("judge",)),
    Metric("motion@1", "Right subject on the right path",
           "Share of the frames with the right subject times the likeness of its movement in them to the true one: "
           f"1 = right throughout; a still picture, a flat box or a mosaic has about 0. {_OF_JUDGE}",
           "higher", ("frames", "prompt", "boxes"), measure=_JUDGE + "motion_of", group="motion", weights=("judge",),
           headline=True),
    Metric("appearance_consistency@1", "Appearance consistency",
           "How alike the subject looks in every two frames (colours and shape), 1 = unchanged.",
           "higher", ("frames", "boxes"), measure=_SUBJECT + "appearance_consistency_of", group="consistency"),
    # -- with a CLIP ------------------------------------------------------------------------------------------
    Metric("clip_text@mini", "CLIP text (mini)",
           "Likeness of the frames to the prompt, by the miniature CLIP. Not for ranking: its text tower is the "
           "embedded generator's, and a third of its pictures were drawn by it. Only for rendered clips.",
           "higher", ("frames", "prompt"), measure=_CLIP + "clip_text_mini_of", group="alignment",
           weights=("mini-clip",), headline=True),
    Metric("clip_text_gain@mini", "CLIP text gain (mini)",
           "The edit's likeness to its prompt minus the source's: above 0, the edit moved towards the prompt. "
           "Only for rendered clips, as above.",
           "higher", ("frames", "source", "prompt"), measure=_CLIP + "clip_text_gain_mini_of", group="strength",
           weights=("mini-clip",)),
    Metric("clip_frame@mini", "CLIP frames (mini)",
           f"Mean likeness of every two frames, by the miniature CLIP. {_ONLY_RENDERED}",
           "higher", ("frames",), measure=_CLIP + "clip_frame_mini_of", group="consistency", weights=("mini-clip",)),
    Metric("clip_text@tgve", "CLIP text (TGVE)",
           "LOVEU-TGVE's CLIPText: logit scale times cosine of each frame (480 x 480) and the prompt, CLIP ViT-L/14, "
           "about 0 to 100, neither clamped nor times 2.5. Prompts of more than 77 tokens have none, as there.",
           "higher", ("frames", "prompt"), measure=_CLIP + "clip_text_tgve_of", group="alignment", weights=_L14,
           headline=True),
    Metric("clip_frame@tgve", "CLIP frames (TGVE)",
           "LOVEU-TGVE's CLIPFrame: mean cosine of every two different frames (480 x 480), CLIP ViT-L/14. An untouched "
           "copy does best.",
           "higher", ("frames",), measure=_CLIP + "clip_frame_tgve_of", group="consistency", weights=_L14),
    Metric("pickscore@tgve", "PickScore (TGVE)",
           "How much people may like the frames (480 x 480) for the prompt, which is cut at 77 tokens: logit scale "
           "times cosine, PickScore_v1.",
           "higher", ("frames", "prompt"), measure=_CLIP + "pickscore_tgve_of", group="alignment", weights=_PICKSCORE),
    Metric("semantic_consistency@v2vbench", "Semantic consistency (V2VBench)",
           "Mean of max(0, cosine) of each frame and the next, CLIP ViT-L/14 before its projection. An untouched copy "
           "does best.",
           "higher", ("frames",), measure=_CLIP + "semantic_consistency_v2vbench_of", group="consistency",
           weights=_L14),
    Metric("clip_direction@b32", "CLIP direction",
           "Do the frames differ from the source's as the prompt does from the source's prompt? Cosine of both "
           "differences, CLIP ViT-B/32: 0 = unmoved or unrelated.",
           "higher", ("frames", "source", "prompt"), measure=_CLIP + "clip_direction_b32_of", group="strength",
           weights=_B32, headline=True),
    Metric("fram_acc@b32", "Fram-Acc",
           "Share of frames that CLIP ViT-B/32 finds at least as likely for the prompt as for the source's (FateZero, "
           "without its crop of portrait frames).",
           "higher", ("frames", "prompt"), measure=_CLIP + "fram_acc_b32_of", group="alignment", weights=_B32),
    Metric("tem_con@b32", "Tem-Con",
           "Mean cosine of each frame and the next, CLIP ViT-B/32 (FateZero). An untouched copy does best.",
           "higher", ("frames",), measure=_CLIP + "tem_con_b32_of", group="consistency", weights=_B32),
    # -- with LPIPS -------------------------------------------------------------------------------------------
    Metric("lpips@alex", "LPIPS",
           "How different the frames look from the ground truth to AlexNet (version 0.1): 0 = identical, 0.1 close.",
           "lower", ("frames", "truth"), measure=_LPIPS + "lpips_of", weights=("lpips",)),
    Metric("lpips_source@alex", "LPIPS to the source",
           "How different the frames look from the source's to AlexNet, where the edit should change something if that "
           "is known: how much was changed, for better or worse.",
           "none", ("frames", "source"), measure=_LPIPS + "lpips_source_of", group="strength", weights=("lpips",)),
    Metric("lpips_keep@alex", "Preservation, LPIPS",
           "How different what the edit should leave alone looks from the source to AlexNet: 0 = untouched.",
           "lower", ("frames", "source", "keep"), measure=_LPIPS + "lpips_keep_of", weights=("lpips",)),
    # -- what became of the file, and what it took ------------------------------------------------------------
    Metric("frame_share@1", "Frames", "Frames of the result as a multiple of those asked for: 1 = none is lost.",
           "one", ("facts",), "x", _PARITY + "frame_share_of", "parity"),
    Metric("rate_parity@1", "Frame rate", "Frames a second of the result as a multiple of the rate asked for.",
           "one", ("facts",), "x", _PARITY + "rate_parity_of", "parity"),
    Metric("duration_parity@1", "Duration", "Length of the result as a multiple of the length asked for.",
           "one", ("facts",), "x", _PARITY + "duration_parity_of", "parity"),
    Metric("size_parity@1", "Picture size",
           "Share of width and height that agree with the size asked for, multiplied: 1 = the same size.",
           "higher", ("facts",), measure=_PARITY + "size_parity_of", group="parity"),
    Metric("audio_parity@1", "Sound", "1 if the sound of the source is still there, 0 if it is lost.",
           "higher", ("facts",), measure=_PARITY + "audio_parity_of", group="parity"),
    Metric("seconds_per_frame@1", "Time a frame", "Seconds of the clock for each frame of the result, all stages.",
           "lower", ("frames", "cost"), "s", _PARITY + "seconds_per_frame_of", "cost", headline=True),
    Metric("cpu_seconds_per_frame@1", "CPU time a frame", "Seconds of all processor cores for each frame, all stages.",
           "lower", ("frames", "cost"), "s", _PARITY + "cpu_seconds_per_frame_of", "cost"),
    Metric("peak_memory@1", "Peak memory", "The most memory that any stage of the edit took.",
           "lower", ("cost",), "MB", _PARITY + "peak_memory_of", "cost"),
)  # fmt: skip

METRICS: dict[str, Metric] = {metric.id: metric for metric in _OURS}

# -- what a method finds out while a run is made, for its record and its report: not taken from a sample, so that
# -- benchmarks have no part of it. Series go by these names too, without the version.
_BY_RUNS = (
    Metric("reconstruction_psnr@1", "Reconstruction, PSNR",
           "The clip, inverted and sampled back without guidance, against the source: how much survives inversion.",
           "higher", ("frames", "source"), "dB"),
    Metric("autoencoder_psnr@1", "Autoencoder, PSNR",
           "The clip, encoded and decoded, against the source: no reconstruction can come closer.",
           "higher", ("frames", "source"), "dB"),
    Metric("sharpness@1", "Sharpness",
           "Variance of the Laplacian of the grey picture, in squared grey levels: a blurred frame has little, a noisy "
           "one much.",
           "none", ("frames",)),
    Metric("patch_error@1", "Patch error",
           "Mean cost of the patches that frames are put together from: high where no key frame holds anything that "
           "fits.",
           "lower", ("frames", "source", "keyframes")),
    Metric("backward@1", "Share of the later key frame",
           "Pixels taken from the later of the two key frames, 1 = all.",
           "none", ("frames", "keyframes")),
    Metric("seams@1", "Seams within a frame",
           "Share of the pixels whose right or lower neighbour is taken from the other key frame.",
           "lower", ("frames", "keyframes")),
    Metric("loss@1", "Loss while tuning",
           "Mean squared error of the noise that the network predicts, step by step.",
           "lower", ("frames", "prompt")),
)  # fmt: skip
BY_RUNS: dict[str, Metric] = {metric.id: metric for metric in _BY_RUNS}


def describe(name: str) -> Metric | None:
    """The metric called `name`, with or without its version or its flow's name; None if unknown."""
    name = name.partition("/")[0]
    known = METRICS | BY_RUNS
    if name in known:
        return known[name]
    return next((metric for metric in known.values() if metric.name == name), None)


def all_metrics() -> dict[str, Metric]:
    """Ours and those of plug-ins, by id. A plug-in that cannot be used is named in a warning and left out."""
    found = dict(METRICS)
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda p: p.name):
        try:
            found |= _checked(point, found)
        except Exception as error:
            logger.warning("the metrics of plug-in %r cannot be used: %s", point.name, error)
    return found


def _checked(point: EntryPoint, taken: Mapping[str, Metric]) -> dict[str, Metric]:
    """The metrics that an entry point names; raises ValueError unless they are well formed and their ids are free."""
    given = point.load()
    metrics = [given] if isinstance(given, Metric) else list(given) if isinstance(given, Iterable) else [given]
    new: dict[str, Metric] = {}
    for metric in metrics:
        if not isinstance(metric, Metric):
            raise ValueError(f"expected a tuple of videoedit.metrics.Metric, got a {type(metric).__name__} in it")
        if metric.id in taken or metric.id in new:
            raise ValueError(f"the id {metric.id!r} is taken")
        if metric.id.count("@") != 1 or "/" in metric.id:
            raise ValueError(f"the id {metric.id!r} is not of the form name@version")
        if unknown := set(metric.needs) - set(NEEDS):
            raise ValueError(f"{metric.id} needs {', '.join(sorted(unknown))}; expected some of {', '.join(NEEDS)}")
        if metric.better not in get_args(Better) or metric.group not in get_args(Group):
            raise ValueError(f"{metric.id} has better={metric.better!r}, group={metric.group!r}, which are unknown")
        new[metric.id] = metric
    return new


def full_id(metric: Metric, sample: Sample) -> str:
    """The id by which figures may be compared: with the name of the flow's estimator if it depends on one."""
    return f"{metric.id}/{sample.estimator.name}" if "flow" in metric.needs else metric.id


def why_skipped(metric: Metric, weights_dir: Path | None = None) -> str | None:
    """One line on the weights that are not here: size, licence, how to get them; None if none is missing."""
    if not metric.weights:
        return None
    from videoedit.metrics.weights import missing_weights

    for name in metric.weights:
        if line := missing_weights(name, weights_dir):
            return line
    return None


def measure(metric: Metric, sample: Sample) -> Figure:
    """Take one measure. Whatever stands in its way becomes the reason of a ``nan``; nothing is raised."""
    from videoedit.metrics.sample import Figure

    reason = _lacking(metric, sample) or why_skipped(metric, sample.weights_dir)
    if reason:
        return Figure(math.nan, reason=reason)
    try:
        function: Callable[[Sample], Figure | float] = resolve_name(metric.measure)
        given = function(sample)
    except VideoEditError as error:
        return Figure(math.nan, reason=str(error))
    except Exception as error:  # one measure that breaks must not cost the others
        logger.warning("%s cannot be measured", metric.id, exc_info=True)
        return Figure(math.nan, reason=f"{type(error).__name__}: {error}")
    figure = given if isinstance(given, Figure) else Figure(float(given))
    if math.isnan(figure.value) and not figure.reason:
        return Figure(math.nan, figure.series, "nothing to measure")
    return figure


def _lacking(metric: Metric, sample: Sample) -> str:
    """The first thing that the sample lacks for a metric, in words; empty if it has all."""
    if not metric.measure:
        return "not a measure of benchmarks"
    lacks = {
        "truth": sample.truth is None,
        "boxes": sample.boxes is None,
        "keep": sample.keep is None,
        "prompt": not sample.prompt,
        "flow": len(sample.frames) < 2,
        "keyframes": not sample.keyframes,
        "cost": not sample.cost,
        "facts": sample.output is None or sample.wanted is None,
    }
    for need in metric.needs:
        if lacks.get(need):
            return f"needs {NEEDS[need]}"
    return ""
