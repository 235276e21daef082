"""Facts of a model that are known before any weight is loaded: its folder, its shape, the sizes it can see."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videoedit.errors import ConfigError, WeightsError
from videoedit.models.assets import MINI, is_embedded
from videoedit.models.weights import first_line, read_config

if TYPE_CHECKING:
    from videoedit.media.video import VideoInfo
    from videoedit.types import Models, Video


def local_folder(model: str) -> Path | None:
    """The diffusers folder on this disk that a model name stands for, if it is one."""
    folder = MINI if is_embedded(model) else Path(model).expanduser()
    return folder if (folder / "unet/config.json").is_file() else None


@dataclass(frozen=True)
class ModelShape:
    """Facts that the config files of a model tell."""

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
        """From a diffusers folder; WeightsError if its configs are damaged."""
        unet, vae, text = (read_config(folder / part / "config.json") for part in ("unet", "vae", "text_encoder"))
        blocks, length = vae.get("block_out_channels"), text.get("max_position_embeddings", 77)
        side = unet.get("sample_size") or 64
        side = max(side) if isinstance(side, list) and len(side) == 2 and all(map(_is_count, side)) else side
        if not isinstance(blocks, list) or not 0 < len(blocks) < 9 or not _is_count(side) or not _is_count(length):
            raise WeightsError(
                f"{folder}: the sizes in its configs are damaged (the vae's block_out_channels, the unet's "
                "sample_size, or the text encoder's max_position_embeddings); copy or download it again"
            )
        factor = 2 ** (len(blocks) - 1)
        parts = ("unet", "vae", "text_encoder")
        files = [p for part in parts for p in (folder / part).glob("*.safetensors")]
        return ModelShape(
            factor=factor,
            native=side * factor,
            unet=unet,
            vae=vae,
            text_length=length,
            weights_mb=sum(p.stat().st_size for p in files) / 2**20,
        )

    def operations(self, size: tuple[int, int], batch: int) -> float:
        """Floating point operations of the UNet on `batch` pictures of `size` (width, height), without weights.

        WeightsError for a config that makes no such network.
        """
        import torch
        from diffusers import UNet2DConditionModel
        from torch.utils.flop_counter import FlopCounterMode

        try:
            with torch.device("meta"):
                unet: Any = UNet2DConditionModel.from_config(self.unet)
                latents = torch.empty(batch, self.unet["in_channels"], size[1] // self.factor, size[0] // self.factor)
                embeds = torch.empty(batch, self.text_length, self.unet["cross_attention_dim"])
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                unet(latents, 500, embeds)
        except Exception as error:
            raise WeightsError(f"the config of the model's unet makes no network: {first_line(error)}") from error
        return float(counter.get_total_flops())


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


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
