"""Features remembered between passes through a UNet, keyed by what they are and never by call order."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from videoedit.errors import MethodError

Key = tuple[str, int, str]  # (site name, step, tag)


class FeatureStore:
    """A dict from (site, step, tag) to a detached tensor, kept on another device or in another dtype if asked.

    `device="cpu"` keeps a GPU's memory free at the price of copies; None leaves tensors where they are made.
    `dtype` (e.g. float16) halves the size; `get` gives back the dtype that was put.
    """

    def __init__(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> None:
        self.device = device
        self.dtype = dtype
        self._features: dict[Key, tuple[Tensor, torch.device, torch.dtype]] = {}

    def put(self, site: str, step: int, tag: str, feature: Tensor) -> None:
        """Remember `feature`, replacing what stood under the same key."""
        kept = feature.detach().to(device=self.device or feature.device, dtype=self.dtype or feature.dtype)
        if kept.data_ptr() == feature.data_ptr():
            kept = kept.clone()  # the network may write into its activations in place
        self._features[site, step, tag] = (kept, feature.device, feature.dtype)

    def get(self, site: str, step: int, tag: str) -> Tensor:
        """The feature under this key, on the device and in the dtype it came with."""
        try:
            kept, device, dtype = self._features[site, step, tag]
        except KeyError:
            raise MethodError(
                f"no feature {tag!r} was stored at {site} for step {step}; run the frame that makes it first"
            ) from None
        return kept.to(device=device, dtype=dtype)

    def items(self) -> Iterator[tuple[Key, Tensor]]:
        """Every (site, step, tag) with its feature as it is kept; `put` under the same key restores it."""
        return ((key, kept) for key, (kept, _, _) in self._features.items())

    @property
    def nbytes(self) -> int:
        """Bytes held by the stored tensors."""
        return sum(kept.nbytes for kept, _, _ in self._features.values())
