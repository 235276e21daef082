"""Text to the features that a UNet's cross-attention reads."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from videoedit.errors import InputError
from videoedit.types import Models

logger = logging.getLogger(__name__)


@torch.no_grad()
def encode_prompts(models: Models, prompts: Sequence[str]) -> Tensor:
    """Text features [N, L, D] of `prompts`, on the models' device and in their dtype.

    Longer prompts than the text encoder takes (77 tokens for CLIP) are cut; a warning names the lost words.
    """
    if isinstance(prompts, str) or not all(isinstance(prompt, str) for prompt in prompts) or not prompts:
        raise InputError(f"expected a list of prompts, got {prompts!r}")
    limit = max_tokens(models.tokenizer, models.text_encoder)
    for prompt in prompts:
        if lost := overlong_words(models.tokenizer, prompt, limit):
            logger.warning("the prompt is too long for the text encoder; these words are ignored: %s", lost)
    tokens: Any = models.tokenizer(
        list(prompts), padding="max_length", max_length=limit, truncation=True, return_tensors="pt"
    )
    masked = getattr(models.text_encoder.config, "use_attention_mask", False)
    mask = tokens.attention_mask.to(models.device) if masked else None
    features = models.text_encoder(tokens.input_ids.to(models.device), attention_mask=mask).last_hidden_state
    return features.to(models.dtype)


def max_tokens(tokenizer: Any, text_encoder: Any) -> int:
    """The number of tokens, with start and end, that fit; a tokenizer that does not know leaves it to the encoder."""
    known = int(tokenizer.model_max_length)
    return min(known, int(getattr(text_encoder.config, "max_position_embeddings", known)))


def overlong_words(tokenizer: Any, prompt: str, limit: int) -> str:
    """The end of `prompt` that does not fit, from the first word that loses a part; "" if all of it fits."""
    encoded = tokenizer(prompt, return_offsets_mapping=True, add_special_tokens=True, verbose=False)
    if len(encoded["input_ids"]) <= limit:
        return ""
    first_lost = encoded["offset_mapping"][limit - 1][0]  # the token whose place the end token takes
    start = max((i + 1 for i in range(first_lost) if prompt[i].isspace()), default=0)
    return prompt[start:].strip()
