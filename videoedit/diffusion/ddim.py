"""DDIM arithmetic: a noise schedule as plain numbers, and the few equations that move a latent along it.

Notation of Song et al., "Denoising Diffusion Implicit Models" (DDIM), with ᾱ for their α (diffusers'
`alphas_cumprod`):  x_t = sqrt(ᾱ_t) x0 + sqrt(1 - ᾱ_t) eps.  Everything here is elementwise, so tensors may have any
shape. ᾱ are Python floats, so that float64 latents keep float64 accuracy; 16-bit latents are computed in float32.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, get_args

import torch
from diffusers import DDIMScheduler
from diffusers.configuration_utils import FrozenDict
from torch import Tensor

from videoedit.errors import ConfigError

PredictionType = Literal["epsilon", "v_prediction", "sample"]


@dataclass(frozen=True)
class Schedule:
    """The timesteps that a DDIM loop visits, and ᾱ at each; made by `from_scheduler`."""

    timesteps: tuple[int, ...]  # descending, as sampling visits them; inversion goes backwards
    stride: int  # a step from t leads to t - stride
    alphas: tuple[float, ...]  # ᾱ of every training timestep
    final_alpha: float  # ᾱ below timestep 0: 1, or alphas[0]
    prediction_type: PredictionType  # what the network predicts
    clip: float | None = None  # clamp predicted x0 to ±clip
    threshold: tuple[float, float] | None = None  # dynamic thresholding of x0: (quantile, largest value)

    @classmethod
    def from_scheduler(cls, scheduler: Any, num_inference_steps: int) -> Schedule:
        """Read a diffusers scheduler or its config (a mapping); the scheduler itself is not touched."""
        ddim: Any = as_ddim(scheduler)
        config = ddim.config
        total = int(config.num_train_timesteps)
        steps = num_inference_steps
        if not isinstance(steps, Integral) or not 1 <= steps <= total:
            raise ConfigError(f"num_inference_steps is {steps!r}; expected a whole number from 1 to {total}")
        try:
            ddim.set_timesteps(steps)
        except ValueError as error:
            raise ConfigError(f"the scheduler's timestep_spacing is {config.timestep_spacing!r}: {error}") from error
        schedule = cls(
            # "trailing" rounds to one timestep too many, -1, for some numbers of steps (61, 103, …)
            timesteps=tuple(t for t in ddim.timesteps.tolist() if t >= 0),
            stride=total // steps,
            alphas=tuple(ddim.alphas_cumprod.double().tolist()),
            final_alpha=float(ddim.final_alpha_cumprod),
            prediction_type=config.prediction_type,
            clip=float(config.clip_sample_range) if config.clip_sample and not config.thresholding else None,
            threshold=(config.dynamic_thresholding_ratio, config.sample_max_value) if config.thresholding else None,
        )
        schedule._check(config)
        return schedule

    def _check(self, config: Any) -> None:
        if (last := self.timesteps[0]) >= len(self.alphas):
            raise ConfigError(
                f"{len(self.timesteps)} steps with steps_offset {config.steps_offset} start at timestep {last}, "
                f"but the model knows 0 to {len(self.alphas) - 1}; use fewer steps"
            )
        if self.prediction_type == "epsilon" and self.alpha_bar(last) == 0.0:
            raise ConfigError(
                f"timestep {last} is pure noise (rescale_betas_zero_snr), where a noise prediction says "
                "nothing about the image; such a schedule needs prediction_type v_prediction"
            )

    def alpha_bar(self, t: int) -> float:
        """ᾱ at timestep t; below 0 the final one."""
        return self.alphas[t] if t >= 0 else self.final_alpha

    def alpha_bar_prev(self, t: int) -> float:
        """ᾱ where a sampling step from t leads, which is where an inversion step to t starts."""
        return self.alpha_bar(t - self.stride)

    def constrain_x0(self, x0: Tensor) -> Tensor:
        """Clip or threshold a predicted x0 as the config asks; Stable Diffusion's asks for neither."""
        if self.threshold is not None:
            return dynamic_threshold(x0, *self.threshold)
        return x0 if self.clip is None else x0.clamp(-self.clip, self.clip)


def as_ddim(scheduler: Any) -> DDIMScheduler:
    """A fresh DDIM scheduler over the noise schedule of any diffusers scheduler or scheduler config."""
    config = getattr(scheduler, "config", scheduler)
    if not isinstance(config, Mapping):
        raise ConfigError(f"expected a diffusers scheduler or its config, got {type(scheduler).__name__}")
    name = _class_name(scheduler, config)
    if all(config.get(key) is None for key in ("beta_start", "beta_schedule", "trained_betas")):
        raise ConfigError(f"the scheduler config ({name}) has no betas to read, so DDIM cannot run on this model")
    if (prediction := config.get("prediction_type", "epsilon")) not in get_args(PredictionType):
        raise ConfigError(
            f"the scheduler's prediction_type is {prediction!r}; DDIM needs {', '.join(get_args(PredictionType))}"
        )
    known = inspect.signature(DDIMScheduler.__init__).parameters
    try:
        return DDIMScheduler(**{**_other_defaults(name), **{k: v for k, v in config.items() if k in known}})
    except NotImplementedError as error:
        raise ConfigError(f"the scheduler's beta_schedule is {config.get('beta_schedule')!r}: {error}") from error
    except Exception as error:  # values of any type, in a damaged config
        raise ConfigError(f"the scheduler's config ({name[:60]}) cannot be used: {str(error)[:200]}") from error


def _class_name(scheduler: Any, config: Mapping[str, Any]) -> str:
    if config is not scheduler:
        return type(scheduler).__name__
    if "_class_name" in config:
        return str(config["_class_name"])
    # `scheduler.config` in memory does not say its class, but has every key that its class knows
    complete = isinstance(config, FrozenDict)
    return "DDIMScheduler" if not complete or "clip_sample" in config else "unnamed"


def _other_defaults(class_name: str) -> dict[str, bool]:
    """Settings that a scheduler class leaves out of its config, as it never does it, where DDIM's default differs."""
    if class_name in ("DDIMScheduler", "DDIMInverseScheduler", "DDPMScheduler"):
        return {}
    return {"clip_sample": False} | ({"set_alpha_to_one": False} if class_name == "PNDMScheduler" else {})


def predict_x0(sample: Tensor, output: Tensor, alpha_bar: float, prediction_type: PredictionType) -> Tensor:
    """The clean latent that the network's `output` at `sample` (with ᾱ `alpha_bar`) implies; DDIM Eq. 9."""
    signal, noise = signal_and_noise(alpha_bar, sample.dtype)
    match prediction_type:
        case "epsilon":
            return (sample - noise * output) / signal
        case "v_prediction":
            return signal * sample - noise * output
        case "sample":
            return output
    raise ConfigError(f"unknown prediction type {prediction_type!r}")


def predict_eps(sample: Tensor, output: Tensor, alpha_bar: float, prediction_type: PredictionType) -> Tensor:
    """The noise that the network's `output` at `sample` (with ᾱ `alpha_bar`) implies."""
    signal, noise = signal_and_noise(alpha_bar, sample.dtype)
    match prediction_type:
        case "epsilon":
            return output
        case "v_prediction":
            return signal * output + noise * sample
        case "sample":
            return (sample - signal * output) / noise
    raise ConfigError(f"unknown prediction type {prediction_type!r}")


def add_noise(x0: Tensor, noise: Tensor, alpha_bar: float) -> Tensor:
    """x_t from x0 and noise; DDIM Eq. 12 with sigma 0, where the second term is called the direction."""
    signal, spread = signal_and_noise(alpha_bar, x0.dtype)
    return signal * x0 + spread * noise


def signal_and_noise(alpha_bar: float, dtype: torch.dtype) -> tuple[float, float]:
    """sqrt(ᾱ) and sqrt(1 - ᾱ), computed in `dtype` as diffusers does, so that float32 agrees with it to the bit."""
    alpha = torch.tensor(alpha_bar, dtype=dtype)
    return float(alpha**0.5), float((1 - alpha) ** 0.5)


def ddim_step(schedule: Schedule, sample: Tensor, output: Tensor, t: int) -> Tensor:
    """From `sample` at timestep t, where the network predicted `output`, one stride down."""
    return _move(schedule, sample, output, schedule.alpha_bar(t), schedule.alpha_bar_prev(t))


def ddim_inverse_step(schedule: Schedule, sample: Tensor, output: Tensor, t: int) -> Tensor:
    """From `sample` one stride below timestep t, where the network called with t predicted `output`, up to t."""
    return _move(schedule, sample, output, schedule.alpha_bar_prev(t), schedule.alpha_bar(t))


def _move(schedule: Schedule, sample: Tensor, output: Tensor, alpha_bar: float, alpha_bar_next: float) -> Tensor:
    wide, output = widen(sample), widen(output.to(sample.dtype))
    x0 = predict_x0(wide, output, alpha_bar, schedule.prediction_type)
    eps = predict_eps(wide, output, alpha_bar, schedule.prediction_type)
    return add_noise(schedule.constrain_x0(x0), eps, alpha_bar_next).to(sample.dtype)


def dynamic_threshold(x0: Tensor, ratio: float, largest: float) -> Tensor:
    """Scale each item of the batch into [-1, 1] by the `ratio` quantile of its magnitudes (Imagen, sec. 2.3)."""
    flat = x0.flatten(1)
    limit = torch.quantile(flat.abs(), ratio, dim=1, keepdim=True).clamp(1.0, largest)
    return (flat.clamp(-limit, limit) / limit).reshape(x0.shape)


def widen(x: Tensor) -> Tensor:
    """16-bit floats as float32; float32 and float64 as they are."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
