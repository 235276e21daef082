"""Facts of a model that are known before any weight is loaded: its folder, its shape, the sizes it can see."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videoedit.errors import ConfigError
from videoedit.models.assets import MINI, is_embedded

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
        """From a diffusers folder."""
        unet = json.loads((folder / "unet/config.json").read_text("utf-8"))
        vae = json.loads((folder / "vae/config.json").read_text("utf-8"))
        text = json.loads((folder / "text_encoder/config.json").read_text("utf-8"))
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
