"""Models that are loaded only if something of them is needed: a run that keeps all its steps loads none."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videoedit.config import RunConfig
from videoedit.models.shape import local_folder
from videoedit.models.weights import fingerprint
from videoedit.types import Models

if TYPE_CHECKING:
    import torch


class LazyModels:
    """`videoedit.types.Models` of a run's config, each part of which loads all when first asked for."""

    def __init__(self, config: RunConfig) -> None:
        self.name = config.model
        self._config = config

    @cached_property
    def loaded(self) -> Models:
        """The models themselves."""
        from videoedit.models.loading import load_models

        c = self._config
        return load_models(c.model, device=c.device, dtype=c.dtype, allow_pickle=c.allow_pickle)

    identity = Models.identity

    @cached_property
    def fingerprint(self) -> str:
        """A hash over the weight files; see `Models`."""
        folder = local_folder(self.name)
        file = Path(self.name).expanduser()
        return fingerprint(folder or file) if folder or file.is_file() else self.loaded.fingerprint

    @cached_property
    def folder(self) -> Path | None:
        """The folder or file that the models come from."""
        return local_folder(self.name) or self.loaded.folder

    @cached_property
    def device(self) -> torch.device:
        """The place of the models."""
        from videoedit.models.device import choose_device

        return choose_device(self._config.device)

    @cached_property
    def dtype(self) -> torch.dtype:
        """The precision of the models."""
        from videoedit.models.device import choose_dtype

        return choose_dtype(self._config.dtype, self.device)

    def __getattr__(self, name: str) -> Any:
        """A part of the models: `vae`, `unet`, `text_encoder`, `tokenizer`, `scheduler`."""
        if name.startswith("_") or name == "loaded":
            raise AttributeError(name)
        return getattr(self.loaded, name)
