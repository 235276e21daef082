"""The parts of the embedded model's training that must be exact: latents, encoder, warm start, clips, poses, edits."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.numpy import load_file
from transformers import CLIPTextModel, CLIPTokenizer

from training import autoencoder, clip, judge, latents, locator, start, unet, validate
from training.checkpoint import wait_while_paused
from training.dataset import CLIP, open_renders, random_moments
from training.edits import COLUMN, cases
from training.renderer import Layout, Scene, place
from training.vocabulary import is_held_out
from videoedit.models.assets import MINI


def pictures(count: int, size: int = 64) -> np.ndarray:
    """Smooth random pictures uint8 [count, size, size, 3]."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.random((count, 3, 9, 9), dtype=np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic", align_corners=False)
    noisy = smooth + 0.05 * torch.from_numpy(rng.standard_normal(smooth.shape, dtype=np.float32))
    return (noisy.clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).numpy()


@pytest.fixture(scope="module")
def basis() -> latents.PatchBasis:
    return latents.fit_basis(pictures(40))


def test_the_basis_is_orthonormal_and_inverts_itself(basis):
    np.testing.assert_allclose(basis.basis.T @ basis.basis, np.eye(latents.CHANNELS), atol=1e-5)
    given = np.random.default_rng(1).standard_normal((1, latents.CHANNELS, 4, 4)).astype(np.float32) * 0.1
    picture = (basis.decode(given).clip(-1, 1) + 1) * 127.5
    np.testing.assert_allclose(basis.encode(picture), given, atol=1e-3)


def test_the_first_channels_are_those_of_the_half_size_picture(basis):
    known = load_file(Path(latents.__file__).with_name("coarse.safetensors"))
    images = pictures(2).astype(np.float32)
    half = images.reshape(2, 32, 2, 32, 2, 3).mean((2, 4))
    wanted = (latents.patches(half, 4) - known["mean"]) @ known["basis"] * known["scale"]
    np.testing.assert_allclose(basis.encode(images)[:, : latents.COARSE], wanted.transpose(0, 3, 1, 2), atol=1e-3)


def test_the_encoder_is_the_linear_map(basis):
    vae = autoencoder.build().eval()
    autoencoder.install_encoder(vae, basis)
    images = pictures(2)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        found = vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor
    np.testing.assert_allclose(found.numpy(), basis.encode(images), atol=0.01)


def test_the_linear_map_is_read_back_from_the_encoder(basis):
    vae = autoencoder.build()
    autoencoder.install_encoder(vae, basis)
    found = autoencoder.installed_basis(vae)
    np.testing.assert_allclose(found.encode(pictures(2)), basis.encode(pictures(2)), atol=1e-4)
    np.testing.assert_allclose(found.quadrant, basis.quadrant)


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """A work folder that begins with the embedded model."""
    folder = tmp_path_factory.mktemp("work")
    start.begin_with(MINI, folder)
    return folder


@torch.no_grad()
def test_training_goes_on_from_an_exported_model(begun):
    ids = torch.tensor([[5, 6, 7]])
    text = clip.load_text(CLIPTokenizer.from_pretrained(begun / "tokenizer"), begun)
    exported = CLIPTextModel.from_pretrained(MINI / "text_encoder")
    torch.testing.assert_close(text(ids).last_hidden_state, exported(ids).last_hidden_state)

    vae = AutoencoderKL.from_pretrained(MINI / "vae")
    pixels = torch.from_numpy(pictures(2)).permute(0, 3, 1, 2).float() / 127.5 - 1
    wanted = vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor
    found = latents.load_basis(begun / "basis.safetensors").encode(pictures(2))
    np.testing.assert_allclose(found, wanted.numpy(), atol=0.01)

    denoiser = unet.build()
    unet.start_from(begun / "start" / "unet", denoiser)
    known = UNet2DConditionModel.from_pretrained(MINI / "unet").float().state_dict()
    torch.testing.assert_close(denoiser.state_dict(), known)

    decoded = autoencoder.build()
    autoencoder.install_decoder(decoded, np.ones(latents.CHANNELS, np.float32), begun / "start" / "vae")
    torch.testing.assert_close(decoded.decoder.state_dict(), vae.decoder.state_dict())


def test_a_work_folder_begins_once(begun, tmp_path):
    before = (begun / "text.pt").stat().st_mtime_ns
    start.begin_with(MINI, begun)
    assert (begun / "text.pt").stat().st_mtime_ns == before
    (tmp_path / "tokenizer").mkdir()
    with pytest.raises(ValueError, match="tokenizer of its own"):
        start.begin_with(MINI, tmp_path)


def fill(folder: Path, split: str, count: int) -> None:
    """Put random pictures where a split of the renders belongs."""
    (folder / "renders").mkdir(exist_ok=True)
    open_renders(folder / "renders", split, count, "w+").images[:] = pictures(count, 128)


def test_clips_are_drawn_whole_and_with_one_caption(begun):
    fill(begun, "clips", 6 * CLIP)
    batches = unet.Batches(begun, 6 * CLIP, np.random.default_rng(0), "clips")
    _, _, text, index = batches.draw(4 * CLIP, CLIP)
    clips = index.reshape(4, CLIP)
    np.testing.assert_array_equal(clips, clips[:, :1] // CLIP * CLIP + np.arange(CLIP))
    text = text.unflatten(0, (4, CLIP))
    torch.testing.assert_close(text, text[:, :1].expand_as(text))


@torch.no_grad()
def test_pooled_norms_see_the_frames_of_a_clip():
    model = unet.build().eval()
    frames, t, text = torch.randn(CLIP, latents.CHANNELS, 16, 16), torch.tensor(500), torch.randn(CLIP, 77, 128)
    alone = model(frames, t, text).sample
    state = unet.pool_norms(model)
    torch.testing.assert_close(model(frames, t, text).sample, alone)
    state.num_frames = CLIP
    assert not torch.allclose(model(frames, t, text).sample, alone, atol=1e-3)
    still = frames[:1].expand_as(frames)
    torch.testing.assert_close(model(still, t, text[:1].expand_as(text)).sample[0], alone[0], rtol=1e-4, atol=1e-4)


def test_the_validation_repeats_itself_and_knows_whose_norms_it_uses(begun, monkeypatch):
    monkeypatch.setattr(validate, "BATCHES", 1)
    monkeypatch.setattr(validate, "BATCH", 2 * CLIP)
    for split in ("fresh", "fresh-clips"):
        fill(begun, split, 2 * CLIP)
    model = unet.build().eval()
    found = validate.losses(model, begun, 2 * CLIP)
    assert found == pytest.approx(validate.losses(model, begun, 2 * CLIP))
    assert found["clips"] != found["clips, norms of each frame"]


def test_the_moments_of_a_clip_are_in_order():
    path = random_moments(np.random.default_rng(0), Scene("rocket", "space"))
    assert len(path) == CLIP
    assert np.all(np.diff([layout.x for layout in path]) > 0)


def test_a_widened_convolution_keeps_what_it_knew():
    known, wide = torch.nn.Conv2d(2, 3, 3, padding=1), torch.nn.Conv2d(4, 5, 3, padding=1)
    unet.widen(wide, known)
    x = torch.randn(1, 4, 6, 6)
    x[:, 2:] = 0
    torch.testing.assert_close(wide(x)[:, :3], known(x[:, :2]))
    assert not wide(x)[:, 3:].any()


@pytest.mark.parametrize("bend", [{"stretch": 0.1}, {"stretch": -0.1}, {"lean": 0.15}])
def test_a_bent_subject_stays_on_its_feet(bend):
    sprite = np.ones((40, 20, 4), np.float32)
    plain, bent = (place(sprite, Layout(0.5, 0.6, 0.5, **given), 64)[..., 3] > 0.5 for given in ({}, bend))
    lowest = [np.flatnonzero(alpha.any(1)).max() for alpha in (plain, bent)]
    assert abs(lowest[0] - lowest[1]) <= 1
    middle = [np.flatnonzero(alpha[lowest[0] - 1]).mean() for alpha in (plain, bent)]
    assert abs(middle[0] - middle[1]) <= 1.5
    top = np.flatnonzero(bent.any(1)).min() - np.flatnonzero(plain.any(1)).min()
    assert np.sign(-top) == np.sign(round(bend.get("stretch", 0) * 10))


def test_edits_are_six_of_each_kind_and_end_in_pairs_never_trained():
    chosen = cases()
    assert sorted(case.kind for case in chosen) == sorted(list(COLUMN) * 6)
    for case in chosen:
        assert is_held_out(*case.target[:2])
        assert np.flatnonzero(case.source != case.target).tolist() == [COLUMN[case.kind]]


def test_training_waits_for_a_pause_file_to_go(tmp_path):
    pause = tmp_path / "PAUSE"
    pause.touch()
    waiting = threading.Thread(target=wait_while_paused, args=[tmp_path], daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    pause.unlink()
    waiting.join(30)
    assert not waiting.is_alive()


def test_the_locator_measures_from_centre_to_centre():
    masks = np.zeros((3, 40, 80), np.uint8)
    masks[0, 10:20, 40:60] = masks[1, 30:40, 0:8] = 255
    found = locator.centers_of_mass(masks / 255)
    np.testing.assert_allclose(found[:2], [[50 / 80, 15 / 40], [4 / 80, 35 / 40]])
    assert np.isnan(found[2]).all()
    np.testing.assert_allclose(locator.distances(found[:2] + [0.3, 0.4], masks[:2]), 0.5)


def test_the_locator_maps_every_picture_at_a_quarter_of_its_size():
    model = locator.build().eval()
    assert model(torch.zeros(2, 3, 128, 128)).shape == (2, 1, 128 // locator.FACTOR, 128 // locator.FACTOR)
    assert locator.locate(model, pictures(2, 128)).shape == (2, 2)


def test_the_judge_looks_at_displaced_pictures():
    images = pictures(2, 128)
    np.testing.assert_array_equal(judge.displaced(images, 0, 0), images)
    moved = judge.displaced(images, 4, -4)
    assert moved.shape == images.shape
    np.testing.assert_array_equal(moved[:, 4:, :-4], images[:, :-4, 4:])
    label = np.array([0, 0, 1, 1])
    assert 0 < judge.belief(judge.build().eval(), images, label) < 1
