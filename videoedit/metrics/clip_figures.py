"""Metrics by CLIP: figures of a `Sample` from the features of `videoedit.metrics.clip`.

Those called ``@mini`` take the miniature CLIP, and are honest only for rendered clips. The others take the weights and
the definitions of the code that published them, and say so in their ids: ``@tgve`` (LOVEU-TGVE 2023, CLIP ViT-L/14),
``@v2vbench`` (the same network, before its projection), ``@b32`` (CLIP ViT-B/32). The frames of ``@tgve`` are first
squeezed to 480 x 480. Features are computed once for a clip, a network and a size.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from videoedit.metrics.clip import (
    ClipModel,
    count_tokens,
    embed_prompts,
    every_two,
    load_clip,
    load_processed_clip,
    neighbors,
    pool_frames,
    project,
    unit,
)
from videoedit.metrics.sample import Figure, Sample
from videoedit.metrics.weights import CLIP_B32, CLIP_H14, CLIP_L14, MINI, PICKSCORE, find_weights

if TYPE_CHECKING:
    import torch

TGVE_SIZE = (480, 480)  # (width, height) that LOVEU-TGVE gives every frame

# -- of a sample: the miniature CLIP ----------------------------------------------------------------------

Which = Literal["frames", "source"]
ONE_FRAME = Figure(math.nan, reason="one frame has no other to be like")


def clip_text_mini_of(sample: Sample) -> Figure:
    """Cosine of the frames and the prompt."""
    return _mean(_likeness(sample, _mini(sample), sample.prompt))


def clip_text_gain_mini_of(sample: Sample) -> Figure:
    """The same, minus that of the source and the same prompt."""
    clip = _mini(sample)
    edit = _likeness(sample, clip, sample.prompt)
    source = _likeness(sample, clip, sample.prompt, "source")
    return _mean([a - b for a, b in zip(edit, source, strict=True)])


def clip_frame_mini_of(sample: Sample) -> Figure:
    """Mean cosine of every two frames."""
    features = _features(sample, _mini(sample))
    return Figure(every_two(features)) if len(features) > 1 else ONE_FRAME


# -- of a sample: as published ----------------------------------------------------------------------------


def clip_frame_tgve_of(sample: Sample) -> Figure:
    """LOVEU-TGVE's CLIPFrame: mean cosine of every two frames of 480 x 480, ViT-L/14."""
    features = _features(sample, _published(sample, CLIP_L14), size=TGVE_SIZE)
    return Figure(every_two(features)) if len(features) > 1 else ONE_FRAME


def clip_text_tgve_of(sample: Sample) -> Figure:
    """LOVEU-TGVE's CLIPText: logit scale times cosine (about 0 to 100), nothing clamped, nothing times 2.5.

    The original stops with an error at a prompt of more than 77 tokens; so does this, with a reason.
    """
    clip = _published(sample, CLIP_L14)
    if reason := _too_long(clip, sample.prompt):
        return Figure(math.nan, reason=reason)
    return _scaled(clip, _likeness(sample, clip, sample.prompt, size=TGVE_SIZE))


def pickscore_tgve_of(sample: Sample) -> Figure:
    """LOVEU-TGVE's PickScore: logit scale times cosine by PickScore_v1; prompts are cut at 77 tokens."""
    clip = _published(sample, PICKSCORE, CLIP_H14)
    return _scaled(clip, _likeness(sample, clip, sample.prompt, size=TGVE_SIZE))


def semantic_consistency_v2vbench_of(sample: Sample) -> Figure:
    """V2VBench's semantic consistency: mean of max(0, cosine) of each frame and the next, pooled and not projected."""
    clip = _published(sample, CLIP_L14)
    likeness = [max(0.0, value) for value in neighbors(unit(_pooled(sample, clip)))]
    return _mean(likeness, first=1.0) if likeness else ONE_FRAME


def tem_con_b32_of(sample: Sample) -> Figure:
    """Tem-Con of FateZero and Rerender: mean cosine of each frame and the next, ViT-B/32."""
    likeness = neighbors(_features(sample, _published(sample, CLIP_B32)))
    return _mean(likeness, first=1.0) if likeness else ONE_FRAME


def fram_acc_b32_of(sample: Sample) -> Figure:
    """Fram-Acc of FateZero and Rerender: share of frames for which the prompt is at least as probable as the source's.

    Portrait frames lose both ends like all others, and not, as in FateZero's code, the upper one. As there, prompts
    of more than 77 tokens have no figure.
    """
    if reason := _no_two_prompts(sample):
        return Figure(math.nan, reason=reason)
    clip = _published(sample, CLIP_B32)
    if reason := _too_long(clip, sample.prompt) or _too_long(clip, sample.source_prompt):
        return Figure(math.nan, reason=reason)
    target, source = _likeness(sample, clip, sample.prompt), _likeness(sample, clip, sample.source_prompt)
    return _mean([float(a >= b) for a, b in zip(target, source, strict=True)])


def clip_direction_b32_of(sample: Sample) -> Figure:
    """Directional similarity (StyleGAN-NADA; InstructPix2Pix): do pictures and words change in the same direction?

    Cosine of (frame - source frame) and (prompt - source prompt), differences of unit features, ViT-B/32; mean over
    frames. A frame that is its source's equal has not moved, and counts 0. Prompts are cut at 77 tokens.
    """
    import torch

    if reason := _no_two_prompts(sample):
        return Figure(math.nan, reason=reason)
    clip = _published(sample, CLIP_B32)
    target, source = embed_prompts(clip, [sample.prompt, sample.source_prompt])
    if torch.equal(target, source):
        return Figure(math.nan, reason="the prompt and the source's prompt are the same in their first 77 tokens")
    moved = _features(sample, clip) - _features(sample, clip, "source")
    return _mean(torch.cosine_similarity(moved, (target - source)[None]).tolist())


# -- shared by the above ------------------------------------------------------------------------------------


def _mini(sample: Sample) -> ClipModel:
    return load_clip(find_weights(MINI, sample.weights_dir))


def _published(sample: Sample, name: str, processor: str = "") -> ClipModel:
    model_folder = find_weights(name, sample.weights_dir)
    return load_processed_clip(model_folder, find_weights(processor or name, sample.weights_dir))


def _pooled(
    sample: Sample, clip: ClipModel, which: Which = "frames", size: tuple[int, int] | None = None
) -> torch.Tensor:
    """Pooled features [F, W] of the edit or its source, all frames first resized to `size` (width, height)."""
    key = ("clip", clip, which, size)
    if key not in sample.memo:
        frames = sample.frames if which == "frames" else sample.source
        if size:
            frames = np.stack([np.asarray(Image.fromarray(frame).resize(size)) for frame in frames])
        sample.memo[key] = pool_frames(clip, frames)
    pooled: torch.Tensor = sample.memo[key]
    return pooled


def _features(
    sample: Sample, clip: ClipModel, which: Which = "frames", size: tuple[int, int] | None = None
) -> torch.Tensor:
    return project(clip, _pooled(sample, clip, which, size))


def _likeness(
    sample: Sample, clip: ClipModel, prompt: str, which: Which = "frames", size: tuple[int, int] | None = None
) -> list[float]:
    """Cosine of each frame and a prompt."""
    cosines: list[float] = (_features(sample, clip, which, size) @ embed_prompts(clip, [prompt])[0]).tolist()
    return cosines


def _scaled(clip: ClipModel, cosines: list[float]) -> Figure:
    scale = float(clip.model.logit_scale.exp())
    return _mean([scale * cosine for cosine in cosines])


def _mean(values: list[float], first: float | None = None) -> Figure:
    """The mean of values of frames; of pairs of neighbours, `first` stands for the first frame in the series."""
    return Figure(sum(values) / len(values), tuple(values) if first is None else (first, *values))


def _too_long(clip: ClipModel, prompt: str) -> str:
    count = count_tokens(clip, prompt)
    if count <= clip.most_tokens:
        return ""
    return f"a prompt has {count} tokens; this is defined for {clip.most_tokens} at most"


def _no_two_prompts(sample: Sample) -> str:
    if not sample.source_prompt:
        return "needs the source's prompt"
    return "the prompt is the source's prompt" if sample.prompt == sample.source_prompt else ""
