"""Prompts with words that the model does not know, and the settings that suit a model by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.tokenizer import caption_corpus
from videoedit import edit, plan
from videoedit.config import CLIPS, build_config
from videoedit.errors import InputError
from videoedit.models.assets import MINI
from videoedit.models.words import known_words, split_words, unknown_words
from videoedit.plugins import METHODS, all_methods

CAR = CLIPS / "car-grass.mp4"


def test_the_embedded_model_lists_the_words_that_it_was_trained_on():
    trained_on = {word for caption in caption_corpus(3000) for word in split_words(caption)}
    assert known_words(MINI) == trained_on


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("A Red car, in the SNOW!", ""),
        ("a dragon in the snow", "'dragon'"),
        ("two cars on grass", "'two', 'cars' (near: car)"),
        (
            "a king in ice",
            "'king' (near: walking, in, riding), 'ice' (near: bicycle)",
        ),  # their endings are tokens, not words
        ("a cat-house, 8k", "'8k'"),
        ("ein Käfer", "'ein' (near: in, penguin), 'käfer'"),
        ("", ""),
    ],
)
def test_unknown_words_are_named_with_the_nearest(text, named):
    assert unknown_words([text], known_words(MINI)) == named


def test_a_model_without_a_list_knows_all(tmp_path):
    assert unknown_words(["a dragon"], known_words(tmp_path)) == ""
    assert unknown_words(["a dragon"], known_words(None)) == ""


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("tuneavideo", {"source_prompt": "a dragon", "prompts": ["a car"]}),
        ("tuneavideo", {"source_prompt": "a car", "prompts": ["a cat", "a dragon"]}),
        ("hybrid", {"source_prompt": "a car", "prompts": ["a cat"], "negative_prompt": "dragon"}),
        ("rerender", {"prompt": "a dragon"}),
        ("rerender", {"prompt": "a car", "prompt_suffix": "dragon quality"}),
        ("framewise", {"prompts": ["a dragon"]}),
    ],
)
def test_a_run_is_refused_before_anything_is_written(method, settings, tmp_path: Path):
    for ask in (plan, edit):
        with pytest.raises(InputError, match=r"'mini' knows 67 words, among them not: 'dragon'.*--anyway"):
            ask(method, CAR, out=tmp_path / "out", **settings)
    assert not list(tmp_path.iterdir())
    notes = plan(method, CAR, out=tmp_path / "out", anyway=True, **settings).notes
    assert any("among them not: 'dragon'" in note for note in notes)


def test_a_network_is_not_tuned_on_no_words(tmp_path: Path):
    for method in ("tuneavideo", "hybrid"):
        with pytest.raises(InputError, match="--source-prompt"):
            plan(method, CAR, prompts=["a cat"], out=tmp_path)
        assert plan(method, CAR, prompts=["a cat"], tune={"steps": 0}, out=tmp_path / "out").stages


def test_a_preset_holds_for_its_model_where_nothing_else_is_given():
    schema = {spec.name: spec.load("config") for spec in all_methods(METHODS)}
    mini = build_config(schema["tuneavideo"], {})
    assert (mini.network.group_norm, mini.tune.steps, mini.tune.learning_rate) == ("frame", 80, 3e-4)
    assert (mini.invert.steps, mini.sample.steps, mini.sample.guidance_scale) == (30, 30, 3)
    paper = build_config(schema["tuneavideo"], {"model": "some/folder"})
    assert (paper.network.group_norm, paper.tune.steps, paper.tune.learning_rate) == ("clip", 500, 3e-5)
    assert (paper.invert.steps, paper.sample.steps, paper.sample.guidance_scale) == (50, 50, 12.5)
    told = build_config(schema["tuneavideo"], {"tune": {"steps": 500}, "sample": {"guidance_scale": 9}})
    assert (told.tune.steps, told.tune.learning_rate) == (500, 3e-4)
    assert (told.sample.steps, told.sample.guidance_scale) == (30, 9)
    hybrid = build_config(schema["hybrid"], {})
    assert hybrid.tune == mini.tune and hybrid.network == mini.network
    for name, section in (("rerender", "translate"), ("framewise", "sample")):
        guidance = [getattr(build_config(schema[name], {"model": m}), section).guidance_scale for m in ("mini", "x")]
        assert guidance == [3, 7.5]
    assert build_config(schema["rerender"], {}).translate.strength == 0.85


def test_settings_that_are_written_out_read_back_equal():
    for spec in all_methods(METHODS):
        config = build_config(spec.load("config"), {"seed": 5})
        assert build_config(type(config), config.model_dump(mode="json")) == config
