"""Metrics by CLIP: figures of a `Material` from the features of `videoedit.metrics.clip`.

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
    Clip,
    count_tokens,
    embed_prompts,
    every_two,
    load_clip,
    load_processed_clip,
    neighbours,
    pool_frames,
    project,
    unit,
)
from videoedit.metrics.sample import Figure, Material
from videoedit.metrics.weights import CLIP_B32, CLIP_H14, CLIP_L14, MINI, PICKSCORE, find_weights

if TYPE_CHECKING:
    import torch

TGVE_SIZE = (480, 480)  # (width, height) that LOVEU-TGVE gives every frame

# -- of a material: the miniature CLIP ----------------------------------------------------------------------

Which = Literal["frames", "source"]
ONE_FRAME = Figure(math.nan, reason="one frame has no other to be like")


def clip_text_mini_of(material: Material) -> Figure:
    """Cosine of the frames and the prompt."""
    return _mean(_likeness(material, _mini(material), material.prompt))


def clip_text_gain_mini_of(material: Material) -> Figure:
    """The same, minus that of the source and the same prompt."""
    clip = _mini(material)
    edit = _likeness(material, clip, material.prompt)
    source = _likeness(material, clip, material.prompt, "source")
    return _mean([a - b for a, b in zip(edit, source, strict=True)])


def clip_frame_mini_of(material: Material) -> Figure:
    """Mean cosine of every two frames."""
    features = _features(material, _mini(material))
    return Figure(every_two(features)) if len(features) > 1 else ONE_FRAME


# -- of a material: as published ----------------------------------------------------------------------------


def clip_frame_tgve_of(material: Material) -> Figure:
    """LOVEU-TGVE's CLIPFrame: mean cosine of every two frames of 480 x 480, ViT-L/14."""
    features = _features(material, _published(material, CLIP_L14), size=TGVE_SIZE)
    return Figure(every_two(features)) if len(features) > 1 else ONE_FRAME


def clip_text_tgve_of(material: Material) -> Figure:
    """LOVEU-TGVE's CLIPText: logit scale times cosine (about 0 to 100), nothing clamped, nothing times 2.5.

    The original stops with an error at a prompt of more than 77 tokens; so does this, with a reason.
    """
    clip = _published(material, CLIP_L14)
    if reason := _too_long(clip, material.prompt):
        return Figure(math.nan, reason=reason)
    return _scaled(clip, _likeness(material, clip, material.prompt, size=TGVE_SIZE))


def pickscore_tgve_of(material: Material) -> Figure:
    """LOVEU-TGVE's PickScore: logit scale times cosine by PickScore_v1; prompts are cut at 77 tokens."""
    clip = _published(material, PICKSCORE, CLIP_H14)
    return _scaled(clip, _likeness(material, clip, material.prompt, size=TGVE_SIZE))


def semantic_consistency_v2vbench_of(material: Material) -> Figure:
    """V2VBench's semantic consistency: mean of max(0, cosine) of each frame and the next, pooled and not projected."""
    clip = _published(material, CLIP_L14)
    likeness = [max(0.0, value) for value in neighbours(unit(_pooled(material, clip)))]
    return _mean(likeness, first=1.0) if likeness else ONE_FRAME


def tem_con_b32_of(material: Material) -> Figure:
    """Tem-Con of FateZero and Rerender: mean cosine of each frame and the next, ViT-B/32."""
    likeness = neighbours(_features(material, _published(material, CLIP_B32)))
    return _mean(likeness, first=1.0) if likeness else ONE_FRAME


def fram_acc_b32_of(material: Material) -> Figure:
    """Fram-Acc of FateZero and Rerender: share of frames for which the prompt is at least as probable as the source's.

    Portrait frames lose both ends like all others, and not, as in FateZero's code, the upper one. As there, prompts
    of more than 77 tokens have no figure.
    """
    if reason := _no_two_prompts(material):
        return Figure(math.nan, reason=reason)
    clip = _published(material, CLIP_B32)
    prompts = material.prompt, material.source_prompt
    if reason := next(filter(None, (_too_long(clip, prompt) for prompt in prompts)), ""):
        return Figure(math.nan, reason=reason)
    target, source = (_likeness(material, clip, prompt) for prompt in prompts)
    return _mean([float(a >= b) for a, b in zip(target, source, strict=True)])


def clip_direction_b32_of(material: Material) -> Figure:
    """Directional similarity (StyleGAN-NADA; InstructPix2Pix): do pictures and words change in the same direction?

    Cosine of (frame - source frame) and (prompt - source prompt), differences of unit features, ViT-B/32; mean over
    frames. A frame that is its source's equal has not moved, and counts 0. Prompts are cut at 77 tokens.
    """
    import torch

    if reason := _no_two_prompts(material):
        return Figure(math.nan, reason=reason)
    clip = _published(material, CLIP_B32)
    target, source = embed_prompts(clip, [material.prompt, material.source_prompt])
    if torch.equal(target, source):
        return Figure(math.nan, reason="the prompt and the source's prompt are the same in their first 77 tokens")
    moved = _features(material, clip) - _features(material, clip, "source")
    return _mean(torch.cosine_similarity(moved, (target - source)[None]).tolist())


# -- shared by the above ------------------------------------------------------------------------------------


def _mini(material: Material) -> Clip:
    return load_clip(find_weights(MINI, material.weights_dir))


def _published(material: Material, name: str, processor: str = "") -> Clip:
    folders = (find_weights(each, material.weights_dir) for each in (name, processor or name))
    return load_processed_clip(*folders)


def _pooled(
    material: Material, clip: Clip, which: Which = "frames", size: tuple[int, int] | None = None
) -> torch.Tensor:
    """Pooled features [F, W] of the edit or its source, all frames first resized to `size` (width, height)."""
    key = ("clip", clip, which, size)
    if key not in material.memo:
        frames = material.frames if which == "frames" else material.source
        if size:
            frames = np.stack([np.asarray(Image.fromarray(frame).resize(size)) for frame in frames])
        material.memo[key] = pool_frames(clip, frames)
    pooled: torch.Tensor = material.memo[key]
    return pooled


def _features(
    material: Material, clip: Clip, which: Which = "frames", size: tuple[int, int] | None = None
) -> torch.Tensor:
    return project(clip, _pooled(material, clip, which, size))


def _likeness(
    material: Material, clip: Clip, prompt: str, which: Which = "frames", size: tuple[int, int] | None = None
) -> list[float]:
    """Cosine of each frame and a prompt."""
    cosines: list[float] = (_features(material, clip, which, size) @ embed_prompts(clip, [prompt])[0]).tolist()
    return cosines


def _scaled(clip: Clip, cosines: list[float]) -> Figure:
    scale = float(clip.model.logit_scale.exp())
    return _mean([scale * cosine for cosine in cosines])


def _mean(values: list[float], first: float | None = None) -> Figure:
    """The mean of values of frames; of pairs of neighbours, `first` stands for the first frame in the series."""
    return Figure(sum(values) / len(values), tuple(values) if first is None else (first, *values))


def _too_long(clip: Clip, prompt: str) -> str:
    count = count_tokens(clip, prompt)
    if count <= clip.most_tokens:
        return ""
    return f"a prompt has {count} tokens; this is defined for {clip.most_tokens} at most"


def _no_two_prompts(material: Material) -> str:
    if not material.source_prompt:
        return "needs the source's prompt"
    return "the prompt is the source's prompt" if material.prompt == material.source_prompt else ""
