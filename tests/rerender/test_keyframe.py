"""The loop of one key frame against the formulas of the official code, restated in plain torch."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler
from diffusers.models.attention_processor import Attention
from torch import nn

from rerender.config import TranslateConfig
from rerender.translation.keyframe import Network, Noise, Target, Ties, translate_keyframe
from rerender.translation.memory import Memory
from rerender.translation.schedule import step_schedule
from videoedit.diffusion.ddim import Schedule
from videoedit.diffusion.guidance import guided
from videoedit.testing import SD_SCHEDULER

SHAPE, TOKENS, SEED, STEPS = (1, 4, 16, 24), 16 * 24, 7, 20
COND, UNCOND = 0.06, -0.02


def normal(*shape, seed, scale=1.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class ToyUNet(nn.Module):
    """eps = 0.7 x + 0.6 A(x) + 0.1 roll(x, 1, 2) + c, with one attention layer of 2 heads, 8 channels each."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Linear(4, 16, bias=False)
        self.leave = nn.Linear(16, 4, bias=False)
        attention = Attention(query_dim=16, heads=2, dim_head=8, bias=False)
        self.up_blocks = nn.ModuleList([_holder("attentions", _holder("transformer_blocks", nn.Module()))])
        self.up_blocks[0].attentions[0].transformer_blocks[0].attn1 = attention
        self.attention = [attention]  # not a second registration
        self.up_blocks[0].resnets = nn.ModuleList()
        self.config = SimpleNamespace(block_out_channels=(16,))
        for i, parameter in enumerate(self.parameters()):
            parameter.data = normal(*parameter.shape, seed=100 + i, scale=0.3)
        attention.to_out[0].bias.data.zero_()
        self.requires_grad_(False)

    def forward(self, x, t, embeds):
        tokens = self.enter(x.flatten(2).transpose(1, 2))
        attended = self.leave(self.attention[0](tokens)).transpose(1, 2).reshape(x.shape)
        return 0.7 * x + 0.6 * attended + 0.1 * x.roll((1, 2), (2, 3)) + embeds[:, :, :1, None]


def _holder(name, module):
    holder = nn.Module()
    setattr(holder, name, nn.ModuleList([module]))
    return holder


class Restated:
    """One run of the official key-frame sampler, written from the formulas alone."""

    def __init__(self, toy, strength, shape_end=0.1, clip=math.inf):
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self.alphas = torch.cumprod(1 - betas, 0)
        self.times = list(range(951, 0, -50))
        self.weights = [w.weight for w in (toy.enter, toy.attention[0].to_q, toy.attention[0].to_k,
                                           toy.attention[0].to_v, toy.attention[0].to_out[0], toy.leave)]  # fmt: skip
        self.inject = int(STEPS * (1 - strength))
        self.shape_end, self.clip = shape_end, clip
        self.first, self.previous, self.x0_first = {}, {}, {}

    def eps(self, x, c, step, mode, update):
        enter, to_q, to_k, to_v, to_out, leave = self.weights
        tokens = x.flatten(2).transpose(1, 2) @ enter.T
        context = tokens
        if mode == "init":
            self.first[step, c] = self.previous[step, c] = tokens
        else:
            context = torch.cat([self.first[step, c], self.previous[step, c]], dim=1)
            if update:
                self.previous[step, c] = tokens
        q, k, v = (
            y.reshape(1, -1, 2, 8).transpose(1, 2) for y in (tokens @ to_q.T, context @ to_k.T, context @ to_v.T)
        )
        attended = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(8), -1) @ v
        attended = attended.transpose(1, 2).reshape(1, TOKENS, 16) @ to_out.T @ leave.T
        return 0.7 * x + 0.6 * attended.transpose(1, 2).reshape(x.shape) + 0.1 * x.roll((1, 2), (2, 3)) + c

    def control(self, x0, step, ties):
        if 0.8 * STEPS <= step <= STEPS:
            reference = self.x0_first[step]
            std = (reference.var((2, 3), correction=1, keepdim=True) + 1e-5).sqrt()
            x0 = F.instance_norm(x0, eps=1e-5) * std + reference.mean((2, 3), keepdim=True)
        if 0 <= step <= self.shape_end * STEPS:
            height, width = x0.shape[-2:]
            ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            grid = torch.stack([2 * (xs + ties.flow[0, 0]) / (width - 1) - 1,
                                2 * (ys + ties.flow[0, 1]) / (height - 1) - 1], dim=-1)[None]  # fmt: skip
            moved = F.grid_sample(self.x0_first[step], grid, mode="nearest", align_corners=True)
            x0 = moved * ties.trust + (1 - ties.trust) * x0
        return x0

    def run(self, source, mode, ties=None, target=None, update=False):
        generator = torch.Generator().manual_seed(SEED)
        randn = lambda: torch.randn(SHAPE, generator=generator)  # noqa: E731
        x, direction = randn(), None
        for step, t in enumerate(self.times):
            a = self.alphas[t].float()
            a_prev = self.alphas[t - 50 if t > 50 else 0].float()
            if step == self.inject:
                x = a.sqrt() * source + (1 - a).sqrt() * randn()
            if target is not None and 0.5 * STEPS < step < 0.8 * STEPS:
                w = 0.5 * target.mask
                padded = F.pad(target.mask, (1, 1, 1, 1), mode="replicate")
                prewitt = torch.tensor([[-1.0, 0, 1]] * 3)
                gradient = sum(F.conv2d(padded, k[None, None]).abs() for k in (prewitt, prewitt.T))
                flat = (gradient == 0).float()
                s = torch.maximum(1 - w, 0.9 * (1 - w**2).sqrt())
                s = (1 - w) * (1 - flat) + s * flat
                noisy = a.sqrt() * target.latents + (1 - a).sqrt() * randn()
                x = w * noisy + (1 - w) * (x - direction) + s * direction
            cond = self.eps(x, COND, step, mode, update)
            uncond = self.eps(x, UNCOND, step, mode, update)
            eps = uncond + 7.5 * (cond - uncond)
            x0 = ((x - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-self.clip, self.clip)
            if mode == "init":
                self.x0_first[step] = x0
            else:
                x0 = self.control(x0, step, ties)
            direction = (1 - a_prev).sqrt() * eps
            x = a_prev.sqrt() * x0 + direction
            randn()  # DDIM's own noise, weight 0
        return x


@pytest.fixture(scope="module")
def toy():
    return ToyUNet().eval()


def inputs(seed):
    """Source latents, ties and target of a frame."""
    flow = F.interpolate(normal(1, 2, 4, 6, seed=seed, scale=1.5), SHAPE[-2:], mode="bilinear")
    trust = (normal(1, 1, *SHAPE[-2:], seed=seed + 1) > -0.5).float()
    mask = F.interpolate((normal(1, 1, 4, 6, seed=seed + 2) > -0.5).float(), SHAPE[-2:])
    target = Target(normal(*SHAPE, seed=seed + 3) * mask, mask)
    return normal(*SHAPE, seed=seed + 4, scale=0.8), Ties(flow, trust, lambda direct: target), target


class Subject:
    """The loop under test over the key frames of a shot."""

    def __init__(self, toy, settings, **scheduler):
        noise = Schedule.from_scheduler(DDIMScheduler(**SD_SCHEDULER | scheduler), STEPS)
        denoise = guided(toy, torch.full((1, 4, 1), COND), torch.full((1, 4, 1), UNCOND), 7.5)
        self.network = Network(toy, denoise, noise)
        self.settings, self.memory, self.steps = settings, Memory(), step_schedule(settings, STEPS)

    def run(self, source, ties=None):
        """The result, and what the first of two passes gave."""
        direct = []
        if ties is not None:
            seam = ties.target
            ties = replace(ties, target=lambda latents: direct.append(latents) or seam(latents))
        result = translate_keyframe(self.network, source, self.memory, self.steps, self.settings, seed=SEED, ties=ties)
        self.memory.count += 1
        return result, *direct


@pytest.mark.parametrize(
    ("strength", "shape_end", "clip"),
    [(0.75, 0.1, math.inf), (0.9, 0.1, math.inf), (0.3, 0.1, math.inf), (0.75, 1.0, math.inf), (0.9, 1.0, 0.7)],
    ids=["0.75", "0.9", "0.3", "shapes after colours", "clipped before both"],
)
def test_two_passes_equal_the_official_formulas(toy, strength, shape_end, clip):
    """Anchor and two key frames, so that the previous key frame's features are read too; the same random stream."""
    official = TranslateConfig(compat="official", strength=strength, shape_window=(0.0, shape_end))
    clipping = {} if clip == math.inf else {"clip_sample": True, "clip_sample_range": clip}
    restated, subject = Restated(toy, strength, shape_end, clip), Subject(toy, official, **clipping)
    source = normal(*SHAPE, seed=50, scale=0.8)
    with torch.no_grad():
        close(subject.run(source)[0], restated.run(source, "init"))
        for seed in (10, 20):
            source, ties, target = inputs(seed)
            second, first = subject.run(source, ties)
            close(first, restated.run(source, "keep", ties))
            close(second, restated.run(source, "keep", ties, target, update=True))
            assert (second - first).abs().max() > 0.05


@pytest.mark.parametrize(
    "changed", [{"fusion_strength": 0.8}, {"inner_strength": 0.3}, {"smooth_boundary": False}], ids=str
)
def test_every_setting_of_the_pull_reaches_it(toy, changed):
    results = []
    for settings in ({}, changed):
        subject = Subject(toy, TranslateConfig(**settings))
        subject.run(normal(*SHAPE, seed=50))
        source, ties, _ = inputs(10)
        results.append(subject.run(source, ties))
    assert torch.equal(results[0][1], results[1][1])  # the first pass is not pulled
    assert not torch.equal(results[0][0], results[1][0])


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("strength", [0.75, 0.9, None])
def test_the_second_pass_may_start_at_the_first_fused_step(toy, strength):
    """Bit for bit, on the second key frame too, where the features come from both passes."""
    results = []
    for fused in (True, False):
        subject = Subject(toy, TranslateConfig(strength=strength))
        if not fused:
            subject.steps = replace(subject.steps, fork=subject.steps.start)
        assert fused == (subject.steps.fork > subject.steps.start)
        subject.run(normal(*SHAPE, seed=50))
        for seed in (10, 20):
            source, ties, _ = inputs(seed)
            results.append(subject.run(source, ties)[0])
    assert torch.equal(results[0], results[2]) and torch.equal(results[1], results[3])
    assert not torch.equal(results[0], results[1])


def test_the_noise_of_a_first_fused_step_is_that_of_the_source(toy):
    """Fusion takes the noisy source apart into source and noise, although no step has come before."""
    subject = Subject(toy, TranslateConfig(strength=0.75, fusion_window=(0.0, 0.2)))
    subject.run(normal(*SHAPE, seed=50))
    source, ties, target = inputs(10)
    target = replace(target, mask=torch.ones_like(target.mask))
    seen, denoise = [], subject.network.denoise
    subject.network = replace(subject.network, denoise=lambda x, t: denoise(seen.append(x) or x, t))
    subject.run(source, replace(ties, target=lambda direct: target))
    start = subject.steps.start
    noise = Noise.draw(source, SEED, subject.steps, fused=True)
    a = subject.network.schedule.alpha_bar(subject.network.schedule.timesteps[start])
    noises = 0.5 * noise.fusion[start] + 0.9 * 0.75**0.5 * noise.injection
    close(seen[STEPS - start], a**0.5 * (0.5 * target.latents + 0.5 * source) + (1 - a) ** 0.5 * noises)
