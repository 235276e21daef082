"""SDEdit a frame at a time, on a tiny model with random weights."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from framewise.config import FramewiseConfig, SampleConfig
from framewise.method import sdedit
from videoedit.config import build_config
from videoedit.diffusion import latents as codec
from videoedit.diffusion.ddim import Schedule, add_noise
from videoedit.errors import ConfigError, InputError
from videoedit.media.images import read_image
from videoedit.media.video import probe, read_video, write_video
from videoedit.models.assets import CLIPS
from videoedit.pipeline import edit, plan_run, run_method
from videoedit.runs.folder import latest_call
from videoedit.testing import moving_square, panning, save_models, tiny_models


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tiny_models(), tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "square.mp4"
    write_video(path, moving_square(5, (48, 32)), Fraction(30000, 1001))
    return path


@pytest.fixture(scope="module")
def config(clip: Path, model: Path):
    def make(**changes) -> FramewiseConfig:
        data = {"clip": str(clip), "model": str(model), "device": "cpu", "prompts": ["a red car"],
                "video": {"size": "48x32"}, "sample": {"steps": 4}}  # fmt: skip
        if "video" in changes:
            changes = changes | {"video": data["video"] | changes["video"]}
        return build_config(FramewiseConfig, data | changes)

    return make


@pytest.fixture(scope="module")
def baseline(config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("baseline") / "r"
    run_method("framewise", config(), folder)
    return folder


def made(folder: Path) -> set[str]:
    stages = latest_call(json.loads((folder / "run.json").read_text()))["stages"]
    return {name for name, stage in stages.items() if not stage["reused"]}


def pictures(folder: Path, prompt: str = "a-red-car") -> list[np.ndarray]:
    return [read_image(path) for path in sorted(folder.glob(f"frames/{prompt}/*.png"))]


def test_a_frame_is_noised_to_the_strength_and_denoised_from_there():
    """With a network that knows the noise the frame comes back, but for what the schedule leaves at its end."""
    models, frame = tiny_models(), moving_square(1)[0]
    noise = torch.randn((1, 1, 4, 8, 8), generator=torch.Generator().manual_seed(3))
    visited = []

    def knows(latents, t):
        visited.append(t)
        return noise[0]

    edited = sdedit(models, frame, knows, SampleConfig(steps=10, strength=0.4), seed=3)
    latents = codec.encode(models.vae, codec.frames_to_pixels(frame[None]))
    left = add_noise(latents, noise, Schedule.from_scheduler(models.scheduler, 10).final_alpha)
    again = codec.pixels_to_frames(codec.decode(models.vae, left))[0]
    assert visited == [301, 201, 101, 1]
    assert np.abs(edited.astype(int) - again).max() <= 1


@pytest.mark.parametrize(("strength", "run"), [(1.0, 10), (0.6, 6), (0.01, 1)])
def test_the_strength_says_how_many_steps_run(strength: float, run: int, config):
    sample = SampleConfig(steps=10, strength=strength)
    assert 10 - sample.first_step == run
    plan = plan_run("framewise", config(sample={"steps": 10, "strength": strength}), estimate=True)
    assert f"5 frames x {run} DDIM steps" in plan.stages[0].what and plan.stages[0].flops > 0


def test_more_strength_leads_further_from_the_source(config, tmp_path: Path):
    clip, model = CLIPS / "car-grass.mp4", {"model": "mini", "video": {"size": None, "num_frames": 1}}
    source = read_video(clip, num_frames=1).frames.astype(int)
    distances = []
    for strength in (0.2, 0.6, 1.0):
        sample = {"steps": 8, "strength": strength, "guidance_scale": 3.0}
        folder = tmp_path / str(strength)
        run_method(
            "framewise", config(clip=str(clip), sample=sample, prompts=["a blue car in the snow"], **model), folder
        )
        distances.append(np.abs(np.stack(pictures(folder, "a-blue-car-in-the-snow")) - source).mean())
    assert distances == sorted(distances) and distances[-1] > 2 * distances[0], distances


def test_the_whole_clip_comes_back_at_its_rate_and_size(baseline: Path):
    info = probe(baseline / "edit-a-red-car.mp4")
    assert (info.frames, info.fps, info.width, info.height) == (5, Fraction(30000, 1001), 48, 32)


def test_a_frame_depends_on_nothing_but_itself(config, baseline: Path, tmp_path: Path):
    """The frames of a part of the clip are those of the whole clip: same noise, no neighbours."""
    run_method("framewise", config(video={"start": 1, "stride": 2, "num_frames": 2}), tmp_path / "r")
    whole, part = pictures(baseline), pictures(tmp_path / "r")
    assert (part[0] == whole[1]).all() and (part[1] == whole[3]).all()


def test_a_still_clip_stays_still(config, tmp_path: Path):
    path = tmp_path / "still.mp4"
    write_video(path, panning(3, (32, 32), step=0), 8)
    run_method("framewise", config(clip=str(path)), tmp_path / "r")
    source, frames = read_video(path).frames, pictures(tmp_path / "r")
    assert all((source[i] == source[0]).all() == (frames[i] == frames[0]).all() for i in (1, 2))


def test_further_prompts_and_longer_clips_make_only_what_is_new(config, tmp_path: Path):
    folder = tmp_path / "r"
    run_method("framewise", config(video={"num_frames": 3}), folder)
    first = {path.name: path.stat().st_mtime_ns for path in folder.glob("frames/*/*.png")}
    run_method("framewise", config(), folder)
    assert first.items() <= {path.name: path.stat().st_mtime_ns for path in folder.glob("frames/*/*.png")}.items()
    run_method("framewise", config(prompts=["a red car", "snow"]), folder)
    assert made(folder) == {"edit snow", "write snow", "measure snow"}


def test_with_the_truth_the_figures_say_how_near_it_is(clip: Path, model: Path, tmp_path: Path):
    settings = {"model": str(model), "device": "cpu", "sample": {"steps": 2}, "truth": [str(clip)]}
    result = edit("framewise", clip, prompt="snow", out=tmp_path / "r", **settings)
    assert "psnr@1" in result.metrics["snow"] and "psnr@1" in result.metrics["ground truth: snow"]


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"prompts": []}, InputError, "--prompt"),
        ({"sample": {"strength": 0.0}}, ConfigError, "strength"),
        ({"source_prompt": "a car"}, ConfigError, "unknown setting"),
        ({"video": {"num_frames": 8}}, InputError, "clip has 5"),
        ({"prompts": ["a", "a"]}, ConfigError, "given twice"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_before_anything_is_written(config, tmp_path: Path, changes, error, words):
    with pytest.raises(error, match=words) as caught:
        run_method("framewise", config(**changes), tmp_path / "r")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "r").exists()
