"""The few values that travel between stages.

Conventions, everywhere in the toolkit unless a docstring says otherwise:

- frames at the edge: uint8 ``[F, H, W, 3]``, RGB; pixels inside: float ``[B, F, 3, H, W]`` in [-1, 1];
- latents: float ``[B, F, C, h, w]``, *scaled* (times the VAE's ``scaling_factor``);
- sizes given by people are ``(width, height)``; shapes of arrays are height first;
- frame rates and times are exact rationals, times in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer


@dataclass(frozen=True)
class Video:
    """Selected frames of a clip and where they came from."""

    frames: np.ndarray  # uint8 [F, H, W, 3] RGB; of a method that streams: a `videoedit.media.video.FrameStream`
    fps: Fraction  # rate of these frames: the source's rate / stride; a variable rate's average
    path: Path | None = None
    start_time: Fraction = Fraction(0)  # seconds of the first frame in the source
    source_size: tuple[int, int] | None = None  # (height, width) as displayed in the source
    times: tuple[Fraction, ...] = ()  # of a variable rate: seconds of each frame from the first one, and of the end
    origin: Fraction = Fraction(0)  # seconds of the source's first frame on the file's clock, which its sound goes by
    audio_track: int = 0
    has_audio: bool = False
    notes: tuple[str, ...] = ()  # what a user should know: variable rate, 10-bit, ...

    @property
    def num_frames(self) -> int:
        return int(self.frames.shape[0])

    @property
    def height(self) -> int:
        return int(self.frames.shape[1])

    @property
    def width(self) -> int:
        return int(self.frames.shape[2])

    @property
    def duration(self) -> Fraction:
        """Seconds that the selected frames cover: ``num_frames / fps`` if the rate is constant."""
        if self.times:
            return self.times[-1]
        return Fraction(self.num_frames) / self.fps


@dataclass(frozen=True)
class Models:
    """A text-to-image model taken apart; every part on `device` in `dtype`, in eval mode, frozen."""

    name: str
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: DDIMScheduler
    device: torch.device
    dtype: torch.dtype
    folder: Path | None  # where it was loaded from, None if made in memory
    fingerprint: str  # sha256 over the weight files, hex

    @property
    def identity(self) -> dict[str, Any]:
        """All of the models that decides results, as plain values."""
        return {"weights": self.fingerprint, "dtype": str(self.dtype), "device": self.device.type}


@dataclass(frozen=True)
class EditResult:
    """Files and figures of a finished run."""

    videos: dict[str, Path]  # label -> mp4
    metrics: dict[str, Any] = field(default_factory=dict)
