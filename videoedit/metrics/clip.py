"""CLIP networks and their features: likeness of frames to words and to each other.

Frames are prepared as transformers' CLIPProcessor does with PIL: the shorter side becomes 224 pixels, the middle square
is cut out (the miniature CLIP: 64 pixels). The metrics made of the features are in `videoedit.metrics.clip_figures`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from videoedit.errors import WeightsError
from videoedit.metrics.weights import MINI_CLIP
from videoedit.models.weights import first_line, read_json

if TYPE_CHECKING:
    import torch

BATCH = 16  # frames at once

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, eq=False)
class ClipModel:
    """A CLIP model, its tokenizer, and how it wants its pictures."""

    model: Any  # transformers.CLIPModel, eval mode, float32
    tokenizer: Any  # transformers.CLIPTokenizer
    prepare: Callable[[np.ndarray], torch.Tensor]  # frames uint8 [N, H, W, 3] -> normalised pixels [N, 3, S, S]

    @property
    def most_tokens(self) -> int:
        """Largest length of a text, with its two marks."""
        return int(self.model.config.text_config.max_position_embeddings)


# -- networks -----------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=2)
def load_clip(folder: Path = MINI_CLIP) -> ClipModel:
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
    return ClipModel(model, tokenizer, prepare)


@functools.lru_cache(maxsize=4)
def load_processed_clip(model_folder: Path, processor_folder: Path) -> ClipModel:
    """Load a `CLIPModel` of the hub with the processor it is used with, on a GPU if there is one; never downloads."""
    from videoedit.models.device import choose_device

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
    return ClipModel(model.to(choose_device(None)), tokenizer, prepare)


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
    return _normalized(pictures, mean, std)


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
    return _normalized(pictures, mean, std)


def _normalized(pictures: list[np.ndarray], mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    import torch

    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    return (pixels - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)


# -- features -----------------------------------------------------------------------------------------------


def pool_frames(clip: ClipModel, frames: np.ndarray) -> torch.Tensor:
    """Features of the image tower before the projection [F, W], on the CPU (HF's `pooler_output`)."""
    import torch

    pooled = []
    with torch.inference_mode():
        for start in range(0, len(frames), BATCH):
            pixels = clip.prepare(frames[start : start + BATCH]).to(clip.model.device)
            pooled.append(clip.model.vision_model(pixel_values=pixels).pooler_output.float().cpu())
        return torch.cat(pooled)


def project(clip: ClipModel, pooled: torch.Tensor) -> torch.Tensor:
    """Unit image features [F, D] of pooled ones."""
    import torch

    with torch.inference_mode():
        return unit(clip.model.visual_projection(pooled.to(clip.model.device)).cpu())


def embed_frames(clip: ClipModel, frames: np.ndarray) -> torch.Tensor:
    """Unit image features [F, D] of frames."""
    return project(clip, pool_frames(clip, frames))


def embed_prompts(clip: ClipModel, prompts: Sequence[str]) -> torch.Tensor:
    """Unit text features [N, D]; prompts that are too long are cut."""
    import torch

    tokens = clip.tokenizer(
        list(prompts), padding="max_length", truncation=True, max_length=clip.most_tokens, return_tensors="pt"
    ).to(clip.model.device)
    with torch.inference_mode():
        output = clip.model.get_text_features(tokens.input_ids, attention_mask=tokens.attention_mask)
    return unit((output if isinstance(output, torch.Tensor) else output.pooler_output).cpu())


def count_tokens(clip: ClipModel, prompt: str) -> int:
    """Length of a prompt, its two marks counted."""
    return len(clip.tokenizer(prompt, verbose=False).input_ids)


def unit(features: torch.Tensor) -> torch.Tensor:
    """Features [..., D] of length 1."""
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


def neighbors(
    features: torch.Tensor,  # [F, D], unit
) -> list[float]:
    """Cosine of each frame and the next, F - 1 of them."""
    return [float(a @ b) for a, b in itertools.pairwise(features)]


def clip_text(frames: np.ndarray, prompt: str, clip: ClipModel | None = None) -> float:
    """Mean cosine of the frames and the prompt, by the miniature CLIP.

    Honest only in that model's domain: the subjects, backgrounds, colours and styles of the rendered clips.
    On a real video the figure means nothing.
    """
    clip = clip or load_clip()
    return float((embed_frames(clip, frames) @ embed_prompts(clip, [prompt])[0]).mean())


def clip_frame(frames: np.ndarray, clip: ClipModel | None = None) -> float:
    """Mean cosine of every two frames (the frame consistency of Tune-A-Video's paper); ``nan`` for one frame.

    Rewards doing nothing, and is honest only in the model's domain (see `clip_text`).
    """
    return every_two(embed_frames(clip or load_clip(), frames)) if len(frames) > 1 else math.nan
