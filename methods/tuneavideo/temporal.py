"""The parts that turn an image UNet into a video UNet: attention over frames, pooled group norm, LoRA.

Legend: B clips, F frames, N tokens (pixels) of a frame, C channels, H heads, D = C / H. A frame is one item of the
image UNet's batch, frames of a clip are neighbours: tokens are ``[B*F, N, C]``, feature maps ``[B*F, C, h, w]``.
"Tune-A-Video" below is Wu et al., ICCV 2023.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

AttentionMode = Literal["sparse_causal", "first", "full", "self"]


@dataclass
class Clip:
    """How many neighbouring items of the batch make one clip; one object shared by all parts of a network."""

    frames: int = 1


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention: ``q [B, M, H, D]``, ``k, v [B, L, H, D]`` -> ``[B, M, H, D]``."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def sparse_causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Queries of frame i see the first and the previous frame (Tune-A-Video, Eq. 4); all ``[B, F, N, H, D]``.

    Frames 0 and 1 would see the first frame twice; seeing it once is the same.
    """
    batch, frames = q.shape[:2]
    early = attention(q[:, :2].flatten(1, 2), k[:, 0], v[:, 0]).unflatten(1, (-1, q.shape[2]))
    if frames <= 2:
        return early
    keys, values = (
        torch.cat([x[:, :1].expand(-1, frames - 2, -1, -1, -1), x[:, 1:-1]], dim=2).flatten(0, 1) for x in (k, v)
    )
    late = attention(q[:, 2:].flatten(0, 1), keys, values)
    return torch.cat([early, late.unflatten(0, (batch, -1))], dim=1)


def frame_attention(q: Tensor, k: Tensor, v: Tensor, mode: AttentionMode) -> Tensor:
    """Self-attention of a clip, ``[B, F, N, H, D]`` each: which frames a frame sees is `mode`.

    `sparse_causal`: the first and the previous; `first`: the first; `full`: all; `self`: itself (the image model).
    """
    batch, frames = q.shape[:2]
    if mode == "sparse_causal":
        return sparse_causal(q, k, v)
    if mode == "first":
        return attention(q.flatten(1, 2), k[:, 0], v[:, 0]).view_as(q)
    if mode == "full":
        return attention(q.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2)).view_as(q)
    return attention(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)).unflatten(0, (batch, frames))


class SparseCausalProcessor:
    """Processor of the ``attn1`` sites: `frame_attention` over the clips in the batch.

    diffusers makes processors by calling their class without arguments, so what it needs is set afterwards.
    """

    def __init__(self) -> None:
        self.clip = Clip()
        self.mode: AttentionMode = "sparse_causal"

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,  # [B*F, N, C]
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        q, k, v = (
            to(hidden_states).unflatten(0, (-1, self.clip.frames)).unflatten(-1, (attn.heads, -1))
            for to in (attn.to_q, attn.to_k, attn.to_v)
        )  # [B, F, N, H, D]
        out = frame_attention(q, k, v, self.mode).flatten(0, 1).flatten(2)
        return attn.to_out[1](attn.to_out[0](out))


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
    let other tools replace its processor. `init="identity"` starts with an output of zero, "official" with the random
    output bias that the official code leaves.
    """

    def __init__(
        self, dim: int, heads: int, init: str = "identity", generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = linear(dim, dim, bias=False, generator=generator)
        self.to_k = linear(dim, dim, bias=False, generator=generator)
        self.to_v = linear(dim, dim, bias=False, generator=generator)
        self.to_out = nn.ModuleList([linear(dim, dim, bias=True, generator=generator)])
        nn.init.zeros_(self.to_out[0].weight)
        if init == "identity":
            nn.init.zeros_(self.to_out[0].bias)

    def forward(self, hidden_states: Tensor, frames: int, causal: bool = False) -> Tensor:
        """``[B*F, N, C]`` -> ``[B*F, N, C]``; with `causal` a frame sees only itself and earlier ones."""
        q, k, v = (
            to(hidden_states).unflatten(0, (-1, frames)).unflatten(-1, (self.heads, -1)).permute(0, 2, 3, 1, 4)
            for to in (self.to_q, self.to_k, self.to_v)
        )  # [B, N, H, F, D]
        out = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.to_out[0](out.permute(0, 3, 1, 2, 4).flatten(0, 1).flatten(2))


class ClipGroupNorm(nn.GroupNorm):
    """Group norm whose statistics run over all frames of a clip, as in the official network.

    There the norms of the residual blocks see ``[B, C, F, h, w]``; here it is ``[B*F, C, h, w]``.
    """

    def __init__(self, norm: nn.GroupNorm, clip: Clip) -> None:
        nn.Module.__init__(self)
        self.num_groups, self.num_channels = norm.num_groups, norm.num_channels
        self.eps, self.affine = norm.eps, norm.affine
        self.weight, self.bias = norm.weight, norm.bias
        self.clip = clip
        self.training = norm.training

    def forward(self, x: Tensor) -> Tensor:
        clips = x.unflatten(0, (-1, self.clip.frames)).transpose(1, 2)  # [B, C, F, h, w]
        return super().forward(clips).transpose(1, 2).flatten(0, 1)


class QueryLoRA(nn.Module):
    """Low-rank change of a projection, ``x -> up(down(x))``; zero at the start (Hu et al., LoRA, 2021)."""

    def __init__(self, layer: nn.Linear, rank: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.down = linear(layer.in_features, rank, bias=False, generator=generator)
        self.up = nn.utils.skip_init(nn.Linear, rank, layer.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., in]`` -> ``[..., out]``."""
        return self.up(self.down(x))

    def delta(self) -> Tensor:
        """What it adds to the projection's weight, ``[out, in]``."""
        return self.up.weight @ self.down.weight
