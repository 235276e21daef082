"""LPIPS: how different two pictures look to a network (Zhang et al. 2018), version 0.1 on AlexNet.

Pictures are compared at their own size, uint8 ``[F, H, W, 3]`` RGB, both sides at least 31 pixels. 0 = identical;
0.1 is close, 0.5 another picture. The numbers are those of the package ``lpips`` 0.1.4.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videoedit.errors import ShapeError
from videoedit.metrics.sample import Figure, Sample
from videoedit.metrics.weights import LPIPS, find_weights
from videoedit.models.device import choose_device
from videoedit.models.fetch import fill

SMALLEST = 31  # pixels; of smaller pictures AlexNet's third layer sees nothing
TAPS = (1, 4, 7, 9, 11)  # the outputs of AlexNet's five rectified convolutions

Maps = tuple[Tensor, ...]  # of one pair of pictures: the difference at each layer, [1, h, w]


class Lpips(nn.Module):
    """The network, its tensors named as `videoedit models fetch lpips` writes them."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(  # torchvision's alexnet().features without its last pooling
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
        )
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in (64, 192, 384, 256, 256))
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1), persistent=False)

    def forward(
        self,
        first: Tensor,  # [B, 3, H, W] in [-1, 1]
        second: Tensor,  # the same
    ) -> list[Tensor]:
        """The weighed squared difference of the unit features of each layer, [B, 1, h, w] (Eq. 1 before its mean)."""
        pairs = zip(self.heads, self._unit_features(first), self._unit_features(second), strict=True)
        return [head((a - b) ** 2) for head, a, b in pairs]

    def _unit_features(self, pixels: Tensor) -> list[Tensor]:
        x, taps = (pixels - self.shift) / self.scale, []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in TAPS:
                taps.append(x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10))
        return taps


@functools.lru_cache(maxsize=2)
def load_lpips(path: Path) -> Lpips:
    """The network with the weights of a safetensors file, on a GPU if there is one."""
    network = Lpips()
    fill(network, path, "lpips")
    return network.eval().requires_grad_(False).to(choose_device(None))


def difference_maps(network: Lpips, frames: np.ndarray, others: np.ndarray) -> list[Maps]:
    """Maps of how much every two frames differ, at each layer. Frame by frame: long clips stay small."""
    if frames.shape != others.shape or min(frames.shape[1:3]) < SMALLEST:
        raise ShapeError(
            f"LPIPS needs two clips of one size, at least {SMALLEST} x {SMALLEST} pixels, "
            f"got {frames.shape[1:3]} and {others.shape[1:3]}"
        )
    device = network.shift.device
    found = []
    with torch.inference_mode():
        for pair in zip(frames, others, strict=True):
            pixels = torch.from_numpy(np.stack(pair)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
            found.append(tuple(layer[0].cpu() for layer in network(pixels[:1], pixels[1:])))
    return found


def distance(maps: Maps) -> float:
    """LPIPS of two pictures: the mean over the picture, added over the layers."""
    return float(sum(map(torch.mean, maps)))


def distance_inside(
    maps: Maps,
    where: np.ndarray,  # bool [H, W], True = counts
) -> float:
    """The mean over a region of the map that ``lpips`` calls spatial: layers enlarged bilinearly to the picture.

    ``nan`` for an empty region. A layer sees beyond the region's edge, so a change outside is felt a little inside.
    """
    if not where.any():
        return math.nan
    large = [F.interpolate(layer[None], where.shape, mode="bilinear", align_corners=False) for layer in maps]
    return float(sum(large)[0, 0][torch.from_numpy(where)].mean())  # type: ignore[index]


# -- of a sample ----------------------------------------------------------------------------------------


def lpips_of(sample: Sample) -> Figure:
    """LPIPS to the ground truth, mean over frames."""
    if sample.truth is None:
        return Figure(math.nan, reason="needs a ground truth")
    network = load_lpips(find_weights(LPIPS, sample.weights_dir))
    return _figure(list(map(distance, difference_maps(network, sample.frames, sample.truth))))


def lpips_source_of(sample: Sample) -> Figure:
    """LPIPS to the source where the edit should change something; anywhere, if that is not known."""
    if sample.change is None:
        return _figure(list(map(distance, _to_source(sample))))
    return _inside(sample, sample.change)


def lpips_keep_of(sample: Sample) -> Figure:
    """LPIPS to the source where the edit should change nothing."""
    if sample.keep is None:
        return Figure(math.nan, reason="needs a region that the edit should leave alone")
    return _inside(sample, sample.keep)


def _inside(sample: Sample, where: np.ndarray) -> Figure:
    return _figure([distance_inside(maps, region) for maps, region in zip(_to_source(sample), where, strict=True)])


def _to_source(sample: Sample) -> list[Maps]:
    if "lpips" not in sample.memo:
        network = load_lpips(find_weights(LPIPS, sample.weights_dir))
        sample.memo["lpips"] = difference_maps(network, sample.frames, sample.source)
    maps: list[Maps] = sample.memo["lpips"]
    return maps


def _figure(values: list[float]) -> Figure:
    """Their mean; frames without the region count for nothing."""
    seen = [value for value in values if not math.isnan(value)]
    if not seen:
        return Figure(math.nan, reason="the region is empty in every frame")
    return Figure(sum(seen) / len(seen), tuple(values))
