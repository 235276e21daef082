"""The toolkit's attention layers at the sizes of two models: CPU seconds of one layer with its projections, one thread.

Sizes are those of the embedded model at its own size (24 frames) and of Stable Diffusion 1.5 at 512 x 512 (few
frames, and no backward pass at its finest layer, which would take minutes). Random weights and tokens, float32.

- "own frame": diffusers' stock processor; what an image U-Net does, and the least that video can cost.
- "first and previous": `FirstPrevious`, Tune-A-Video's and Rerender's attention, by each of torch's back ends that runs
  on this device (the first is what it takes by itself) and by xformers where that is installed; "written out" is its
  readable twin, with score matrices and doubled keys as in the official code, which the others are compared with.
- "temporal": Tune-A-Video's attention of each pixel over the frames, which the toolkit writes out, and by the fused
  kernel.

"training" is a forward and a backward pass. Each case has a process of its own; time is the best of several calls.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from common import Cost, measure_alone, publish
from diffusers.models.attention_processor import Attention
from results_schema import Row, row
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from tuneavideo.temporal import TemporalAttention
from videoedit import load_models
from videoedit.attention import FirstPrevious, FrameState, attn_sites, processors

REFERENCE = {  # what the cases are compared with
    "own frame": "first and previous, written out",
    "first and previous": "first and previous, written out",
    "temporal": "temporal, written out",
}
BACK_ENDS = {"flash": SDPBackend.FLASH_ATTENTION, "math": SDPBackend.MATH}


class Layer(NamedTuple):
    """One self-attention layer on one clip."""

    model: str
    side: int  # of the feature map: side * side tokens a frame
    channels: int
    heads: int
    frames: int
    training: bool = True
    repeats: int = 60

    def __str__(self) -> str:
        return f"{self.model} {self.side}x{self.side}, {self.heads} heads of {self.channels // self.heads}"


STABLE_DIFFUSION = (
    Layer("SD", 64, 320, 8, 3, training=False, repeats=1),
    Layer("SD", 32, 640, 8, 3, repeats=2),
    Layer("SD", 16, 1280, 8, 3, repeats=2),
    Layer("SD", 8, 1280, 8, 3, repeats=3),
)


@torch.no_grad()
def embedded_layers() -> list[Layer]:
    """The kinds of self-attention layer that the embedded model has, as they run; by size."""
    unet, found = load_models("mini", device="cpu").unet, set()

    def note(attention: Attention, inputs: tuple[Tensor], _output: Tensor) -> None:
        _, tokens, channels = inputs[0].shape
        found.add(Layer("embedded", math.isqrt(tokens), channels, attention.heads, 24))

    for site in attn_sites(unet):
        if not site.is_cross:
            unet.get_submodule(site.name).register_forward_hook(note)
    side = unet.config.sample_size
    text = torch.zeros(1, 1, unet.config.cross_attention_dim)
    unet(torch.zeros(1, unet.config.in_channels, side, side), 0, encoder_hidden_states=text)
    return sorted(found, key=lambda layer: -layer.side)


class FusedTemporal(TemporalAttention):
    """The same temporal attention by torch's fused kernel."""

    def forward(self, tokens: Tensor, frames: int, causal: bool = False) -> Tensor:
        q, k, v = (
            to(tokens).unflatten(0, (-1, frames)).unflatten(-1, (self.heads, -1)).permute(0, 2, 3, 1, 4).flatten(0, 1)
            for to in (self.to_q, self.to_k, self.to_v)
        )  # [B*N, H, F, D]
        out = processors.attention(q, k, v, q.shape[-1] ** -0.5).unflatten(0, (-1, tokens.shape[1]))
        return self.to_out[0](out.permute(0, 3, 1, 2, 4).flatten(0, 1).flatten(2))


def xformers_attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """`processors.attention` by xformers, which wants [*, N, H, D]."""
    from xformers.ops import memory_efficient_attention

    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    return memory_efficient_attention(query, key, value, scale=scale).transpose(1, 2)


def spatial(layer: Layer, processor: Any) -> Callable[[Tensor], Tensor]:
    attention = Attention(layer.channels, heads=layer.heads, dim_head=layer.channels // layer.heads)
    if processor is not None:
        attention.set_processor(processor)
    return attention


def module(layer: Layer, case: str) -> Callable[[Tensor], Tensor]:
    """The layer as a function of tokens ``[F, N, C]``. May change the process it runs in."""
    kind, _, how = case.partition(", ")
    if kind == "temporal":
        made = (FusedTemporal if how == "fused" else TemporalAttention)(layer.channels, layer.heads)
        return lambda tokens: made(tokens, layer.frames)
    if kind == "own frame":
        return spatial(layer, None)
    attended = spatial(layer, FirstPrevious(FrameState(num_frames=layer.frames)))
    if how == "written out":
        processors.frame_attention = processors.frame_attention_reference
    elif how == "xformers":
        processors.attention = xformers_attention
    else:
        return sdpa_kernel(BACK_ENDS[how])(attended)
    return attended


def prepare(layer: Layer, case: str, training: bool) -> Callable[[], None]:
    torch.manual_seed(0)
    function = module(layer, case)
    tokens = torch.randn(layer.frames, layer.side**2, layer.channels, requires_grad=training)

    def work() -> None:
        with torch.set_grad_enabled(training):
            out = function(tokens)
        if training:
            out.sum().backward()

    return work


def cases() -> list[str]:
    """What is measured; the part before the comma is a key of REFERENCE."""
    back_ends = [*BACK_ENDS, *(["xformers"] if importlib.util.find_spec("xformers") else []), "written out"]
    across = [f"first and previous, {name}" for name in back_ends]
    return ["own frame", *across, "temporal, written out", "temporal, fused"]


def rows() -> Iterator[Row]:
    for layer in (*embedded_layers(), *STABLE_DIFFUSION):
        yield from rows_of(layer, training=False)
        if layer.training:
            yield from rows_of(layer, training=True)


def rows_of(layer: Layer, *, training: bool) -> Iterator[Row]:
    """Time of every case and, where there is enough of it to be measured, memory."""
    group, what = f"{layer}, {layer.frames} frames", "training" if training else "forward"
    costs = dict(measured(layer, training))
    for case, cost in costs.items():
        reference = REFERENCE[case.partition(", ")[0]]
        against = None if case == reference else (reference, costs[reference].best)
        yield row(case, f"{what}, CPU time", cost.best, "s", "lower", group=group, values=cost.seconds, against=against)
        if layer.model == "SD":
            yield row(case, f"{what}, peak memory", cost.peak_gib, "GiB", "lower", group=group)


def measured(layer: Layer, training: bool) -> Iterator[tuple[str, Cost]]:
    for case in cases():
        try:
            yield case, measure_alone(prepare, layer, case, training, repeats=layer.repeats)
        except NotImplementedError as error:  # xformers has no kernel for this device
            print(f"{case}: {str(error).splitlines()[0]}")


def main() -> None:
    publish("attention", "Attention layers", rows(), method=__doc__)


if __name__ == "__main__":
    main()
