"""The state of a tuning: what changes from step to step, the checks that it learns, and the file that keeps it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from videoedit.errors import MethodError, WeightsError
from videoedit.files import atomic_path

FORMAT = "videoedit.tuneavideo.tuning/1"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
MOVED_AFTER = 3  # updates after which every tensor must have learned; a zero weight behind it costs it one
FIRST_LOSS_SCALE = 2.0**16  # of fp16, as in torch's GradScaler; halved when a gradient overflows
TOLERANCE = 1e-3  # of landmarks: encoders repeat themselves to rounding only
# A tensor whose name ends as on the left gets a zero gradient while the weight on the right is zero.
GATES = {
    r"(attn_temp\.to_[qkv]|norm_temp)\.\w+$": "attn_temp.to_out.0.weight",
    r"lora\.down\.weight$": "lora.up.weight",
}


@dataclass
class TuningState:
    """Trained tensors, AdamW, generator and losses of a tuning."""

    tensors: dict[str, Parameter]  # float32, by official name
    optimizer: torch.optim.Optimizer  # has them in this order
    generator: torch.Generator
    settings: dict[str, Any]  # plain values that decide the result
    landmarks: dict[str, Tensor]  # small ones, by which its inputs are recognized
    losses: list[float] = field(default_factory=list)
    updates: int = 0  # of this process

    def __post_init__(self) -> None:
        self.settings = json.loads(json.dumps(self.settings))
        self.landmarks = {name: value.cpu() for name, value in self.landmarks.items()}
        self.loss_scale = FIRST_LOSS_SCALE if self.settings["precision"] == "fp16" else 1.0

    def apply_gradients(self, loss: Tensor, max_grad_norm: float, num_frames: int) -> None:
        """Clip the gradients of ``loss * loss_scale``, let AdamW use them and drop them; notes the loss.

        A gradient that overflows in fp16 is skipped, and the scale halved. Raises MethodError for other numbers
        that are not finite, and when some tensor does not learn.
        """
        gradients = [p.grad for p in self.tensors.values() if p.grad is not None]
        if self.loss_scale != 1:
            for gradient in gradients:
                gradient.div_(self.loss_scale)
        norm = get_total_norm(gradients, foreach=True)
        value, total = torch.stack([loss, norm.to(loss.device)]).tolist()  # the step's only transfer
        self.losses.append(value)
        if math.isfinite(value) and not math.isfinite(total) and self.loss_scale > 1:
            self.loss_scale /= 2
        else:
            self._check_finite(value, total)
            clip_grads_with_norm_(self.tensors.values(), max_grad_norm, norm, foreach=True)
            self._update(num_frames)
        self.optimizer.zero_grad()

    def _update(self, num_frames: int) -> None:
        """One step of AdamW; the first one checks all gradients, a later one that all tensors move.

        Behind a gate that has just opened the first moves may be below rounding, but not the gradients.
        """
        self.updates += 1
        if self.updates == 1:
            check_gradients(self.tensors, num_frames)
        if self.updates != MOVED_AFTER:
            self.optimizer.step()
            return
        before = [p.detach().clone() for p in self.tensors.values()]
        self.optimizer.step()
        moves = _peaks(p.detach() - old for p, old in zip(self.tensors.values(), before, strict=True))
        seen = _peaks(self.optimizer.state[p]["exp_avg"] for p in self.tensors.values())
        still = []
        for name, move, average in zip(self.tensors, moves, seen, strict=True):
            rests = average == 0 or (move == 0 and not _gate(name))
            if rests and not is_silent(name, self.tensors, num_frames):
                still.append(name)
        if still:
            raise MethodError(
                f"{_list(still, len(self.tensors))} did not move in {MOVED_AFTER} updates; learning_rate "
                f"{self.settings['learning_rate']} is too small, or what they compute has no effect: raise it, or "
                "leave them out with trainable or train_blocks"
            )

    def _check_finite(self, loss: float, norm: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        advice = {"fp16": "use precision bf16 or fp32", "bf16": "use precision fp32"}.get(
            self.settings["precision"], "use a lower learning_rate, and look for NaN in latents and weights"
        )
        if not math.isfinite(loss):
            raise MethodError(f"the loss of step {len(self.losses)} is {loss}; {advice}")
        bad = [n for n, p in self.tensors.items() if p.grad is not None and not p.grad.isfinite().all()]
        where = _list(bad, len(self.tensors))
        raise MethodError(f"the gradient of {where} is not finite in step {len(self.losses)}; {advice}")

    # The file

    def save(self, path: Path) -> None:
        """Write the state atomically; the file is complete or the one before it."""
        kept: dict[str, Tensor] = {f"landmark.{name}": value for name, value in self.landmarks.items()}
        kept["generator"] = self.generator.get_state()
        kept["losses"] = torch.tensor(self.losses, dtype=torch.float64)
        kept["loss_scale"] = torch.tensor(self.loss_scale, dtype=torch.float64)
        for name, parameter in self.tensors.items():
            kept[f"parameter.{name}"] = parameter.detach()
            kept |= {f"{key}.{name}": value for key, value in self.optimizer.state[parameter].items()}
        # one key only: safetensors writes several in random order, and equal states should be equal files
        metadata = {FORMAT: json.dumps(self.settings)}
        with atomic_path(path) as temporary:
            save_file({name: value.contiguous() for name, value in kept.items()}, temporary, metadata)

    def load(self, path: Path, steps: int) -> None:
        """Continue the tuning in `path`; raises WeightsError for a damaged or foreign file, MethodError for a
        tuning of something else or one with more than `steps` steps."""
        try:
            with safe_open(path, "pt") as file:  # copied: Windows replaces no file that is mapped
                settings = (file.metadata() or {}).get(FORMAT)
                saved = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path} is damaged ({error}); delete it to tune from the start") from error
        if settings is None:
            raise WeightsError(f"{path} is not a tuning state of this version; delete it to tune from the start")
        if differing := ", ".join(self._differences(json.loads(settings), saved)):
            raise MethodError(f"{path} is the state of another tuning (differs in {differing}); delete it")
        if (done := len(saved["losses"])) > steps:
            raise MethodError(f"{path} is already at step {done} of {steps}; ask for more steps or delete it")
        self._restore(saved)

    def _differences(self, settings: dict[str, Any], saved: dict[str, Tensor]) -> list[str]:
        differing = [name for name, value in self.settings.items() if settings.get(name) != value]
        for name, value in self.landmarks.items():
            other = saved.get(f"landmark.{name}", torch.empty(0))
            tolerance = 0.0 if name == "weights" else TOLERANCE
            if other.shape != value.shape or not torch.allclose(other, value, rtol=0, atol=tolerance):
                differing.append(name)
        known = {key: value.shape for key, value in saved.items() if key.startswith("parameter.")}
        if known != {f"parameter.{name}": p.shape for name, p in self.tensors.items()}:
            differing.append("trained tensors")
        return differing

    def _restore(self, saved: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.tensors.items():
                parameter.copy_(saved[f"parameter.{name}"])
        moments = {}
        for index, name in enumerate(self.tensors):
            if f"exp_avg.{name}" in saved:
                moments[index] = {key: saved[f"{key}.{name}"] for key in MOMENTS}
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        self.generator.set_state(saved["generator"])
        self.losses = saved["losses"].tolist()
        self.loss_scale = float(saved["loss_scale"])


def check_gradients(tensors: dict[str, Parameter], num_frames: int) -> None:
    """MethodError naming the tensors that no gradient reaches; those of `is_silent` may have a zero one."""
    if missing := [name for name, p in tensors.items() if p.grad is None]:
        raise MethodError(
            f"no gradient reaches {_list(missing, len(tensors))}: something cuts the graph behind them "
            "(re-entrant gradient checkpointing, no_grad, detach); remove it, or leave them out with trainable or "
            "train_blocks"
        )
    peaks = zip(tensors, _peaks(p.grad for p in tensors.values() if p.grad is not None), strict=True)
    if zero := [name for name, peak in peaks if peak == 0 and not is_silent(name, tensors, num_frames)]:
        raise MethodError(
            f"the gradient of {_list(zero, len(tensors))} is zero: what they compute has no effect on the output "
            "(a frozen zero weight behind them, for example); leave them out with trainable or train_blocks"
        )


def is_silent(name: str, tensors: dict[str, Parameter], num_frames: int) -> bool:
    """Tell whether this tensor rightly gets a zero gradient now.

    So do temporal q, k and v while the output weight is still zero, LoRA's first factor while the second is, and
    temporal q and k of a single frame, whose softmax has one term.
    """
    if num_frames == 1 and re.search(r"attn_temp\.to_[qk]\.", name):
        return True
    gate = tensors.get(_gate(name))
    return gate is not None and not gate.any()


def _gate(name: str) -> str:
    """The weight that must leave zero before this tensor gets a gradient, "" for most."""
    for pattern, gate in GATES.items():
        if match := re.search(pattern, name):
            return name[: match.start()] + gate
    return ""


def _peaks(tensors: Iterable[Tensor]) -> list[float]:
    """Largest magnitude of each tensor, in one transfer from the device."""
    return torch.stack([tensor.abs().amax() for tensor in tensors]).tolist()


def _list(names: list[str], total: int) -> str:
    """``3 of 48 tensors (a, b, c)``; the first four names of more."""
    more = ", ..." if len(names) > 4 else ""
    return f"{len(names)} of {total} tensors ({', '.join(names[:4])}{more})"
