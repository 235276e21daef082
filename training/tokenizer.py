"""A CLIP tokenizer (byte-pair encoding) fitted to the captions of the renderer."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from training.captions import random_caption
from training.dataset import random_label, words

MAX_LENGTH = 77
START, END = "<|startoftext|>", "<|endoftext|>"


def train_tokenizer(captions: list[str], vocab_size: int = 1024) -> CLIPTokenizer:
    """Learn merges until every word of the captions is one token; the 256 bytes stay as the fallback."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        end_of_word_suffix="</w>",
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in learned["merges"]]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet), *("".join(m.split(" ")) for m in merges)]
    vocab = {token: index for index, token in enumerate(dict.fromkeys([*tokens, START, END]))}
    with tempfile.TemporaryDirectory() as folder:
        vocab_file, merges_file = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
        vocab_file.write_text(json.dumps(vocab))
        merges_file.write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
        return CLIPTokenizer.from_pretrained(folder, model_max_length=MAX_LENGTH)


def caption_corpus(count: int = 20_000) -> list[str]:
    """Random captions that between them use every word."""
    rng = np.random.default_rng(0)
    return [random_caption(rng, *words(np.asarray(random_label(rng, None)))) for _ in range(count)]


def token_ids(tokenizer: CLIPTokenizer, captions: list[str]) -> np.ndarray:
    """int64 [N, 77], padded and truncated as the stock pipelines do."""
    kept = {"padding": "max_length", "truncation": True, "max_length": MAX_LENGTH, "return_tensors": "np"}
    return tokenizer(captions, **kept)["input_ids"]
