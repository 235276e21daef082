"""Sites of attention in a UNet: its attention layers as values that can be asked for place, kind and width."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from videoedit.errors import MethodError

BlockKind = Literal["down", "mid", "up"]
_NAME = re.compile(
    r"(?P<block>down|mid|up)_blocks?(?:\.(?P<index>\d+))?"
    r"\.attentions\.\d+\.transformer_blocks\.\d+\.attn(?P<number>[12])"
)


@dataclass(frozen=True)
class AttnSite:
    """One attention layer of a `UNet2DConditionModel`."""

    name: str  # "up_blocks.1.attentions.2.transformer_blocks.0.attn1"; the module's own name
    block: BlockKind
    index: int  # which down or up block, in the order they run; 0 for the middle
    kind: Literal["self", "cross"]
    channels: int  # width of the tokens

    @property
    def is_cross(self) -> bool:
        return self.kind == "cross"


def parse_site(name: str, channels: int) -> AttnSite:
    """Read a module name ("….attn1") into a site."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise MethodError(
            f"attention layer {name!r} is not one of a Stable-Diffusion-like UNet; "
            "expected a name such as 'up_blocks.1.attentions.0.transformer_blocks.0.attn1'"
        )
    block: BlockKind = match["block"]  # type: ignore[assignment]
    kind: Literal["self", "cross"] = "self" if match["number"] == "1" else "cross"
    return AttnSite(name, block, int(match["index"] or 0), kind, channels)


def attn_layers(unet: nn.Module) -> dict[str, Any]:
    """Every attention layer of `unet` by name, in the order of its `attn_processors`."""
    return {name: layer for name, layer in unet.named_modules() if hasattr(layer, "set_processor")}


def attn_sites(unet: nn.Module) -> tuple[AttnSite, ...]:
    """The sites of `attn_layers`."""
    return tuple(parse_site(name, int(layer.query_dim)) for name, layer in attn_layers(unet).items())
