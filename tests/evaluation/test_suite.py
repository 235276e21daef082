"""Suites: what they say, what is refused and how, and that all problems are found at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from videoedit.config import build_config, read_yaml
from videoedit.errors import ConfigError, VideoEditError
from videoedit.evaluation.suite import SuiteError, content, dump_suite, missing, read_suite
from videoedit.plugins import get_method

ROOT = Path(__file__).parents[2]
CLIPS = ROOT / "videoedit/assets/clips"


def test_mini_is_what_the_rendered_clips_say():
    suite = read_suite("mini")
    listing = json.loads((CLIPS / "demo.json").read_text())["clips"]
    assert [clip.id for clip in suite.clips] == list(listing)
    assert sum(len(clip.edits) for clip in suite.clips) == 12
    for clip in suite.clips:
        told = listing[clip.id]
        assert clip.path == CLIPS / told["clip"] and clip.prompt == told["prompt"]
        assert clip.boxes is not None and [list(box) for box in clip.boxes] == told["boxes"]
        for edit in clip.edits:
            assert edit.prompt == told["edits"][edit.type]["prompt"]
            assert missing(clip, edit) is None and edit.truth is not None


def test_mini_has_the_settings_of_the_demos():
    for method, settings in read_suite("mini").settings.items():
        demo = read_yaml(ROOT / f"methods/{method}/demo.yaml")
        for asked in ("clip", "prompt", "prompts", "source_prompt", "truth"):
            demo.pop(asked, None)
        schema = get_method(method).load("config")
        assert build_config(schema, settings) == build_config(schema, demo), method


def test_a_suite_is_written_and_read_back(write_suite, tmp_path: Path):
    for suite in (read_suite("mini"), read_suite(write_suite(size="64x48", seeds=[1, 2], flow="raft-small"))):
        (tmp_path / "again").mkdir(exist_ok=True)
        (tmp_path / "again/suite.yaml").write_text(dump_suite(suite))
        assert read_suite(tmp_path / "again/suite.yaml") == suite
        assert " id:" not in dump_suite(suite), "ids are the keys of the mappings"


def test_relative_paths_start_at_the_file(tmp_path: Path, clips: Path, monkeypatch):
    shutil.copytree(clips, tmp_path / "data")
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites/s.yaml").write_text(
        "name: s\nclips:\n  wall:\n    path: ../data/wall.mp4\n    edits: {a: {type: style, prompt: b}}\n"
    )
    monkeypatch.chdir("/")
    suite = read_suite(tmp_path / "suites/s.yaml")
    assert suite.clips[0].path.samefile(tmp_path / "data/wall.mp4")
    assert suite.folder == tmp_path / "suites"


def test_the_same_task_has_one_hash_wherever_it_lies(write_suite, clips: Path, tmp_path: Path):
    first = read_suite(write_suite())
    shutil.copytree(clips, tmp_path / "elsewhere")
    data = yaml.safe_load((tmp_path / "suite.yaml").read_text().replace(str(clips), str(tmp_path / "elsewhere")))
    (tmp_path / "moved.yaml").write_text(yaml.safe_dump(data | {"settings": {}, "seeds": [5]}))
    assert read_suite(tmp_path / "moved.yaml").sha256() == first.sha256()
    data["clips"]["wall"]["edits"]["road"]["prompt"] = "a lane"
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(data))
    assert read_suite(tmp_path / "other.yaml").sha256() != first.sha256()
    shutil.copy(clips / "square.mp4", tmp_path / "elsewhere/wall.mp4")
    assert read_suite(tmp_path / "moved.yaml").sha256() != first.sha256()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["square"], ["square/blue", "square/snow"]),
        (["square/snow", "wall/road"], ["square/snow", "wall/road"]),
        (["type=style", "type=subject"], ["wall/desert", "wall/road"]),
        (["square", "wall", "type=background"], ["square/snow"]),
        ([], ["square/blue", "square/snow", "wall/desert", "wall/road"]),
    ],
)
def test_subsets_add_names_and_meet_types(write_suite, asked, expected):
    chosen = read_suite(write_suite()).subset(asked)
    assert sorted(f"{clip.id}/{edit.id}" for clip in chosen.clips for edit in clip.edits) == expected


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("squares", "did you mean 'square'"),
        ("square/blu", "did you mean 'square/blue'"),
        ("type=stile", "did you mean 'style'"),
        ("type=several", "no edit of the suite 'tiny' fits"),
    ],
)
def test_a_subset_that_is_not_there_is_named(write_suite, asked, words):
    with pytest.raises(ConfigError, match=words):
        read_suite(write_suite()).subset([asked])


def test_settings_are_set_over_the_suites(write_suite):
    suite = read_suite(write_suite()).with_settings(["tuneavideo.tune.steps=7", "other.a.b=[1]"])
    assert suite.settings["tuneavideo"]["tune"] == {"steps": 7} and suite.settings["other"] == {"a": {"b": [1]}}
    assert suite.settings["tuneavideo"]["sample"] == {"steps": 1}
    with pytest.raises(ConfigError, match=r"METHOD\.KEY=VALUE"):
        suite.with_settings(["steps=7"])


GOOD = """name: s
clips:
  one:
    path: one.mp4
    edits:
      a: {type: style, prompt: snow}
"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (GOOD + "  one:\n    path: two.mp4\n    edits: {a: {type: style, prompt: b}}\n", 7),
        (GOOD + "  ONE:\n    path: two.mp4\n    edits: {a: {type: style, prompt: b}}\n", 7),
        (GOOD + "      A: {type: subject, prompt: rain}\n", 7),
        (GOOD + "name: again\n", 7),
    ],
)
def test_what_stands_there_twice_is_an_error_with_its_line(tmp_path: Path, text, line):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"s\.yaml, line {line}: '.*' stands there twice"):
        read_suite(tmp_path / "s.yaml")


def test_all_problems_come_at_once_a_line_each(tmp_path: Path):
    (tmp_path / "s.yaml").write_text(
        "name: s\n"
        "seeds: [-1]\n"
        "clips:\n"
        "  Cap: {path: a.mp4, edits: {a: {type: style, prompt: b}}}\n"
        "  low: {path: a.mp4, strid: 2, edits: {a: {type: stile, prompt: b}, c: {type: style}}}\n"
        "  2024: {path: a.mp4}\n"
        "  bare: {path: a.mp4}\n"
    )
    with pytest.raises(SuiteError) as caught:
        read_suite(tmp_path / "s.yaml")
    problems = caught.value.problems
    for words in (
        "clip 'Cap': setting 'id'",
        "clip 'low': unknown setting 'strid'; did you mean 'stride'?",
        "clip 'low', edit 'a': setting 'type'",
        "clip 'low', edit 'c': setting 'prompt': field required",
        "the id 2024 is read as a int; put it in quotes",
        "clip 'bare': edits: expected a mapping",
        "setting 'seeds.0'",
    ):
        assert sum(words in problem for problem in problems) == 1, (words, problems)
    assert len(problems) == 7
    assert not any("\n" in problem for problem in problems)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("minni", "did you mean 'mini'"),
        ("no-such.yaml", "neither a YAML file nor bundled"),
        (".", "is a folder"),
    ],
)
def test_what_is_no_suite_is_refused(name, words, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=words):
        read_suite(name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [\n", "not YAML at line 2"),
        ("- a\n", "holds a list"),
        ("name: s\nclips: none.json\n", r"none\.json cannot be read"),
        ("name: s\nclips: s.yaml\n", "no listing of rendered clips"),
        ("name: s\nclips: {}\n", "clips: expected a mapping"),
    ],
)
def test_a_broken_file_is_one_clear_line(tmp_path: Path, text, words):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(VideoEditError, match=words) as caught:
        read_suite(tmp_path / "s.yaml")
    assert "\n" not in str(caught.value)


def test_what_is_missing_of_an_edit_is_said(write_suite, clips: Path):
    suite = read_suite(write_suite())
    clip = suite.clips[0]
    gone = {"path": "the clip", "mask": "its mask"}
    for name, words in gone.items():
        line = missing(clip.model_copy(update={name: clips / "gone.mp4"}), clip.edits[0])
        assert line is not None and words in line and "gone.mp4" in line
    line = missing(clip, clip.edits[0].model_copy(update={"truth": clips / "gone.mp4"}))
    assert line is not None and "ground truth" in line


def test_the_content_of_a_folder_is_that_of_its_files(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/0.png").write_bytes(b"one")
    before = content(tmp_path / "a")
    (tmp_path / "a/1.png").write_bytes(b"two")
    assert content(tmp_path / "a") != before
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert content(tmp_path / "c") is None
