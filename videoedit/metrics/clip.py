"""CLIP measures: likeness of frames to a prompt and to each other, by the miniature CLIP."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from videoedit.errors import WeightsError

if TYPE_CHECKING:
    import torch

MINI_CLIP = Path(__file__).parents[1] / "assets" / "mini" / "clip"


@dataclass(frozen=True)
class Clip:
    """A CLIP model, its tokenizer, and how it wants its pictures."""

    model: Any  # transformers.CLIPModel, eval mode, float32
    tokenizer: Any  # transformers.CLIPTokenizer
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@functools.lru_cache(maxsize=2)
def load_clip(folder: Path = MINI_CLIP) -> Clip:
    """Load a `CLIPModel` saved with ``save_pretrained``; never downloads.

    The tokenizer is that of the folder, or of ``tokenizer/`` beside it. Mean and deviation of the pictures
    come from ``preprocessor_config.json``; without one they are CLIP's own.
    """
    if not (folder / "config.json").is_file():
        raise WeightsError(f"no CLIP model in {folder}: expected config.json and model.safetensors")
    import json

    from safetensors import SafetensorError
    from transformers import CLIPModel, CLIPTokenizer
    from transformers.utils import logging as transformers_logging

    own = any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json"))
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        model = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).float().eval()
        tokenizer = CLIPTokenizer.from_pretrained(folder if own else folder.parent / "tokenizer", local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"cannot load the CLIP model in {folder}: {str(error).splitlines()[0]}") from error
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
    model.requires_grad_(False)
    preprocessor = folder / "preprocessor_config.json"
    settings = json.loads(preprocessor.read_text()) if preprocessor.is_file() else {}
    mean = tuple(settings.get("image_mean", (0.48145466, 0.4578275, 0.40821073)))
    std = tuple(settings.get("image_std", (0.26862954, 0.26130258, 0.27577711)))
    return Clip(model, tokenizer, int(model.config.vision_config.image_size), mean, std)


def _features(output: Any) -> torch.Tensor:
    """Projected features of norm 1; transformers 5 wraps them in an object."""
    features = output if hasattr(output, "norm") else output.pooler_output
    return features / features.norm(dim=-1, keepdim=True)


def embed_frames(clip: Clip, frames: np.ndarray) -> torch.Tensor:
    """Unit image features [F, D] of frames: resized to fit, centre-cropped to a square, normalised."""
    import torch

    pictures = []
    for frame in frames:
        height, width = frame.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = np.ascontiguousarray(frame[top : top + side, left : left + side])
        way = cv2.INTER_AREA if side > clip.size else cv2.INTER_CUBIC
        pictures.append(cv2.resize(square, (clip.size, clip.size), interpolation=way))
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (clip.mean, clip.std))
    with torch.inference_mode():
        return _features(clip.model.get_image_features(pixel_values=(pixels - mean) / std))


def embed_prompts(clip: Clip, prompts: Sequence[str]) -> torch.Tensor:
    """Unit text features [N, D]; prompts that are too long are cut."""
    import torch

    length = clip.model.config.text_config.max_position_embeddings
    tokens = clip.tokenizer(
        list(prompts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    )
    with torch.inference_mode():
        return _features(clip.model.get_text_features(tokens.input_ids, attention_mask=tokens.attention_mask))


def clip_text(frames: np.ndarray, prompt: str, clip: Clip | None = None) -> float:
    """Mean cosine of the frames and the prompt (LOVEU-TGVE's text alignment), by the miniature CLIP.

    Honest only in that model's domain: the subjects, backgrounds, colours and styles of the rendered clips.
    On a real video the figure means nothing.
    """
    clip = clip or load_clip()
    return float((embed_frames(clip, frames) @ embed_prompts(clip, [prompt])[0]).mean())


def clip_frame(frames: np.ndarray, clip: Clip | None = None) -> float:
    """Mean cosine of every two frames (the frame consistency of Tune-A-Video's paper); ``nan`` for one frame.

    Rewards doing nothing, and is honest only in the model's domain (see `clip_text`).
    """
    if len(frames) < 2:
        return math.nan
    features = embed_frames(clip or load_clip(), frames)
    count = len(frames)
    return float(((features @ features.T).sum() - count) / (count * (count - 1)))
