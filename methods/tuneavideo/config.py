"""Settings of Tune-A-Video. Defaults are the paper's and the official code's unless a line says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from videoedit.config import ONLY_HOW, FilePath, PromptsConfig, Section, Strings, Window
from videoedit.errors import ConfigError


class NetworkConfig(Section):
    """The changes that make a video model of the image model."""

    attention: Literal["sparse_causal", "first", "full", "self"] = "sparse_causal"
    """Frames that a frame's self-attention sees: first and previous, first, all, or itself."""
    group_norm: Literal["clip", "frame"] = "clip"
    """Statistics of the residual blocks' group norms: over the whole clip (official) or each frame."""
    init: Literal["identity", "official"] = "identity"
    """Temporal attention starts at exactly zero, or with the official code's random bias."""
    temporal_mask: Literal["none", "causal"] = "none"
    """Mask of the temporal attention: none (official), or causal, which hides later frames (paper v1)."""
    lora_rank: int = Field(default=0, ge=0)
    """Train the query projections through low-rank updates of this rank; 0: whole matrices."""


class TuneConfig(Section):
    """The one-shot tuning."""

    steps: int = Field(default=500, ge=0)
    """Optimiser steps; 0: no tuning."""
    learning_rate: float = Field(default=3e-5, gt=0)
    """Step size of AdamW."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Weight decay of AdamW."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this total norm."""
    trainable: Literal["iccv", "v1"] | Strings = "iccv"
    """Modules that learn: `iccv`, `v1`, or a list of module-name endings."""
    train_blocks: Literal["all", "official"] = "all"
    """Every block, or middle and up blocks only, as the official code in fact trains."""
    latent: Literal["sample", "mean"] = "sample"
    """A fresh draw from the encoder's posterior at each step (official), or its mean."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of forward and backward; trained weights stay float32."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    prompt_dropout: float = Field(default=0.0, ge=0, le=1)
    """Share of the steps on the empty prompt."""
    smoothness_weight: float = Field(default=0.0, ge=0)
    """Weight of the second difference over frames of the prediction's error: errors must not flicker."""
    checkpoint_every: int = Field(default=50, ge=1, json_schema_extra=ONLY_HOW)
    """Steps between resumable states on disk."""


class InvertConfig(Section):
    """DDIM inversion of the source with the tuned network, on the empty prompt."""

    steps: int = Field(default=50, ge=1)
    """Inversion steps; best equal to sample.steps."""
    latents: FilePath | None = None
    """Use this inverted latent (official `inv_latents/*.pt`, or safetensors) and skip inversion."""


class SampleConfig(Section):
    """DDIM sampling of each edit from the inverted latent."""

    steps: int = Field(default=50, ge=1)
    """Sampling steps."""
    guidance_scale: float = Field(default=12.5, ge=0)
    """Classifier-free guidance; 1: none."""


class StructureConfig(Section):
    """Control of an edit by its source, which runs beside it (Plug-and-Play, Tumanyan et al. 2023); all off: the paper.

    Shares count from the noisiest step, over all of `sample.steps`: 0 off, 1 all steps.
    """

    features: float = Field(default=0.0, ge=0, le=1)
    """Share of the steps in which residual blocks of the decoder add what they add in the source."""
    blocks: int = Field(default=1, ge=1)
    """Number of up blocks, from the coarsest, that `features` holds for."""
    queries_keys: float = Field(default=0.0, ge=0, le=1)
    """Share of the steps in which the decoder's self-attention has the source's queries and keys."""
    temporal_queries_keys: float = Field(default=0.0, ge=0, le=1)
    """Share of the steps in which the decoder's temporal attention has the source's queries and keys."""
    start: float = Field(default=0.0, ge=0, lt=1)
    """Share of the steps left out: sampling starts from the source as it was inverted that far (SDEdit)."""
    source: Literal["trajectory", "denoised"] = "trajectory"
    """Source at each step: read from the inversion, or denoised beside the edit from the same noise."""

    @property
    def beside(self) -> bool:
        """True if the source runs beside the edit."""
        return max(self.features, self.queries_keys, self.temporal_queries_keys) > 0

    @property
    def reads_trajectory(self) -> bool:
        """True if the latents of each step of the inversion are needed, and not the last alone."""
        return self.start > 0 or (self.beside and self.source == "trajectory")

    def first_step(self, steps: int) -> int:
        """The step at which sampling starts, from 0; at least the last one runs."""
        return min(round(self.start * steps), steps - 1)

    def check(self, invert: InvertConfig, steps: int) -> None:
        """Raise `ConfigError` where the inversion does not hold the source at each of the sampling's `steps`."""
        if not self.reads_trajectory:
            return
        remedy = "or set structure.source to denoised and structure.start to 0"
        if invert.latents is not None:
            raise ConfigError(
                "structure needs each step of an inversion, but invert.latents gives the last alone; "
                f"leave invert.latents out, {remedy}"
            )
        if invert.steps != steps:
            raise ConfigError(
                f"structure reads the source at each step of sampling, but invert.steps is {invert.steps} "
                f"and sample.steps {steps}; set them equal, {remedy}"
            )


class EditFramesConfig(Section):
    """The joint edit of frames."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "mini": {
            "network": {"group_norm": "frame"},  # it learnt single pictures: over a clip subjects vanish from frames
            "tune": {"steps": 80, "learning_rate": 3e-4},
            "invert": {"steps": 30},
            "sample": {"steps": 30, "guidance_scale": 3.0},
        }
    }

    adapter: FilePath | None = None
    """Start from these tuned tensors (`adapter.safetensors` of an earlier run, or an official .pth)."""
    network: NetworkConfig = NetworkConfig()
    tune: TuneConfig = TuneConfig()
    invert: InvertConfig = InvertConfig()
    sample: SampleConfig = SampleConfig()
    structure: StructureConfig = StructureConfig()
    controls: Strings = ()
    """ControlNets that hold each frame's structure in the edits: KIND, KIND:SCALE or KIND=FOLDER:SCALE."""
    control_window: Window = (0.0, 1.0)
    """Steps of sampling in which they do, as fractions; 0 = the first (noisiest)."""


class TuneAVideoConfig(EditFramesConfig, PromptsConfig):
    """Everything a Tune-A-Video run depends on."""
