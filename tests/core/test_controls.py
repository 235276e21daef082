"""Controls: how they are written, what they show the network, and ControlNets that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from videoedit.controls.controlnets import (
    Control,
    Controls,
    ControlSpec,
    canny_edges,
    load_controls,
    map_to_condition,
)
from videoedit.controls.hed import Hed
from videoedit.errors import ConfigError, ToolError, WeightsError
from videoedit.models.fetch import fetched
from videoedit.models.loading import load_models
from videoedit.testing import moving_square, tiny_controlnet, tiny_models

GOLDEN = Path(__file__).parents[2].parent / "shared/golden/rerender"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("canny", ControlSpec("canny")),
        ("canny:0.7", ControlSpec("canny", 0.7)),
        ("hed:1", ControlSpec("hed", 1.0)),
        ("depth=owner/model", ControlSpec("depth", 1.0, "owner/model")),
        ("canny=a folder/ü:0.7", ControlSpec("canny", 0.7, "a folder/ü")),
        ("canny=C:/nets/canny", ControlSpec("canny", 1.0, "C:/nets/canny")),
    ],
)
def test_specs_are_read(text, expected):
    assert ControlSpec.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cany", "unknown kind 'cany'; expected one of canny, hed, softedge, depth"),
        ("", "unknown kind ''"),
        ("canny:strong", "'strong' is not a scale; write for example canny:0.7"),
        ("canny:-1", "the scale is -1; expected a number from 0 to 10"),
        ("canny:nan", "the scale is nan"),
    ],
)
def test_wrong_specs_are_explained(text, message):
    with pytest.raises(ConfigError, match=message):
        ControlSpec.parse(text)


def test_edges():
    frame = moving_square(1)[0]
    edges = canny_edges(frame, (50, 100))
    assert edges.shape == (32, 32) and set(np.unique(edges)) == {0, 255}
    equal_grey = np.zeros((32, 32, 3), np.uint8)
    equal_grey[:, :16, 0], equal_grey[:, 16:, 1] = 196, 100  # red, green of one brightness
    assert canny_edges(equal_grey, (50, 100)).any() and not canny_edges(equal_grey, (50, 100), gray=True).any()


def test_maps_have_the_size_of_the_frame_and_three_channels():
    frame = moving_square(1)[0]
    control = Control(ControlSpec("canny"), tiny_controlnet(), lambda frame: frame[::2, ::2, 0])
    assert control.map(frame).shape == frame.shape
    condition = map_to_condition(control.map(frame))
    assert condition.shape == (1, 3, 32, 32) and condition.min() >= 0 and condition.max() <= 1


def test_a_map_becomes_numbers_from_0_to_1():
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[0, 1], picture[1, 2] = 255, (51, 102, 153)
    condition = map_to_condition(picture)
    assert condition.shape == (1, 3, 2, 3) and condition.dtype == torch.float32
    torch.testing.assert_close(condition[0, :, 0, 1], torch.ones(3))
    torch.testing.assert_close(condition[0, :, 1, 2], torch.tensor([0.2, 0.4, 0.6]))
    assert condition[0, :, 0, 0].eq(0).all()


def test_residuals_are_summed_with_their_scales():
    """[uncond, cond] in one batch; two ControlNets are the sum of each, half the scale is half the residual."""
    latents, embeds = (torch.randn(2, *shape, generator=torch.Generator().manual_seed(i)) for i, shape in
                       enumerate(((4, 8, 8), (77, 16))))  # fmt: skip
    picture = map_to_condition(moving_square(1)[0])

    def residuals(*nets_and_scales):
        controls = tuple(Control(ControlSpec("canny", scale), net, np.asarray) for net, scale in nets_and_scales)
        found = Controls(controls).residuals(latents, 500, embeds, [picture] * len(controls))
        return [*found["down_block_additional_residuals"], found["mid_block_additional_residual"]]

    one, other = tiny_controlnet(0), tiny_controlnet(1)
    both = residuals((one, 1.0), (other, 0.5))
    for total, a, b in zip(both, residuals((one, 1.0)), residuals((other, 1.0)), strict=True):
        torch.testing.assert_close(total, a + 0.5 * b)
    assert Controls().residuals(latents, 500, embeds, []) == {}


def saved(folder, **config):
    tiny_controlnet(**config).save_pretrained(folder)
    return ControlSpec("canny", 1.0, str(folder))


def test_a_fitting_controlnet_loads(tmp_path):
    models = tiny_models()
    controls = load_controls([saved(tmp_path / "net ü"), ControlSpec("canny", 0.5, str(tmp_path / "net ü"))], models)
    assert len(controls.controls) == 2 and controls.controls[1].spec.scale == 0.5
    assert controls.maps(moving_square(1)[0])[0].shape == (32, 32, 3)
    other = load_controls([saved(tmp_path / "other", seed=1)], models)
    assert other.fingerprint != controls.fingerprint


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"cross_attention_dim": 24}, "text features of width 24, the model has 16"),
        ({"in_channels": 5}, "latent channels 5, the model has 4"),
        ({"block_out_channels": (16, 16)}, r"block widths \[16, 16\], the model has \[16, 32\]"),
        ({"layers_per_block": 2}, "layers in a block 2, the model has 1"),
        ({"conditioning_embedding_out_channels": (8, 8, 8, 8)}, "pixels a latent 8, the model has 4"),
    ],
)
def test_a_controlnet_that_does_not_fit_is_refused(tmp_path, config, message):
    with pytest.raises(WeightsError, match=f"does not fit the model tiny: it expects {message}"):
        load_controls([saved(tmp_path, **config)], tiny_models())


def test_wrong_sources_are_explained(tmp_path):
    models = tiny_models()
    with pytest.raises(WeightsError, match="there is no ControlNet 'nowhere'; expected a folder"):
        load_controls([ControlSpec("canny", 1.0, "nowhere")], models)
    models.unet.save_pretrained(tmp_path / "unet")
    with pytest.raises(WeightsError, match="holds a UNet2DConditionModel, not a ControlNetModel"):
        load_controls([ControlSpec("canny", 1.0, str(tmp_path / "unet"))], models)
    spec = saved(tmp_path / "net")
    weights = tmp_path / "net/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        load_controls([spec], models)


def test_the_embedded_controlnet_is_found_and_only_knows_canny():
    models = load_models("mini", device="cpu")
    controls = load_controls([ControlSpec("canny")], models)
    frame = moving_square(1, (64, 64))[0]
    assert np.array_equal(controls.maps(frame)[0][..., 0], canny_edges(frame, (60, 140), gray=True))
    with pytest.raises(WeightsError, match="embedded model has no ControlNet for 'depth', only for canny"):
        load_controls([ControlSpec("depth")], models)


def test_a_detector_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDEOEDIT_CACHE", str(tmp_path))
    spec = saved(tmp_path / "net")
    monkeypatch.setitem(__import__("sys").modules, "controlnet_aux", None)
    for kind, advice in (("hed", "videoedit models fetch hed"), ("softedge", "--control canny")):
        with pytest.raises(ToolError, match=rf"pip install 'videoedit\[controls\]'.*{advice}"):
            load_controls([ControlSpec(kind, 1.0, spec.source)], tiny_models())


def test_hed_loads_what_fetch_writes(tmp_path):
    net = Hed()
    save_file(net.state_dict(), tmp_path / "hed.safetensors")
    loaded = Hed.load(tmp_path / "hed.safetensors", torch.device("cpu"))
    edges = loaded.detect(moving_square(1, (33, 31))[0])
    assert edges.shape == (31, 33) and edges.dtype == np.uint8


@pytest.mark.skipif(fetched("hed") is None, reason="HED's weights are not in the cache: `videoedit models fetch hed`")
@pytest.mark.skipif(not (GOLDEN / "hed_bikes_edge.png").is_file(), reason="needs ../shared/golden/rerender")
def test_hed_equals_the_golden_edges():
    frame = np.asarray(Image.open(GOLDEN / "frame_first.png").convert("RGB"))
    golden = np.asarray(Image.open(GOLDEN / "hed_bikes_edge.png").convert("L"))
    edges = Hed.load(fetched("hed"), torch.device("cpu")).detect(frame)
    assert np.abs(edges.astype(int) - golden).max() <= 1
