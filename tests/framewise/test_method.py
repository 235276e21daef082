"""SDEdit a frame at a time, on a tiny model with random weights."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from framewise.method import FramewiseConfig, SampleConfig, edits, first_step
from videoedit.config import CLIPS, build_config
from videoedit.diffusion import latents as codec
from videoedit.diffusion.ddim import Schedule, add_noise, ddim_step
from videoedit.diffusion.prompts import encode_prompts
from videoedit.errors import ConfigError, InputError
from videoedit.media.video import probe, read_video, write_video
from videoedit.models.loading import load_models
from videoedit.pipeline import edit, plan_run, run_method
from videoedit.runs.clip import Clip
from videoedit.runs.folder import latest_call
from videoedit.runs.steps import temporary_steps
from videoedit.testing import moving_square, panning, save_models, tiny_models
from videoedit.types import Models


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


def edited(config: FramewiseConfig, frames: np.ndarray, models: Models | None = None) -> np.ndarray:
    """The frames as the method hands them over, before any video is written."""
    with temporary_steps("framewise") as steps:
        (edit,) = edits(config, models or load_models(config.model), Clip.of(frames), steps)
        return np.stack(list(edit.frames()))


def test_a_frame_is_noised_to_the_strength_and_denoised_from_there(config):
    """With a network that knows the noise the frame comes back, but for what the schedule leaves at its end."""
    models, frames = tiny_models(), moving_square(1)
    noise = torch.randn((1, 1, 4, 8, 8), generator=torch.Generator().manual_seed(3))
    visited = []

    def knows(latents, t, embeds):
        visited.append(t)
        return SimpleNamespace(sample=noise[0])

    settings = config(sample={"steps": 10, "strength": 0.4, "guidance_scale": 1.0}, seed=3)
    (frame,) = edited(settings, frames, replace(models, unet=knows))
    latents = codec.encode(models.vae, codec.frames_to_pixels(frames))
    left = add_noise(latents, noise, Schedule.from_scheduler(models.scheduler, 10).final_alpha)
    again = codec.pixels_to_frames(codec.decode(models.vae, left))[0]
    assert visited == [301, 201, 101, 1]
    assert np.abs(frame.astype(int) - again).max() <= 1


def test_a_frame_is_guided_from_the_negative_prompt_to_the_prompt(config):
    """SDEdit's algorithm 1 by plain DDIM steps under classifier-free guidance."""
    models, frames = tiny_models(), moving_square(1)
    sample = {"steps": 6, "strength": 0.5, "guidance_scale": 4.0}
    (frame,) = edited(config(sample=sample, negative_prompt="snow", seed=3), frames, models)
    prompt, negative = (encode_prompts(models, [text]) for text in ("a red car", "snow"))
    schedule = Schedule.from_scheduler(models.scheduler, 6)
    noise = torch.randn((1, 1, 4, 8, 8), generator=torch.Generator().manual_seed(3))[0]
    latents = codec.encode(models.vae, codec.frames_to_pixels(frames))[0]
    with torch.no_grad():
        latents = add_noise(latents, noise, schedule.alpha_bar(schedule.timesteps[3]))
        for t in schedule.timesteps[3:]:
            cond, uncond = (models.unet(latents, t, text).sample for text in (prompt, negative))
            latents = ddim_step(schedule, latents, uncond + 4.0 * (cond - uncond), t)
    expected = codec.pixels_to_frames(codec.decode(models.vae, latents[None]))[0]
    assert np.abs(frame.astype(int) - expected).max() <= 1


def test_the_defaults_are_sdedits():
    sample = SampleConfig()
    assert (sample.steps, sample.guidance_scale, sample.strength) == (50, 7.5, 0.6)


@pytest.mark.parametrize(
    "changes",
    [{"seed": 1}, {"negative_prompt": "snow"}, {"sample": {"steps": 4, "strength": 0.5}}, {"video": {"num_frames": 4}}],
    ids=str,
)
def test_an_edit_needs_all_that_it_follows_from(config, baseline: Path, changes):
    assert plan_run("framewise", config(**changes), baseline).status["write a red car"].startswith("made: ")


@pytest.mark.parametrize(("strength", "run"), [(1.0, 10), (0.6, 6), (0.01, 1)])
def test_the_strength_says_how_many_steps_run(strength: float, run: int, config):
    sample = SampleConfig(steps=10, strength=strength)
    assert 10 - first_step(sample) == run
    plan = plan_run("framewise", config(sample={"steps": 10, "strength": strength}), estimate=True)
    assert f"5 frames x {run} DDIM steps" in plan.stages[0].what and plan.stages[0].flops > 0


def test_more_strength_leads_further_from_the_source(config):
    source = read_video(CLIPS / "car-grass.mp4", num_frames=1).frames
    distances = []
    for strength in (0.2, 0.6, 1.0):
        sample = {"steps": 8, "strength": strength, "guidance_scale": 3.0}
        settings = config(model="mini", sample=sample, prompts=["a blue car in the snow"])
        distances.append(np.abs(edited(settings, source) - source.astype(int)).mean())
    assert distances == sorted(distances) and distances[-1] > 2 * distances[0], distances


def test_the_whole_clip_comes_back_at_its_rate_and_size(baseline: Path):
    info = probe(baseline / "edit-a-red-car.mp4")
    assert (info.frames, info.fps, info.width, info.height) == (5, Fraction(30000, 1001), 48, 32)


def test_a_frame_depends_on_nothing_but_itself(config):
    """The frames of a part of the clip are those of the whole clip: same noise, no neighbors."""
    frames = moving_square(5, (48, 32))
    whole, part = edited(config(), frames), edited(config(), frames[1:4:2])
    assert (part == whole[1:4:2]).all() and (whole[1] != whole[3]).any()


def test_a_still_clip_stays_still(config):
    frames = edited(config(), panning(3, (32, 32), step=0))
    assert all((frame == frames[0]).all() for frame in frames)


def test_further_prompts_make_only_what_is_new(config, tmp_path: Path):
    folder = tmp_path / "r"
    run_method("framewise", config(), folder)
    run_method("framewise", config(prompts=["a red car", "snow"]), folder)
    assert made(folder) == {"write snow", "measure snow"}


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
