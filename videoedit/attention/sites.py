"""Sites of attention in a UNet: its attention layers as values that can be asked for place, kind and width."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import nn

from videoedit.errors import MethodError

_NAME = re.compile(r"(down_blocks\.\d+|mid_block|up_blocks\.\d+)\.attentions\.\d+\.transformer_blocks\.\d+\.attn[12]")


@dataclass(frozen=True)
class AttnSite:
    """One attention layer of a `UNet2DConditionModel`."""

    name: str  # "up_blocks.1.attentions.2.transformer_blocks.0.attn1"; the module's own name
    channels: int  # width of the tokens

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise MethodError(
                f"attention layer {self.name!r} is not one of a Stable-Diffusion-like UNet; "
                "expected a name such as 'up_blocks.1.attentions.0.transformer_blocks.0.attn1'"
            )

    @property
    def block(self) -> str:
        """The part of the UNet that it is in: "down", "mid" or "up"."""
        return self.name.partition("_")[0]

    @property
    def is_cross(self) -> bool:
        return self.name.endswith("attn2")


def attn_layers(unet: nn.Module) -> dict[str, Any]:
    """Every attention layer of `unet` by name, in the order of its `attn_processors`."""
    return {name: layer for name, layer in unet.named_modules() if hasattr(layer, "set_processor")}


def attn_sites(unet: nn.Module) -> tuple[AttnSite, ...]:
    """The sites of `attn_layers`."""
    return tuple(AttnSite(name, int(layer.query_dim)) for name, layer in attn_layers(unet).items())
