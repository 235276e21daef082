"""Attention control: name the sites of a UNet, install processors there, restore it exactly.

Both methods' self-attention is one operation: queries of a frame attend to the keys and values of
{first frame, previous frame}. They differ only in where the other frames come from: the batch, or a store keyed
by (site, step, tag).
"""

from __future__ import annotations

from videoedit.attention.processors import FirstPrevious, FrameState, frame_attention, frame_attention_reference
from videoedit.attention.registry import Installation, Patch, attend, install
from videoedit.attention.shared import Shared
from videoedit.attention.sites import AttnSite, attn_sites
from videoedit.attention.store import FeatureStore

__all__ = [
    "AttnSite",
    "FeatureStore",
    "FirstPrevious",
    "FrameState",
    "Installation",
    "Patch",
    "Shared",
    "attend",
    "attn_sites",
    "frame_attention",
    "frame_attention_reference",
    "install",
]
