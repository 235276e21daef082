"""Classifier-free guidance: the formula, its short cut at scale 1, and the sequential form."""

from __future__ import annotations

import pytest
import torch

from videoedit.diffusion.guidance import guided
from videoedit.errors import ShapeError
from videoedit.testing import tiny_unet


@pytest.fixture(scope="module")
def network():
    unet = tiny_unet()

    @torch.no_grad()
    def predict(latents, t, embeds):
        predict.batches.append(latents.shape[0])
        text = embeds.repeat_interleave(latents.shape[1], 0)
        return unet(latents.flatten(0, 1), t, encoder_hidden_states=text).sample.unflatten(0, latents.shape[:2])

    predict.batches = []
    return predict


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


LATENTS, PROMPT, NEGATIVE = random(1, 3, 4, 8, 8), random(1, 6, 16, seed=1), random(1, 6, 16, seed=2)


def test_formula(network):
    cond, uncond = network(LATENTS, 400, PROMPT), network(LATENTS, 400, NEGATIVE)
    for scale in (0.0, 0.5, 7.5):
        expected = uncond + scale * (cond - uncond)
        torch.testing.assert_close(guided(network, PROMPT, NEGATIVE, scale)(LATENTS, 400), expected)
    assert (cond - uncond).abs().max() > 1e-3


def test_sequential_equals_batched(network):
    """The same sums: equal to rounding, shown in float64 where rounding is small."""
    unet = tiny_unet().double()

    def predict(latents, t, embeds):
        return unet(latents, t, encoder_hidden_states=embeds).sample

    latents, prompt, negative = LATENTS[:, 0].double(), PROMPT.double(), NEGATIVE.double()
    batched = guided(predict, prompt, negative, 12.5)(latents, 400)
    sequential = guided(predict, prompt, negative, 12.5, batched=False)(latents, 400)
    torch.testing.assert_close(batched, sequential, rtol=0, atol=1e-12)


def test_passes(network):
    for scale, batched, expected in ((1.0, True, [1]), (1.0, False, [1]), (3.0, True, [2]), (3.0, False, [1, 1])):
        network.batches.clear()
        guided(network, PROMPT, NEGATIVE, scale, batched=batched)(LATENTS, 400)
        assert network.batches == expected


def test_scale_one_is_the_conditional_pass(network):
    assert torch.equal(guided(network, PROMPT, NEGATIVE, 1.0)(LATENTS, 9), network(LATENTS, 9, PROMPT))


def test_uncond_comes_first():
    def predict(latents, t, embeds):
        assert torch.equal(embeds, torch.cat([NEGATIVE, PROMPT]))
        return torch.stack([torch.zeros_like(latents[0]), torch.ones_like(latents[0])])

    assert torch.all(guided(predict, PROMPT, NEGATIVE, 5.0)(LATENTS, 1) == 5.0)


def test_one_prompt_or_one_for_each_clip(network):
    latents = torch.cat([LATENTS, random(1, 3, 4, 8, 8, seed=5)])
    shared = guided(network, PROMPT, NEGATIVE, 3.0)(latents, 10)
    each = torch.cat([guided(network, PROMPT, NEGATIVE, 3.0)(x[None], 10) for x in latents])
    torch.testing.assert_close(shared, each, rtol=0, atol=1e-5)
    with pytest.raises(ShapeError, match="3 prompts for a batch of 2"):
        guided(network, PROMPT.expand(3, -1, -1), NEGATIVE, 3.0)(latents, 10)


def test_network_runs_in_the_dtype_of_the_embeddings():
    def predict(latents, t, embeds):
        assert latents.dtype == embeds.dtype == torch.bfloat16
        return latents

    for scale, batched in ((1.0, True), (3.0, True), (3.0, False)):
        denoise = guided(predict, PROMPT.bfloat16(), NEGATIVE.bfloat16(), scale, batched=batched)
        assert denoise(LATENTS, 1).shape == LATENTS.shape


def test_embeddings_that_do_not_match_are_refused(network):
    with pytest.raises(ShapeError, match="differ"):
        guided(network, PROMPT, random(1, 5, 16), 3.0)


def test_guidance_is_added_in_float32_whatever_the_network_runs_in():
    cond, uncond = random(1, 4, seed=3).bfloat16(), random(1, 4, seed=4).bfloat16()

    def predict(latents, t, embeds):
        return torch.cat([uncond, cond])[: len(latents)] if len(latents) == 2 else cond

    text = torch.zeros(1, 6, 16, dtype=torch.bfloat16)
    result = guided(predict, text, text, 7.3)(random(1, 4), 400)
    assert result.dtype == torch.float32
    assert torch.equal(result, uncond.float() + 7.3 * (cond.float() - uncond.float()))
