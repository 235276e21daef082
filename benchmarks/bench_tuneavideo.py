"""Time and memory of one Tune-A-Video training step and one guided sampling step on a CPU.

    python benchmarks/bench_tuneavideo.py                 all cases, writes results/tuneavideo.json
    python benchmarks/bench_tuneavideo.py train-fp32      one case, prints JSON

The network is the "mid" one: channels 64/128/256/256, two layers a block, 8 heads, cross dim 256, random weights; 8
frames of 32 x 32 latents; one thread. `reference-*` compute the same numbers in the official code's way (score
matrices written out, each key repeated), which tells how fast this machine is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from common import in_subprocess, measure, surroundings, write_result

FRAMES, SIDE, TOKENS, WIDTH = 8, 32, 77, 256
OFFICIAL = {"train": {"cpu_seconds": 16.8, "peak_gib": 6.4}, "sample": {"cpu_seconds": 10.6, "peak_gib": 2.8}}
TARGETS = {"train": 0.36, "sample": 0.45, "memory": 0.40}
CASES = (
    "train-fp32",
    "train-fp32-official_blocks",
    "train-fp32-checkpointing",
    "train-bf16",
    "sample-fp32",
    "sample-fp32-sequential",
    "sample-bf16",
    "reference-train",
    "reference-sample",
)


def network(**options: Any) -> Any:
    """The mid network with temporal layers that do something."""
    import torch
    from diffusers import UNet2DConditionModel

    from tuneavideo import VideoUNet

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=SIDE,
        block_out_channels=(64, 128, 256, 256),
        layers_per_block=2,
        cross_attention_dim=WIDTH,
        attention_head_dim=8,  # the number of heads, in diffusers' wording
        norm_num_groups=8,
    )
    return VideoUNet(unet, init="official", **options)


def inputs(dtype: Any) -> tuple[Any, Any]:
    """Latents ``[1, F, 4, h, w]`` and two prompts ``[2, L, D]``."""
    import torch

    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, FRAMES, 4, SIDE, SIDE, generator=generator)
    return latents.to(dtype), torch.randn(2, TOKENS, WIDTH, generator=generator).to(dtype)


def training(dtype: Any, blocks: str = "all", checkpointing: bool = False) -> Callable[[], None]:
    """Forward, backward and AdamW; with bfloat16 the trained weights stay float32 and are cast as they are used."""
    import torch
    import torch.nn.functional as F

    video = network().to(dtype)
    if checkpointing:
        video.enable_gradient_checkpointing()
    latents, prompts = inputs(dtype)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(2))
    parameters = [p for _, p in video.trainable_parameters(blocks)]
    masters = [p.detach().float().requires_grad_() for p in parameters]
    optimiser = torch.optim.AdamW(masters, lr=3e-5, fused=True)

    def step() -> None:
        F.mse_loss(video(latents, 500, prompts[:1]).float(), noise).backward()
        for master, parameter in zip(masters, parameters, strict=True):
            master.grad, parameter.grad = parameter.grad.float(), None
        optimiser.step()
        optimiser.zero_grad()
        with torch.no_grad():
            for master, parameter in zip(masters, parameters, strict=True):
                parameter.copy_(master)

    return step


def sampling(dtype: Any, batched: bool = True) -> Callable[[], Any]:
    """One step of `ddim_sample` with guidance 12.5."""
    import torch
    from diffusers import DDIMScheduler

    from videoedit import ddim_sample
    from videoedit.guidance import guided

    video = network().to(dtype)
    latents, prompts = inputs(dtype)
    denoise = guided(video, prompts[:1], prompts[1:], 12.5, batched=batched)
    scheduler = DDIMScheduler(set_alpha_to_one=False, steps_offset=1, clip_sample=False)
    return torch.no_grad()(lambda: ddim_sample(denoise, latents, scheduler, 1))


def as_the_official_code() -> None:
    """Let attention write its scores out, and repeat the keys that several queries share."""
    from diffusers.models import attention_processor

    from videoedit.attention import processors

    processors.frame_attention = processors.frame_attention_reference
    attention_processor.AttnProcessor2_0.__call__ = attention_processor.AttnProcessor.__call__


def work_of(case: str) -> Callable[[], Any]:
    """The step that a case measures; loads the network."""
    import torch

    torch.set_num_threads(1)
    kind, *details = case.split("-")
    if kind == "reference":
        as_the_official_code()
        kind = details[0]
    dtype = torch.bfloat16 if "bf16" in details else torch.float32
    if kind == "sample":
        return sampling(dtype, batched="sequential" not in details)
    blocks = "official" if "official_blocks" in details else "all"
    return training(dtype, blocks, checkpointing="checkpointing" in details)


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(measure(work_of(sys.argv[1]), repeats=4 if "reference" not in sys.argv[1] else 1)))
        return
    where, cases = surroundings(), {}
    for case in CASES:
        cases[case] = in_subprocess(__file__, case)
        kind = "train" if "train" in case else "sample"
        for figure, official in OFFICIAL[kind].items():
            cases[case][f"{figure}_of_official"] = round(cases[case][figure] / official, 3)
        print(case, json.dumps(cases[case]))
    settings = {"frames": FRAMES, "side": SIDE, "threads": 1, "guidance_scale": 12.5, "weights": "random, seed 0"}
    result = {"settings": settings, "official": OFFICIAL, "targets": TARGETS, "cases": cases}
    print(write_result("tuneavideo", result, where))


if __name__ == "__main__":
    main()
