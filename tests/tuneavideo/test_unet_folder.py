"""UNet folders read back, and refused where they hold something else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tuneavideo.video_unet import VideoUNet
from videoedit.errors import WeightsError

DATA = Path(__file__).parents[1] / "data" / "tuneavideo"


def folder_with(tmp_path, config=None, weights=None, kind="tuned3d"):
    """A copy of a golden ``unet/`` folder with another config entry or weight file."""
    folder = tmp_path / "unet"
    shutil.copytree(DATA / kind / "unet", folder)
    settings = json.loads((folder / "config.json").read_text()) | (config or {})
    (folder / "config.json").write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))
    if weights:
        for path in folder.glob("diffusion*"):
            path.unlink()
        for name, data in weights.items():
            (folder / name).write_bytes(data)
    return folder


def tuned_tensors():
    return torch.load(DATA / "tuned3d" / "unet" / "diffusion_pytorch_model.bin", weights_only=True)


def test_pipeline_folder_and_safetensors_are_read_too(tmp_path):
    folder = folder_with(tmp_path, weights={"unused": b""})
    tensors = {name: tensor.contiguous() for name, tensor in tuned_tensors().items()}
    save_file(tensors, folder / "diffusion_pytorch_model.safetensors")
    state = VideoUNet.from_pretrained(tmp_path).unet.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in tensors.items())


def test_half_precision_weights_are_read_in_float32(tmp_path):
    tensors = load_file(DATA / "source2d" / "unet" / "diffusion_pytorch_model.safetensors")
    folder = folder_with(tmp_path, kind="source2d", weights={"unused": b""})
    name = "diffusion_pytorch_model.fp16.safetensors"
    save_file({key: value.half() for key, value in tensors.items()}, folder / name)
    assert VideoUNet.from_pretrained(folder).dtype == torch.float32


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"mid_block_type": None}, "of another method"),
        ({"_class_name": "UNetMotionModel"}, "holds a UNetMotionModel"),
        ({"_class_name": "AutoencoderKL"}, "holds a AutoencoderKL"),
        ({"block_out_channels": [16, 16, 32, 64]}, "do not fit"),
        ({"down_block_types": ["NoBlock3D"] * 4}, "do not fit"),
    ],
)
def test_other_networks_are_refused(tmp_path, config, message):
    with pytest.raises(WeightsError, match=message) as error:
        VideoUNet.from_pretrained(folder_with(tmp_path, config), allow_pickle=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["tuned3d", "source2d"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated_weights_are_refused(tmp_path, kind, share):
    file = next((DATA / kind / "unet").glob("diffusion*"))
    data = file.read_bytes()
    folder = folder_with(tmp_path, kind=kind, weights={file.name: data[: int(share * len(data))]})
    with pytest.raises(WeightsError, match="damaged or no weight file") as error:
        VideoUNet.from_pretrained(folder, allow_pickle=True)
    assert "\n" not in str(error.value)


def test_incomplete_folders_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="is not a folder"):
        VideoUNet.from_pretrained(tmp_path / "none")
    with pytest.raises(WeightsError, match=r"no file .*config\.json"):
        VideoUNet.from_pretrained(tmp_path)
    folder = folder_with(tmp_path, weights={"readme": b""})
    with pytest.raises(WeightsError, match="holds no weights"):
        VideoUNet.from_pretrained(folder, allow_pickle=True)
    tensors = tuned_tensors()
    del tensors["mid_block.attentions.0.transformer_blocks.0.norm_temp.bias"]
    torch.save(tensors, folder / "diffusion_pytorch_model.bin")
    with pytest.raises(WeightsError, match="1 temporal tensors differ"):
        VideoUNet.from_pretrained(folder, allow_pickle=True)
    (folder / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="cannot be read as JSON"):
        VideoUNet.from_pretrained(folder, allow_pickle=True)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    folder = folder_with(tmp_path, weights={"unused": b""})
    torch.save({"conv_in.weight": Evil()}, folder / "diffusion_pytorch_model.bin")
    with pytest.raises(WeightsError):
        VideoUNet.from_pretrained(folder, allow_pickle=True)
    assert not (tmp_path / "ran").exists()


def test_pickles_are_read_only_where_allowed(tmp_path):
    folder = folder_with(tmp_path)
    with pytest.raises(WeightsError, match=r"only pickled weights \(diffusion_pytorch_model.bin\)") as error:
        VideoUNet.from_pretrained(folder)
    assert "expected safetensors" in str(error.value) and "allow_pickle=True" in str(error.value)
    assert "\n" not in str(error.value)
    state = VideoUNet.from_pretrained(folder, allow_pickle=True).unet.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in tuned_tensors().items())


def test_no_pickle_is_opened_unasked(tmp_path):
    """Neither alone, where it is damaged, nor beside safetensors."""
    name = "diffusion_pytorch_model.bin"
    with pytest.raises(WeightsError, match="only pickled weights"):
        VideoUNet.from_pretrained(folder_with(tmp_path / "alone", weights={name: b"damaged"}))
    folder = folder_with(tmp_path / "beside", kind="source2d")
    (folder / name).write_bytes(b"damaged")
    for allow_pickle in (False, True):
        VideoUNet.from_pretrained(folder, allow_pickle=allow_pickle)
