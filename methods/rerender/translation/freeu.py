"""FreeU, version 2, on a stock UNet (Si et al., "FreeU: Free Lunch in Diffusion U-Net", CVPR 2024).

Each residual block of the decoder takes features from below (hidden) and from the encoder (skip). FreeU amplifies the
first half of the hidden channels, most where the hidden features are strong, and weakens the lowest frequencies of the
skip. diffusers' `enable_freeu` is version 1: it amplifies by a constant, and in fewer blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from videoedit.diffusion.ddim import widen


@contextmanager
def freeu(unet: Any, b1: float, b2: float, s1: float, s2: float) -> Iterator[None]:
    """Run `unet` (a `UNet2DConditionModel`) with FreeU inside the block; ones change nothing.

    `b1` scales hidden features as wide as the widest level and `b2` those as wide as the next, 1280 and 640 channels in
    Stable Diffusion; `s1` and `s2` scale their skips' low frequencies. What a ControlNet adds to a skip is not scaled.
    """
    widths = sorted(set(unet.config.block_out_channels), reverse=True)
    scales: dict[int, tuple[float, float]] = dict(zip(widths, ((b1, s1), (b2, s2)), strict=False))
    controls: list[Tensor] = []  # by ControlNets, one for each skip of the current call, in the encoder's order

    def collect(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        controls[:] = kwargs.get("down_block_additional_residuals") or ()

    handles = [unet.register_forward_pre_hook(collect, with_kwargs=True)]
    try:
        for position, (resnet, hidden) in enumerate(_decoder(unet)):
            if scales.get(hidden, (1, 1)) != (1, 1):
                hook = partial(_scale, position, hidden, *scales[hidden], controls)
                handles.append(resnet.register_forward_pre_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


def amplify(hidden: Tensor, scale: float) -> Tensor:
    """The first half of the channels of `hidden` [B, C, h, w] times ``1 + (scale - 1) m``.

    m [B, 1, h, w] is the mean of all channels, brought to [0, 1] image by image; 0 where it is the same everywhere.
    """
    mean = widen(hidden).mean(1, keepdim=True)
    lowest, highest = mean.amin((2, 3), keepdim=True), mean.amax((2, 3), keepdim=True)
    strength = (mean - lowest) / (highest - lowest).clamp_min(torch.finfo(mean.dtype).tiny)
    half = hidden.shape[1] // 2
    scaled = hidden[:, :half] * (1 + (scale - 1) * strength).to(hidden.dtype)
    return torch.cat([scaled, hidden[:, half:]], dim=1)


def scale_low(skip: Tensor, scale: float) -> Tensor:
    """`skip` [B, C, h, w] with its lowest frequencies, 0 and -1 of the FFT in each direction, times `scale`.

    The band lacks +1, as in the official code, so the result is complex there; its real part is what counts.
    """
    gain = torch.ones(skip.shape[-2:], device=skip.device)
    lowest = torch.tensor([0, -1], device=skip.device)
    gain[lowest[:, None], lowest] = scale
    return torch.fft.ifft2(torch.fft.fft2(widen(skip)) * gain).real.to(skip.dtype)


def _decoder(unet: Any) -> Iterator[tuple[nn.Module, int]]:
    """The residual blocks of the decoder in the order of their calls, each with its number of hidden channels."""
    hidden = unet.config.block_out_channels[-1]
    for block in unet.up_blocks:
        for resnet in block.resnets:
            yield resnet, hidden
            hidden = resnet.out_channels


def _scale(
    position: int, width: int, b: float, s: float, controls: list[Tensor], _: nn.Module, args: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Hook of the decoder's residual block number `position`, whose input is cat(hidden, skip + control)."""
    hidden, skip = args[0][:, :width], args[0][:, width:]
    if b != 1:
        hidden = amplify(hidden, b)
    if s != 1 and controls:
        control = controls[-1 - position]
        skip = scale_low(skip - control, s) + control
    elif s != 1:
        skip = scale_low(skip, s)
    return torch.cat([hidden, skip], dim=1), *args[1:]
