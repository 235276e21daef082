"""Cross-frame attention: the decoder's self-attention looks at the anchor and the previous key frame instead.

Yang et al., "Rerender A Video", SIGGRAPH Asia 2023, Eq. 3: K = W_K [anchor; previous], V = W_V [anchor; previous],
with the features of the same step and layer of those frames, and none of the frame's own.
"""

from __future__ import annotations

from torch import nn

from videoedit.attention import AttnSite, FirstPrevious, FrameState, Plan, attn_sites

ANCHOR, PREVIOUS = "anchor", "previous"  # tags in the feature store


def cross_frame_sites(unet: nn.Module, *, loose: bool = False) -> tuple[AttnSite, ...]:
    """The self-attention layers of `unet`'s decoder; `loose` leaves out the widest, which are the coarsest.

    For Stable Diffusion: 9 layers of 320, 640 and 1280 channels, or the 6 below 1280. Loosely tied frames keep more
    of their own large shapes.
    """
    sites = [site for site in attn_sites(unet) if site.block == "up" and not site.is_cross]
    widest = max((site.channels for site in sites), default=0)
    return tuple(site for site in sites if not (loose and site.channels == widest))


def cross_frame_plan(unet: nn.Module, state: FrameState, *, loose: bool = False) -> Plan:
    """What to install with `attend`; whoever runs the network sets step, reads and writes in `state`."""
    sites = cross_frame_sites(unet, loose=loose)
    return Plan(processors={site.name: FirstPrevious(state, site=site) for site in sites})
