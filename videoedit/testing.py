"""Small *real* components for tests: classes of diffusers and transformers with random weights, and clips.

Nothing here is a stand-in: a tiny model goes through the same code as a large one, in milliseconds.
"""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel


def tiny_unet(seed: int = 0, *, cross_attention_dim: int = 16) -> UNet2DConditionModel:
    """A Stable-Diffusion-shaped UNet: attention in the first, second and middle block, 4 latent channels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=cross_attention_dim,
            attention_head_dim=2,  # the number of heads, in diffusers' wording
            norm_num_groups=8,
        )
    unet.eval().requires_grad_(False)  # type: ignore[attr-defined]
    return unet
