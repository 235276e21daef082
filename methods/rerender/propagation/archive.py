"""Frames on disk: a zip file of PNGs and error maps that is written as the frames come and read one at a time."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import cv2
import numpy as np

from videoedit.files import atomic_path

FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1]


class FrameArchive(ZipFile):
    """Images uint8 [H, W, 3] RGB by frame number, each with an error map float32 [H, W] or without.

    A context manager. The file is there only if it was written to the end: see `new_archive`.
    """

    def put(self, frame: int, image: np.ndarray, error: np.ndarray | None = None) -> None:
        self.put_bytes(f"{frame:06d}.png", cv2.imencode(".png", image[..., ::-1], FAST)[1].tobytes())
        if error is not None:
            buffer = io.BytesIO()
            np.save(buffer, error.astype(np.float32))
            self.put_bytes(f"{frame:06d}.npy", buffer.getvalue())

    def image(self, frame: int) -> np.ndarray:
        data = np.frombuffer(self.read(f"{frame:06d}.png"), np.uint8)
        decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
        return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)

    def error(self, frame: int) -> np.ndarray:
        return np.load(io.BytesIO(self.read(f"{frame:06d}.npy")))

    def put_bytes(self, name: str, data: bytes) -> None:
        self.writestr(ZipInfo(name), data)  # without the time: same frames, same bytes


@contextlib.contextmanager
def new_archive(path: Path) -> Iterator[FrameArchive]:
    """Write an archive; it appears at `path` whole, when the block ends without an error."""
    with atomic_path(path) as temporary, FrameArchive(temporary, "w") as archive:
        yield archive
