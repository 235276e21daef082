"""The patch that turns an image UNet into a video UNet, and its modules: temporal attention, pooled group norm, LoRA.

Legend: B clips, F frames, N tokens (pixels) of a frame, C channels, H heads, D = C / H. A frame is one item of the
image UNet's batch, frames of a clip are neighbours: tokens are ``[B*F, N, C]``, feature maps ``[B*F, C, h, w]``.
"Tune-A-Video" below is Wu et al., ICCV 2023.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

from tuneavideo.config import NetworkConfig
from videoedit.attention import AttnSite, FirstPrevious, FrameState, Patch
from videoedit.attention.registry import ForwardHook

QUERIES = ("attn1.to_q", "attn2.to_q")  # the query projections of a transformer block
FEATURES = re.compile(r"up_blocks\.(\d+)\.resnets\.\d+\.conv2")  # what a residual block adds, in the decoder
POOLED_NORM = re.compile(r"resnets\.\d+\.norm[12]$|^conv_norm_out$")

Share = Callable[[Tensor], Tensor]  # what edits take from their source


def video_patch(unet: nn.Module, state: FrameState, generator: torch.Generator | None, network: NetworkConfig) -> Patch:
    """Patch with the parts of a video UNet, for `videoedit.attention.install`.

    - a processor for each self-attention that lets frames see the first and the previous one;
    - ``norm_temp`` and ``attn_temp`` for each transformer block, applied to the block's output by a forward hook;
    - group norms of the residual blocks whose statistics run over the frames of a clip;
    - if asked, low-rank changes of the query projections.
    Self-attention, temporal attention and the decoder's residual blocks are sites of `state.shared`.

    `generator` draws the new parameters, all temporal ones before the low-rank ones.
    """
    blocks = transformer_blocks(unet)
    added = temporal_modules(blocks, network.init, generator)
    queries = [f"{name}.{query}" for name in blocks for query in QUERIES if network.lora_rank > 0]
    for name in queries:
        added[f"{name}.lora"] = QueryLoRA(unet.get_submodule(name), network.lora_rank, generator)
    like = next(unet.parameters())
    for module in added.values():
        module.to(like)
    hooks: dict[str, ForwardHook] = dict.fromkeys(queries, add_low_rank)
    processors = {}
    for name, block in blocks.items():
        site = AttnSite(f"{name}.attn1", block.norm1.normalized_shape[0])
        processors[site.name] = FirstPrevious(state, network.attention, site)
        hooks[name] = partial(add_temporal, state, network.temporal_mask == "causal", f"{name}.attn_temp")
    for name, _ in unet.named_modules():
        if FEATURES.fullmatch(name):
            hooks[name] = partial(share_features, state, name)
    norms = clip_norms(unet, state) if network.group_norm == "clip" else {}
    return Patch(processors, added | norms, hooks)


def transformer_blocks(unet: nn.Module) -> dict[str, Any]:
    """The UNet's transformer blocks by name."""
    return {name: module for name, module in unet.named_modules() if isinstance(module, BasicTransformerBlock)}


def temporal_modules(blocks: Mapping[str, Any], init: str, generator: torch.Generator | None) -> dict[str, nn.Module]:
    """New ``norm_temp`` and ``attn_temp`` for each block, by name."""
    modules: dict[str, nn.Module] = {}
    for name, block in blocks.items():
        dim = block.norm1.normalized_shape[0]
        modules[f"{name}.norm_temp"] = nn.LayerNorm(dim)
        modules[f"{name}.attn_temp"] = TemporalAttention(dim, block.attn1.heads, init, generator)
    return modules


def clip_norms(unet: nn.Module, state: FrameState) -> dict[str, nn.Module]:
    """Norms over whole clips, by the name of the one they stand in for, whose parameters they share."""
    norms: dict[str, nn.Module] = {}
    for name, module in unet.named_modules():
        if isinstance(module, nn.GroupNorm) and POOLED_NORM.search(name):
            norms[name] = ClipGroupNorm(module, state)
    return norms


def add_temporal(state: FrameState, causal: bool, site: str, block: Any, _args: Any, output: Tensor) -> Tensor:
    """Forward hook of a transformer block: temporal attention on top of its output ``[B*F, N, C]``."""
    share = partial(state.share, site)
    return output + block.attn_temp(block.norm_temp(output), state.num_frames, causal, share)


def share_features(state: FrameState, site: str, _layer: Any, _args: Any, output: Tensor) -> Tensor:
    """Forward hook of a residual block's last convolution: what it adds to its shortcut ``[B*F, C, h, w]``."""
    return state.share(site, output)


def add_low_rank(layer: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Forward hook of a query projection: the low-rank change on top of its output."""
    return output + layer.lora(args[0])


def linear(inputs: int, outputs: int, bias: bool, generator: torch.Generator | None) -> nn.Linear:
    """A linear layer with torch's default initialisation, drawn from `generator`."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=bias)
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    if bias:
        bound = 1 / math.sqrt(inputs)
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer


class TemporalAttention(nn.Module):
    """Attention of each pixel over the frames of its clip, without position code (Tune-A-Video, section 3.2).

    A plain module with the official names; diffusers' `Attention` would make it an attention site of the UNet and
    let other tools replace its processor. `init="identity"` starts with an output of zero, "official" with the
    random output bias that the official code leaves.
    """

    def __init__(self, dim: int, heads: int, init: str = "identity", generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = linear(dim, dim, bias=False, generator=generator)
        self.to_k = linear(dim, dim, bias=False, generator=generator)
        self.to_v = linear(dim, dim, bias=False, generator=generator)
        out = linear(dim, dim, bias=True, generator=generator)
        nn.init.zeros_(out.weight)
        if init == "identity":
            nn.init.zeros_(out.bias)
        self.to_out = nn.ModuleList([out])

    def forward(self, tokens: Tensor, frames: int, causal: bool = False, share: Share | None = None) -> Tensor:
        """``[B*F, N, C]`` -> ``[B*F, N, C]``; with `causal` a frame sees only itself and earlier ones.

        `share` is what queries and keys pass through, ``[B*F, N, C]``.
        Written out: for many small score matrices ``[F, F]`` it is faster than the fused kernel.
        """
        query, key, value = self.to_q(tokens), self.to_k(tokens), self.to_v(tokens)
        if share is not None:
            query, key = share(query), share(key)
        q, k, v = (
            x.unflatten(0, (-1, frames)).unflatten(-1, (self.heads, -1)).permute(0, 2, 3, 1, 4)
            for x in (query, key, value)
        )  # [B, N, H, F, D]
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if causal:
            later = torch.ones(frames, frames, dtype=torch.bool, device=tokens.device).triu(1)
            scores = scores.masked_fill(later, float("-inf"))
        out = scores.softmax(dim=-1) @ v
        return self.to_out[0](out.permute(0, 3, 1, 2, 4).flatten(0, 1).flatten(2))


class ClipGroupNorm(nn.GroupNorm):
    """Group norm whose statistics run over all frames of a clip, as in the official network.

    There the norms of the residual blocks see ``[B, C, F, h, w]``; here it is ``[B*F, C, h, w]``.
    """

    def __init__(self, norm: nn.GroupNorm, state: FrameState) -> None:
        nn.Module.__init__(self)
        self.num_groups, self.num_channels = norm.num_groups, norm.num_channels
        self.eps, self.affine = norm.eps, norm.affine
        self.weight, self.bias = norm.weight, norm.bias
        self.state = state
        self.training = norm.training

    def forward(self, x: Tensor) -> Tensor:
        clips = x.unflatten(0, (-1, self.state.num_frames)).transpose(1, 2)  # [B, C, F, h, w]
        return super().forward(clips).transpose(1, 2).flatten(0, 1)


class QueryLoRA(nn.Module):
    """Low-rank change of a projection, ``x -> up(down(x))``; zero at the start (Hu et al., LoRA, 2021)."""

    def __init__(self, layer: Any, rank: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.down = linear(layer.in_features, rank, bias=False, generator=generator)
        self.up = nn.utils.skip_init(nn.Linear, rank, layer.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., in]`` -> ``[..., out]``."""
        return self.up(self.down(x))
