"""The README's Python runs, and what is called from Python makes the bytes of the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from rerender import Rerender
from rerender.config import TranslateConfig
from tuneavideo import TuneAVideo
from tuneavideo.config import EditFramesConfig
from videoedit import load_models, read_video, write_video
from videoedit.cli import main
from videoedit.diffusion.latents import decode, pixels_to_frames
from videoedit.media.images import read_image

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.S | re.M)
FRAMES, STEPS = 5, 2
SOURCE, PROMPT = "a red car moving on grass", "a blue car moving on grass"
FEW: Any = {"tune": {"steps": STEPS}, "invert": {"steps": STEPS}, "sample": {"steps": STEPS}}


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``clip.mp4``, a few frames of the bundled clip, in the present folder."""
    monkeypatch.chdir(tmp_path)
    video = read_video(ROOT / "videoedit/assets/clips/car-grass.mp4", num_frames=FRAMES)
    write_video(tmp_path / "clip.mp4", video.frames, video.fps)
    return tmp_path / "clip.mp4"


def command(*arguments: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert not stop.value.code


@pytest.mark.slow
def test_the_python_in_the_readme_runs(clip: Path, monkeypatch: pytest.MonkeyPatch):
    preset = EditFramesConfig.presets["mini"]
    monkeypatch.setattr(
        EditFramesConfig, "presets", {"mini": {name: preset[name] | FEW.get(name, {}) for name in preset}}
    )
    few = TranslateConfig.presets["mini"] | {"steps": STEPS}
    monkeypatch.setattr(TranslateConfig, "presets", {"mini": few})
    names: dict[str, Any] = {}
    assert len(BLOCKS) >= 4
    for block in BLOCKS:
        block = re.sub(r'(steps(?:": |=))\d+', rf"\g<1>{STEPS}", block)
        block = re.sub(r"num_frames=\d+", f"num_frames={FRAMES}", block)
        exec(compile(block, "README", "exec"), names)
    # what is kept is contiguous, what is not has the encoder's strides, for which convolutions round otherwise
    assert np.abs(names["by_hand"].astype(int) - names["blue"]).max() <= 1
    assert names["snow"].shape == names["frames"].shape
    assert names["result"].videos[PROMPT].is_file()


def test_tune_a_video_from_python_makes_the_latents_of_the_command_line(clip: Path):
    flags = [f"--set={section}.steps={STEPS}" for section in FEW]
    command("run", "tuneavideo", "clip.mp4", "--source-prompt", SOURCE, "--prompt", PROMPT, "-o", "run",
            "--set=sample.guidance_scale=5", *flags)  # fmt: skip
    (file,) = Path("run").glob("edit-*.safetensors")
    models = load_models("mini")
    wanted = pixels_to_frames(decode(models.vae, load_file(file)["latents"]))
    preset = EditFramesConfig.presets["mini"]
    few = EditFramesConfig.model_validate({name: preset[name] | FEW.get(name, {}) for name in preset})
    with TuneAVideo(models, few) as method:
        made = method.fit(read_video(clip).frames, SOURCE).edit(PROMPT, guidance_scale=5)
    assert np.array_equal(made, wanted)


def test_rerender_from_python_makes_the_key_frames_of_the_command_line(clip: Path):
    prompt = "a red car moving in the snow"
    command("run", "rerender", "clip.mp4", "--prompt", prompt, "--keyframe-interval", "2", "--steps", "3",
            "--until", "keyframes", "-o", "run")  # fmt: skip
    wanted = {int(path.stem): read_image(path) for path in Path("run/keys").glob("*.png")}
    few = TranslateConfig.model_validate(TranslateConfig.presets["mini"] | {"steps": 3})
    with Rerender(load_models("mini"), config=few) as method:
        made = method.keyframes(read_video(clip).frames, prompt, interval=2)
    assert made.keys() == wanted.keys() == {0, 2, 4}
    assert all(np.array_equal(made[index], wanted[index]) for index in wanted)
