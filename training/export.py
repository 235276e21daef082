"""Write the trained parts as one diffusers pipeline folder in half precision."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ControlNetModel, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPImageProcessor, CLIPModel, CLIPTextModel, CLIPTokenizer

from training import autoencoder, clip, controlnet, unet
from training.checkpoint import Checkpoint
from training.vocabulary import SUBJECT_LIST


def load_unet(folder: Path) -> UNet2DConditionModel:
    """The moving average of the UNet's weights."""
    model, average = unet.build(), unet.build()
    Checkpoint(folder / "unet.pt", model, None, average).load()
    average.set_attn_processor(AttnProcessor2_0())
    return average.eval()


def load_vae(folder: Path) -> AutoencoderKL:
    vae = autoencoder.build()
    Checkpoint(folder / "vae.pt", vae).load()
    return vae.eval()


def load_clip(tokenizer: CLIPTokenizer, folder: Path) -> CLIPModel:
    """Both towers; the image tower is as far as its training got."""
    model = clip.build(tokenizer)
    parts = nn.ModuleDict({"model": model, "heads": clip.heads()})
    if not Checkpoint(folder / "clip.pt", parts).load():
        model.text_model.load_state_dict(clip.load_text(tokenizer, folder).state_dict())
    return model.eval()


def text_encoder(model: CLIPModel) -> CLIPTextModel:
    """The text tower of the miniature CLIP as a model of its own."""
    tower = CLIPTextModel(model.config.text_config)
    weights = model.text_model.state_dict()
    own = tower.state_dict()
    prefix = "text_model." if any(name.startswith("text_model.") for name in own) else ""
    tower.load_state_dict({prefix + name: value for name, value in weights.items()})
    return tower.eval()


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Beside ``tokenizer.json`` also the two files that older loaders read."""
    tokenizer.save_pretrained(folder)
    learned = json.loads((folder / "tokenizer.json").read_text())["model"]
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in learned["merges"]]
    (folder / "vocab.json").write_text(json.dumps(learned["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")


def load_as_float32(config: Path) -> None:
    """transformers would otherwise load half precision as such, unlike diffusers, and a pipeline would be mixed."""
    content = json.loads(config.read_text())
    content["dtype"] = "float32"
    for part in ("text_config", "vision_config"):
        if part in content:
            content[part]["dtype"] = "float32"
    config.write_text(json.dumps(content, indent=2) + "\n")


def export(folder: Path, target: Path) -> None:
    """Write the folder ``target`` from the checkpoints in ``folder``; its card and notices are kept."""
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    pair = load_clip(tokenizer, folder)
    denoiser = load_unet(folder)
    pipeline = StableDiffusionPipeline(
        vae=load_vae(folder),
        text_encoder=text_encoder(pair),
        tokenizer=tokenizer,
        unet=denoiser,
        scheduler=unet.scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(part)
    save_tokenizer(tokenizer, part / "tokenizer")
    pair.half().save_pretrained(part / "clip")
    for tower in ("text_encoder", "clip"):
        load_as_float32(part / tower / "config.json")
    image_processor().save_pretrained(part / "clip")
    save_tokenizer(tokenizer, part / "clip")
    control: ControlNetModel = controlnet.load(folder, denoiser.float())
    control.half().save_pretrained(part / "controlnet-canny")
    for kept in target.glob("*.*") if target.exists() else ():
        if kept.name != "model_index.json":
            shutil.copy2(kept, part / kept.name)
    old = target.with_name(target.name + ".old")
    if target.exists():
        target.rename(old)
    part.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def image_processor() -> CLIPImageProcessor:
    return CLIPImageProcessor(
        size={"shortest_edge": clip.IMAGE_SIZE},
        crop_size={"height": clip.IMAGE_SIZE, "width": clip.IMAGE_SIZE},
        image_mean=clip.MEAN,
        image_std=clip.STD,
    )


def export_eyes(judge: nn.Module, locator: nn.Module, target: Path) -> None:
    """Write ``judge.safetensors`` and ``locator.safetensors`` into the folder ``target``, in half precision."""
    target.mkdir(parents=True, exist_ok=True)
    for name, model in (("judge", judge), ("locator", locator)):
        kept = {}
        for key, value in model.state_dict().items():
            kept[key] = (value.half() if value.is_floating_point() else value).contiguous()
        metadata = {"subjects": ",".join(SUBJECT_LIST)} if name == "judge" else None
        save_file(kept, target / f"{name}.safetensors", metadata=metadata)
