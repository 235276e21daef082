"""The modules that turn an image UNet into a video UNet: temporal attention, pooled group norm, LoRA.

Legend: B clips, F frames, N tokens (pixels) of a frame, C channels, H heads, D = C / H. A frame is one item of the
image UNet's batch, frames of a clip are neighbours: tokens are ``[B*F, N, C]``, feature maps ``[B*F, C, h, w]``.
"Tune-A-Video" below is Wu et al., ICCV 2023.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from videoedit.attention.processors import FrameState


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

    def forward(self, tokens: Tensor, frames: int, causal: bool = False) -> Tensor:
        """``[B*F, N, C]`` -> ``[B*F, N, C]``; with `causal` a frame sees only itself and earlier ones.

        Written out: for many small score matrices ``[F, F]`` it is faster than the fused kernel.
        """
        q, k, v = (
            to(tokens).unflatten(0, (-1, frames)).unflatten(-1, (self.heads, -1)).permute(0, 2, 3, 1, 4)
            for to in (self.to_q, self.to_k, self.to_v)
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
