from __future__ import annotations

from pathlib import Path

import pytest

from tuneavideo.config import TuneAVideoConfig
from videoedit.config import (
    annotated_yaml,
    build_config,
    deciding,
    dump_yaml,
    parse_assignments,
    parse_yaml,
    read_yaml,
    set_value,
)
from videoedit.errors import ConfigError


def build(**data):
    return build_config(TuneAVideoConfig, data)


def test_resolved_config_reads_back_equal():
    config = build(clip="a.mp4", prompts=["x", "ü"], video={"size": "64x48"}, tune={"trainable": ["attn1.to_q"]})
    assert build_config(TuneAVideoConfig, parse_yaml(dump_yaml(config))) == config
    assert build_config(TuneAVideoConfig, parse_yaml(annotated_yaml(config))) == config


def test_scientific_notation_is_a_number():
    assert parse_yaml("3e-5") == 3e-5
    assert parse_yaml("12") == 12
    assert parse_yaml("'3e-5'") == "3e-5"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"tune": {"learning_rat": 3}}, "did you mean 'tune.learning_rate'"),
        ({"guidance_scale": 3}, "did you mean 'sample.guidance_scale'"),
        ({"zzz": 1}, "show-config"),
        ({"sample": {"steps": "x"}}, "sample.steps"),
        ({"sample": {"steps": 0}}, "greater than or equal to 1"),
        ({"sample": {"steps": "10"}}, "valid integer"),
        ({"video": {"size": "64"}}, "WIDTHxHEIGHT"),
        ({"truth": ["a.mp4"]}, "truth names 1 videos for 0 prompts"),
        ({"tune": 3}, "'tune'"),
    ],
)
def test_mistakes_get_one_line_that_helps(data, expected):
    with pytest.raises(ConfigError) as error:
        build_config(TuneAVideoConfig, data)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_assignments_build_nested_values():
    data: dict = {}
    for key, value in parse_assignments(["sample.steps=20", "tune.learning_rate=1e-4", "prompts=[a, b]"]):
        set_value(data, key, value)
    config = build_config(TuneAVideoConfig, data)
    assert (config.sample.steps, config.tune.learning_rate, config.prompts) == (20, 1e-4, ("a", "b"))


@pytest.mark.parametrize("text", ["steps", "=3", "a.b=[1"])
def test_wrong_assignments_are_refused(text):
    with pytest.raises(ConfigError, match="--set"):
        parse_assignments([text])


def test_yaml_builds_no_objects_and_names_the_line(tmp_path: Path):
    path = tmp_path / "c.yaml"
    path.write_text("seed: !!python/object/apply:os.getcwd []")
    with pytest.raises(ConfigError, match="line 1"):
        read_yaml(path)
    path.write_text("seed: 1\n  bad: [")
    with pytest.raises(ConfigError, match="line 2"):
        read_yaml(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path / "missing.yaml")
    path.write_text("- a")
    with pytest.raises(ConfigError, match="holds a list"):
        read_yaml(path)


def test_paths_in_a_file_start_at_its_folder(tmp_path: Path):
    config = build_config(TuneAVideoConfig, {"clip": "clips/a.mp4"}, base=tmp_path)
    assert config.clip == tmp_path / "clips/a.mp4"


def test_settings_of_how_alone_decide_nothing():
    values = deciding(TuneAVideoConfig())
    assert "anyway" not in values and "checkpoint_every" not in values["tune"]
    assert values["seed"] == 33 and values["tune"]["prompt_dropout"] == 0.0 and values["model"] == "mini"
