"""HED, holistically-nested edge detection (Xie and Tu, ICCV 2015): soft edges from every depth of a VGG-16.

The network has the shape and names of controlnet_aux's, so that `videoedit.models.fetch` weights and those fit both.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videoedit.models.fetch import fill

BLOCKS = ((3, 64, 2), (64, 128, 2), (128, 256, 3), (256, 512, 3), (512, 512, 3))  # channels in and out, convolutions


class Hed(nn.Module):
    """RGB [B, 3, H, W] in 0..255 -> edges [B, 1, H, W] in 0..1."""

    norm: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("norm", torch.zeros(1, 3, 1, 1))
        for number, sizes in enumerate(BLOCKS, 1):
            self.add_module(f"block{number}", _Block(*sizes))

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Hed:
        """The network with the weights in a safetensors file; WeightsError if they are not its own."""
        net = cls()
        fill(net, path, "hed")
        return net.eval().requires_grad_(False).to(device)

    def forward(self, pixels: Tensor) -> Tensor:
        size, hidden = pixels.shape[-2:], pixels - self.norm
        sides: list[Tensor] = []
        for block in self.children():
            if sides:
                hidden = F.max_pool2d(hidden, 2, ceil_mode=True)
            hidden, side = block(hidden)
            sides.append(F.interpolate(side, size, mode="bilinear", align_corners=False))
        return torch.stack(sides).mean(0).sigmoid()

    @torch.no_grad()
    def detect(self, frame: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] RGB -> uint8 [H, W], bright on edges."""
        pixels = torch.from_numpy(frame.copy()).permute(2, 0, 1)[None].to(self.norm)
        return (self(pixels)[0, 0] * 255).to(torch.uint8).cpu().numpy()


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, count: int) -> None:
        super().__init__()
        widths = [inputs] + [outputs] * (count - 1)
        self.convs = nn.ModuleList(nn.Conv2d(width, outputs, 3, padding=1) for width in widths)
        self.projection = nn.Conv2d(outputs, 1, 1)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        for conv in self.convs:
            hidden = conv(hidden).relu()
        return hidden, self.projection(hidden)
