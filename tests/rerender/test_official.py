"""JSON configs of the official code."""

from __future__ import annotations

import json
import logging

import pytest

from rerender.config import PropagateConfig, RerenderConfig, TranslateConfig
from rerender.official import import_config, official_size, update_every
from videoedit.config import build_config
from videoedit.errors import ConfigError
from videoedit.media.video import write_video
from videoedit.testing import moving_square

SHIPPED = {  # as real2sculpture_freeu.json, the prompts shortened
    "input": "videos/clip.mp4",
    "output": "videos/clip/blend.mp4",
    "work_dir": "videos/clip",
    "key_subdir": "keys",
    "sd_model": "models/realisticVisionV20_v20.safetensors",
    "frame_count": 102,
    "interval": 10,
    "crop": [0, 0, 0, 0],
    "prompt": "white ancient Greek sculpture",
    "a_prompt": "RAW photo",
    "n_prompt": "lowres",
    "x0_strength": 0.95,
    "control_type": "canny",
    "canny_low": 50,
    "canny_high": 100,
    "control_strength": 0.7,
    "seed": 0,
    "warp_period": [0, 0.1],
    "ada_period": [0.8, 1],
    "freeu_args": [1.1, 1.2, 1.0, 0.2],
}


def read(folder, data):
    path = folder / "config" / "one.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data))
    return build_config(RerenderConfig, import_config(path), base=path.parent)


def test_a_shipped_config(tmp_path):
    config = read(tmp_path, SHIPPED)
    t = config.translate
    assert config.full_prompt == "white ancient Greek sculpture, RAW photo" and config.negative_prompt == "lowres"
    assert config.model == SHIPPED["sd_model"] and config.controls == ("canny:0.7",) and config.seed == 0
    assert config.video.num_frames == 102 and config.keyframes.interval == 10 and not config.keyframes.scene_cuts
    assert (t.steps, t.guidance_scale, t.strength, t.canny) == (20, 7.5, 0.95, (50, 100))
    assert (t.attention_window, t.shape_window) == ((0.0, 1.0), (0.0, 0.1))
    assert (t.fusion_window, t.adain_window) == ((0.5, 0.8), (0.8, 1.0))
    assert (t.fusion_strength, t.inner_strength, t.smooth_boundary) == (0.5, 0.9, True)
    assert t.preserve_color and not t.loose_attention and t.update_every == 1
    assert t.freeu == (1.1, 1.2, 1.0, 0.2) and t.compat == "official"


def test_what_is_not_given_is_the_official_default(tmp_path):
    config = read(tmp_path, {"input": "a.mp4", "prompt": "b"})
    t = config.translate
    assert config.model == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert config.controls == ("hed:1",) and t.canny == (100, 200)
    assert t.strength is None and t.adain_window == (1.0, 1.0) and t.freeu == (1.0, 1.0, 1.0, 1.0)
    assert config.seed == RerenderConfig().seed and config.video.num_frames is None
    assert config.full_prompt == "b" and config.negative_prompt == ""
    assert config.propagate.poisson and config.propagate.preset == "official"


@pytest.mark.parametrize(
    ("given", "field", "expected"),
    [
        ({"color_perserve": False}, "preserve_color", False),
        ({"color_preserve": False}, "preserve_color", False),
        ({"loose_cfattn": True}, "loose_attention", True),
        ({"ddim_steps": 40, "scale": 9.0}, "steps", 40),
        ({"x0_strength": 1.05}, "strength", None),
        ({"x0_strength": 0}, "strength", None),
        ({"x0_strength": 1}, "strength", 1.0),
        ({"warp_period": [1, 0]}, "shape_window", None),
        ({"mask_period": [0.3, 0.6]}, "fusion_window", (0.3, 0.6)),
        ({"cross_period": [0, 0.5]}, "attention_window", (0.0, 0.5)),
        ({"mask_strength": 0.7}, "fusion_strength", 0.7),
        ({"inner_strength": 1.0}, "inner_strength", 1.0),
        ({"smooth_boundary": False}, "smooth_boundary", False),
        ({"style_update_freq": 10, "interval": 7}, "update_every", 10),
        ({"style_update_freq": 10, "interval": 4}, "update_every", 5),
    ],
)
def test_every_setting_arrives(tmp_path, given, field, expected):
    assert getattr(read(tmp_path, {"input": "a.mp4", "prompt": "b"} | given).translate, field) == expected


def test_updates_are_counted_in_key_frames():
    for frequency, interval in ((10, 10), (10, 7), (4, 6), (1, 3)):
        every = update_every(frequency, interval)
        officially = [key for key in range(100) if key * interval % frequency == 0]
        assert officially == [key for key in range(100) if key % every == 0]


@pytest.mark.parametrize(
    ("source", "expected"),  # (width, height), measured on the official code
    [((960, 540), (512, 256)), ((1920, 1080), (512, 256)), ((680, 540), (512, 384)), ((640, 480), (512, 384))],
)
def test_official_sizes(source, expected):
    assert official_size(*source) == expected
    assert official_size(*reversed(source)) == expected[::-1]


def test_paths_and_size_of_a_clip_that_is_there(tmp_path):
    clip = tmp_path / "videos" / "clip.mp4"
    clip.parent.mkdir()
    write_video(clip, moving_square(3, (96, 64)), 8)
    config = read(tmp_path, SHIPPED)
    assert config.clip == clip and config.video.size == (512, 320)


def test_old_and_unapplied_keys(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        read(tmp_path, SHIPPED | {"crop": [0, 180, 0, 0], "warp_step": 0.1, "ada_step": 1.0})
    assert "crop [0, 180, 0, 0] is not applied" in caplog.text


def test_wrong_files_are_explained(tmp_path):
    with pytest.raises(ConfigError, match=r"one\.json: unknown key 'x0_strenght'.*did you mean 'x0_strength'"):
        read(tmp_path, SHIPPED | {"x0_strenght": 1})
    with pytest.raises(ConfigError, match="needs 'prompt'"):
        read(tmp_path, {"input": "a.mp4"})
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(ConfigError, match=r"broken\.json cannot be read as JSON"):
        import_config(broken)
    broken.write_text("[]")
    with pytest.raises(ConfigError, match="holds a list"):
        import_config(broken)


def test_our_own_files_pass_through(tmp_path):
    for name, text in (("a.yaml", "prompt: b\n"), ("a.json", '{"prompt": "b"}')):
        (tmp_path / name).write_text(text)
        assert import_config(tmp_path / name) == {"prompt": "b"}


def test_our_defaults_are_the_papers():
    t, p = TranslateConfig(), PropagateConfig()
    windows = (t.attention_window, t.shape_window, t.fusion_window, t.adain_window)
    assert windows == ((0.0, 1.0), (0.0, 0.1), (0.5, 0.8), (0.8, 1.0))
    assert (t.steps, t.guidance_scale, t.strength, t.update_every) == (20, 7.5, 0.75, 1)
    assert (t.fusion_strength, t.inner_strength, t.smooth_boundary) == (0.5, 0.9, True)
    assert (t.fidelity, t.inpaint, t.preserve_color, t.freeu) == (True, True, True, (1.0, 1.0, 1.0, 1.0))
    assert (p.propagator, p.preset, p.blend, p.poisson) == ("patchmatch", "default", "histogram", False)


@pytest.mark.parametrize(
    ("prompt", "suffix", "whole"),
    [("a cat", "best quality", "a cat, best quality"), ("a cat", "", "a cat"), ("", "best quality", "best quality")],
)
def test_a_suffix_follows_the_prompt_after_a_comma(prompt, suffix, whole):
    assert RerenderConfig(prompt=prompt, prompt_suffix=suffix).full_prompt == whole
