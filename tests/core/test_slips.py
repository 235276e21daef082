"""Slips of the command line: each is one line that says what to do, exit code 2, and writes nothing."""

from __future__ import annotations

import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

from videoedit.cli import main
from videoedit.config import CLIPS

TEXTS = '--source-prompt "a car" --prompt "a cat"'
TUNE = f"run tuneavideo CAR {TEXTS}"
RERENDER = 'run rerender CAR --prompt "a cat"'
SLIPS = {
    # words in the wrong place
    "run tuneavideoo CAR": "Did you mean 'tuneavideo'?",
    'run CAR --prompt "a car"': "stands where a method belongs: videoedit run METHOD CLIP",
    'run CAR tuneavideo --prompt "a car"': "stands where a method belongs: videoedit run METHOD CLIP",
    'tuneavideo CAR --prompt "a car"': "tuneavideo is a method: videoedit run tuneavideo CLIP",
    "rnu tuneavideo CAR": "Did you mean 'run'?",
    f"run tuneavideo CAR CAR {TEXTS}": "unexpected extra argument(s) (CAR); see videoedit run tuneavideo --help",
    "demo rerendr": "did you mean 'rerender'?",
    "demo propagate": "works on key frames of yours, so it has no demo",
    "show-config": "Missing argument 'method'; see videoedit show-config --help",
    "show-config tunevideo": "did you mean 'tuneavideo'?",
    "models fetch raft": "expected one of raft-small, raft-sintel, hed, lpips",
    "check nowhere": "give the folder that `videoedit run` wrote to",
    "report nowhere": "give the folder that `videoedit run` wrote to",
    "bench run nosuite": "there is no suite 'nosuite': neither a YAML file nor bundled",
    "bench run mini --methods tuneavdeo": "did you mean 'tuneavideo'?",
    "bench compare nowhere lpips a b": "give the folder of a `videoedit bench run`",
    # what is missing, or given twice
    "run tuneavideo": "no clip was given; name a video",
    "run tuneavideo CAR": "say what the edit should show with --prompt",
    'run tuneavideo CAR --prompt "a cat"': "say what it shows with --source-prompt",
    'run hybrid CAR --prompt "a cat"': "say what it shows with --source-prompt",
    'run tuneavideo CAR --source-prompt "a car" --prompt ""': "say what the edit should show with --prompt",
    'run rerender CAR --prompt "  "': "say what the edit should show with --prompt",
    f"{TUNE} --prompt --seed 3": "--prompt is followed by --seed; give it a value first",
    f"{TUNE} --seed": "Option '--seed' requires an argument",
    f"{RERENDER} --prompt 'a blue car'": "--prompt is given 2 times; give it once",
    f"{RERENDER} --seed 1 --seed=2": "--seed is given 2 times; give it once",
    f"{TUNE} -o one --out two": "--out is given 2 times; give it once",
    f"{TUNE} --model mini --model other": "--model is given 2 times; give it once",
    f'{TUNE} --prompt "a cat"': "the prompt 'a cat' is given twice; give each edit once",
    # files
    f"run tuneavideo no-such.mp4 {TEXTS}": "no-such.mp4: no such file; give the path of a video or image",
    f"run tuneavideo notes.txt {TEXTS}": "not a video or image that can be read; expected mp4",
    f"run tuneavideo empty {TEXTS}": "empty: a folder without pictures; give a video",
    f"{TUNE} --config no.yaml": "config file no.yaml cannot be read: No such file",
    f"{TUNE} --config bad.yaml": "bad.yaml is not YAML at line 2, column 1",
    f"{TUNE} --config typo.yaml": "typo.yaml:3: unknown setting 'tune.lerning_rate'; did you mean 'tune.learning_rate'?",
    f"{TUNE} -o notes.txt": "notes.txt is a file; -o names the folder to write to",
    f"{TUNE} -o full": "full is not empty and holds no videoedit run; choose another folder with -o",
    f"{TUNE} --model minni": "there is no model 'minni'",
    f"{TUNE} --model notes.txt": "expected a .safetensors file or a folder in diffusers' layout",
    f"{TUNE} --set adapter=none.safetensors": "there is no file none.safetensors",
    f"{TUNE} --set invert.latents=none.pt": "there is no file none.pt",
    # values
    f"{TUNE} --promt x": "No such option: --promt",
    'run tuneavideo CAR --source-prompt "a car" --prompt "a dragon"': "among them not: 'dragon'; use others",
    f"{TUNE} --frames ten": "Invalid value for '--frames'",
    f"{TUNE} --frames 0": "'video.num_frames': input should be greater than or equal to 1 (given: 0)",
    f"{TUNE} --frames 500": "the clip has 24 from frame 0 on; ask for at most 24",
    f"{TUNE} --size 512": "'512' is not a size; write WIDTHxHEIGHT",
    f"{TUNE} --size 100x100": "the nearest that fits is 96x96",
    f"{TUNE} --seed -1": "'seed': input should be greater than or equal to 0",
    f"{TUNE} --fps fast": "'fast' is not a frame rate; write a number such as 24",
    f"{TUNE} --steps 0": "'invert.steps': input should be greater than or equal to 1",
    f"{TUNE} --guidance high": "Invalid value for '--guidance'",
    f"{TUNE} --device gpu": "unknown device 'gpu'; expected auto, cpu, cuda",
    f"{TUNE} --device cuda:9": "torch finds no GPU; use 'cpu'",
    f"{TUNE} --audio-track 3": "sound track 3 of",
    f"{TUNE} --format gif": "'video.format': input should be 'mp4', 'png' or 'exr'",
    f"{TUNE} --set tune.stepz=4": "unknown setting 'tune.stepz'; did you mean 'tune.steps'?",
    f"{TUNE} --set tune.steps": "expected KEY=VALUE, for example --set sample.steps=20",
    f"{TUNE} --set tune.steps=[": "the value is not YAML",
    f"{TUNE} --set tune.steps=four": "'tune.steps': input should be a valid integer (given: 'four')",
    f"{TUNE} --set tune=4": "'tune' is a group, it takes no value; set one of its settings, such as tune.steps",
    f"{RERENDER} --control depth": "has no ControlNet for 'depth', only for canny",
    f"{RERENDER} --control canny:strong": "'strong' is not a scale; write for example canny:0.7",
    f"{RERENDER} --keyframe-interval 0": "'keyframes.interval': input should be greater than or equal to 1",
    f"{RERENDER} --preset quick": "'official', 'default', 'fast' or 'preview' (given: 'quick')",
    f"{RERENDER} --until frames": "'until': input should be 'keyframes' or 'video' (given: 'frames')",
    f"{RERENDER} --strength 2": "'translate.strength': input should be less than or equal to 1",
    'run framewise CAR --prompt "a cat" --strength 0': "'sample.strength': input should be greater than 0",
    # key frames
    "propagate": "no clip was given; name a video",
    "propagate CAR": "no key frames were given; name a folder or files with --keyframes",
    "propagate CAR --keyframes nowhere": "there is no nowhere; --keyframes takes a folder or files",
    "propagate CAR --keyframes empty": "expected png, jpg or webp files named by frame, as 0010.png",
    "propagate CAR --keyframes notes.txt": "notes.txt is no key frame: expected a png, jpg or webp",
    "propagate CAR --keyframes key.png": "has no frame number in its name; call it key-0010.png, say",
    "propagate CAR --keyframe 5": "'5' is not FRAME=FILE",
    "propagate CAR --keyframe 5=no.png": "no.png is not a picture that can be read",
    "propagate CAR --keyframe 99=key.png": "key.png is for frame 99, but the edited frames are 0-23",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder, with what people leave lying about."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("hello\n")
    (tmp_path / "bad.yaml").write_text("a: [1\n")
    (tmp_path / "typo.yaml").write_text("tune:\n  steps: 4\n  lerning_rate: 1\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine\n")
    cv2.imwrite("key.png", np.full((128, 128, 3), 90, np.uint8))
    return tmp_path


def answer(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which a command line is refused."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    said = capsys.readouterr()
    assert stop.value.code == 2, said
    assert said.out == "" and said.err.count("\n") == 1, said
    return said.err.replace(str(CLIPS / "car-grass.mp4"), "CAR")


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_one_line_that_says_what_to_do(slip, here: Path, capsys):
    before = sorted(here.rglob("*"))
    arguments = [str(CLIPS / "car-grass.mp4") if word == "CAR" else word for word in shlex.split(slip)]
    line = answer(arguments, capsys)
    assert SLIPS[slip] in line
    if arguments[0] in ("run", "propagate", "demo"):
        at = 1 if arguments[0] == "propagate" else 2
        assert answer([*arguments[:at], "--dry-run", *arguments[at:]], capsys) == line
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize("twice", ["--seed 1 --seed 1", "--seed 1 --seed=1", "--model mini --model mini"])
def test_the_same_value_twice_is_no_slip(twice, here: Path):
    command = f'run framewise {CLIPS / "car-grass.mp4"} --prompt "a blue car" --dry-run {twice}'
    with pytest.raises(SystemExit) as stop:
        main(shlex.split(command))
    assert not stop.value.code


def test_there_are_fifty():
    assert len(SLIPS) >= 50


@pytest.mark.parametrize("group", ["run", "bench"])
def test_a_group_alone_shows_its_commands(group, capsys):
    with pytest.raises(SystemExit) as stop:
        main([group])
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert said.startswith(f"Usage: videoedit {group}") and len(said.splitlines()) > 5 and "error:" not in said
