"""Adapters read back, and refused where they do not belong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tuneavideo.adapter import load_adapter, read_metadata, save_adapter
from tuneavideo.video_unet import VideoUNet
from videoedit.errors import WeightsError
from videoedit.testing import tiny_unet

DATA = Path(__file__).parents[1] / "data" / "tuneavideo"
LATENTS = torch.randn(1, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
TEXT = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(1))


def video_unet(seed=0, **options):
    return VideoUNet(tiny_unet(seed), generator=torch.Generator().manual_seed(2), **options)


def changed(**options):
    """A network whose trainable parameters are not where they started."""
    unet = video_unet(**options)
    for _, parameter in unet.trainable_parameters("official"):
        parameter.data += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)) / 8
    return unet


@torch.no_grad()
def predict(unet):
    return unet(LATENTS, 481, TEXT)


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_adapter_round_trip(tmp_path, lora_rank):
    unet = changed(lora_rank=lora_rank)
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, unet, {"prompt": "a car", "frames": 3, "fps": "25/2", "size": [64, 64], "seed": 33})
    fresh = video_unet(lora_rank=lora_rank)
    metadata = load_adapter(path, fresh)
    assert torch.equal(predict(fresh), predict(unet))
    assert metadata["prompt"] == "a car" and metadata["size"] == [64, 64] and metadata["fps"] == "25/2"
    assert metadata["options"] == unet.options and read_metadata(path) == metadata
    original = tiny_unet()
    restored = fresh.detach()
    assert all(torch.equal(a, b) for a, b in zip(restored.parameters(), original.parameters(), strict=True))


def test_adapter_holds_only_what_tuning_changed(tmp_path):
    unet = changed()
    save_adapter(tmp_path / "a.safetensors", unet, {})
    stored = load_file(tmp_path / "a.safetensors").keys() - {"base_sample"}
    trained = {name for name, _ in unet.trainable_parameters("official")}
    temporal = {name for name, _ in unet.unet.named_parameters() if "_temp." in name}
    assert stored == trained | temporal


def test_adapter_of_half_precision_fits_full(tmp_path):
    unet = changed().to(torch.bfloat16)
    save_adapter(tmp_path / "a.safetensors", unet, {})
    load_adapter(tmp_path / "a.safetensors", video_unet())
    save_adapter(tmp_path / "b.safetensors", changed(), {})
    load_adapter(tmp_path / "b.safetensors", video_unet().to(torch.float16))


def test_adapter_is_refused_where_it_does_not_belong(tmp_path):
    path = tmp_path / "a.safetensors"
    save_adapter(path, changed(), {})
    with pytest.raises(WeightsError, match="another image model"):
        load_adapter(path, video_unet(seed=1))
    for options in ({"group_norm": "frame"}, {"attention": "first"}, {"temporal_mask": "causal"}, {"lora_rank": 2}):
        with pytest.raises(WeightsError, match=f"set network.{next(iter(options))}="):
            load_adapter(path, video_unet(**options))


def test_other_files_are_no_adapters(tmp_path):
    with pytest.raises(WeightsError, match="no Tune-A-Video adapter"):
        load_adapter(DATA / "golden_forward.safetensors", video_unet())
    with pytest.raises(WeightsError, match="does not exist"):
        load_adapter(tmp_path / "none.safetensors", video_unet())
    torch.save({"a": torch.zeros(1)}, tmp_path / "pickled.safetensors")
    with pytest.raises(WeightsError, match="is a pickle file"):
        load_adapter(tmp_path / "pickled.safetensors", video_unet())
    save_adapter(tmp_path / "whole.safetensors", changed(), {})
    data = (tmp_path / "whole.safetensors").read_bytes()
    for size in (0, 5, 100, len(data) - 1):
        (tmp_path / "cut.safetensors").write_bytes(data[:size])
        with pytest.raises(WeightsError, match="damaged"):
            load_adapter(tmp_path / "cut.safetensors", video_unet())


def test_benchmark_adapter_of_the_official_authors(tmp_path):
    """LOVEU-TGVE stores the tensors of trainable modules alone, pickled."""
    source = changed()
    state = {name: p.detach() for name, p in source.trainable_parameters("all")}
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "tuneavideo-300.pth")
    unet = video_unet()
    assert load_adapter(tmp_path / "tuneavideo-300.pth", unet, allow_pickle=True) == {}
    assert torch.equal(predict(unet), predict(source))
    torch.save({"model": state}, tmp_path / "nested.pth")
    with pytest.raises(WeightsError, match="not a table of tensors"):
        load_adapter(tmp_path / "nested.pth", unet, allow_pickle=True)
    torch.save({"conv_in.weight": torch.zeros(3)}, tmp_path / "shape.pth")
    with pytest.raises(WeightsError, match=r"conv_in.weight has shape \[3\]"):
        load_adapter(tmp_path / "shape.pth", unet, allow_pickle=True)
    torch.save({"somewhere.weight": torch.zeros(3)}, tmp_path / "name.pth")
    with pytest.raises(WeightsError, match="not a parameter of this network"):
        load_adapter(tmp_path / "name.pth", unet, allow_pickle=True)
