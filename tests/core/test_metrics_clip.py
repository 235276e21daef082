"""CLIP measures against the definitions they are named after, written down once more with transformers' own processor.

The networks are CLIPs of transformers' class with few random weights, in folders as the hub has them.
"""

from __future__ import annotations

import itertools
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPVisionModel

from videoedit.errors import WeightsError
from videoedit.metrics import METRICS, Figure, Sample, clip_figures, clip_frame, clip_text, load_clip, measure
from videoedit.metrics import clip as module
from videoedit.metrics.catalogue import why_skipped
from videoedit.metrics.weights import HUB, WEIGHTS, available_weights, find_weights, missing_weights
from videoedit.testing import panning, tiny_tokenizer

try:
    from transformers import CLIPImageProcessorPil  # as the published code prepared its pictures
except ImportError:
    from transformers import CLIPImageProcessor as CLIPImageProcessorPil

L14, B32, PICKSCORE, H14 = HUB
REAL = (  # ids whose definition is checked here
    "clip_frame@tgve",
    "clip_text@tgve",
    "pickscore@tgve",
    "semantic_consistency@v2vbench",
    "clip_direction@b32",
    "fram_acc@b32",
    "tem_con@b32",
)
PROMPT, SOURCE_PROMPT = "a blue cat is running on the road", "a red car is driving in snow"
LONG = "a red car turning on the road " * 20  # 140 words, each a token
LAYOUT = {"do_resize": True, "do_center_crop": True, "do_normalize": True, "resample": 3,
          "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}  # fmt: skip
SIZES = {  # both ways in which the hub's folders say it
    B32: {"size": 224, "crop_size": 224},
    L14: {"size": 224, "crop_size": 224},
    H14: {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}},
}


def save_clip(folder: Path, seed: int) -> None:
    """A CLIP of two layers whose features differ clearly from picture to picture."""
    tokenizer = tiny_tokenizer()
    layers = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    marks = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.eos_token_id,
    }
    config = CLIPConfig(
        text_config={**layers, **marks, "vocab_size": len(tokenizer), "max_position_embeddings": 77},
        vision_config={**layers, "image_size": 224, "patch_size": 56},
        projection_dim=8,
    )
    model = CLIPModel(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            std = 1.5 / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 0.1
            parameter.normal_(float("norm" in name and name.endswith("weight")), std, generator=generator)
        model.logit_scale.fill_(3.0 + seed / 4)
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for seed, name in enumerate((L14, B32, PICKSCORE)):
        save_clip(folder / name, seed)
    for name, sizes in SIZES.items():
        tiny_tokenizer().save_pretrained(folder / name)
        (folder / name / "preprocessor_config.json").write_text(json.dumps(LAYOUT | sizes))
    return folder


def edit(size: tuple[int, int] = (72, 48), count: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """An edit and its source, both changing from frame to frame."""
    source = panning(count, size, step=7)
    frames = panning(count, size, step=9, seed=1)
    frames[1::2] = 255 - frames[1::2]
    return frames, source


def sample(weights_dir: Path, size: tuple[int, int] = (72, 48), count: int = 5, **more: str) -> Sample:
    texts = {"prompt": PROMPT, "source_prompt": SOURCE_PROMPT} | more
    return Sample(*edit(size, count), weights_dir=weights_dir, **texts)  # type: ignore[arg-type]


def take(name: str, given: Sample) -> Figure:
    return measure(METRICS[name], given)


def model_and_processor(weights_dir: Path, name: str, processor: str = "") -> tuple[CLIPModel, CLIPProcessor]:
    folder = weights_dir / (processor or name)
    images = CLIPImageProcessorPil.from_pretrained(folder)
    return CLIPModel.from_pretrained(weights_dir / name).eval(), CLIPProcessor(images, tiny_tokenizer())


def pictures(frames: np.ndarray, size: tuple[int, int] | None = None) -> list[Image.Image]:
    given = [Image.fromarray(frame) for frame in frames]
    return [picture.resize(size) for picture in given] if size else given


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def image_features(model: CLIPModel, processor: CLIPProcessor, given: list[Image.Image]) -> np.ndarray:
    with torch.no_grad():
        output = model.get_image_features(**processor(images=given, return_tensors="pt"))
    return np.asarray(getattr(output, "pooler_output", output))


def text_features(model: CLIPModel, processor: CLIPProcessor, prompt: str) -> np.ndarray:
    tokens = processor(text=prompt, padding=True, truncation=True, max_length=77, return_tensors="pt")
    with torch.no_grad():
        output = model.get_text_features(**tokens)
    return np.asarray(getattr(output, "pooler_output", output))[0]


def logits(weights_dir: Path, name: str, frames: list[Image.Image], prompts: list[str]) -> np.ndarray:
    """[F, N]: what the whole model says of frames and prompts."""
    model, processor = model_and_processor(weights_dir, name)
    with torch.no_grad():
        return model(
            **processor(text=prompts, images=frames, return_tensors="pt", padding=True)
        ).logits_per_image.numpy()


# -- definitions -----------------------------------------------------------------------------------------

SHAPES = [(72, 48), (48, 90), (225, 225)]  # landscape, portrait, and one that is cropped at an odd place


@pytest.mark.parametrize("size", SHAPES)
def test_clip_text_tgve_is_the_models_own_logit(weights_dir: Path, size: tuple[int, int]) -> None:
    given = sample(weights_dir, size)
    wanted = logits(weights_dir, L14, pictures(given.frames, (480, 480)), [PROMPT])[:, 0]
    figure = take("clip_text@tgve", given)
    assert figure.value == pytest.approx(wanted.mean(), abs=1e-4)  # 1e-5 of a cosine times the scale
    np.testing.assert_allclose(figure.series, wanted, atol=1e-4)
    assert np.ptp(wanted) > 1e-2


@pytest.mark.parametrize("size", SHAPES)
def test_clip_frame_tgve_leaves_out_the_diagonal(weights_dir: Path, size: tuple[int, int]) -> None:
    given = sample(weights_dir, size)
    model, processor = model_and_processor(weights_dir, L14)
    features = image_features(model, processor, pictures(given.frames, (480, 480)))
    cosines = [cosine(a, b) for i, a in enumerate(features) for j, b in enumerate(features) if i != j]
    assert take("clip_frame@tgve", given).value == pytest.approx(sum(cosines) / (5 * 4), abs=1e-5)
    assert np.std(cosines) > 1e-3


def test_pickscore_tgve_takes_the_other_processor_and_cuts_long_prompts(weights_dir: Path) -> None:
    for prompt in (PROMPT, LONG):
        given = sample(weights_dir, prompt=prompt)
        model, processor = model_and_processor(weights_dir, PICKSCORE, H14)
        text = text_features(model, processor, prompt)
        features = image_features(model, processor, pictures(given.frames, (480, 480)))
        wanted = [model.logit_scale.exp().item() * cosine(frame, text) for frame in features]
        assert take("pickscore@tgve", given).value == pytest.approx(np.mean(wanted), abs=1e-4)


@pytest.mark.parametrize("size", SHAPES)
def test_semantic_consistency_v2vbench_is_not_projected(weights_dir: Path, size: tuple[int, int]) -> None:
    given = sample(weights_dir, size)
    model = CLIPVisionModel.from_pretrained(weights_dir / L14).eval()
    processor = CLIPImageProcessorPil.from_pretrained(weights_dir / L14)
    with torch.no_grad():
        pooled = [model(**processor(p, return_tensors="pt")).pooler_output[0].numpy() for p in pictures(given.frames)]
    wanted = np.mean([max(0, cosine(a, b)) for a, b in itertools.pairwise(pooled)])
    figure = take("semantic_consistency@v2vbench", given)
    assert figure.value == pytest.approx(wanted, abs=1e-5)
    assert figure.series and len(figure.series) == 5 and figure.series[0] == 1


@pytest.mark.parametrize("size", SHAPES)
def test_tem_con_b32_is_the_mean_of_neighbours(weights_dir: Path, size: tuple[int, int]) -> None:
    given = sample(weights_dir, size)
    features = image_features(*model_and_processor(weights_dir, B32), pictures(given.frames))
    wanted = np.mean([cosine(features[i], features[i + 1]) for i in range(4)])
    assert take("tem_con@b32", given).value == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("size", SHAPES)
def test_clip_direction_b32(weights_dir: Path, size: tuple[int, int]) -> None:
    given = sample(weights_dir, size)
    model, processor = model_and_processor(weights_dir, B32)
    unit = [
        features / np.linalg.norm(features, axis=-1, keepdims=True)
        for features in (
            image_features(model, processor, pictures(given.frames)),
            image_features(model, processor, pictures(given.source)),
            text_features(model, processor, PROMPT),
            text_features(model, processor, SOURCE_PROMPT),
        )
    ]
    wanted = [cosine(a - b, unit[2] - unit[3]) for a, b in zip(unit[0], unit[1], strict=True)]
    figure = take("clip_direction@b32", given)
    assert figure.value == pytest.approx(np.mean(wanted), abs=1e-5)
    np.testing.assert_allclose(figure.series, wanted, atol=1e-5)
    assert np.std(wanted) > 1e-2


def test_fram_acc_b32_is_the_share_of_frames_that_are_likelier(weights_dir: Path) -> None:
    shares = set()
    for prompt in (PROMPT, "a dog", "the woman in the desert", "road", "snow on the road"):
        given = sample(weights_dir, (48, 90), prompt=prompt)
        both = torch.tensor(logits(weights_dir, B32, pictures(given.frames), [SOURCE_PROMPT, prompt])).softmax(-1)
        wanted = float((both[:, 1] >= both[:, 0]).double().mean())
        assert take("fram_acc@b32", given).value == wanted
        shares.add(wanted)
    assert shares & {0.2, 0.4, 0.6, 0.8}, "no prompt here tells the frames apart"


def test_the_miniature_clip_gives_what_its_functions_give(weights_dir: Path) -> None:
    given = sample(weights_dir)
    text = clip_text(given.frames, PROMPT)
    assert take("clip_text@mini", given).value == pytest.approx(text, abs=1e-6)
    gain = text - clip_text(given.source, PROMPT)
    assert take("clip_text_gain@mini", given).value == pytest.approx(gain, abs=1e-6)
    assert take("clip_frame@mini", given).value == pytest.approx(clip_frame(given.frames), abs=1e-6)


# -- traps of the reference code -------------------------------------------------------------------------


def test_trap_clip_text_is_neither_clamped_nor_times_two_and_a_half(weights_dir: Path) -> None:
    """CLIPScore's paper has 2.5 max(0, cosine); TGVE has the logit, which may be negative."""
    prompts = ("a dog", "a man", "snow", "a woman is running", PROMPT, "car")
    values = [take("clip_text@tgve", sample(weights_dir, prompt=prompt)) for prompt in prompts]
    assert min(v for value in values for v in value.series or ()) < 0
    scale = math.exp(3.0)
    assert all(abs(v) <= scale for value in values for v in value.series or ())


def test_trap_clip_frame_is_the_mean_without_the_diagonal(weights_dir: Path) -> None:
    """Two alternating pictures: 4 of 12 ordered pairs are alike, or 8 of 16 if a frame counted as its own partner."""
    a, b = edit(count=2)[0]
    alternating = np.stack([a, b, a, b])
    two = Sample(np.stack([a, b]), np.stack([a, b]), weights_dir=weights_dir)
    four = Sample(alternating, alternating, weights_dir=weights_dir)
    between = take("clip_frame@tgve", two).value
    assert between < 0.99
    assert take("clip_frame@tgve", four).value == pytest.approx((4 + 8 * between) / 12, abs=1e-5)


def test_trap_consistency_prefers_the_untouched_clip_and_direction_tells(weights_dir: Path) -> None:
    frames, still = edit()[0], np.repeat(edit()[1][:1], 5, axis=0)
    texts = {"prompt": PROMPT, "source_prompt": SOURCE_PROMPT}
    made = Sample(frames, still, weights_dir=weights_dir, **texts)  # type: ignore[arg-type]
    copy = Sample(still, still, weights_dir=weights_dir, **texts)  # type: ignore[arg-type]
    for name in ("clip_frame@tgve", "tem_con@b32", "semantic_consistency@v2vbench", "clip_frame@mini"):
        assert take(name, copy).value == pytest.approx(1, abs=1e-5) and take(name, made).value < 0.999
        assert METRICS[name].group == "consistency"
    assert take("clip_direction@b32", copy).value == 0
    assert METRICS["clip_direction@b32"].group == "strength" and METRICS["clip_direction@b32"].headline


def test_trap_fram_acc_of_portrait_frames_sees_the_middle(weights_dir: Path) -> None:
    """FateZero's code cuts the upper end off portrait frames; what stands there, or below, must count alike."""
    given = sample(weights_dir, (48, 96))
    upper, lower = given.frames.copy(), given.frames.copy()
    upper[:, :12], lower[:, -12:] = 0, 0  # both outside the middle square, which PIL's cubic hardly sees beyond
    for frames in (upper, lower):
        changed = Sample(frames, given.source, PROMPT, SOURCE_PROMPT, weights_dir=weights_dir)
        assert take("fram_acc@b32", changed).value == take("fram_acc@b32", given).value
        assert take("tem_con@b32", changed).value == pytest.approx(take("tem_con@b32", given).value, abs=1e-6)


def test_trap_prompts_above_77_tokens_have_no_figure_where_the_original_stops(weights_dir: Path) -> None:
    given = sample(weights_dir, prompt=LONG)
    for name in ("clip_text@tgve", "fram_acc@b32"):
        figure = take(name, given)
        assert math.isnan(figure.value) and "142 tokens" in figure.reason and "77" in figure.reason
    with pytest.raises((ValueError, IndexError, RuntimeError)):
        logits(weights_dir, L14, pictures(given.frames), [LONG])
    assert math.isfinite(take("pickscore@tgve", given).value)
    assert math.isfinite(take("clip_direction@b32", given).value)
    fits = sample(weights_dir, prompt=" ".join(["car"] * 75))
    assert math.isfinite(take("clip_text@tgve", fits).value)


# -- what there is nothing to say about ------------------------------------------------------------------


def test_one_frame_has_no_consistency_and_all_the_rest(weights_dir: Path) -> None:
    given = sample(weights_dir, count=1)
    for name in (*REAL, "clip_text@mini", "clip_frame@mini"):
        figure = take(name, given)
        if METRICS[name].group == "consistency":
            assert math.isnan(figure.value) and figure.reason == "one frame has no other to be like"
        else:
            assert math.isfinite(figure.value)


def test_without_a_second_prompt_there_is_no_direction(weights_dir: Path) -> None:
    for name in ("clip_direction@b32", "fram_acc@b32"):
        assert take(name, sample(weights_dir, source_prompt="")).reason == "needs the source's prompt"
        assert take(name, sample(weights_dir, source_prompt=PROMPT)).reason == "the prompt is the source's prompt"
    cut = sample(weights_dir, prompt=f"{LONG} a dog", source_prompt=f"{LONG} a cat")
    assert "the same in their first 77 tokens" in take("clip_direction@b32", cut).reason


def test_frames_are_looked_at_once_for_a_network_and_a_size(weights_dir: Path, monkeypatch) -> None:
    looked: list[tuple[int, ...]] = []
    pool = module.pool_frames
    monkeypatch.setattr(
        clip_figures, "pool_frames", lambda clip, frames: looked.append(frames.shape[1:3]) or pool(clip, frames)
    )
    given = sample(weights_dir)
    for name in (*REAL, "clip_text@mini", "clip_text_gain@mini", "clip_frame@mini"):
        assert math.isfinite(take(name, given).value)
    # L/14 and PickScore at 480; L/14, B/32 and mini as they are, the last two for the source as well
    assert sorted(looked) == sorted([(480, 480)] * 2 + [(48, 72)] * 5)


def test_many_frames_are_taken_in_batches(weights_dir: Path, monkeypatch) -> None:
    given = sample(weights_dir, count=7)
    whole = take("tem_con@b32", given)
    monkeypatch.setattr(module, "BATCH", 3)
    parts = take("tem_con@b32", sample(weights_dir, count=7))
    np.testing.assert_allclose(parts.series, whole.series, atol=1e-6)


# -- weights ---------------------------------------------------------------------------------------------


@pytest.fixture
def no_hub(tmp_path: Path, monkeypatch) -> Path:
    """An empty cache of the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("VIDEOEDIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "hub"


def test_every_metrics_weights_are_in_the_table() -> None:
    named = {name for metric in METRICS.values() for name in metric.weights}
    assert named == set(WEIGHTS)


def test_what_is_missing_is_one_line_with_size_licence_and_a_command(no_hub: Path, tmp_path: Path) -> None:
    for name in (*HUB, "lpips"):
        line = missing_weights(name, tmp_path)
        assert line and "\n" not in line and "--weights-dir" in line
        assert line.startswith("needs ") and "B, licence: " in line
        assert "`hf download" in line or "`videoedit models fetch lpips`" in line
    line = missing_weights(L14)
    assert (
        line
        and "needs clip-vit-large-patch14 (1.7 GB, licence: MIT" in line
        and "hf download openai/clip-vit-large-patch14" in line
    )
    assert "--revision refs/pr/15" in (missing_weights(B32) or "")
    assert "processor" not in (missing_weights(H14) or "") and "model.safetensors" not in (missing_weights(H14) or "")
    assert missing_weights("mini-clip") is None
    assert "nobody knows" in (missing_weights("nonsense") or "")


def test_a_measure_without_its_weights_is_skipped_with_that_line(
    no_hub: Path, weights_dir: Path, tmp_path: Path
) -> None:
    given = sample(tmp_path)
    for name in REAL:
        figure = take(name, given)
        assert math.isnan(figure.value) and figure.reason == why_skipped(METRICS[name], tmp_path)
        assert why_skipped(METRICS[name], weights_dir) is None
    shutil.copytree(weights_dir / PICKSCORE, tmp_path / PICKSCORE)
    assert H14 in (why_skipped(METRICS["pickscore@tgve"], tmp_path) or "")  # its processor is another folder


@pytest.mark.parametrize(
    ("damage", "found"),
    [("model.safetensors", "lacks model.safetensors"), ("preprocessor_config.json", "lacks preprocessor_config.json"),
     ("config.json", "lacks config.json"), ("tokenizer.json", "lacks tokenizer.json"), ("cut", "not a whole safetensors")],
)  # fmt: skip
def test_an_incomplete_folder_is_named(
    no_hub: Path, weights_dir: Path, tmp_path: Path, damage: str, found: str
) -> None:
    folder = tmp_path / B32
    shutil.copytree(weights_dir / B32, folder)
    if damage == "cut":
        model = folder / "model.safetensors"
        model.write_bytes(model.read_bytes()[:500])
    else:
        (folder / damage).unlink()
        (folder / "vocab.json").unlink(missing_ok=True)
    line = missing_weights(B32, tmp_path)
    assert line and found in line and str(folder) in line and "hf download" in line and "\n" not in line


def test_weights_with_too_few_tensors_are_refused(weights_dir: Path, tmp_path: Path) -> None:
    """transformers alone would fill the gap with random numbers."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(weights_dir / B32, tmp_path / B32)
    path = tmp_path / B32 / "model.safetensors"
    tensors = load_file(path)
    del tensors["visual_projection.weight"]
    save_file(tensors, path, {"format": "pt"})
    assert (
        "lacks 1 tensors of its config, first visual_projection.weight" in take("tem_con@b32", sample(tmp_path)).reason
    )


def cached(hub: Path, weights_dir: Path, name: str, revision: str) -> Path:
    """A folder put where the hub's client keeps its downloads."""
    repository = hub / f"models--{HUB[name].repository.replace('/', '--')}"
    snapshot = repository / "snapshots" / revision.replace("/", "-")
    shutil.copytree(weights_dir / name, snapshot)
    (repository / "refs" / revision).parent.mkdir(parents=True, exist_ok=True)
    (repository / "refs" / revision).write_text(revision.replace("/", "-"))
    return snapshot


def test_the_hubs_cache_is_looked_at_after_the_users_folder(no_hub: Path, weights_dir: Path) -> None:
    snapshot = cached(no_hub, weights_dir, L14, "main")
    assert find_weights(L14) == snapshot
    assert find_weights(L14, weights_dir) == weights_dir / L14
    assert take("clip_frame@tgve", Sample(*edit())).value == take("clip_frame@tgve", sample(weights_dir)).value


def test_a_cached_revision_with_pickles_only_does_not_hide_the_other(no_hub: Path, weights_dir: Path) -> None:
    main = cached(no_hub, weights_dir, B32, "main")
    (main / "model.safetensors").rename(main / "pytorch_model.bin")
    line = missing_weights(B32)
    assert line and f"{main} lacks model.safetensors" in line and "--revision refs/pr/15" in line
    other = cached(no_hub, weights_dir, B32, "refs/pr/15")
    assert find_weights(B32) == other


def test_nothing_is_downloaded(no_hub: Path, monkeypatch) -> None:
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something wanted to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert all(missing_weights(name) for name in HUB)


def test_the_models_that_measures_use_are_listed(no_hub: Path, weights_dir: Path, capsys) -> None:
    from videoedit.cli import main

    with pytest.raises(SystemExit):
        main(["models"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith(tuple(f"{name} " for name in HUB))] == available_weights()
    assert all("not here" in line and "hf download" in line for line in available_weights())
    assert all("not here" not in line and str(weights_dir) in line for line in available_weights(weights_dir))


def test_the_miniature_clip_is_never_taken_for_the_real_one() -> None:
    """Neither by id nor by weights."""
    for metric in METRICS.values():
        if "clip" in metric.name and metric.measure:
            assert (metric.weights == ("mini-clip",)) == metric.id.endswith("@mini")
            assert ("mini" in metric.title) == metric.id.endswith("@mini")
    with pytest.raises(WeightsError):
        find_weights("mini")
    assert load_clip().model.config.projection_dim == 128
