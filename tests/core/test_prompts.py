"""Text features, and prompts that are too long."""

from __future__ import annotations

import dataclasses
import logging

import pytest
import torch

from videoedit.diffusion.prompts import encode_prompts, max_tokens, overlong_words
from videoedit.errors import InputError
from videoedit.testing import tiny_models, tiny_text_encoder, tiny_tokenizer


@pytest.fixture(scope="module")
def models():
    return tiny_models()


def test_features_have_one_row_a_prompt(models):
    features = encode_prompts(models, ["a red car", "", "a red car", "a blue cat"])
    assert features.shape == (4, 77, 16) and features.dtype == torch.float32
    assert torch.equal(features[0], features[2])
    assert (features[0] - features[1]).abs().max() > 1e-2
    assert (features[0] - features[3]).abs().max() > 1e-2


def test_features_are_the_text_encoders(models):
    tokens = models.tokenizer(["a red car"], padding="max_length", max_length=77, return_tensors="pt")
    with torch.no_grad():
        expected = models.text_encoder(tokens.input_ids).last_hidden_state
    torch.testing.assert_close(encode_prompts(models, ["a red car"]), expected)


def test_dtype_follows_the_models(models):
    half = dataclasses.replace(models, dtype=torch.bfloat16)
    assert encode_prompts(half, ["a car"]).dtype == torch.bfloat16


def test_known_words_are_one_token_each(models):
    assert len(models.tokenizer("a red car is driving")["input_ids"]) == 7


def test_a_prompt_that_fits_loses_nothing():
    tokenizer = tiny_tokenizer()
    assert overlong_words(tokenizer, "", 77) == ""
    assert overlong_words(tokenizer, " ".join(["cat"] * 75), 77) == ""


def test_cut_words_are_named_as_written():
    tokenizer = tiny_tokenizer()
    prompt = " ".join(["cat"] * 75) + " Red  car, running"
    assert overlong_words(tokenizer, prompt, 77) == "Red  car, running"
    assert overlong_words(tokenizer, " ".join(["cat"] * 70) + " xylophone dog", 77) == "xylophone dog"
    assert overlong_words(tokenizer, "x" * 200, 77) == "x" * 200


def test_encoding_warns_once_and_cuts(models, caplog):
    long = " ".join(["cat"] * 75) + " in the snow"
    with caplog.at_level(logging.WARNING):
        features = encode_prompts(models, [long, "a cat"])
    assert [record.getMessage() for record in caplog.records] == [
        "the prompt is too long for the text encoder; these words are ignored: in the snow"
    ]
    assert torch.equal(features[:1], encode_prompts(models, [" ".join(["cat"] * 75)]))


def test_other_lengths(models, caplog):
    """A text encoder with 16 positions rules over a tokenizer that knows no bound."""
    short = dataclasses.replace(
        models, text_encoder=tiny_text_encoder(max_tokens=16), tokenizer=tiny_tokenizer(max_tokens=10**30)
    )
    assert max_tokens(short.tokenizer, short.text_encoder) == 16
    with caplog.at_level(logging.WARNING):
        features = encode_prompts(short, [" ".join(["cat"] * 14) + " dog"])
    assert features.shape == (1, 16, 16)
    assert caplog.records[0].getMessage().endswith("ignored: dog")


@pytest.mark.parametrize("prompts", ["a cat", [], ["a cat", None]])
def test_what_is_not_a_list_of_prompts_is_refused(models, prompts):
    with pytest.raises(InputError, match="expected a list of prompts"):
        encode_prompts(models, prompts)


def test_an_encoder_that_wants_a_mask_does_not_see_the_padding(models):
    masked = tiny_text_encoder()
    masked.config.use_attention_mask = True
    tokens = models.tokenizer(["a red car"], padding="max_length", max_length=77, return_tensors="pt")
    with torch.no_grad():
        expected = masked(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
    features = encode_prompts(dataclasses.replace(models, text_encoder=masked), ["a red car"])
    torch.testing.assert_close(features, expected)
    assert (features - encode_prompts(models, ["a red car"])).abs().max() > 1e-3
