"""Begin a work folder with an exported model, so that training goes on where that model's ended."""

from __future__ import annotations

import shutil
from pathlib import Path

from diffusers import AutoencoderKL
from transformers import CLIPTextModel, CLIPTokenizer

from training import clip
from training.autoencoder import installed_basis
from training.checkpoint import Checkpoint


def begin_with(model: Path, folder: Path) -> None:
    """Put a model's tokenizer, text tower and latents into the work folder, and the model itself into ``start/``.

    From there UNet, ControlNet and decoder take their first weights. A work folder that has begun stays as it is.
    """
    if (folder / "start").exists():
        return
    for name in ("tokenizer", "text.pt", "basis.safetensors"):
        if (folder / name).exists():
            raise ValueError(f"{folder} has a {name} of its own: begin with {model} in an empty work folder")
    tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
    tokenizer.save_pretrained(folder / "tokenizer")
    tower = clip.build(tokenizer).text_model
    weights = CLIPTextModel.from_pretrained(model / "text_encoder").float().state_dict()
    tower.load_state_dict({name.removeprefix("text_model."): value for name, value in weights.items()})
    Checkpoint(folder / "text.pt", tower).save()
    installed_basis(AutoencoderKL.from_pretrained(model / "vae")).save(folder / "basis.safetensors")
    shutil.copytree(model, folder / "start")
