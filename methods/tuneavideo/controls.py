"""ControlNets with the tuned network: each frame of an edit keeps the structure of its own source frame."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tuneavideo.video_unet import VideoUNet
from videoedit.attention import Shared
from videoedit.controls.controlnets import Controls, map_to_condition


class ControlledUNet:
    """The video network under ControlNets at some timesteps (Zhang et al., "Adding Conditional Control", ICCV 2023).

    A ControlNet is an image model, so it sees the frames of a batch of clips one by one, [B*F, C, h, w], each with the
    map of its own source frame; its residuals are added to the video network's skips in the same layout. Where a batch
    has its source in front (`Shared`), that one is left as it was inverted: its residuals are zero.
    """

    def __init__(
        self,
        unet: VideoUNet,
        controls: Controls,
        frames: np.ndarray,  # uint8 [F, H, W, 3], what the maps are made of
        timesteps: Collection[int],
    ) -> None:
        self.unet, self.controls, self.timesteps = unet, controls, frozenset(timesteps)
        self.conditions: list[Tensor] = []  # one a control, [F, 3, H, W]
        by_control = zip(*(controls.maps(frame) for frame in frames), strict=True)
        for maps in by_control:
            self.conditions.append(torch.cat(list(map(map_to_condition, maps))))

    def __call__(self, latents: Tensor, t: int, prompt_embeds: Tensor, shared: Shared | None = None) -> Tensor:
        """The prediction for ``latents [B, F, C, h, w]``, as of `VideoUNet.forward`."""
        if t not in self.timesteps:
            return self.unet(latents, t, prompt_embeds, shared)
        source = len(latents) // shared.groups if shared else 0
        edits, frames = latents[source:], latents.shape[1]
        text = prompt_embeds[source:].repeat_interleave(frames, dim=0)
        conditions = [condition.to(latents) for condition in self.conditions]
        residuals = self.controls.residuals(edits.flatten(0, 1), t, text, conditions)
        return self.unet(latents, t, prompt_embeds, shared, _behind_zeros(residuals, source * frames))


def _behind_zeros(residuals: dict[str, Any], count: int) -> dict[str, Any]:
    """Residuals with zeros for the first `count` pictures of the batch."""

    def padded(tensor: Tensor) -> Tensor:
        return torch.cat([tensor.new_zeros(count, *tensor.shape[1:]), tensor])

    down, middle = residuals["down_block_additional_residuals"], residuals["mid_block_additional_residual"]
    return {
        "down_block_additional_residuals": tuple(map(padded, down)),
        "mid_block_additional_residual": padded(middle),
    }
