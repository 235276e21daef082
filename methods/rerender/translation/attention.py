"""Cross-frame attention: the decoder's self-attention looks at the anchor and the previous key frame instead.

Yang et al., "Rerender A Video", SIGGRAPH Asia 2023, Eq. 3: K = W_K [anchor; previous], V = W_V [anchor; previous],
with the features of the same step and layer of those frames, and none of the frame's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from videoedit.attention import AttnSite, FirstPrevious, FrameState, Patch, attn_sites

ANCHOR, PREVIOUS = "anchor", "previous"  # tags in the feature store


def cross_frame_sites(unet: nn.Module, *, loose: bool = False) -> tuple[AttnSite, ...]:
    """The self-attention layers of `unet`'s decoder; `loose` leaves out the widest, which are the coarsest.

    For Stable Diffusion: 9 layers of 320, 640 and 1280 channels, or the 6 below 1280. Loosely tied frames keep more
    of their own large shapes.
    """
    sites = [site for site in attn_sites(unet) if site.block == "up" and not site.is_cross]
    widest = max((site.channels for site in sites), default=0)
    return tuple(site for site in sites if not (loose and site.channels == widest))


def cross_frame_patch(unet: nn.Module, state: FrameState, *, loose: bool = False) -> Patch:
    """Patch to install with `attend`; whoever runs the network sets step, reads and writes in `state`."""
    sites = cross_frame_sites(unet, loose=loose)
    return Patch(processors={site.name: FirstPrevious(state, site=site) for site in sites})


def stored_bytes(
    unet: Mapping[str, Any], latent_size: tuple[int, int], num_steps: int, *, loose: bool = False, itemsize: int = 4
) -> int:
    """Memory of the features of the anchor and the previous key frame, known from the UNet's config alone.

    `latent_size` is (width, height), `num_steps` the steps of the attention window, `itemsize` the bytes of a number;
    with guidance, that is for [uncond, cond]. 2.05 GiB for Stable Diffusion at 512x512, 20 steps, float32.
    """
    widths = list(reversed(unet["block_out_channels"]))
    attending = [i for i, kind in enumerate(unet["up_block_types"]) if "CrossAttn" in kind]
    widest = max((widths[i] for i in attending), default=0)
    layers = unet.get("layers_per_block", 2) + 1
    numbers = 0
    for i in attending:
        if not (loose and widths[i] == widest):
            width, height = (-(-side // 2 ** (len(widths) - 1 - i)) for side in latent_size)
            numbers += layers * width * height * widths[i]
    return 2 * 2 * num_steps * numbers * itemsize
