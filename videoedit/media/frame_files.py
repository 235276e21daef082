"""Frames as numbered pictures for other programs: PNG, or OpenEXR in linear light."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np

from videoedit.errors import ConfigError
from videoedit.files import atomic_path


def check_format(name: str) -> None:
    """ConfigError if frames of this format cannot be written here."""
    if name == "exr" and importlib.util.find_spec("OpenEXR") is None:
        raise ConfigError('frames as exr need OpenEXR: pip install "videoedit[exr]", or choose --format png')


def write_frame(path: Path, frame: np.ndarray, alpha: np.ndarray | None = None) -> None:
    """Write one frame, uint8 [H, W, 3] sRGB, with its opacity, uint8 [H, W], if it has one; .png or .exr, atomically.

    EXR holds linear light (IEC 61966-2-1) in 16-bit floats, colors times opacity as that format has it; PNG holds them
    as they are.
    """
    with atomic_path(path) as temporary:
        if path.suffix == ".exr":
            _write_exr(temporary, frame, alpha)
            return
        planes = [frame[..., ::-1]] if alpha is None else [frame[..., ::-1], alpha[..., None]]
        temporary.write_bytes(cv2.imencode(".png", np.concatenate(planes, -1))[1].tobytes())


def linear(frame: np.ndarray) -> np.ndarray:
    """Light, float32 in [0, 1], of sRGB colors in uint8."""
    color = frame.astype(np.float32) / 255
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


def _write_exr(path: Path, frame: np.ndarray, alpha: np.ndarray | None) -> None:
    import OpenEXR

    light, name = linear(frame), "RGB"
    if alpha is not None:
        share = alpha[..., None].astype(np.float32) / 255
        light, name = np.concatenate([light * share, share], -1), "RGBA"
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {name: light.astype(np.float16)}) as file:
        file.write(str(path))
