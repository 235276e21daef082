"""Arithmetic on optical flow: move pictures along it, resize it, chain it, find what it cannot explain.

Convention, for every function here: flow is float ``[B, 2, H, W]``, channel 0 = x (to the right), channel 1 = y
(down), in pixels of its own resolution. ``flow_ab(p)`` says where the point seen at pixel ``p`` of picture a lies in
picture b: at ``p + flow_ab(p)``. Pixel centres have whole coordinates, the corner ones at 0 and W - 1
(``align_corners=True``). An occlusion map is bool ``[B, 1, H, W]``, True = occluded.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from videoedit.errors import ShapeError

Mode = Literal["bilinear", "nearest"]


def warp(x: Tensor, flow: Tensor, mode: Mode = "bilinear") -> Tensor:
    """Sample `x` [B, C, H, W] at ``p + flow(p)``; what lies outside `x` counts as zero.

    Convention: with ``x = b`` and ``flow = flow_ab``, the result is b brought onto a. So frame i is brought onto
    frame i + 1 with the *backward* flow, i + 1 -> i.
    """
    return _sample(x, flow, mode, "zeros")


def resize_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """The same motion at another resolution, `size` = (width, height): resampled, and its values scaled.

    Convention: bilinear without a low-pass filter; the borders of the pictures coincide, not the centres of the
    corner pixels (``align_corners=False``), as when the pictures themselves are resized.
    """
    _check_flow(flow)
    (width, height), (old_height, old_width) = size, flow.shape[-2:]
    scale = flow.new_tensor([width / old_width, height / old_height]).view(1, 2, 1, 1)
    return F.interpolate(flow * scale, (height, width), mode="bilinear", align_corners=False)


def occlusion(flow_fwd: Tensor, flow_bwd: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels from which there and back again does not end where it began (UnFlow, Meister et al. 2018, Eq. 1).

    Returns ``(occ_fwd, occ_bwd)``, bool [B, 1, H, W], True = occluded: `occ_fwd` on the first picture, for pixels
    that the second one does not show; `occ_bwd` on the second. Pixel p is occluded in the first if
    ``|f + warp(b, f)| > 0.01 (|f| + |b|) + 0.5``, with all four at p.

    Convention: `flow_fwd` is first -> second, `flow_bwd` second -> first. Flow outside the picture is zero, so a
    pixel that leaves the picture usually counts as occluded.
    """
    limit = 0.01 * (_length(flow_fwd) + _length(flow_bwd)) + 0.5
    return (
        _length(flow_fwd + warp(flow_bwd, flow_fwd)) > limit,
        _length(flow_bwd + warp(flow_fwd, flow_bwd)) > limit,
    )


def compose(first: Tensor, second: Tensor) -> Tensor:
    """One flow for two steps: from `first` = flow_ab and `second` = flow_bc to flow_ac.

    Convention: ``flow_ac(p) = flow_ab(p) + flow_bc(p + flow_ab(p))``; a point that has left picture b moves on like
    the nearest pixel of its border.
    """
    _check_flow(first)
    return first + _sample(second, first, "bilinear", "border")


def _sample(x: Tensor, flow: Tensor, mode: Mode, padding: str) -> Tensor:
    """`x` [B, C, H, W] at ``p + flow(p)``."""
    _check_flow(flow)
    if x.ndim != 4 or x.shape[-2:] != flow.shape[-2:] or x.shape[0] != flow.shape[0]:
        raise ShapeError(
            f"a flow of shape {tuple(flow.shape)} cannot move a tensor of shape {tuple(x.shape)}; "
            "expected [B, C, H, W] with the same B, H and W (resize_flow changes a flow's resolution)"
        )
    height, width = flow.shape[-2:]
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype)
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype)
    grid_x = 2 * (columns + flow[:, 0]) / max(width - 1, 1) - 1
    grid_y = 2 * (rows[:, None] + flow[:, 1]) / max(height - 1, 1) - 1
    wide = x if x.dtype == torch.float64 else x.float()  # in 16 bits the grid itself would be off by pixels
    grid = torch.stack([grid_x, grid_y], dim=-1).to(wide.dtype)
    return F.grid_sample(wide, grid, mode=mode, padding_mode=padding, align_corners=True).to(x.dtype)


def _length(flow: Tensor) -> Tensor:
    """Euclidean length of the vectors, [B, 1, H, W]."""
    x, y = flow.split(1, dim=1)
    return (x * x + y * y).sqrt()  # torch's norm over two channels takes a hundred times as long


def _check_flow(flow: Tensor) -> None:
    if flow.ndim != 4 or flow.shape[1] != 2:
        raise ShapeError(f"expected a flow of shape [B, 2, H, W], got {tuple(flow.shape)}")
