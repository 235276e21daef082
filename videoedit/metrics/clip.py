"""CLIP measures: likeness of frames to words and to each other.

Those called ``@mini`` take the miniature CLIP, and are honest only for rendered clips. The others take the weights and
the definitions of the code that published them, and say so in their ids: ``@tgve`` (LOVEU-TGVE 2023, CLIP ViT-L/14),
``@v2vbench`` (the same network, before its projection), ``@b32`` (CLIP ViT-B/32). Their frames are prepared as
transformers' CLIPProcessor does with PIL: the shorter side becomes 224 pixels, the middle square is cut out; those of
``@tgve`` are first squeezed to 480 x 480. Features are computed once for a clip, a network and a size.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from PIL import Image

from videoedit.errors import WeightsError
from videoedit.metrics.material import Figure, Material
from videoedit.metrics.weights import CLIP_B32, CLIP_H14, CLIP_L14, MINI, MINI_CLIP, PICKSCORE, find_weights
from videoedit.weights import first_line, read_json

if TYPE_CHECKING:
    import torch

TGVE_SIZE = (480, 480)  # (width, height) that LOVEU-TGVE gives every frame
BATCH = 16  # frames at once

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, eq=False)
class Clip:
    """A CLIP model, its tokenizer, and how it wants its pictures."""

    model: Any  # transformers.CLIPModel, eval mode, float32
    tokenizer: Any  # transformers.CLIPTokenizer
    prepare: Callable[[np.ndarray], torch.Tensor]  # frames uint8 [N, H, W, 3] -> normalised pixels [N, 3, S, S]

    @property
    def most_tokens(self) -> int:
        """How long a text may be, with its two marks."""
        return int(self.model.config.text_config.max_position_embeddings)


# -- networks -----------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=2)
def load_clip(folder: Path = MINI_CLIP) -> Clip:
    """Load a `CLIPModel` saved with ``save_pretrained``, on the CPU; never downloads.

    The tokenizer is that of the folder, or of ``tokenizer/`` beside it. Mean and deviation of the pictures
    come from ``preprocessor_config.json``; without one they are CLIP's own. Pictures are cropped, then resized with
    OpenCV, as the miniature CLIP was trained.
    """
    if not (folder / "config.json").is_file():
        raise WeightsError(f"no CLIP model in {folder}: expected config.json and model.safetensors")
    own = any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json"))
    model, tokenizer = _load(folder, folder if own else folder.parent / "tokenizer")
    preprocessor = folder / "preprocessor_config.json"
    settings = read_json(preprocessor) if preprocessor.is_file() else {}
    mean, std = settings.get("image_mean", _MEAN), settings.get("image_std", _STD)
    prepare = functools.partial(_crop_and_resize, size=int(model.config.vision_config.image_size), mean=mean, std=std)
    return Clip(model, tokenizer, prepare)


@functools.lru_cache(maxsize=4)
def load_processed_clip(model_folder: Path, processor_folder: Path) -> Clip:
    """Load a `CLIPModel` of the hub with the processor it is used with, on a GPU if there is one; never downloads."""
    from videoedit.flow_models import best_device

    model, tokenizer = _load(model_folder, processor_folder)
    settings = read_json(processor_folder / "preprocessor_config.json")
    prepare = functools.partial(
        _resize_and_crop,
        size=_side(settings.get("size", 224)),
        crop=_side(settings.get("crop_size", 224)),
        resample=settings.get("resample", Image.Resampling.BICUBIC),
        mean=settings.get("image_mean", _MEAN),
        std=settings.get("image_std", _STD),
    )
    return Clip(model.to(best_device()), tokenizer, prepare)


def _side(size: int | dict[str, int]) -> int:
    """224, {"shortest_edge": 224} or {"height": 224, "width": 224}"""
    return size if isinstance(size, int) else next(iter(size.values()))


def _load(folder: Path, tokenizer_folder: Path) -> tuple[Any, Any]:
    """The model, complete, frozen and in float32, and the tokenizer; nothing is printed."""
    from safetensors import SafetensorError
    from transformers import CLIPModel, CLIPTokenizer
    from transformers.utils import logging

    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "output_loading_info": True}
    try:
        loaded: Any = CLIPModel.from_pretrained(folder, **options)
        tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"cannot load the CLIP model in {folder}: {first_line(error)}") from error
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise WeightsError(f"the CLIP model in {folder} lacks {len(missing)} tensors of its config, first {missing[0]}")
    return model.float().eval().requires_grad_(False), tokenizer


# -- pictures -----------------------------------------------------------------------------------------------


def _crop_and_resize(frames: np.ndarray, *, size: int, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """The middle square, resized with OpenCV: the miniature CLIP's way."""
    pictures = []
    for frame in frames:
        height, width = frame.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = np.ascontiguousarray(frame[top : top + side, left : left + side])
        way = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
        pictures.append(cv2.resize(square, (size, size), interpolation=way))
    return _normalised(pictures, mean, std)


def _resize_and_crop(
    frames: np.ndarray, *, size: int, crop: int, resample: int, mean: Sequence[float], std: Sequence[float]
) -> torch.Tensor:
    """The shorter side to `size` with PIL, then the middle square of side `crop`: CLIPProcessor's way."""
    pictures = []
    for frame in frames:
        height, width = frame.shape[:2]
        short = min(height, width)
        wide, high = int(size * width / short), int(size * height / short)
        left, top = (wide - crop) // 2, (high - crop) // 2
        picture = Image.fromarray(frame).resize((wide, high), Image.Resampling(resample))
        pictures.append(np.asarray(picture.crop((left, top, left + crop, top + crop))))
    return _normalised(pictures, mean, std)


def _normalised(pictures: list[np.ndarray], mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    import torch

    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    return (pixels - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)


# -- features -----------------------------------------------------------------------------------------------


def pool_frames(clip: Clip, frames: np.ndarray) -> torch.Tensor:
    """What the image tower says of each frame before the projection [F, W], on the CPU (HF's `pooler_output`)."""
    import torch

    with torch.inference_mode():
        return torch.cat(
            [
                clip.model.vision_model(pixel_values=clip.prepare(frames[i : i + BATCH]).to(clip.model.device))
                .pooler_output.float()
                .cpu()
                for i in range(0, len(frames), BATCH)
            ]
        )


def project(clip: Clip, pooled: torch.Tensor) -> torch.Tensor:
    """Unit image features [F, D] of pooled ones."""
    import torch

    with torch.inference_mode():
        return _unit(clip.model.visual_projection(pooled.to(clip.model.device)).cpu())


def embed_frames(clip: Clip, frames: np.ndarray) -> torch.Tensor:
    """Unit image features [F, D] of frames."""
    return project(clip, pool_frames(clip, frames))


def embed_prompts(clip: Clip, prompts: Sequence[str]) -> torch.Tensor:
    """Unit text features [N, D]; prompts that are too long are cut."""
    import torch

    tokens = clip.tokenizer(
        list(prompts), padding="max_length", truncation=True, max_length=clip.most_tokens, return_tensors="pt"
    ).to(clip.model.device)
    with torch.inference_mode():
        output = clip.model.get_text_features(tokens.input_ids, attention_mask=tokens.attention_mask)
    return _unit((output if isinstance(output, torch.Tensor) else output.pooler_output).cpu())


def count_tokens(clip: Clip, prompt: str) -> int:
    """How long a prompt is, its two marks counted."""
    return len(clip.tokenizer(prompt, verbose=False).input_ids)


def _unit(features: torch.Tensor) -> torch.Tensor:
    return features / features.norm(dim=-1, keepdim=True)


# -- figures of features ------------------------------------------------------------------------------------


def every_two(
    features: torch.Tensor,  # [F, D], unit
) -> float:
    """Mean cosine of every two different frames, ``sum over i != j / (F (F - 1))``; ``nan`` for one frame."""
    count = len(features)
    if count < 2:
        return math.nan
    cosines = (features @ features.T).double()
    return float(cosines.sum() - cosines.trace()) / (count * (count - 1))


def neighbours(
    features: torch.Tensor,  # [F, D], unit
) -> list[float]:
    """Cosine of each frame and the next, F - 1 of them."""
    return [float(a @ b) for a, b in itertools.pairwise(features)]


def clip_text(frames: np.ndarray, prompt: str, clip: Clip | None = None) -> float:
    """Mean cosine of the frames and the prompt, by the miniature CLIP.

    Honest only in that model's domain: the subjects, backgrounds, colours and styles of the rendered clips.
    On a real video the figure means nothing.
    """
    clip = clip or load_clip()
    return float((embed_frames(clip, frames) @ embed_prompts(clip, [prompt])[0]).mean())


def clip_frame(frames: np.ndarray, clip: Clip | None = None) -> float:
    """Mean cosine of every two frames (the frame consistency of Tune-A-Video's paper); ``nan`` for one frame.

    Rewards doing nothing, and is honest only in the model's domain (see `clip_text`).
    """
    return every_two(embed_frames(clip or load_clip(), frames)) if len(frames) > 1 else math.nan


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
    likeness = [max(0.0, value) for value in neighbours(_unit(_pooled(material, clip)))]
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
