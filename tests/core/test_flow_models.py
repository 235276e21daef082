"""Estimators of optical flow, their choice by name, flow files, and the cache."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models.optical_flow import Raft_Large_Weights, raft_small

from videoedit.errors import ConfigError, InputError, MethodError, OutputError, ShapeError, WeightsError
from videoedit.files import cache_folder
from videoedit.models.fetch import FETCHABLE
from videoedit.motion import estimators as flow_models
from videoedit.motion.cache import FlowCache
from videoedit.motion.estimators import Dis, FlowFiles, Raft, flow_pair, load_flow, read_flow
from videoedit.motion.flow import warp

DATA = Path(__file__).parents[1] / "data" / "flow"
CACHE = cache_folder()  # the user's own, before the tests set another


def texture(height: int = 64, width: int = 96) -> np.ndarray:
    noise = np.random.default_rng(0).uniform(0, 255, (height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def shifted(dx: int, dy: int, height: int = 64, width: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Two pictures; all in the first moves by (dx, dy), at most 8 pixels, to be in the second."""
    scene = texture(height + 16, width + 16)
    return scene[8 : 8 + height, 8 : 8 + width], scene[8 - dy : 8 - dy + height, 8 - dx : 8 - dx + width]


@pytest.fixture(autouse=True)
def empty_caches(tmp_path: Path, monkeypatch) -> None:
    """No weights anywhere, and nothing to download them from."""
    monkeypatch.setenv("VIDEOEDIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")


# -- RAFT ------------------------------------------------------------------------------------------------


def bunny() -> tuple[np.ndarray, np.ndarray]:
    pictures = [cv2.imread(str(DATA / f"bunny_{index:04d}.png"))[..., ::-1] for index in (0, 5)]
    return pictures[0], pictures[1]


@pytest.mark.parametrize(("size", "name"), [("large", "raft-sintel"), ("small", "raft-small")])
def test_raft_agrees_with_the_original_network(size: str, name: str) -> None:
    """The fixture is the original network's output at 234 x 132, which has to be filled up to 240 x 136."""
    weights = CACHE / f"{name}.safetensors"
    if not weights.is_file():
        pytest.skip(f"the weights are not here; `videoedit models fetch {name}` gets them")
    original = load_file(DATA / "raft_original.safetensors")[name]
    raft = Raft(size, load_file(weights), device="cpu")
    first, second = bunny()
    assert (raft(first, second) - original).abs().max() <= 1e-3
    assert (raft(first[..., ::-1], second[..., ::-1]) - original).abs().max() > 0.1, "blue taken for red must show"
    with torch.no_grad():
        raft.network.context_encoder.conv.weight += 1e-3
    assert (raft(first, second) - original).abs().max() > 0.1, "a change of the weights must show"


def tiny_raft(**kwargs) -> Raft:
    torch.manual_seed(0)
    return Raft("small", raft_small(weights=None).state_dict(), device="cpu", **kwargs)


def test_raft_sees_red_green_and_blue_from_minus_1_to_1() -> None:
    raft, seen = tiny_raft(), []
    raft.network.register_forward_pre_hook(lambda _, pictures: seen.extend(pictures))
    first, second = shifted(2, 1, 128, 136)
    raft(first, second)
    for picture, given in zip((first, second), seen, strict=True):
        torch.testing.assert_close(given[0].permute(1, 2, 0), torch.from_numpy(picture.copy()).float() / 127.5 - 1)


@pytest.mark.parametrize(("height", "width"), [(128, 136), (131, 150), (36, 64)])
def test_raft_takes_pictures_of_any_size(height: int, width: int) -> None:
    flow = tiny_raft()(texture(height, width), texture(height, width))
    assert flow.shape == (1, 2, height, width) and flow.dtype == torch.float32
    assert torch.isfinite(flow).all() and not flow.requires_grad


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ((180, 320), (180, 320)),
        ((540, 960), (540, 960)),
        ((36, 64), (128, 228)),  # enlarged to sides of 128
        ((1080, 1920), (543, 965)),  # reduced to 2**19 pixels
    ],
)
def test_working_sizes_and_flow_in_pixels_of_the_picture(given: tuple[int, int], seen: tuple[int, int]) -> None:
    sizes = []

    def tenth_of_the_picture(pictures: torch.Tensor) -> torch.Tensor:
        height, width = pictures.shape[-2:]
        sizes.append((height, width))
        return torch.tensor([width / 10, height / 10]).view(1, 2, 1, 1).expand(1, 2, height, width)

    pictures = torch.zeros(2, 1, *given)
    flow = flow_models._at_working_size(tenth_of_the_picture, pictures, flow_models.RAFT_SIDE, flow_models.RAFT_AREA)
    assert sizes == [seen]
    assert flow.shape == (1, 2, *given)
    assert torch.allclose(flow[:, 0], torch.tensor(given[1] / 10)) and torch.allclose(
        flow[:, 1], torch.tensor(given[0] / 10)
    )


def test_weights_of_another_network_are_explained() -> None:
    with pytest.raises(WeightsError, match="not the weights of RAFT large"):
        Raft("large", raft_small(weights=None).state_dict())


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_explained(device: str) -> None:
    with pytest.raises(ConfigError, match=device):
        Raft("small", raft_small(weights=None).state_dict(), device=device)


# -- DIS -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, -2), (-4, 3)])
def test_dis_finds_a_shift_from_reference_to_target(dx: int, dy: int) -> None:
    first, second = shifted(dx, dy)
    flow = Dis()(first, second)
    assert flow.shape == (1, 2, 64, 96) and flow.dtype == torch.float32
    assert torch.allclose(flow[0, :, 12:-12, 12:-12].mean((1, 2)), torch.tensor([dx, dy]).float(), atol=0.1)


def test_the_presets_of_dis_differ() -> None:
    first, second = shifted(3, 1)
    flows = {Dis(preset).name: Dis(preset)(first, second) for preset in Dis.PRESETS}
    assert list(flows) == ["dis-ultrafast", "dis-fast", "dis"]
    assert not torch.equal(flows["dis-fast"], flows["dis"])
    with pytest.raises(ConfigError, match="ultrafast, fast, medium"):
        Dis("slow")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (8, 8), (9, 40)])
def test_dis_takes_tiny_pictures(height: int, width: int) -> None:
    flow = Dis()(texture(height, width), texture(height, width))
    assert flow.shape == (1, 2, height, width) and torch.isfinite(flow).all()


# -- by name ---------------------------------------------------------------------------------------------


def test_auto_without_weights_is_dis_and_says_so(caplog) -> None:
    with caplog.at_level(logging.WARNING, "videoedit"):
        assert isinstance(load_flow(), Dis)
    assert "DIS" in caplog.text and "videoedit models fetch raft-sintel" in caplog.text
    caplog.clear()
    assert isinstance(load_flow("dis"), Dis) and not caplog.text


def test_propagation_estimates_motion_on_the_device_of_its_run(tmp_path: Path) -> None:
    from rerender.config import PropagateConfig
    from rerender.stream import Propagation

    pinned = {"source_sha256": FETCHABLE["raft-small"].pinned().pop()}
    (tmp_path / "cache").mkdir()
    save_file(raft_small(weights=None).state_dict(), tmp_path / "cache" / "raft-small.safetensors", pinned)
    given: tuple[Any, ...] = (None, None, {}, {}, (), 0)
    propagation = Propagation(PropagateConfig(flow="raft-small"), *given, device=torch.device("meta"))
    assert propagation.estimator.device.type == "meta"


def test_auto_takes_fetched_weights(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    pinned = {"source_sha256": FETCHABLE["raft-small"].pinned().pop()}
    save_file(raft_small(weights=None).state_dict(), tmp_path / "cache" / "raft-small.safetensors", pinned)
    estimator = load_flow("auto", "cpu")
    assert isinstance(estimator, Raft) and estimator.name == "raft-small"


def in_torch_hub(tmp_path: Path) -> Path:
    path = tmp_path / "torch" / "hub" / "checkpoints" / Raft_Large_Weights.C_T_SKHT_V2.url.rsplit("/", 1)[1]
    path.parent.mkdir(parents=True)
    return path


def test_auto_takes_what_torchvision_has_downloaded(tmp_path: Path) -> None:
    from torchvision.models.optical_flow import raft_large

    torch.save(raft_large(weights=None).state_dict(), in_torch_hub(tmp_path))
    assert load_flow("auto", "cpu").name == "raft-large"


@pytest.mark.parametrize("content", [b"", b"no weights", b"\x80\x02garbage"])
def test_a_damaged_download_of_torchvision_is_named(tmp_path: Path, content: bytes) -> None:
    path = in_torch_hub(tmp_path)
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="is damaged") as raised:
        load_flow("raft-large")
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(("name", "advice"), [("raft-large", "raft-sintel"), ("raft-small", "raft-small")])
def test_raft_by_name_without_weights_or_network_is_explained(name: str, advice: str) -> None:
    with pytest.raises(WeightsError, match=f"weights of {name} .* `videoedit models fetch {advice}`") as raised:
        load_flow(name)
    assert "\n" not in str(raised.value)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="auto, raft-large, raft-sintel, raft-small, dis, or a folder"):
        load_flow("gmflow")


# -- files -----------------------------------------------------------------------------------------------


def constant(dx: float, dy: float) -> np.ndarray:
    """[H, W, 2] of 20 x 30."""
    return np.broadcast_to(np.float32([dx, dy]), (20, 30, 2)).copy()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Steps 4 -> 5 -> 6 and back, in two formats and two layouts."""
    folder = tmp_path / "flow é"
    folder.mkdir()
    cv2.writeOpticalFlow(str(tmp_path / "x.flo"), constant(2, 1))
    (tmp_path / "x.flo").rename(folder / "0004_0005.flo")
    np.save(folder / "clip 1 flow 5-6.npy", constant(1, 0).transpose(2, 0, 1))
    np.save(folder / "0006_0005.npy", constant(-1, 0))
    np.save(folder / "0005_0004.npy", constant(-2, -1).astype(np.float64))
    return folder


FRAME = np.zeros((20, 30, 3), np.uint8)


def at(flow: torch.Tensor) -> tuple[float, float]:
    """The vector of a flow that is the same everywhere."""
    assert flow.shape == (1, 2, 20, 30) and flow.dtype == torch.float32
    assert torch.allclose(flow, flow[..., :1, :1].expand_as(flow))
    return flow[0, 0, 0, 0].item(), flow[0, 1, 0, 0].item()


def test_flow_files_are_found_by_frame_numbers(folder: Path) -> None:
    files = load_flow(folder)
    assert at(files(FRAME, FRAME, (4, 5))) == (2, 1)
    assert at(files(FRAME, FRAME, (5, 6))) == (1, 0)
    assert at(files(FRAME, FRAME, (6, 5))) == (-1, 0)
    assert at(files(FRAME, FRAME, (5, 4))) == (-2, -1)
    pair = flow_pair(files, FRAME, FRAME, indices=(4, 5))
    assert at(pair.fwd) == (2, 1) and at(pair.bwd) == (-2, -1)


def test_steps_between_neighbours_are_composed_unless_the_file_is_there(folder: Path) -> None:
    assert at(FlowFiles(folder)(FRAME, FRAME, (4, 6))) == (3, 1)
    assert at(FlowFiles(folder)(FRAME, FRAME, (6, 4))) == (-3, -1)
    assert at(FlowFiles(folder)(FRAME, FRAME, (5, 5))) == (0, 0)
    np.save(folder / "0004_0006.npy", constant(7, 7))
    assert at(FlowFiles(folder)(FRAME, FRAME, (4, 6))) == (7, 7)


def test_the_name_of_flow_files_changes_with_them(folder: Path) -> None:
    name = FlowFiles(folder).name
    assert FlowFiles(folder).name == name
    np.save(folder / "0006_0005.npy", constant(-1, 3).astype(np.float64))
    assert FlowFiles(folder).name != name


def test_missing_flow_files_are_named(folder: Path) -> None:
    with pytest.raises(InputError, match=r"no flow from frame 6 to frame 7; .* 0006_0007\.flo or \.npy"):
        FlowFiles(folder)(FRAME, FRAME, (4, 8))
    with pytest.raises(MethodError, match="indices"):
        FlowFiles(folder)(FRAME, FRAME)


def test_flow_files_of_another_size_are_explained(folder: Path) -> None:
    large = np.zeros((40, 60, 3), np.uint8)
    with pytest.raises(InputError, match=r"0004_0005\.flo is 30x20, the frames are 60x40"):
        FlowFiles(folder)(large, large, (4, 5))


@pytest.mark.parametrize("content", [b"", b"PIEH", b"PIEH" + bytes(8), b"nonsense", b"PIEH\xff\xff\xff\xff\x01\0\0\0"])
@pytest.mark.parametrize("suffix", [".flo", ".npy"])
def test_damaged_flow_files_are_named(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"0001_0002{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"0001_0002{suffix}") as raised:
        read_flow(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((20, 30)), "shape"),
        (np.zeros((20, 30, 3)), "shape"),
        (np.zeros((20, 30, 2), complex), "complex128"),
        (np.full((20, 30, 2), np.nan), "not finite"),
        (np.array([{"a": 1}]), "cannot be read"),
    ],
)
def test_arrays_that_are_no_flow_are_explained(tmp_path: Path, array: np.ndarray, reason: str) -> None:
    np.save(tmp_path / "0001_0002.npy", array)
    with pytest.raises(InputError, match=reason):
        read_flow(tmp_path / "0001_0002.npy")


def test_folders_that_are_not_usable_are_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        FlowFiles(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no \.flo or \.npy files"):
        FlowFiles(tmp_path)
    np.save(tmp_path / "flow12.npy", constant(0, 0))
    with pytest.raises(InputError, match="which frames"):
        FlowFiles(tmp_path)
    (tmp_path / "flow12.npy").rename(tmp_path / "1_2.npy")
    np.save(tmp_path / "01_02.npy", constant(0, 0))
    with pytest.raises(InputError, match=r"01_02\.npy and 1_2\.npy .* both for frames \(1, 2\)"):
        FlowFiles(tmp_path)


# -- pairs and cache -------------------------------------------------------------------------------------

PARTS = ("fwd", "bwd", "occ_fwd", "occ_bwd")


def same(one, two) -> bool:
    return all(torch.equal(getattr(one, part), getattr(two, part)) for part in PARTS)


def test_a_pair_goes_both_ways_and_knows_what_is_occluded() -> None:
    first, second = shifted(4, 0)
    pair = flow_pair(Dis(), first, second)
    assert pair.fwd[0, 0, 32, 48] == pytest.approx(4, abs=0.1) and pair.bwd[0, 0, 32, 48] == pytest.approx(-4, abs=0.1)
    assert pair.occ_fwd.shape == (1, 1, 64, 96) and pair.occ_fwd.dtype == torch.bool
    assert pair.occ_fwd[..., -2:].float().mean() > 0.9 and pair.occ_bwd[..., :2].float().mean() > 0.9
    picture = torch.from_numpy(first.copy()).permute(2, 0, 1)[None].float()
    moved = warp(picture, pair.bwd)[0].permute(1, 2, 0).numpy()
    assert np.abs(moved - second)[8:-8, 12:-8].mean() < 2 < np.abs(first.astype(float) - second)[8:-8, 12:-8].mean()


def test_a_cache_changes_no_result(tmp_path: Path) -> None:
    first, second = shifted(3, 2)
    cache = FlowCache(tmp_path / "flow", "dis")
    plain, cold = flow_pair(Dis(), first, second), flow_pair(Dis(), first, second, cache)
    written = cache.path(first, second).stat().st_mtime_ns
    warm = flow_pair(Dis(), first, second, cache)
    assert same(plain, cold) and same(cold, warm)
    assert cache.path(first, second).stat().st_mtime_ns == written
    assert [p.name for p in (tmp_path / "flow").iterdir()] == [cache.path(first, second).name]
    assert plain.fwd.dtype == torch.float32


def test_other_pictures_sizes_and_estimators_have_other_files(tmp_path: Path) -> None:
    first, second = shifted(3, 2)
    paths = {
        FlowCache(tmp_path, "dis").path(first, second),
        FlowCache(tmp_path, "raft").path(first, second),
        FlowCache(tmp_path, "dis").path(second, first),
        FlowCache(tmp_path, "dis").path(first, first),
        FlowCache(tmp_path, "dis").path(first.reshape(96, 64, 3), second.reshape(96, 64, 3)),
    }
    assert len(paths) == 5


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def of_another_size(path: Path) -> None:
    save_file({"fwd": torch.zeros(1, 2, 4, 4).half(), "bwd": torch.zeros(1, 2, 4, 4).half()}, path)


def of_something_else(path: Path) -> None:
    save_file({"x": torch.zeros(3)}, path)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, of_another_size, of_something_else])
def test_a_damaged_cache_file_is_named_and_made_again(tmp_path: Path, caplog, damage) -> None:
    first, second = shifted(3, 2)
    cache = FlowCache(tmp_path, "dis")
    pair = flow_pair(Dis(), first, second, cache)
    path = cache.path(first, second)
    content = path.read_bytes()
    damage(path)
    with caplog.at_level(logging.WARNING, "videoedit"):
        assert same(flow_pair(Dis(), first, second, cache), pair)
    assert len(caplog.records) == 1 and str(path) in caplog.text and "\n" not in caplog.records[0].getMessage()
    assert path.read_bytes() == content


def test_a_cache_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "flow").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="flow"):
        flow_pair(Dis(), *shifted(1, 0), FlowCache(tmp_path / "flow", "dis"))


def test_displacements_beyond_half_precision_stay_finite(tmp_path: Path) -> None:
    for name, value in (("0_1", 1e10), ("1_0", -1e10)):
        np.save(tmp_path / f"{name}.npy", constant(value, 0))
    pair = flow_pair(FlowFiles(tmp_path), FRAME, FRAME, indices=(0, 1))
    assert torch.isfinite(pair.fwd).all() and pair.occ_fwd.all()


def test_pictures_that_do_not_fit_are_explained() -> None:
    for first, second in [(FRAME, FRAME[:10]), (FRAME[..., 0], FRAME[..., 0])]:
        with pytest.raises(ShapeError, match="one size"):
            flow_pair(Dis(), first, second)


def test_importing_loads_no_diffusers() -> None:
    import subprocess

    script = (
        "import sys, videoedit.motion.estimators; print([m for m in ('diffusers', 'torchvision') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", flow_models.RAFTS)
def test_the_names_of_torchvisions_weights_are_torchvisions(name: str) -> None:
    assert flow_models.torchvision_weights(name).url.endswith("/" + flow_models.RAFTS[name][2])


def test_choosing_an_estimator_does_not_import_torchvision() -> None:
    """It takes seconds, and every propagation asks for the name of its flow."""
    code = "import sys; from videoedit.motion.estimators import flow_name; flow_name(); sys.exit('torchvision' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
