"""One-shot tuning of a video UNet on the latents of one clip (Tune-A-Video, ICCV 2023, section 3.3).

A step, as in the official code: a fresh draw from the encoder's posterior, one timestep for the clip,
independent noise for each frame, mean squared error in float32, gradients clipped, AdamW. Every random number
comes from one CPU generator, so they are the same on every device. Latents are ``[1, F, C, h, w]``, scaled.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter

from tuneavideo.config import TuneConfig
from tuneavideo.tuning_state import TuningState
from videoedit.config import build_config
from videoedit.diffusion.ddim import add_noise, as_ddim
from videoedit.errors import ConfigError, ShapeError
from videoedit.runs.interrupt import deferred_stop

if TYPE_CHECKING:
    from tuneavideo.video_unet import VideoUNet
    from videoedit.diffusion.latents import Posterior

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WITHOUT_TRACE = {"steps", "checkpoint_every", "trainable", "train_blocks"}  # not in a state's settings


@dataclass(frozen=True)
class TuneResult:
    """Losses of all steps, those before a resume included, and where this process spent its wall seconds."""

    losses: list[float]
    seconds: dict[str, float]  # forward, backward, optimiser, other
    resumed_from: int  # steps that earlier processes had done

    @property
    def overhead(self) -> float:
        """Share of the time outside forward, backward and optimiser, in [0, 1]."""
        return self.seconds["other"] / max(sum(self.seconds.values()), 1e-9)


def tune(
    video_unet: VideoUNet,
    posterior: Posterior,  # mean and std [1, F, C, h, w]
    prompt_embeds: Tensor,  # [1, L, D] of the source prompt
    scheduler: Any,  # a diffusers scheduler or its config
    *,
    empty_embeds: Tensor | None = None,
    seed: int = 33,
    state_path: Path | None = None,
    callback: Callable[[int, float], None] | None = None,
    **settings: Any,
) -> TuneResult:
    """Train the chosen tensors of `video_unet`, in place, on one clip and prompt.

    `settings` are those of `TuneConfig` (``steps=300``); defaults are the official ones. `precision` is that of the
    frozen weights and of the activations while tuning; the trained tensors and AdamW stay float32, and everything
    returns to its own dtype. `prompt_dropout` is the share of steps on `empty_embeds`; for `smoothness_weight` see
    `tuning_loss`. `callback(step, loss)` follows each step, from 1.

    With `state_path`, the state is written there every `checkpoint_every` steps, at the end, and when Ctrl-C or
    SIGTERM asks for a stop; one found there is continued: on the same machine the result has the same bytes as that of
    an undisturbed run. A state of other settings, clip, prompt or weights is refused; `steps` may grow. Raises
    ConfigError, ShapeError, WeightsError, or MethodError when a tensor does not learn or a number is not finite.
    """
    c = build_config(TuneConfig, settings)
    posterior = replace(posterior, mean=posterior.mean.float(), std=posterior.std.float())
    clip = _Clip(posterior, prompt_embeds, empty_embeds, as_ddim(scheduler), c)
    clip.check()
    tensors = dict(video_unet.trainable_parameters(c.train_blocks, c.trainable))
    deciding = c.model_dump(exclude=WITHOUT_TRACE) | {"seed": seed, "network": video_unet.options}
    landmarks = clip.landmarks() | {"weights": _frozen_values(video_unet)}
    dtype = DTYPES[c.precision]
    with _prepared(video_unet, tensors, dtype, c.gradient_checkpointing), deferred_stop() as stop:
        optimizer = torch.optim.AdamW(tensors.values(), lr=c.learning_rate, weight_decay=c.weight_decay, fused=True)
        state = TuningState(tensors, optimizer, torch.Generator().manual_seed(seed), deciding, landmarks)
        if state_path and state_path.exists():
            state.load(state_path, c.steps)
        done = len(state.losses)
        clock = _Clock(clip.device)
        for step in range(done + 1, c.steps + 1):
            noisy, t, target, embeds = clip.draw(state.generator)
            clock.lap("other")
            with torch.autocast(clip.device.type, dtype, enabled=dtype != torch.float32):
                prediction = video_unet(noisy.to(dtype), t, embeds.to(dtype))
            loss = tuning_loss(prediction, target, c.smoothness_weight)
            clock.lap("forward")
            (loss * state.loss_scale).backward()
            clock.lap("backward")
            state.apply_gradients(loss.detach(), c.max_grad_norm, posterior.mean.shape[1])
            clock.lap("optimiser")
            if state_path and (step % c.checkpoint_every == 0 or step == c.steps or stop.asked):
                state.save(state_path)
            if callback:
                callback(step, state.losses[-1])
            if stop.asked:
                raise KeyboardInterrupt
            clock.lap("other")
    return TuneResult(state.losses, clock.seconds, done)


def tuning_loss(prediction: Tensor, target: Tensor, smoothness_weight: float = 0.0) -> Tensor:
    """Mean squared error in float32, plus `smoothness_weight` times that of its second difference over frames.

    With e = prediction - target, ``[B, F, C, h, w]``, the second term is the mean of
    (e[f-1] - 2 e[f] + e[f+1])^2: errors must not flicker, while the clip's own motion, which is in the target,
    costs nothing. To the same end Peng et al., "Smooth Video Synthesis with Noise Constraints on Diffusion Models
    for One-shot Video Tuning" (2023), constrain the noise predictions of neighbouring frames. At one timestep the
    errors of noise, velocity and x0 are proportional, so it does not matter which of them is meant.
    """
    loss = F.mse_loss(prediction.float(), target)
    if smoothness_weight > 0 and target.shape[1] > 2:
        error = prediction.float() - target
        loss = loss + smoothness_weight * error.diff(n=2, dim=1).square().mean()
    return loss


@dataclass(frozen=True)
class _Clip:
    """The clip and prompt that a step draws from."""

    posterior: Posterior
    prompt_embeds: Tensor
    empty_embeds: Tensor | None
    scheduler: Any  # DDIMScheduler
    settings: TuneConfig

    def check(self) -> None:
        """Refuse what cannot work before anything is touched."""
        shape = list(self.posterior.mean.shape)
        if len(shape) != 5 or shape[0] != 1 or shape[1] < 1:
            raise ShapeError(f"the clip's latents have shape {shape}; tuning takes one clip, [1, F, C, h, w]")
        if self.settings.precision == "fp16" and self.device.type == "cpu":
            raise ConfigError("precision fp16 does not work on a CPU; use bf16, or fp32")
        if self.settings.prompt_dropout > 0 and self.empty_embeds is None:
            raise ConfigError("prompt_dropout needs empty_embeds, the encoded empty prompt")

    @property
    def device(self) -> torch.device:
        return self.posterior.mean.device

    def draw(self, generator: torch.Generator) -> tuple[Tensor, int, Tensor, Tensor]:
        """The random part of a step: noisy latents, timestep, what the network should say, prompt."""
        alphas = self.scheduler.alphas_cumprod
        t = int(torch.randint(len(alphas), (), generator=generator))
        mean = self.posterior.mean
        x0 = self.posterior.sample(generator) if self.settings.latent == "sample" else mean
        noise = torch.randn(mean.shape, generator=generator).to(self.device)
        alpha_bar = float(alphas[t].double())
        embeds = self.prompt_embeds
        dropout = self.settings.prompt_dropout
        if dropout > 0 and float(torch.rand((), generator=generator)) < dropout:
            assert self.empty_embeds is not None
            embeds = self.empty_embeds
        target = {"epsilon": noise, "sample": x0, "v_prediction": add_noise(noise, -x0, alpha_bar)}
        return add_noise(x0, noise, alpha_bar), t, target[self.scheduler.config.prediction_type], embeds

    def landmarks(self) -> dict[str, Tensor]:
        """A few numbers by which another clip, prompt or schedule is recognised."""
        moments = torch.cat([self.posterior.mean, self.posterior.std])
        return {
            "clip": F.adaptive_avg_pool2d(moments.flatten(0, 1), 4),
            "prompt": self.prompt_embeds[..., :8].float(),
            "schedule": self.scheduler.alphas_cumprod,
            self.scheduler.config.prediction_type: torch.zeros(1),
        }


def _frozen_values(video_unet: VideoUNet) -> Tensor:
    """The first values of each frozen tensor: enough to recognise another base model."""
    return torch.cat([p.data.flatten()[:4].float() for p in video_unet.parameters() if not p.requires_grad])


@contextlib.contextmanager
def _prepared(
    video_unet: VideoUNet, tensors: dict[str, Parameter], dtype: torch.dtype, gradient_checkpointing: bool
) -> Iterator[None]:
    """Train mode, frozen weights in `dtype` and trained ones in float32; afterwards as before, and frozen."""
    unet: Any = video_unet.unet
    own = {p: p.dtype for p in tensors.values()}
    frozen = {p: p.data for p in unet.parameters() if p not in own}
    training, checkpointing = video_unet.training, unet.is_gradient_checkpointing
    try:
        for p, data in frozen.items():
            p.data = data.to(dtype)
        for p in own:
            p.data = p.data.float()
        video_unet.train()
        if gradient_checkpointing:
            video_unet.enable_gradient_checkpointing()
        yield
    finally:
        for p, data in frozen.items():
            p.data = data
        for p, own_dtype in own.items():
            p.data = p.data.to(own_dtype)
            p.grad = None
            p.requires_grad_(False)
        video_unet.train(training)
        if gradient_checkpointing and not checkpointing:
            unet.disable_gradient_checkpointing()


class _Clock:
    """Wall seconds by kind of work; at each lap the device finishes first, so that it pays where it worked."""

    def __init__(self, device: torch.device) -> None:
        self.seconds = dict.fromkeys(("forward", "backward", "optimiser", "other"), 0.0)
        self._device, self._last = device, time.perf_counter()

    def lap(self, kind: str) -> None:
        """The time since the last lap went into `kind`."""
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        last, self._last = self._last, time.perf_counter()
        self.seconds[kind] += self._last - last
