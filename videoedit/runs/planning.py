"""What a run will do, at which size, in about how much time and memory; known before any weight is loaded."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videoedit.config import ClipConfig
from videoedit.errors import ConfigError, InputError
from videoedit.models.assets import MINI, is_embedded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from videoedit.media.video import VideoInfo
    from videoedit.types import Models, Video

DEFAULT_FRAMES = 24  # the paper's and the official code's clip length
EFFICIENCY = 0.4  # share of the matrix throughput that a U-Net reaches; from benchmarks/


@dataclass(frozen=True)
class StagePlan:
    """One stage: what it does, its cost, its peak memory above the weights.

    The cost is given in floating point operations for a network and in seconds for other work.
    """

    name: str
    what: str
    flops: float = 0.0
    memory_mb: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """The answer of `videoedit run --dry-run`."""

    frames: str  # "24 of 80 frames, 10 fps"
    size: tuple[int, int]  # (width, height) that the model works at
    output_size: tuple[int, int]
    stages: tuple[StagePlan, ...]
    weights_mb: float
    notes: tuple[str, ...] = field(default_factory=tuple)
    status: Mapping[str, str] = field(default_factory=dict)  # by step: "kept", or "made: why"

    @property
    def memory_mb(self) -> float:
        """Peak of the whole run, with about 700 MB of libraries."""
        return 700 + self.weights_mb + max((s.memory_mb for s in self.stages), default=0)


@dataclass(frozen=True)
class Scene:
    """What a method's plan is made for: so many frames of a size, and the model's shape if it is known."""

    info: VideoInfo  # of the clip's file
    frames: int  # of them edited
    size: tuple[int, int]  # (width, height) to work at
    shape: ModelShape
    folder: Path | None  # of the model, if it is on this disk
    estimate: bool  # count operations and memory

    @property
    def known_shape(self) -> ModelShape | None:
        """The shape, if operations are to be counted on it."""
        return self.shape if self.estimate and self.folder else None


def choose_frames(available: int, config: ClipConfig, *, most: int | None = DEFAULT_FRAMES) -> int:
    """How many frames a run takes, `most` if nobody said; raises InputError when the clip has fewer than asked for."""
    video = config.video
    possible = max(0, math.ceil((available - video.start) / video.stride))
    if possible == 0:
        raise InputError(
            f"the clip has {available} frames, so none is left from video.start = {video.start}; start earlier"
        )
    if video.num_frames is not None and video.num_frames > possible:
        raise InputError(
            f"{video.num_frames} frames were asked for, but the clip has {possible} from frame {video.start} on"
            f"{f' at stride {video.stride}' if video.stride > 1 else ''}; ask for at most {possible} (--frames)"
        )
    return video.num_frames or min(possible, most or possible)


def working_size(
    source: tuple[int, int],
    asked: tuple[int, int] | None,
    *,
    factor: int,
    native: int,
) -> tuple[int, int]:
    """(width, height) at which the model sees the clip.

    `source` and `asked` are (width, height); `factor` is the VAE's; `native` is the model's own side in
    pixels. Without a wish: the model's own area at the clip's aspect, sides multiples of ``2 * factor``.
    Raises ConfigError for a size that is not a multiple of `factor`.
    """
    if asked is not None:
        if any(side % factor or side < 4 * factor for side in asked):
            fits = "x".join(str(max(4, round(side / factor)) * factor) for side in asked)
            raise ConfigError(
                f"--size {asked[0]}x{asked[1]} does not fit the model: sides must be multiples of {factor}, "
                f"at least {4 * factor}; the nearest that fits is {fits}"
            )
        return asked
    step = 2 * factor
    scale = math.sqrt(native * native / (source[0] * source[1]))
    width, height = (max(4 * step // 2, round(side * scale / step) * step) for side in source)
    return width, height


def size_for(models: Models, video: Video | VideoInfo, asked: tuple[int, int] | None) -> tuple[int, int]:
    """(width, height) at which these models see this clip; see `working_size`."""
    from videoedit.diffusion.latents import spatial_factor

    factor = spatial_factor(models.vae)
    config: Any = models.unet.config  # type: ignore[attr-defined]
    side = config.sample_size or 64
    side = side if isinstance(side, int) else max(side)
    return working_size((video.width, video.height), asked, factor=factor, native=side * factor)


def local_folder(model: str) -> Path | None:
    """The diffusers folder on this disk that a model name stands for, if it is one."""
    folder = MINI if is_embedded(model) else Path(model).expanduser()
    return folder if (folder / "unet/config.json").is_file() else None


@dataclass(frozen=True)
class ModelShape:
    """What can be known of a model from its config files."""

    factor: int
    native: int
    unet: dict[str, Any]
    vae: dict[str, Any]
    text_length: int
    weights_mb: float

    @staticmethod
    def unknown() -> ModelShape:
        """A guess for a model that is not on this disk: Stable Diffusion 1.x."""
        return ModelShape(factor=8, native=512, unet={}, vae={}, text_length=77, weights_mb=0.0)

    @staticmethod
    def read(folder: Path) -> ModelShape:
        """From a diffusers folder."""
        unet = json.loads((folder / "unet/config.json").read_text())
        vae = json.loads((folder / "vae/config.json").read_text())
        text = json.loads((folder / "text_encoder/config.json").read_text())
        factor = 2 ** (len(vae["block_out_channels"]) - 1)
        parts = ("unet", "vae", "text_encoder")
        files = [p for part in parts for p in (folder / part).glob("*.safetensors")]
        side = unet.get("sample_size") or 64
        side = side if isinstance(side, int) else max(side)
        return ModelShape(
            factor=factor,
            native=side * factor,
            unet=unet,
            vae=vae,
            text_length=text.get("max_position_embeddings", 77),
            weights_mb=sum(p.stat().st_size for p in files) / 2**20,
        )

    def operations(self, size: tuple[int, int], batch: int) -> float:
        """Floating point operations of the UNet on `batch` pictures of `size` (width, height), without weights."""
        import torch
        from diffusers import UNet2DConditionModel
        from torch.utils.flop_counter import FlopCounterMode

        with torch.device("meta"):
            unet: Any = UNet2DConditionModel.from_config(self.unet)
            latents = torch.empty(batch, self.unet["in_channels"], size[1] // self.factor, size[0] // self.factor)
            embeds = torch.empty(batch, self.text_length, self.unet["cross_attention_dim"])
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            unet(latents, 500, embeds)
        return float(counter.get_total_flops())


def measure_throughput(device: str | None = None) -> float:
    """Matrix throughput of this machine in floating point operations a second; takes about 0.3 s."""
    import torch

    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    a = torch.ones(1024, 1024, device=where)
    a @ a
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < 0.25:
        float((a @ a)[0, 0])
        count += 1
    return count * 2 * 1024**3 / (time.perf_counter() - began)


def describe(plan: Plan, folder: Path, device: str | None) -> str:
    """The plan as text for a person; measures this machine for about 0.3 s to estimate the time."""
    speed = EFFICIENCY * measure_throughput(device)
    rows = []
    for stage in plan.stages:
        seconds, memory = stage.flops / speed + stage.seconds, stage.memory_mb + plan.weights_mb
        rows.append(f"  {stage.name:<12} {stage.what:<64} {seconds:7.0f} s {memory:7.0f} MB")
    total = sum(stage.flops / speed + stage.seconds for stage in plan.stages)
    lines = [
        f"frames   {plan.frames}",
        "size     {}x{} in the model, {}x{} written".format(*plan.size, *plan.output_size),
        f"folder   {folder} (nothing is written by --dry-run)",
        "stages",
        *rows,
        f"in all   about {total:.0f} s and {plan.memory_mb:.0f} MB, estimated from operation counts "
        f"at {speed / 1e9:.0f} GFLOP/s, if nothing is kept",
    ]
    if plan.status:
        lines += ["steps", *(f"  {name:<28} {status}" for name, status in plan.status.items())]
    return "\n".join([*lines, *(f"note     {note}" for note in plan.notes)])
