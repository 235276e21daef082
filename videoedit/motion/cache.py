"""Flow on disk, so that no pair of pictures is estimated twice."""

from __future__ import annotations

import hashlib
import logging
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from videoedit.files import atomic_path
from videoedit.models.weights import first_line

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FlowCache:
    """Flow on disk, one file a pair of pictures, both ways, half precision.

    The name of a file is a hash of the estimator's name and of the pictures, so what is found is never out of date.
    A damaged file is named in a warning and made again.
    """

    folder: Path
    estimator: str

    def path(self, first: np.ndarray, second: np.ndarray) -> Path:
        """The file in which the flow between two pictures is, or would be."""
        key = hashlib.sha256(f"{self.estimator} {first.shape}".encode())
        for picture in (first, second):
            key.update(np.ascontiguousarray(picture).data)
        return self.folder / f"{key.hexdigest()[:24]}.safetensors"

    def load(self, first: np.ndarray, second: np.ndarray) -> tuple[Tensor, Tensor] | None:
        """Flow there and back, float16 [1, 2, H, W]; None if it has to be made."""
        path = self.path(first, second)
        if not path.is_file():
            return None
        try:
            return self._read(path, first.shape)
        except (SafetensorError, OSError, ValueError) as error:
            logger.warning("the cached flow %s is damaged (%s) and is made again", path, first_line(error))
            return None

    def _read(self, path: Path, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        with safe_open(path, framework="pt") as file:
            flows = file.get_tensor("fwd"), file.get_tensor("bwd")
            checksum = (file.metadata() or {}).get("crc32")
        if checksum != _checksum(flows) or any(flow.shape != (1, 2, *shape[:2]) for flow in flows):
            raise ValueError("its contents have changed")
        return flows

    def save(self, first: np.ndarray, second: np.ndarray, fwd: Tensor, bwd: Tensor) -> None:
        with atomic_path(self.path(first, second)) as temporary:
            flows = {"fwd": fwd.contiguous(), "bwd": bwd.contiguous()}
            save_file(flows, temporary, {"crc32": _checksum((fwd, bwd))})  # a second entry would come in any order


def _checksum(flows: tuple[Tensor, ...]) -> str:
    total = 0
    for flow in flows:
        total = zlib.crc32(flow.contiguous().numpy().data, total)
    return f"{total:08x}"
