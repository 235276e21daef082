"""ControlNets with the tuned network, against frames that the image network draws one by one."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tuneavideo.config import EditFramesConfig, TuneAVideoConfig
from tuneavideo.controls import ControlledUNet
from tuneavideo.method import TuneAVideo
from tuneavideo.video_unet import VideoUNet
from videoedit.attention import Shared
from videoedit.config import build_config
from videoedit.controls.controlnets import Control, Controls, ControlSpec, canny_edges
from videoedit.errors import ConfigError, WeightsError
from videoedit.models.loading import load_models
from videoedit.pipeline import plan_run, run_method
from videoedit.testing import moving_square, save_models, tiny_controlnet, tiny_models, tiny_unet

FRAMES = moving_square(3, (32, 32))
T, OTHER = 500, 300
EDGES = partial(canny_edges, thresholds=(100, 200))


def control(seed: int, scale: float) -> Control:
    return Control(ControlSpec("canny", scale), tiny_controlnet(seed).double().eval(), EDGES)


@pytest.fixture(scope="module")
def parts() -> tuple[Any, Controls, torch.Tensor, torch.Tensor]:
    """A network, two controls, latents of two clips of three frames, and their prompts."""
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (
        tiny_unet().double().eval(),
        Controls((control(0, 0.7), control(1, 0.4))),
        draw(2, 3, 4, 8, 8),
        draw(2, 7, 16),
    )


@torch.no_grad()
def test_each_frame_follows_its_own_map(parts) -> None:
    """A network whose frames do not see each other draws each as the image network does under the frame's edges."""
    image, controls, latents, texts = parts
    wanted = torch.empty_like(latents)
    for clip in range(2):
        for frame in range(3):
            picture = torch.from_numpy(EDGES(FRAMES[frame])).double()[None, None].repeat(1, 3, 1, 1) / 255
            one, text = latents[clip, frame][None], texts[clip][None]
            down, middle = [], []
            for c in controls.controls:
                net: Any = c.net
                added = net(one, T, text, picture, conditioning_scale=c.spec.scale, return_dict=False)
                down.append(added[0])
                middle.append(added[1])
            extra = {
                "down_block_additional_residuals": [a + b for a, b in zip(*down, strict=True)],
                "mid_block_additional_residual": sum(middle),
            }
            wanted[clip, frame] = image(one, T, text, **extra).sample[0]
    with VideoUNet(image, attention="self", group_norm="frame") as unet:
        unet.eval()
        found = ControlledUNet(unet, controls, FRAMES, [T])(latents, T, texts)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-9)


@torch.no_grad()
def test_at_other_timesteps_it_is_the_plain_network(parts) -> None:
    image, controls, latents, texts = parts
    with VideoUNet(image) as unet:
        network = ControlledUNet(unet.eval(), controls, FRAMES, [T])
        assert torch.equal(network(latents, OTHER, texts), unet(latents, OTHER, texts))
        assert not torch.allclose(network(latents, T, texts), unet(latents, T, texts), atol=1e-3)


@torch.no_grad()
def test_a_source_beside_the_edit_is_not_controlled(parts) -> None:
    image, controls, latents, texts = parts
    shared = Shared(2, frozenset())
    with VideoUNet(image) as unet:
        network = ControlledUNet(unet.eval(), controls, FRAMES, [T])
        both = network(latents, T, texts, shared)
        assert torch.allclose(both[:1], unet(latents, T, texts)[:1], rtol=0, atol=1e-12)
        assert torch.allclose(both[1:], network(latents, T, texts)[1:], rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a ControlNet beside it."""
    place = save_models(tiny_models(), tmp_path_factory.mktemp("controlled") / "tiny")
    net: Any = tiny_controlnet()
    net.save_pretrained(place / "controlnet-canny")
    return place


def test_a_scale_or_a_window_remakes_the_edit_alone(folder: Path, square_clip: Path, tmp_path: Path) -> None:
    given = {"model": str(folder), "device": "cpu", "clip": str(square_clip), "source_prompt": "a square",
             "prompts": ["a blue square"], "tune": {"steps": 1}, "invert": {"steps": 2}, "sample": {"steps": 2}}  # fmt: skip
    steps = {}
    for name, more in {
        "none": {},
        "canny": {"controls": ["canny"]},
        "weak": {"controls": ["canny:0.5"]},
        "late": {"controls": ["canny"], "control_window": [0.5, 1]},
        "zero": {"controls": ["canny:0"]},
    }.items():
        run_method("tuneavideo", build_config(TuneAVideoConfig, given | more), tmp_path)
        call = json.loads((tmp_path / "run.json").read_text())["calls"][-1]
        made = [step for step, status in call["steps"].items() if status != "kept"]
        steps[name] = (tmp_path / "edit-a-blue-square.safetensors").read_bytes()
        if name != "none":
            assert made and all("a blue square" in step for step in made)
    assert len(set(steps.values())) == 4 and steps["zero"] == steps["none"]


def test_blind_calls_take_controls(folder: Path) -> None:
    config = build_config(EditFramesConfig, {"tune": {"steps": 1}, "invert": {"steps": 2}, "sample": {"steps": 2},
                                             "controls": ["canny:2"]})  # fmt: skip
    found = []
    for one in (config, config.model_copy(update={"controls": ()})):
        with TuneAVideo(load_models(folder, device="cpu"), one) as tuned:
            found.append(tuned.fit(FRAMES, "a square").edit("a blue square"))
    assert found[0].shape == FRAMES.shape and not np.array_equal(*found)


@pytest.mark.parametrize(
    ("controls", "error", "line"),
    [
        (["edges"], ConfigError, "unknown kind 'edges'"),
        (["canny=no/where/at/all"], WeightsError, "there is no ControlNet"),
    ],
)
def test_controls_that_are_not_there_are_refused_first(controls, error, line, square_clip, tmp_path: Path) -> None:
    given = {"clip": str(square_clip), "source_prompt": "a car", "prompts": ["a blue car"], "controls": controls}
    config = build_config(TuneAVideoConfig, given)
    for go in (plan_run, run_method):
        with pytest.raises(error, match=line):
            go("tuneavideo", config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_plan_counts_controls(folder: Path, square_clip: Path) -> None:
    given = {"model": str(folder), "clip": str(square_clip), "source_prompt": "a", "prompts": ["b"]}
    plans = [
        plan_run("tuneavideo", build_config(TuneAVideoConfig, given | more), estimate=True)
        for more in ({}, {"controls": ["canny"]}, {"controls": ["canny"], "control_window": [0, 0.5]})
    ]
    flops = [plan.stages[-1].flops for plan in plans]
    assert flops[0] < flops[2] < flops[1]
    assert flops[1] - flops[0] == pytest.approx(2 * (flops[2] - flops[0]))
