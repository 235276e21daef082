"""Measures: exact on made-up cases, right in sign, silent where there is nothing to measure, true on rendered clips."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from videoedit import metrics
from videoedit.errors import ShapeError, WeightsError
from videoedit.media.video import read_video

CLIPS = Path(metrics.__file__).parents[1] / "assets" / "clips"


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(frames: int, size: int = 48, seed: int = 0) -> np.ndarray:
    pictures = [cv2.GaussianBlur(noise(size, size, 3, seed=seed + i), (0, 0), 3) for i in range(frames)]
    return np.stack(pictures)


def walk(count: int = 8, size: int = 64, subject: tuple[int, int] = (24, 20), seed: int = 0) -> tuple[np.ndarray, ...]:
    """A textured block that walks over a smooth background: frames and true boxes."""
    background = cv2.GaussianBlur(noise(size, size, 3, seed=seed), (0, 0), 6)
    block = (noise(*subject[::-1], 3, seed=seed + 1) // 2) + np.array([120, 0, 0], np.uint8)
    frames, boxes = [], []
    for i in range(count):
        x, y = 3 + round(i * (size - subject[0] - 6) / (count - 1)), size // 2 - 8 + (i % 3)
        frame = background.copy()
        frame[y : y + subject[1], x : x + subject[0]] = block
        frames.append(frame)
        boxes.append((x, y, x + subject[0], y + subject[1]))
    return np.stack(frames), np.array(boxes, float)


def test_psnr_of_a_constant_difference() -> None:
    black = np.zeros((2, 4, 4, 3), np.uint8)
    assert metrics.psnr(black, black + 16) == pytest.approx(20 * math.log10(255 / 16))
    assert metrics.psnr(black, black) == math.inf
    with pytest.raises(ShapeError, match="one shape"):
        metrics.psnr(black, black[:1])


def test_ssim_is_one_only_for_the_same_clip() -> None:
    clip = smooth(2)
    assert metrics.ssim(clip, clip) == pytest.approx(1)
    assert metrics.ssim(clip, noise(*clip.shape)) < 0.5
    with pytest.raises(ShapeError, match="at least 11"):
        metrics.ssim(clip[:, :8], clip[:, :8])


def test_flicker_counts_grey_levels_and_compares_with_the_source() -> None:
    steps = np.stack([np.full((4, 4, 3), value, np.uint8) for value in (10, 14, 10)])
    assert metrics.flicker(steps) == 4
    assert metrics.flicker_ratio(steps * 2, steps) == 2
    assert math.isnan(metrics.flicker_ratio(steps, steps[[0, 0, 0]]))
    assert math.isnan(metrics.flicker(steps[:1]))


def test_color_drift_ignores_motion_and_sees_a_tint() -> None:
    frame = smooth(1)[0]
    assert metrics.color_drift(np.stack([np.roll(frame, i, 1) for i in range(4)])) == pytest.approx(0, abs=1e-4)
    tinted = np.stack([frame, np.clip(frame.astype(int) + [20, 0, 0], 0, 255).astype(np.uint8)])
    assert metrics.color_drift(tinted) > 3


@pytest.mark.parametrize("shift", [(1, 0), (4, 0), (8, 3)])
def test_warp_error_takes_backward_flow(shift: tuple[int, int]) -> None:
    """Content moves by +shift from frame to frame, so backward flow is -shift. The other sign is worse than none."""
    base = smooth(1, 96)[0]
    frames = np.stack([np.roll(base, (i * shift[1], i * shift[0]), (0, 1))[:64, :64] for i in range(3)])
    visible = np.zeros((2, 64, 64), bool)
    visible[:, :, : 2 * shift[0]] = visible[:, : 2 * shift[1]] = True  # content that rolled in: occluded
    flow = np.broadcast_to(np.array(shift, np.float32)[None, :, None, None], (2, 2, 64, 64))
    right = metrics.warp_error(frames, -flow, visible)
    still = metrics.warp_error(frames, 0 * flow, visible)
    assert right == pytest.approx(0, abs=1e-9)
    assert metrics.warp_error(frames, flow, visible) > still > 1e-5


def test_warp_error_needs_something_visible_and_the_right_shapes() -> None:
    frames = smooth(3)
    flow = np.zeros((2, 2, 48, 48), np.float32)
    assert math.isnan(metrics.warp_error(frames, flow, np.ones((2, 1, 48, 48), bool)))
    with pytest.raises(ShapeError, match="flow"):
        metrics.warp_error(frames, flow[:1], np.zeros((2, 48, 48), bool))


def test_edge_f1() -> None:
    clip = walk()[0]
    assert metrics.edge_f1(clip, clip) == pytest.approx(1)
    assert metrics.edge_f1(np.roll(clip, 20, 1), clip) < 0.5
    flat = np.zeros_like(clip)
    assert math.isnan(metrics.edge_f1(flat, flat))
    assert metrics.edge_f1(flat, clip) == 0


def test_the_subject_is_found_where_it_is() -> None:
    clip, boxes = walk()
    found = metrics.locate_subject(clip, boxes)
    assert metrics.path_error(found, boxes, 64) < 0.03
    assert metrics.path_correlation(found, boxes) > 0.98


def test_a_reversed_edit_is_not_taken_for_the_true_path() -> None:
    clip, boxes = walk()
    found = metrics.locate_subject(clip[::-1], boxes)
    assert metrics.path_error(found, boxes[::-1], 64) < 0.03
    assert metrics.path_correlation(found, boxes) < -0.9


@pytest.mark.parametrize("kind", ["still", "noise"])
def test_no_subject_no_figures(kind: str) -> None:
    clip, boxes = walk()
    clip = np.repeat(clip[3:4], 8, 0) if kind == "still" else noise(*clip.shape)
    assert np.isnan(metrics.locate_subject(clip, boxes)).all()
    assert all(math.isnan(value) for value in metrics.measure_subject(clip, boxes).values())


def test_find_subject_needs_no_boxes_but_a_still_camera() -> None:
    clip, boxes = walk()
    found = metrics.find_subject(clip)
    assert metrics.path_error(found, boxes, 64) < 0.03
    assert np.isnan(metrics.find_subject(noise(*clip.shape))).all()
    assert np.isnan(metrics.find_subject(clip[[2, 2, 2]])).all()


def _bundled() -> list[str]:
    listing = CLIPS / "demo.json"
    return list(json.loads(listing.read_text())["clips"]) if listing.is_file() else []


@pytest.mark.parametrize("name", _bundled())
def test_the_path_is_right_on_the_bundled_clips(name: str) -> None:
    entry = json.loads((CLIPS / "demo.json").read_text())["clips"][name]
    source = read_video(CLIPS / entry["clip"]).frames[::2]
    truth = read_video(CLIPS / entry["edits"]["subject"]["ground_truth"]).frames[::2]
    width = source.shape[2]
    boxes = np.array(entry["boxes"])[::2] * width
    for clip in (source, truth):  # the truth of the edit shows another subject on the same path
        figures = metrics.measure_subject(clip, boxes)
        assert figures["path_error@1"] < 0.06
        assert figures["path_correlation@1"] > 0.94
        assert figures["appearance_consistency@1"] > 0.75
    assert metrics.path_correlation(metrics.locate_subject(source[::-1], boxes), boxes) < -0.7
    assert metrics.path_error(metrics.find_subject(source), boxes, width) < 0.04


def test_appearance_consistency_sees_a_change_of_identity_not_motion() -> None:
    same, boxes = walk()
    other, _ = walk(seed=7)
    mixed = same.copy()
    for i in range(1, 8, 2):
        x0, y0, x1, y1 = boxes[i].astype(int)
        mixed[i, y0:y1, x0:x1] = 255 - other[i, y0:y1, x0:x1]
    constant = metrics.appearance_consistency(same, boxes)
    assert constant > 0.9
    assert metrics.appearance_consistency(mixed, boxes) < constant - 0.3
    assert metrics.appearance_consistency(np.repeat(same[:1], 8, 0), boxes[[0] * 8]) == pytest.approx(1)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random CLIP in the embedded model's layout: tokenizer beside the towers."""
    torch = pytest.importorskip("torch")
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    root = tmp_path_factory.mktemp("clip")
    words = [
        "<|startoftext|>",
        "<|endoftext|>",
        *"abcdefghijklmnopqrstuvwxyz",
        *(c + "</w>" for c in "abcdefghijklmnopqrstuvwxyz"),
    ]
    (root / "tokenizer").mkdir()
    (root / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (root / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer.from_pretrained(root).save_pretrained(root / "tokenizer")
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {
        **size,
        "vocab_size": len(words),
        "max_position_embeddings": 16,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    vision = {**size, "image_size": 16, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(root / "clip")
    return root / "clip"


def test_clip_measures_are_cosines(clip_folder: Path) -> None:
    clip = metrics.load_clip(clip_folder)
    frames = smooth(3)
    features = metrics.embed_frames(clip, frames)
    assert features.shape == (3, 8)
    np.testing.assert_allclose(features.norm(dim=-1).numpy(), 1, atol=1e-5)
    assert -1 <= metrics.clip_text(frames, "a cat " * 40, clip) <= 1  # too long: cut
    assert metrics.clip_frame(frames[[0, 0]], clip) == pytest.approx(1, abs=1e-5)
    assert metrics.clip_frame(frames, clip) < 1
    assert math.isnan(metrics.clip_frame(frames[:1], clip))


def test_a_missing_or_damaged_clip_is_one_line(tmp_path: Path, clip_folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"expected config\.json"):
        metrics.load_clip(tmp_path / "none")
    for file in clip_folder.iterdir():
        (tmp_path / file.name).write_bytes(
            file.read_bytes()[:200] if file.suffix == ".safetensors" else file.read_bytes()
        )
    with pytest.raises(WeightsError) as caught:
        metrics.load_clip(tmp_path)
    assert "\n" not in str(caught.value)


def test_measure_edit_says_only_what_it_can() -> None:
    source, boxes = walk()
    truth = walk(seed=3)[0]
    plain = metrics.measure_edit(source, truth, "x", with_clip=False)
    assert set(plain) == {"flicker_ratio@1", "edge_f1@1", "colour_drift@1"}
    full = metrics.measure_edit(source, truth, "x", truth, boxes=boxes, with_clip=False)
    assert full["psnr@1"] == math.inf
    assert full["path_error@1"] < 0.03
    assert set(full) <= set(metrics.METRICS)


def test_the_catalogue_is_whole() -> None:
    for name, metric in metrics.METRICS.items():
        assert metric.id == name and "@" in name and metric.meaning.endswith(".") and metric.needs
    assert metrics.describe("psnr") is metrics.METRICS["psnr@1"]
    assert metrics.describe("nonsense") is None
