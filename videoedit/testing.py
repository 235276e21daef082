"""Small *real* components for tests: classes of diffusers and transformers with random weights, and clips.

Nothing here is a stand-in: a tiny model goes through the same code as a large one, in milliseconds.
"""

from __future__ import annotations

import hashlib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from videoedit.types import Models

if TYPE_CHECKING:
    from videoedit.conformance import check_method as check_method

SD_SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
"""Stable Diffusion 1.5's noise schedule."""

_WORDS = "a an the red blue car cat dog man woman is on in of running driving turning road snow desert"
_WIDTH = 16


def tiny_models(seed: int = 0) -> Models:
    """A Stable-Diffusion-shaped model with random weights: 4 latent channels, 4 pixels a latent, 77 tokens."""
    return Models(
        name="tiny",
        vae=tiny_vae(seed),
        unet=tiny_unet(seed, cross_attention_dim=_WIDTH),
        text_encoder=tiny_text_encoder(seed),
        tokenizer=tiny_tokenizer(),
        scheduler=DDIMScheduler(**SD_SCHEDULER),
        device=torch.device("cpu"),
        dtype=torch.float32,
        folder=None,
        fingerprint=hashlib.sha256(f"tiny {seed}".encode()).hexdigest(),
    )


def tiny_unet(seed: int = 0, *, cross_attention_dim: int = _WIDTH) -> UNet2DConditionModel:
    """A UNet of two blocks a side, attention in the outer ones and the middle, 2 heads, 8 groups."""
    return _seeded(
        seed,
        lambda: UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=cross_attention_dim,
            attention_head_dim=2,  # the number of heads, in diffusers' wording
            norm_num_groups=8,
        ),
    )


def tiny_controlnet(seed: int = 0, **config: Any) -> ControlNetModel:
    """A ControlNet that fits `tiny_models`, with random numbers where a fresh one has zeros; `config` overrides."""
    sizes: dict[str, Any] = {
        "block_out_channels": (16, 32),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "layers_per_block": 1,
        "cross_attention_dim": _WIDTH,
        "attention_head_dim": 2,
        "norm_num_groups": 8,
        "conditioning_embedding_out_channels": (8, 8, 8),
    }
    net = _seeded(seed, lambda: ControlNetModel(**(sizes | config)))
    generator = torch.Generator().manual_seed(seed)
    for layer in (net.controlnet_cond_embedding.conv_out, *net.controlnet_down_blocks, net.controlnet_mid_block):
        layer.weight.normal_(std=0.1, generator=generator)
    return net


def tiny_vae(seed: int = 0, **config: Any) -> AutoencoderKL:
    """An autoencoder of 4 pixels a latent; `config` overrides, e.g. `shift_factor`."""
    sizes: dict[str, Any] = {
        "block_out_channels": (8, 8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "norm_num_groups": 8,
        "sample_size": 32,
    }
    return _seeded(seed, lambda: AutoencoderKL(**(sizes | config)))


def tiny_text_encoder(seed: int = 0, *, max_tokens: int = 77) -> CLIPTextModel:
    """CLIP's text tower, two layers, fitting `tiny_tokenizer`."""
    tokenizer = tiny_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=_WIDTH,
        intermediate_size=2 * _WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=max_tokens,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return _seeded(seed, lambda: CLIPTextModel(config))


def tiny_tokenizer(*, max_tokens: int = 77) -> CLIPTokenizer:
    """CLIP's tokenizer knowing a few words whole; any other text falls apart into bytes."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    vocabulary = {token: i for i, token in enumerate([*letters, *(f"{letter}</w>" for letter in letters)])}
    merges: list[Any] = []  # pairs
    for word in _WORDS.split():
        parts = [*word[:-1], f"{word[-1]}</w>"]
        for i in range(1, len(parts)):
            pair = ("".join(parts[:i]), parts[i])
            if pair not in merges:
                merges.append(pair)
            vocabulary.setdefault("".join(pair), len(vocabulary))
    for token in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[token] = len(vocabulary)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=max_tokens)


def save_models(models: Models, folder: Path) -> Path:
    """Write `models` in diffusers' folder layout."""
    pipe: Any = StableDiffusionPipeline(
        models.vae,
        models.text_encoder,
        models.tokenizer,
        models.unet,
        models.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder)
    return folder


def moving_square(num_frames: int = 8, size: tuple[int, int] = (32, 32)) -> np.ndarray:
    """A red square crossing a bright gradient from left to right: uint8 [F, H, W, 3]; size is (width, height)."""
    width, height = size
    side = max(2, min(width, height) // 4)
    gradient = np.linspace(160, 240, width, dtype=np.uint8)
    frames = np.broadcast_to(gradient[None, None, :, None], (num_frames, height, width, 3)).copy()
    top = (height - side) // 2
    for i in range(num_frames):
        left = round(i * (width - side) / max(1, num_frames - 1))
        frames[i, top : top + side, left : left + side] = (200, 30, 30)
    return frames


def panning(num_frames: int = 8, size: tuple[int, int] = (64, 48), *, step: int = 1, seed: int = 0) -> np.ndarray:
    """A textured wall, the camera moving `step` pixels to the right each frame: uint8 [F, H, W, 3]."""
    width, height = size
    noise = np.random.default_rng(seed).random((height, width + step * num_frames, 3), np.float32)
    wall = cv2.GaussianBlur(noise, (0, 0), 1.5)
    wall = (255 * (wall - wall.min()) / np.ptp(wall)).astype(np.uint8)
    return np.stack([wall[:, step * i : step * i + width] for i in range(num_frames)])


def other_colors(frames: np.ndarray) -> np.ndarray:
    """Frames as an edit might leave them: everything in its place in other colours. uint8 [F, H, W, 3]."""
    return 255 - frames[..., [1, 2, 0]] // 2


def _seeded(seed: int, make: Any) -> Any:
    """Whatever `make` builds under `seed`, frozen and in eval mode; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().eval().requires_grad_(False)


def __getattr__(name: str) -> Any:
    if name != "check_method":
        raise AttributeError(f"module 'videoedit.testing' has no attribute {name!r}")
    return import_module("videoedit.conformance").check_method  # which stands above this module
