"""LPIPS: against the package of its authors (stored numbers), and against torchvision's AlexNet with random weights."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from videoedit.errors import ShapeError, WeightsError
from videoedit.files import cache_folder
from videoedit.metrics import METRICS, Figure, Sample, measure
from videoedit.metrics.lpips import SMALLEST, Lpips, difference_maps, distance, distance_inside, load_lpips
from videoedit.metrics.weights import find_weights
from videoedit.testing import panning

FETCHED = cache_folder() / "lpips.safetensors"  # of the user; the tests look elsewhere
GOLDEN = Path(__file__).parents[1] / "data" / "metrics" / "lpips.json"
AFTER_RELU = (2, 5, 8, 10, 12)  # how much of torchvision's alexnet().features comes before each tap


def waves(height: int, width: int, phase: float) -> np.ndarray:
    """Coloured waves, uint8 [H, W, 3]."""
    y, x = np.mgrid[:height, :width]
    channels = [np.sin(x / 7 + phase), np.sin((x + 2 * y) / 11 - phase), np.cos(y / 5 + 2 * phase)]
    return np.uint8(127.5 + 120 * np.stack(channels, axis=-1))


def noise(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def corner(picture: np.ndarray) -> np.ndarray:
    """The upper left quarter, bool [H, W]."""
    where = np.zeros(picture.shape[:2], bool)
    where[: picture.shape[0] // 2, : picture.shape[1] // 2] = True
    return where


GOLDEN_PAIRS = {
    "noise": (noise(64, 96, 0), noise(64, 96, 1)),
    "waves": (waves(120, 90, 0.0), waves(120, 90, 0.3)),
    "colours": (waves(72, 128, 0.0), waves(72, 128, 0.0)[..., ::-1].copy()),
    "smallest": (waves(SMALLEST, 33, 0.0), noise(SMALLEST, 33, 2)),
    "black and white": (np.zeros((48, 48, 3), np.uint8), np.full((48, 48, 3), 255, np.uint8)),
    "same": (waves(64, 64, 1.0), waves(64, 64, 1.0)),
}


@pytest.mark.skipif(not FETCHED.is_file(), reason="LPIPS's weights are not here; videoedit models fetch lpips")
@pytest.mark.parametrize("name", GOLDEN_PAIRS)
def test_the_numbers_are_those_of_the_authors_package(name: str) -> None:
    a, b = GOLDEN_PAIRS[name]
    golden = json.loads(GOLDEN.read_text())[name]
    (maps,) = difference_maps(load_lpips(FETCHED), a[None], b[None])
    assert distance(maps) == pytest.approx(golden["whole"], abs=1e-5)
    assert distance_inside(maps, corner(a)) == pytest.approx(golden["corner"], abs=1e-5)
    assert (distance(maps) == 0) == (name == "same")


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory) -> Path:
    """A folder with a file of random weights; heads are not negative, like the real ones."""
    folder = tmp_path_factory.mktemp("weights")
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, tensor in Lpips().state_dict().items():
        random = torch.randn(tensor.shape, generator=generator) / max(1, tensor[0].numel()) ** 0.5
        tensors[name] = random.abs() if name.startswith("heads") else random
    save_file(tensors, folder / "lpips.safetensors")
    return folder


def network(weights_dir: Path) -> Lpips:
    return load_lpips(find_weights("lpips", weights_dir))


def take(name: str, sample: Sample) -> Figure:
    return measure(METRICS[name], sample)


def clips(count: int = 3, size: tuple[int, int] = (64, 48)) -> tuple[np.ndarray, np.ndarray]:
    source = panning(count, size)
    edit = source.copy()
    edit[:, :, : size[0] // 2] = 255 - edit[:, :, : size[0] // 2]
    return edit, source


def left(frames: np.ndarray) -> np.ndarray:
    where = np.zeros(frames.shape[:3], bool)
    where[:, :, : frames.shape[2] // 2] = True
    return where


def test_the_network_is_torchvisions_alexnet_and_the_distance_that_of_the_paper(weights_dir: Path) -> None:
    """Eq. 1 of Zhang et al. 2018, written down once more."""
    from torchvision.models import alexnet

    ours, reference = network(weights_dir), alexnet(weights=None).eval()
    reference.features.load_state_dict(ours.features.state_dict())
    a, b = clips()
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    first, second = (
        torch.tensor((frames / 127.5 - 1 - shift) / scale, dtype=torch.float32).permute(0, 3, 1, 2) for frames in (a, b)
    )
    wanted = np.zeros(3)
    with torch.no_grad():
        for depth, head in zip(AFTER_RELU, ours.heads, strict=True):
            x, y = (reference.features[:depth](pixels) for pixels in (first, second))
            x, y = (f / f.norm(dim=1, keepdim=True).clamp(min=1e-10) for f in (x, y))
            wanted += torch.einsum("fchw,c->fhw", (x - y) ** 2, head.weight[0, :, 0, 0]).mean((1, 2)).numpy()
    got = [distance(maps) for maps in difference_maps(ours, a, b)]
    np.testing.assert_allclose(got, wanted, rtol=1e-4)
    assert wanted.min() > 0.01


def test_maps_are_enlarged_bilinearly():
    maps = (torch.tensor([[[0.0, 1.0], [2.0, 3.0]]]), torch.full((1, 1, 1), 10.0))
    where = np.zeros((4, 4), bool)
    where[1, 1] = True
    assert distance_inside(maps, where) == pytest.approx(0.25 * 1 + 0.25 * 2 + 10)


def test_the_region_is_read_off_the_enlarged_maps() -> None:
    """A layer that is 1 on its left half and 0 on its right, enlarged, is 1 on the left quarter."""
    layer = torch.tensor([[[1.0, 1.0, 0.0, 0.0]] * 4])
    where = np.zeros((16, 16), bool)
    where[:, :4] = True
    assert distance_inside((layer, 2 * layer), where) == pytest.approx(3)
    assert distance_inside((layer, 2 * layer), where[:, ::-1].copy()) == 0
    assert distance_inside((layer,), np.ones((16, 16), bool)) == pytest.approx(0.5)
    assert math.isnan(distance_inside((layer,), np.zeros((16, 16), bool)))


def test_lpips_to_the_truth_and_to_the_source(weights_dir: Path) -> None:
    edit, source = clips()
    sample = Sample(edit, source, truth=edit, weights_dir=weights_dir)
    assert take("lpips@alex", sample) == Figure(0.0, (0.0, 0.0, 0.0))
    figure = take("lpips_source@alex", sample)  # the region is not known: all of the frame
    wanted = [distance(maps) for maps in difference_maps(network(weights_dir), source, edit)]
    assert figure.value == pytest.approx(np.mean(wanted)) and figure.series == pytest.approx(wanted)
    assert take("lpips_source@alex", Sample(source, source, weights_dir=weights_dir)).value == 0
    assert take("lpips_keep@alex", sample).reason.startswith("needs a region")


def test_regions_are_what_should_change_and_what_should_stay(weights_dir: Path) -> None:
    edit, source = clips(size=(128, 48))
    figures = {
        kind: {
            name: take(name, Sample(edit, source, kind=kind, mask=left(edit), weights_dir=weights_dir)).value
            for name in ("lpips_source@alex", "lpips_keep@alex")
        }
        for kind in ("subject", "background")
    }
    assert figures["subject"]["lpips_source@alex"] > 3 * figures["subject"]["lpips_keep@alex"] > 0
    assert figures["subject"]["lpips_source@alex"] == figures["background"]["lpips_keep@alex"]
    assert figures["subject"]["lpips_keep@alex"] == figures["background"]["lpips_source@alex"]


def test_frames_without_the_region_count_for_nothing(weights_dir: Path) -> None:
    edit, source = clips()
    mask = left(edit)
    mask[1] = False
    figure = take("lpips_source@alex", Sample(edit, source, kind="subject", mask=mask, weights_dir=weights_dir))
    assert figure.series and math.isnan(figure.series[1])
    assert figure.value == pytest.approx((figure.series[0] + figure.series[2]) / 2)
    nothing = Sample(edit, source, kind="subject", mask=np.zeros_like(mask), weights_dir=weights_dir)
    assert take("lpips_source@alex", nothing).reason == "the region is empty in every frame"


def test_the_source_is_compared_once(weights_dir: Path, monkeypatch) -> None:
    from videoedit.metrics import lpips as module

    sample = Sample(*clips(), kind="subject", mask=left(clips()[0]), weights_dir=weights_dir)
    assert take("lpips_source@alex", sample).value > 0
    monkeypatch.setattr(module, "difference_maps", None)
    assert take("lpips_keep@alex", sample).value > 0


def test_frames_that_are_too_small_or_differ_in_size_are_one_line(weights_dir: Path) -> None:
    small = panning(2, (64, SMALLEST - 1))
    assert (
        "at least 31 x 31 pixels, got (30, 64)"
        in take("lpips_source@alex", Sample(small, small, weights_dir=weights_dir)).reason
    )
    with pytest.raises(ShapeError):
        difference_maps(network(weights_dir), panning(2, (64, 48)), panning(2, (48, 64)))


def test_missing_and_wrong_weights_are_one_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("VIDEOEDIT_CACHE", str(tmp_path / "cache"))
    edit, source = clips()
    reason = take("lpips_source@alex", Sample(edit, source, weights_dir=tmp_path)).reason
    assert (
        reason.startswith("needs LPIPS (65 to 245 MB, licence: BSD-2-Clause")
        and "`videoedit models fetch lpips`" in reason
    )
    path = tmp_path / "lpips.safetensors"
    save_file({"features.0.weight": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match=r"does not hold the weights of LPIPS .* fetch lpips"):
        load_lpips(path)
    assert "\n" not in take("lpips_source@alex", Sample(edit, source, weights_dir=tmp_path)).reason
