"""The memory that the key frames of a shot leave to those after them, and a file of it to go on from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rerender.translation.attention import ANCHOR, PREVIOUS
from videoedit.attention import FeatureStore
from videoedit.errors import WeightsError
from videoedit.files import atomic_path
from videoedit.models.weights import first_line
from videoedit.types import Models


@dataclass(frozen=True)
class Key:
    """A translated key frame, as later ones see it."""

    index: int  # in the clip
    frame: np.ndarray  # the source, uint8 [H, W, 3]
    pixels: Tensor  # the result, float32 [1, 3, H, W] in [-1, 1]


@dataclass
class Memory:
    """The anchor and the previous key frame of a shot, and all else that the next key frame depends on."""

    features: FeatureStore = field(default_factory=FeatureStore)  # of the decoder's self-attention in both
    anchor_x0: dict[int, Tensor] = field(default_factory=dict)  # predicted, by step
    anchor: Key | None = None
    previous: Key | None = None
    palette: np.ndarray | None = None  # uint8 [H, W, 3] whose colours the sources take, if they do
    count: int = 0  # key frames of this shot so far

    def add(self, key: Key) -> None:
        """Let `key` be the previous key frame, and the anchor if it is the shot's first."""
        self.anchor, self.previous = self.anchor or key, key
        self.count += 1

    def roles(self, update_every: int) -> tuple[tuple[str, ...], str | None]:
        """Tags of the features that the next key frame reads, and the tag that its own are kept under, if they are.

        The anchor reads none. Of those after it, every `update_every`-th becomes the previous one.
        """
        if self.count == 0:
            return (), ANCHOR
        read = (ANCHOR,) if self.count == 1 else (ANCHOR, PREVIOUS)
        return read, PREVIOUS if (self.count - 1) % update_every == 0 else None

    def save(self, path: Path, identity: str) -> None:
        """Write everything atomically; `identity` is what the key frames are made with."""
        tensors = {f"x0|{step}": x0 for step, x0 in self.anchor_x0.items()}
        for (site, step, tag), feature in self.features.items():
            tensors[f"feature|{site}|{step}|{tag}"] = feature
        keys = {name: key for name, key in (("anchor", self.anchor), ("previous", self.previous)) if key}
        for name, key in keys.items():
            tensors |= {f"{name}|frame": torch.from_numpy(key.frame), f"{name}|pixels": key.pixels}
        if self.palette is not None:
            tensors["palette"] = torch.from_numpy(self.palette)
        indices = {name: key.index for name, key in keys.items()}
        state = {"identity": identity, "count": self.count, "indices": indices}
        contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        with atomic_path(path) as temporary:
            save_file(contiguous, temporary, metadata={"state": json.dumps(state)})

    def load(self, path: Path, identity: str, models: Models) -> None:
        """Fill this empty memory with a saved one; WeightsError if the file is damaged or of another `identity`."""
        state, tensors = _read(path)
        if state["identity"] != identity:
            raise WeightsError(f"{path} was saved with other settings, models or prompts; delete it to start again")
        for name, tensor in tensors.items():
            kind, *rest = name.split("|")
            if kind == "feature":
                site, step, tag = rest
                self.features.put(site, int(step), tag, tensor.to(models.device, models.dtype))
            elif kind == "x0":
                self.anchor_x0[int(rest[0])] = tensor.to(models.device)
        keys = {}
        for name, index in state["indices"].items():
            pixels = tensors[f"{name}|pixels"].to(models.device)
            keys[name] = Key(index, tensors[f"{name}|frame"].numpy(), pixels)
        self.anchor, self.previous = keys.get("anchor"), keys.get("previous")
        self.palette = tensors["palette"].numpy() if "palette" in tensors else None
        self.count = state["count"]


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:  # copied: Windows replaces no file that is mapped
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return json.loads(file.metadata()["state"]), tensors
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} is not a saved state of the key frames ({first_line(error)}); delete it") from error
