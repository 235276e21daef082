"""Still pictures in and out, uint8 [H, W, 3] RGB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from videoedit.errors import InputError
from videoedit.files import atomic_path


def write_image(path: Path, image: np.ndarray) -> None:
    """Write a picture, atomically, in the format that its name says (png, webp, jpg)."""
    encoded = cv2.imencode(path.suffix, np.ascontiguousarray(image[..., ::-1]))[1]
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def read_image(path: Path) -> np.ndarray:
    """Read a picture without transparency; InputError with one line if it is none."""
    if not path.is_file():
        raise InputError(f"there is no picture {path}")
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
    if image is None:
        raise InputError(f"{path} is not a picture that can be read; give a png, jpg or webp")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def contact_rows(*rows: Sequence[np.ndarray], least: int = 160) -> np.ndarray:
    """Rows of pictures, uint8 [H, W, 3] each and of one size, on one sheet; empty rows are left out.

    Pictures lower than `least` pixels are enlarged by a whole number, each pixel to a square.
    """
    return np.concatenate([_row(images, least) for images in rows if len(images)])


def _row(images: Sequence[np.ndarray], least: int) -> np.ndarray:
    times = max(1, -(-least // images[0].shape[0]))
    shown = []
    for image in images:
        large = image.repeat(times, 0).repeat(times, 1)
        shown.append(np.pad(large, ((0, 4), (0, 4), (0, 0)), constant_values=255))
    return np.concatenate(shown, axis=1)


class Pictures(Mapping[int, np.ndarray]):
    """Pictures by frame number, each read from its file when it is asked for."""

    def __init__(self, paths: Mapping[int, Path]) -> None:
        self.paths = dict(paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return read_image(self.paths[index])

    def __iter__(self) -> Iterator[int]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)
