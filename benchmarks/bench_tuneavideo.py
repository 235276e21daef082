"""Time and memory of one Tune-A-Video training step and one guided sampling step on a CPU, one thread.

The network is the "mid" one: channels 64/128/256/256, two layers a block, 8 heads, cross-attention width 256, 8 norm
groups, random weights; 8 frames of 32 x 32 latents; 77 text tokens; one prompt in training, two in guidance. A training
step is forward, backward and AdamW on all trainable tensors; a sampling step is one of `ddim_sample` with guidance.
"written out" computes the same numbers in the official code's way (score matrices written out, each key repeated),
which tells how fast this machine is: the official figures were measured once, elsewhere.
Each case has a process of its own; time is the best of the calls after the first, memory is above the loaded network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from common import measure_alone, publish
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models import attention_processor
from results_schema import Row, row

from tuneavideo import VideoUNet
from videoedit import ddim_sample
from videoedit.attention import processors
from videoedit.diffusion.guidance import guided

FRAMES, SIDE, TOKENS, WIDTH = 8, 32, 77, 256
OFFICIAL = {"training step": (16.8, 6.4), "guided sampling step": (10.6, 2.8)}  # CPU seconds, GiB
WANTED = {"training step": 0.36, "guided sampling step": 0.45}


def network(**options: Any) -> Any:
    """The mid network with temporal layers that do something."""
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
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, FRAMES, 4, SIDE, SIDE, generator=generator)
    return latents.to(dtype), torch.randn(2, TOKENS, WIDTH, generator=generator).to(dtype)


def training(dtype: Any, blocks: str = "all", checkpointing: bool = False) -> Callable[[], None]:
    """Forward, backward and AdamW; with bfloat16 the trained weights stay float32 and are cast as they are used."""
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
    video = network().to(dtype)
    latents, prompts = inputs(dtype)
    denoise = guided(video, prompts[:1], prompts[1:], 12.5, batched=batched)
    scheduler = DDIMScheduler(set_alpha_to_one=False, steps_offset=1, clip_sample=False)
    return torch.no_grad()(lambda: ddim_sample(denoise, latents, scheduler, 1))


def written_out(prepare: Callable[..., Callable[[], Any]]) -> Callable[[], Any]:
    """The same with score matrices written out and the keys repeated that several queries share."""
    processors.frame_attention = processors.frame_attention_reference
    attention_processor.AttnProcessor2_0.__call__ = attention_processor.AttnProcessor.__call__
    return prepare(torch.float32)


CASES: dict[str, dict[str, Callable[[], Callable[[], Any]]]] = {
    "training step": {
        "fp32": partial(training, torch.float32),
        "train_blocks: official": partial(training, torch.float32, blocks="official"),
        "gradient checkpointing": partial(training, torch.float32, checkpointing=True),
        "bf16": partial(training, torch.bfloat16),
        "written out": partial(written_out, training),
    },
    "guided sampling step": {
        "fp32": partial(sampling, torch.float32),
        "one condition after the other": partial(sampling, torch.float32, batched=False),
        "bf16": partial(sampling, torch.bfloat16),
        "written out": partial(written_out, sampling),
    },
}


def rows() -> Iterator[Row]:
    for group, cases in CASES.items():
        seconds, memory = (("the official code", value) for value in OFFICIAL[group])
        for name, prepare in cases.items():
            cost = measure_alone(prepare, repeats=1 if name == "written out" else 4)
            time = {"values": cost.seconds, "against": seconds, "wanted": WANTED[group]}
            yield row(name, "CPU time", cost.best, "s", "lower", group=group, **time)
            yield row(name, "peak memory", cost.peak_gib, "GiB", "lower", group=group, against=memory, wanted=0.40)


def main() -> None:
    settings = {"frames": FRAMES, "side": SIDE, "threads": 1, "guidance_scale": 12.5, "weights": "random, seed 0"}
    publish("tuneavideo", "Tune-A-Video: training step, sampling step", rows(), method=__doc__, settings=settings)


if __name__ == "__main__":
    main()
