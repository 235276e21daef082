"""Where a UNet attends: its attention layers as values that can be asked for place, kind and width."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from torch import nn

from videoedit.errors import MethodError

BlockKind = Literal["down", "mid", "up"]
_NAME = re.compile(
    r"(?P<block>down|mid|up)_blocks?(?:\.(?P<index>\d+))?"
    r"\.attentions\.(?P<position>\d+)\.transformer_blocks\.(?P<depth>\d+)\.attn(?P<number>[12])"
)


@dataclass(frozen=True)
class AttnSite:
    """One attention layer of a `UNet2DConditionModel`."""

    name: str  # "up_blocks.1.attentions.2.transformer_blocks.0.attn1"; the module's own name
    block: BlockKind
    index: int  # which down or up block, in the order they run; 0 for the middle
    position: int  # which transformer inside that block
    depth: int  # which transformer block inside that transformer
    kind: Literal["self", "cross"]
    channels: int  # width of the tokens

    @property
    def is_cross(self) -> bool:
        return self.kind == "cross"

    @property
    def transformer_block(self) -> str:
        """Name of the `BasicTransformerBlock` that holds this layer."""
        return self.name.rpartition(".")[0]


def parse_site(name: str, channels: int = 0) -> AttnSite:
    """Read a module or processor name ("….attn1" or "….attn1.processor") into a site."""
    name = name.removesuffix(".processor")
    match = _NAME.fullmatch(name)
    if match is None:
        raise MethodError(
            f"attention layer {name!r} is not one of a Stable-Diffusion-like UNet; "
            "expected a name such as 'up_blocks.1.attentions.0.transformer_blocks.0.attn1'"
        )
    block: BlockKind = match["block"]  # type: ignore[assignment]
    return AttnSite(
        name=name,
        block=block,
        index=int(match["index"] or 0),
        position=int(match["position"]),
        depth=int(match["depth"]),
        kind="self" if match["number"] == "1" else "cross",
        channels=channels,
    )


def attn_sites(unet: nn.Module) -> tuple[AttnSite, ...]:
    """Every attention layer of `unet`, in the order of its `attn_processors`."""
    layers = ((name, layer) for name, layer in unet.named_modules() if hasattr(layer, "set_processor"))
    return tuple(parse_site(name, int(layer.query_dim)) for name, layer in layers)  # type: ignore[arg-type]
