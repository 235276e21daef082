"""Structure control against a plain twin: source and edit in passes of their own, features carried over in a dict."""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import partial

import pytest
import torch
from torch import Tensor

from tuneavideo.config import EditFramesConfig, StructureConfig, TuneAVideoConfig
from tuneavideo.method import TuneAVideo
from tuneavideo.structure import beside_source, structure_sites
from tuneavideo.video_unet import VideoUNet
from videoedit.config import build_config
from videoedit.diffusion.ddim import Schedule, ddim_step
from videoedit.diffusion.guidance import guided
from videoedit.diffusion.inversion import ddim_invert
from videoedit.diffusion.sampling import ddim_sample
from videoedit.errors import ConfigError
from videoedit.pipeline import plan_run, run_method
from videoedit.runs.folder import latest_call
from videoedit.testing import SD_SCHEDULER, moving_square, tiny_models, tiny_unet

STEPS = 5
ATTENTION = [f"up_blocks.1.attentions.{i}.transformer_blocks.0" for i in (0, 1)]
LAYERS = {  # of the tiny network: (settings that share it) -> the layers whose outputs the twin carries over
    "features": ["up_blocks.0.resnets.0.conv2", "up_blocks.0.resnets.1.conv2"],
    "second_block": ["up_blocks.1.resnets.0.conv2", "up_blocks.1.resnets.1.conv2"],
    "queries_keys": [f"{name}.attn1.{to}" for name in ATTENTION for to in ("to_q", "to_k")],
    "temporal_queries_keys": [f"{name}.attn_temp.{to}" for name in ATTENTION for to in ("to_q", "to_k")],
}


@pytest.fixture(scope="module")
def network():
    """A tiny video network in float64 whose temporal attention does something, and what a sampling needs."""
    generator = torch.Generator().manual_seed(0)
    unet = VideoUNet(tiny_unet(), generator=generator)
    for name, parameter in unet.named_parameters():
        if "attn_temp.to_out" in name:
            parameter.normal_(std=0.3, generator=generator)
    unet.double().eval()
    draw = partial(torch.randn, generator=generator, dtype=torch.float64)
    texts = {name: draw(1, 7, 16) for name in ("source", "prompt", "negative")}
    source = guided(unet, texts["source"], texts["source"], 1.0)
    with torch.no_grad():
        trajectory = ddim_invert(source, draw(1, 3, 4, 8, 8), SD_SCHEDULER, STEPS)
    return unet, texts, trajectory


def fast(network, settings: dict, scale: float, prompt: str = "prompt") -> Tensor:
    unet, texts, trajectory = network
    structure = build_config(StructureConfig, settings)
    denoise = beside_source(
        unet,
        Schedule.from_scheduler(SD_SCHEDULER, STEPS),
        structure_sites(unet, structure, STEPS),
        texts[prompt],
        texts["negative"],
        texts["source"],
        scale,
        trajectory if structure.source == "trajectory" else None,
    )
    first = structure.first_step(STEPS)
    return ddim_sample(denoise, trajectory[STEPS - first], SD_SCHEDULER, STEPS, start=first)


@torch.no_grad()
def twin(unet, texts, trajectory, settings: dict, scale: float, first: int = 0) -> Tensor:
    """One clip in each pass; `settings` as numbers of steps by the names of `LAYERS`."""
    schedule = Schedule.from_scheduler(SD_SCHEDULER, STEPS)
    latents = own = trajectory[STEPS - first]
    for step in range(first, STEPS):
        t = schedule.timesteps[step]
        layers = [layer for key, names in LAYERS.items() if step < settings.get(key, 0) for layer in names]
        source = own if settings.get("denoised") else trajectory[STEPS - step]
        kept: dict[str, Tensor] = {}
        with hooks(unet, {name: partial(keep, kept, name) for name in layers}):
            own = ddim_step(schedule, source, unet(source, t, texts["source"]), t)
        with hooks(unet, {name: partial(give, kept, name) for name in layers}):
            cond = unet(latents, t, texts["prompt"])
            uncond = unet(latents, t, texts["negative"])
        latents = ddim_step(schedule, latents, uncond + scale * (cond - uncond), t)
    return latents


def keep(kept: dict[str, Tensor], name: str, _layer, _args, output: Tensor) -> None:
    kept[name] = output


def give(kept: dict[str, Tensor], name: str, _layer, _args, _output: Tensor) -> Tensor:
    return kept[name]


def hooks(unet, by_name: dict) -> ExitStack:
    stack = ExitStack()
    for name, hook in by_name.items():
        stack.callback(unet.unet.get_submodule(name).register_forward_hook(hook).remove)
    return stack


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize(
    ("settings", "counted"),
    [
        ({"features": 0.6}, {"features": 3}),
        ({"features": 0.4, "blocks": 2}, {"features": 2, "second_block": 2}),
        ({"queries_keys": 1.0}, {"queries_keys": 5}),
        ({"temporal_queries_keys": 0.8}, {"temporal_queries_keys": 4}),
        ({"features": 0.6, "queries_keys": 0.8, "source": "denoised"},
         {"features": 3, "queries_keys": 4, "denoised": True}),
        ({"features": 0.6, "temporal_queries_keys": 0.4, "start": 0.2, "source": "denoised"},
         {"features": 3, "temporal_queries_keys": 2, "first": 1, "denoised": True}),
        ({"features": 0.6, "queries_keys": 0.8, "start": 0.4}, {"features": 3, "queries_keys": 4, "first": 2}),
    ],
)  # fmt: skip
def test_the_batch_equals_passes_one_by_one(network, settings: dict, counted: dict, scale: float):
    counted = dict(counted)
    expected = twin(*network, counted, scale, counted.pop("first", 0))
    torch.testing.assert_close(fast(network, settings, scale), expected, rtol=0, atol=1e-9)
    assert (fast(network, settings, scale) - fast(network, {}, scale)).abs().max() > 1e-3


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_without_a_window_it_is_plain_guidance_to_the_bit(network, scale: float):
    unet, texts, trajectory = network
    plain = ddim_sample(guided(unet, texts["prompt"], texts["negative"], scale), trajectory[-1], SD_SCHEDULER, STEPS)
    assert torch.equal(fast(network, {}, scale), plain)
    assert torch.equal(fast(network, {"features": 0.09, "queries_keys": 0.09}, scale), plain)  # less than half a step


@pytest.mark.parametrize(
    ("start", "steps", "first"), [(0.0, 5, 0), (0.35, 5, 2), (0.3, 5, 2), (0.25, 5, 1), (0.99, 5, 4)]
)
def test_a_later_start_is_the_nearest_step(start, steps, first):
    assert StructureConfig(start=start).first_step(steps) == first


def test_a_later_start_leads_closer_to_the_source(network):
    """SDEdit, figure 3: the less noise an edit starts from, the more of the source stays."""
    clip = network[2][0]
    distances = [float((fast(network, {"start": start}, 1.0) - clip).norm()) for start in (0.0, 0.4, 0.8)]
    assert distances == sorted(distances, reverse=True)
    assert distances[2] < 0.5 * distances[0]


def test_features_of_more_blocks_lead_closer_to_the_source(network):
    """Plug-and-Play, figure 5: what the decoder takes from the source's branch is what the edit keeps of it."""
    source = fast(network, {}, 1.0, prompt="source")
    taken = {"features": 1.0, "queries_keys": 1.0, "temporal_queries_keys": 1.0, "source": "denoised"}
    distances = []
    for settings in ({}, taken, taken | {"blocks": 2}):
        distances.append(float((fast(network, settings, 1.0) - source).norm()))
    assert distances == sorted(distances, reverse=True)
    assert distances[2] < 0.6 * distances[0]


def test_the_source_is_left_as_it_is(network):
    """Features of the source in an edit that is the source change nothing."""
    everything = {"features": 1.0, "blocks": 2, "queries_keys": 1.0, "temporal_queries_keys": 1.0, "source": "denoised"}
    source = fast(network, {}, 1.0, prompt="source")
    torch.testing.assert_close(fast(network, everything, 1.0, prompt="source"), source, rtol=0, atol=1e-9)


def test_an_edit_reads_the_trajectory_of_its_own_inversion():
    """`TuneAVideo.edit` with a structure is the twin on what it kept; the trajectory ends in the noise."""
    settings = {"features": 0.4, "queries_keys": 0.6, "start": 0.2}
    data = {"tune": {"steps": 2, "learning_rate": 1e-2}, "invert": {"steps": STEPS},
            "sample": {"steps": STEPS, "guidance_scale": 2.0}, "structure": settings}  # fmt: skip
    config = build_config(EditFramesConfig, data)
    with TuneAVideo(tiny_models(), config).fit(moving_square(3, (32, 32)), "a red square") as tuned:
        edit = tuned.sample("a blue dog", "road", config.sample).tensors["latents"]
        trajectory = tuned._trajectory().tensors["latents"]
        assert torch.equal(trajectory[-1], tuned.noise.tensors["latents"])
        named = {"source": "a red square", "prompt": "a blue dog", "negative": "road"}
        texts = {name: tuned._embed(text) for name, text in named.items()}
        expected = twin(tuned.unet, texts, trajectory, {"features": 2, "queries_keys": 3}, 2.0, first=1)
        torch.testing.assert_close(edit, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_only_the_edits_depend_on_it_and_a_plan_names_the_change(tiny_folder, square_clip, tmp_path):
    data = {"clip": str(square_clip), "model": str(tiny_folder), "device": "cpu", "source_prompt": "a square",
            "prompts": ["a red square"], "video": {"num_frames": 3}, "tune": {"steps": 1}, "invert": {"steps": 2},
            "sample": {"steps": 2}}  # fmt: skip
    plain = run_method("tuneavideo", build_config(TuneAVideoConfig, data), tmp_path / "r")
    before = plain.videos["a red square"].read_bytes()
    changed = build_config(TuneAVideoConfig, data | {"structure": {"features": 1.0}})
    plan = plan_run("tuneavideo", changed, tmp_path / "r")
    assert "structure.features 0 → 1" in str(plan)
    result = run_method("tuneavideo", changed, tmp_path / "r")
    assert result.videos["a red square"].read_bytes() != before
    stages = latest_call(json.loads((tmp_path / "r/run.json").read_text()))["stages"]
    made = {name for name, stage in stages.items() if not stage["reused"]}
    assert made == {"trajectory", "edit a red square", "measure a red square"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"invert": {"steps": 4}, "sample": {"steps": 5}}, r"invert.steps is 4 and sample.steps 5; set them equal"),
        ({"invert": {"steps": 5, "latents": "x.pt"}, "sample": {"steps": 5}}, r"leave invert.latents out"),
    ],
)
def test_an_inversion_that_lacks_steps_is_refused(data: dict, message: str):
    config = build_config(EditFramesConfig, data | {"structure": {"features": 0.5}})
    with pytest.raises(ConfigError, match=message):
        config.structure.check(config.invert, config.sample.steps)
    denoised = build_config(EditFramesConfig, data | {"structure": {"features": 0.5, "source": "denoised"}})
    denoised.structure.check(denoised.invert, denoised.sample.steps)
