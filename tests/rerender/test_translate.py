"""Key frames through real (tiny) networks: every constraint matters, passes are shared, a killed run goes on exactly."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import videoedit
from rerender.config import TranslateConfig
from rerender.translation import fusion
from rerender.translation.keyframe import Reference, Translator
from videoedit.controls.controlnets import Control, Controls, ControlSpec, canny_edges, load_controls
from videoedit.diffusion.latents import encode_posterior
from videoedit.diffusion.prompts import encode_prompts
from videoedit.errors import InputError, WeightsError
from videoedit.media.video import read_video, stretch_frames
from videoedit.models.loading import load_models
from videoedit.motion.estimators import Dis, flow_pair
from videoedit.testing import moving_square, tiny_controlnet, tiny_models

KEYS = (0, 2, 4)
MINI_KEYS = (0, 10, 20)
FLOW = functools.partial(flow_pair, Dis())


@pytest.fixture(scope="module")
def models():
    return tiny_models()


@pytest.fixture(scope="module")
def controls():
    detect = functools.partial(canny_edges, thresholds=(50, 100))
    return Controls((Control(ControlSpec("canny", 0.8), tiny_controlnet(), detect),), "tiny")


@pytest.fixture(scope="module")
def frames():
    """A square on noise, so that there is something to track."""
    texture = np.random.default_rng(0).integers(0, 60, (32, 32, 3), dtype=np.uint8)
    return moving_square(8, (32, 32)) // 2 + texture


@pytest.fixture
def translator(models, controls):
    def make(**settings):
        config = TranslateConfig(**({"steps": 8, "guidance_scale": 3.0} | settings))
        return Translator(models, controls, config, FLOW, prompt="a red car", negative_prompt="snow", seed=1)

    return make


def run(translator, frames, keys=KEYS):
    return np.stack([translator.translate(frames[i], i) for i in keys])


@pytest.fixture(scope="module")
def baseline(models, controls, frames):
    config = TranslateConfig(steps=8, guidance_scale=3.0)
    return run(Translator(models, controls, config, FLOW, prompt="a red car", negative_prompt="snow", seed=1), frames)


CHANGES = {
    "steps": {"steps": 9},
    "guidance": {"guidance_scale": 4.0},
    "strength": {"strength": 0.5},
    "pure noise": {"strength": None},
    "attention": {"attention_window": None},
    "attention window": {"attention_window": (0.0, 0.5)},
    "shape": {"shape_window": None},
    "adain": {"adain_window": None},
    "fusion": {"fusion_window": None},
    "fusion window": {"fusion_window": (0.2, 0.4)},
    "fusion strength": {"fusion_strength": 0.9},
    "inner strength": {"inner_strength": 0.5},
    "colour": {"preserve_color": False},
    "freeu": {"freeu": (1.1, 1.2, 1.0, 0.2)},
    "store": {"store_dtype": "bfloat16"},
    "compat": {"compat": "official"},
}


@pytest.mark.parametrize("settings", CHANGES.values(), ids=CHANGES.keys())
def test_each_setting_changes_the_result(translator, frames, baseline, settings):
    changed = run(translator(**settings), frames)
    assert changed.shape == baseline.shape and changed.dtype == np.uint8
    assert not np.array_equal(changed, baseline)


@pytest.fixture(scope="module")
def car():
    path = Path(videoedit.__file__).parent / "assets/clips/car-grass.mp4"
    return stretch_frames(read_video(path).frames, (64, 64))


@pytest.mark.parametrize("setting", ["smooth_boundary", "fidelity", "inpaint"])
def test_each_part_of_the_target_matters(car, mini, setting):
    """Needs an autoencoder that keeps pictures, and a clip where something is hidden in both references."""
    models, controls, expected = mini
    config = TranslateConfig(steps=6, **{setting: False})
    changed = run(Translator(models, controls, config, FLOW, prompt="a red car in the snow"), car, MINI_KEYS)
    assert np.array_equal(changed[0], expected[0]) and not np.array_equal(changed[1:], expected[1:])


@pytest.fixture(scope="module")
def mini(car):
    models = load_models("mini", device="cpu")
    controls = load_controls([ControlSpec("canny")], models)
    subject = Translator(models, controls, TranslateConfig(steps=6), FLOW, prompt="a red car in the snow")
    return models, controls, run(subject, car, MINI_KEYS)


def test_guidance_leads_from_the_negative_prompt_to_the_prompt(translator, models):
    subject = translator()
    for embeds, text in ((subject.prompt_embeds, "a red car"), (subject.negative_embeds, "snow")):
        torch.testing.assert_close(embeds, encode_prompts(models, [text]))


def test_a_saved_state_belongs_to_all_that_made_it(models, controls):
    def identity(controls=controls, **changes):
        given = {"prompt": "a red car", "negative_prompt": "snow", "seed": 1} | changes
        return Translator(models, controls, TranslateConfig(steps=given.pop("steps", 4)), FLOW, **given).identity

    others = [{"prompt": "a cat"}, {"negative_prompt": ""}, {"seed": 2}, {"steps": 5},
              {"controls": replace(controls, fingerprint="other")}, {"controls": Controls((), "tiny")}]  # fmt: skip
    assert identity() == identity()
    assert len({identity(), *(identity(**other) for other in others)}) == 1 + len(others)


def test_officially_an_encoding_is_a_draw_of_its_own_for_each_key_frame(translator):
    subject = translator(compat="official")
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    posterior = encode_posterior(subject.models.vae, pixels[:, None])
    for count in (0, 3):
        subject.memory.count = count
        drawn = posterior.sample(torch.Generator().manual_seed(1 + count))[:, 0]
        torch.testing.assert_close(subject._encode(pixels), drawn)
    torch.testing.assert_close(translator()._encode(pixels), posterior.mean[:, 0])


def test_constraints_leave_the_anchor_alone(translator, frames, baseline):
    off = dict.fromkeys(("shape_window", "adain_window", "fusion_window", "attention_window"))
    free = run(translator(**off), frames)
    assert np.array_equal(free[0], baseline[0]) and not np.array_equal(free[1], baseline[1])


def test_every_second_key_frame_becomes_the_previous(translator, frames):
    each, second = (run(translator(update_every=n), frames, (0, 2, 4, 6)) for n in (1, 2))
    assert np.array_equal(each[:3], second[:3]) and not np.array_equal(each[3], second[3])


def test_same_bytes_again_and_the_networks_are_as_before(translator, models, frames, baseline):
    before = {name: type(p) for name, p in models.unet.attn_processors.items()}
    assert np.array_equal(run(translator(), frames), baseline)
    assert {name: type(p) for name, p in models.unet.attn_processors.items()} == before
    assert not models.unet._forward_pre_hooks and not models.unet.up_blocks[0].resnets[0]._forward_pre_hooks


def test_fused_passes_equal_whole_ones_bit_for_bit(translator, frames, baseline):
    whole = translator()
    whole.steps = replace(whole.steps, fork=whole.steps.start)
    assert np.array_equal(run(whole, frames), baseline)
    fused = translator()
    run(fused, frames)
    assert torch.equal(fused.memory.previous.pixels, whole.memory.previous.pixels)


def test_evaluations_of_a_key_frame(translator, models, frames):
    """At most 0.62 of the official 40 (twice 20 steps) at strength 0.75; both guidance branches are one evaluation."""
    calls = []
    handle = models.unet.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        counted = []
        for settings in ({}, {"compat": "official"}):
            subject = translator(steps=20, strength=0.75, **settings)
            for index in (0, 2):
                calls.clear()
                subject.translate(frames[index], index)
                counted.append(len(calls))
            assert counted[-1] == subject.steps.evaluations
    finally:
        handle.remove()
    assert counted == [15, 23, 20, 40]
    assert 23 <= 0.62 * 40


@pytest.mark.parametrize("settings", [{}, {"preserve_color": False, "store_dtype": "float16"}, {"compat": "official"}])
@pytest.mark.parametrize("done", [1, 2])
def test_a_loaded_state_goes_on_to_the_same_bytes(translator, frames, tmp_path, settings, done, is_mapped):
    whole = translator(**settings)
    expected = run(whole, frames, (0, 2, 4, 6))
    first = translator(**settings)
    run(first, frames, (0, 2, 4, 6)[:done])
    first.save(tmp_path / "state.safetensors")
    second = translator(**settings)
    second.load(tmp_path / "state.safetensors")
    assert not is_mapped(tmp_path / "state.safetensors")
    assert np.array_equal(run(second, frames, (0, 2, 4, 6)[done:]), expected[done:])
    assert torch.equal(second.memory.previous.pixels, whole.memory.previous.pixels)


def test_a_wrong_state_is_refused(translator, frames, tmp_path):
    path = tmp_path / "state.safetensors"
    run(translator(), frames, (0,))
    saved = translator()
    saved.translate(frames[0], 0)
    saved.save(path)
    with pytest.raises(WeightsError, match="other settings"):
        translator(strength=0.5).load(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"state\.safetensors is not a saved state.*delete it"):
        translator().load(path)
    with pytest.raises(WeightsError, match="is not a saved state"):
        translator().load(tmp_path / "missing.safetensors")


def test_frames_of_another_size_are_refused(translator, frames):
    subject = translator()
    subject.translate(frames[0], 0)
    with pytest.raises(InputError, match="24x32 pixels, the first of its shot 32x32"):
        subject.translate(frames[1, :, :24], 1)


def test_the_store_can_be_kept_small(translator, frames):
    sizes = {}
    for dtype in (None, "float16"):
        subject = translator(store_dtype=dtype, store_device="cpu")
        run(subject, frames)
        sizes[dtype] = subject.memory.features.nbytes
    # anchor and previous; 6 steps; [uncond, cond]; two layers of 64 tokens and 16 channels, float32
    assert sizes[None] == 2 * 6 * 2 * 2 * 64 * 16 * 4 == 2 * sizes["float16"]


def test_each_shot_has_its_own_anchor(translator, frames):
    subject = translator()
    run(subject, frames, (0, 3))
    subject.start_shot()
    assert subject.memory.previous is None
    assert np.array_equal(run(subject, frames, (4, 7)), run(translator(), frames, (4, 7)))


def test_only_motion_back_to_the_reference_counts(translator, frames, baseline):
    """Flow and occlusion the other way round change nothing, occlusion of the reference does."""

    def other_way(pair):
        return replace(pair, fwd=-3 * pair.fwd, occ_fwd=~pair.occ_fwd)

    def hidden(pair):
        return replace(pair, occ_bwd=~pair.occ_bwd)

    results = []
    for change in (other_way, hidden):
        subject = translator()
        subject.motion = lambda *args, change=change, **options: change(FLOW(*args, **options))
        results.append(run(subject, frames))
    assert np.array_equal(results[0], baseline)
    assert not np.array_equal(results[1][1], baseline[1])


@pytest.mark.parametrize("inpaint", [False, True])
def test_each_reference_has_its_own_mask(translator, frames, inpaint):
    """The previous key frame shows through where the anchor is hidden, and nowhere else."""

    def last_key(anchor_hidden, previous_hidden):
        def flow(*args, indices):
            pair = FLOW(*args, indices=indices)
            hidden = {(0, 4): anchor_hidden, (2, 4): previous_hidden}.get(indices, False)
            return replace(pair, occ_bwd=torch.full_like(pair.occ_bwd, hidden))

        subject = translator(inpaint=inpaint, shape_window=None)  # the masks serve the blend alone
        subject.motion = flow
        return run(subject, frames)[-1]

    results = {hidden: last_key(*hidden) for hidden in itertools.product((False, True), repeat=2)}
    assert np.array_equal(results[False, False], results[False, True])
    assert not np.array_equal(results[False, False], results[True, False])
    assert not np.array_equal(results[True, False], results[True, True])


@pytest.mark.parametrize("settings", [{}, {"fidelity": False}, {"inpaint": False}], ids=str)
def test_the_target_is_that_of_the_paper(translator, settings):
    """Section 4.1.3: the warped anchor over the warped previous result over the first pass's own, well encoded."""
    subject = translator(**settings)
    random = torch.Generator().manual_seed(0)
    direct, previous, anchor = (torch.rand(3, 1, 3, 32, 32, generator=random) / 5 - 0.1).unbind()
    hidden_previous, hidden_anchor = torch.zeros(2, 1, 1, 32, 32, dtype=torch.bool).unbind()
    hidden_previous[..., 4:20, 8:28], hidden_anchor[..., 10:30, 12:16] = True, True
    flow = torch.zeros(1, 2, 32, 32)
    references = Reference(previous, flow, hidden_previous), Reference(anchor, flow, hidden_anchor)
    target = subject._target(direct, *references)

    def soft(hidden):
        return fusion.soft_mask(hidden, 5)  # a latent cell has 4 pixels

    below = (1 - soft(hidden_previous)) * previous + soft(hidden_previous) * direct
    picture = (1 - soft(hidden_anchor)) * anchor + soft(hidden_anchor) * below
    unseen = hidden_previous & hidden_anchor if settings.get("inpaint", True) else torch.zeros_like(hidden_anchor)
    mask = 1 - torch.nn.functional.max_pool2d(soft(unseen), 4)
    latents = subject._encode(picture)
    if settings.get("fidelity", True):
        plain, latents = latents, fusion.fidelity_encode(subject._encode, subject._decode, picture, 4)
        assert (latents - plain).abs().max() > 0.01
    torch.testing.assert_close(target.mask, mask)
    torch.testing.assert_close(target.latents, latents * mask, rtol=0, atol=1e-5)


def test_shape_follows_the_anchor_alone(translator, frames):
    """Rerender-A-Video, section 4.1.2: the predicted x0 takes the anchor's, moved and masked as the anchor is seen."""

    def last_key(seen_from=None, **changes):
        def flow(*args, indices):
            pair = FLOW(*args, indices=indices)
            return replace(pair, **changes) if indices == (seen_from, 4) else pair

        subject = translator(shape_window=(0.0, 1.0), fusion_window=None, adain_window=None, attention_window=None)
        subject.motion = flow
        return run(subject, frames)[-1]

    as_it_is = last_key()
    moved, hidden = {"bwd": torch.full((1, 2, 32, 32), 8.0)}, {"occ_bwd": torch.ones(1, 1, 32, 32, dtype=torch.bool)}
    for change in (moved, hidden):
        assert np.array_equal(last_key(2, **change), as_it_is)
        assert not np.array_equal(last_key(0, **change), as_it_is)


def test_a_model_without_finer_layers_cannot_be_loose(translator, caplog):
    translator(loose_attention=True)
    assert "attention_window has no effect" in caplog.text


def test_a_palette_made_from_noise_shows_nothing_of_the_source(models, frames):
    config = TranslateConfig(steps=4, preserve_color=False)
    palettes = []
    for frame in (frames[0], 255 - frames[0]):
        subject = Translator(models, Controls(), config, FLOW, prompt="a cat")
        subject.translate(frame, 0)
        palettes.append(subject.memory.palette)
    assert np.array_equal(palettes[0], palettes[1])


def test_works_without_controls(models, frames):
    subject = Translator(models, Controls(), TranslateConfig(steps=4), FLOW, prompt="a cat")
    assert run(subject, frames).shape == (3, 32, 32, 3)
