"""Structure control: an edit that works with features of its source, which runs beside it in the batch.

After Tumanyan et al., "Plug-and-Play Diffusion Features for Text-Driven Image-to-Image Translation", CVPR 2023; the
later start after Meng et al., "SDEdit", ICLR 2022, but on the inverted trajectory and not with fresh noise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from tuneavideo.config import StructureConfig
from tuneavideo.controls import ControlledUNet
from tuneavideo.temporal import FEATURES, transformer_blocks
from tuneavideo.video_unet import VideoUNet
from videoedit.attention import Shared
from videoedit.diffusion.ddim import Schedule, ddim_step, widen
from videoedit.diffusion.guidance import guided
from videoedit.diffusion.sampling import Denoiser


def structure_sites(unet: VideoUNet, structure: StructureConfig, steps: int) -> dict[str, int]:
    """The number of steps, from the first of all `steps`, for which each site takes the source's features."""
    shares: dict[str, float] = {}
    decoder = [name for name in transformer_blocks(unet.unet) if name.startswith("up_blocks.")]
    shares |= {f"{name}.attn1": structure.queries_keys for name in decoder}
    shares |= {f"{name}.attn_temp": structure.temporal_queries_keys for name in decoder}
    for name, _ in unet.unet.named_modules():
        place = re.fullmatch(FEATURES, name)
        if place and int(place[1]) < structure.blocks:
            shares[name] = structure.features
    return {name: round(share * steps) for name, share in shares.items() if share > 0}


def beside_source(
    unet: VideoUNet | ControlledUNet,
    schedule: Schedule,
    windows: Mapping[str, int],
    prompt_embeds: Tensor,  # [1, L, D]
    negative_embeds: Tensor,  # the same
    source_embeds: Tensor,  # the same
    guidance_scale: float,
    trajectory: Tensor | None = None,
) -> Denoiser:
    """The guided denoiser of an edit that takes features from its source (Plug-and-Play, Tumanyan et al. 2023).

    At step s the network sees the batch [source, uncond, cond]; at each site of `windows` with s < windows[site] the
    two parts of the edit work with the source's features (`Shared`); their predictions are guided as in `guided`. The
    source is read from the inversion's `trajectory` [S+1, ...], where entry S - s is as noisy as step s expects. With
    None it is denoised beside the edit, from the latents of the first call, by its own predictions under its own
    prompt: then make a denoiser for each sampling. With guidance 1 the batch is [source, cond]. Steps beyond every
    window are plain guided ones.

    Cost: while a window is open a step takes 3/2 of the time and memory of a guided one (2 of an unguided one).
    """
    plain = guided(unet, prompt_embeds, negative_embeds, guidance_scale)
    texts = [source_embeds, prompt_embeds] if guidance_scale == 1.0 else [source_embeds, negative_embeds, prompt_embeds]
    denoised: Tensor | None = None

    def denoise(latents: Tensor, t: int) -> Tensor:
        nonlocal denoised
        step = schedule.timesteps.index(t)
        sites = frozenset(site for site, end in windows.items() if step < end)
        if not sites:
            return plain(latents, t)
        if trajectory is not None:
            source = trajectory[len(schedule.timesteps) - step].to(latents)
        else:
            source = latents if denoised is None else denoised
        batch = torch.cat([source, *[latents] * (len(texts) - 1)]).to(prompt_embeds.dtype)
        prompts = torch.cat([text.expand(len(latents), -1, -1) for text in texts])
        output = widen(unet(batch, t, prompts, Shared(len(texts), sites)))
        of_source, *edit = output.chunk(len(texts))
        if trajectory is None:
            denoised = ddim_step(schedule, source, of_source, t)
        return edit[0] if len(edit) == 1 else edit[0] + guidance_scale * (edit[1] - edit[0])

    return denoise
