"""The miniature CLIP: a text tower and an image tower trained on renders and their captions."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextModel, CLIPTokenizer

from training.captions import random_caption
from training.checkpoint import Checkpoint, wait_while_paused
from training.dataset import Renders, random_label, resize, words
from training.device import autocast
from training.tokenizer import MAX_LENGTH, token_ids
from training.vocabulary import BACKGROUND_LIST, COLOUR_LIST, STYLE_LIST, SUBJECT_LIST

IMAGE_SIZE = 64  # of the image tower; larger pictures are shrunk for it
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)  # pixels in [0, 1] become [-1, 1]
CLASSES = (len(SUBJECT_LIST), len(BACKGROUND_LIST), len(COLOUR_LIST), len(STYLE_LIST))
COLOUR = 2  # its column
MATCH, WRONG = 0.9, 0.27  # cosine of a picture and its caption, and what one wrong word takes away
EVEN = 20.0  # weight of keeping to these


def build(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Text: 3 layers, 128 wide. Image: 64 px in patches of 8, 5 layers, 128 wide. Joint space: 128."""
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "max_position_embeddings": MAX_LENGTH,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "projection_dim": 128,
    }
    vision = {
        "image_size": IMAGE_SIZE,
        "patch_size": 8,
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "projection_dim": 128,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128))


def heads() -> nn.ModuleList:
    """Linear layers that name subject, background, colour and style from the image features; not shipped."""
    return nn.ModuleList(nn.Linear(128, n) for n in CLASSES)


def augment(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Shift up to a sixteenth, mirror, brightness and a little noise: pixels [B, 3, S, S] in [-1, 1]."""
    return disturb(displace(pixels, rng), rng)


def displace(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Shift up to a sixteenth, and mirror, all of a batch [B, C, S, S] alike."""
    size = pixels.shape[-1]
    reach = size // 16
    dy, dx = (int(v) for v in rng.integers(0, 2 * reach + 1, 2))
    pixels = F.pad(pixels, (reach,) * 4, mode="replicate")[..., dy : dy + size, dx : dx + size]
    return pixels.flip(-1) if rng.random() < 0.5 else pixels


def disturb(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Another brightness for each picture, and a little noise."""
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, (len(pixels), 1, 1, 1)).astype(np.float32))
    noise = torch.from_numpy(rng.standard_normal(pixels.shape, dtype=np.float32)) * float(rng.uniform(0, 0.08))
    return pixels * gain + noise


def soften(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """One batch in three at half the resolution: samples are less crisp than renders."""
    if rng.random() < 2 / 3:
        return pixels
    half = F.interpolate(pixels, scale_factor=0.5, mode="area")
    return F.interpolate(half, scale_factor=2.0, mode="bilinear", align_corners=False)


def same_label_targets(labels: Tensor) -> Tensor:
    """Soft contrastive targets [B, B]: pictures with equal attributes share the credit."""
    same = (labels[:, None] == labels[None]).all(-1).float()
    return same / same.sum(1, keepdim=True)


def one_word_changed(rng: np.random.Generator, label: np.ndarray) -> np.ndarray:
    """Attributes [4] with another word in one place; no colour is named or left out, for it may be the natural one."""
    changed = label.copy()
    column = int(rng.choice([c for c in range(4) if c != COLOUR or label[c] > 0]))
    changed[column] = rng.choice([w for w in range(column == COLOUR, CLASSES[column]) if w != label[column]])
    return changed


def unevenness(image: Tensor, text: Tensor, changed: Tensor) -> Tensor:
    """Squared distance of the cosines from MATCH for the own caption, and MATCH - WRONG for one with a word changed.

    Scores of different prompts are compared: a picture that shows all that its prompt says should score the same
    whatever that is, and a wrong word should cost the same.
    """
    own, other = (image * text).sum(1), (image * changed).sum(1)
    return (own - MATCH).square().mean() + (other - (MATCH - WRONG)).square().mean()


def pixels_of(renders: Renders, index: np.ndarray, size: int) -> Tensor:
    """Pictures as float [B, 3, size, size] in [-1, 1]."""
    images = resize(renders.images[np.sort(index)], size)
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def train_text(tokenizer: CLIPTokenizer, folder: Path, *, updates: int = 700, batch: int = 128) -> None:
    """First stage: the text tower learns to name the attributes of a caption from its end token.

    Takes a minute, after which the tower stays as it is, so that a UNet may depend on it while the
    second stage (``train``) fits the image tower and both projections to it contrastively.
    """
    text = build(tokenizer).text_model
    parts = nn.ModuleDict({"text": text, "heads": nn.ModuleList(nn.Linear(128, n) for n in CLASSES)})
    optimizer = torch.optim.AdamW(parts.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    state = Checkpoint(folder / "text.pt", text)
    rng = np.random.default_rng(1)
    for update in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, (update + 1) / 50) * (1 - 0.98 * update / updates)
        labels = np.array([random_label(rng, None) for _ in range(batch)])
        ids = token_ids(tokenizer, [random_caption(rng, *words(label)) for label in labels])[:, :24]
        pooled = text(input_ids=torch.from_numpy(ids)).pooler_output
        targets = torch.from_numpy(labels)
        loss = sum(F.cross_entropy(head(pooled), targets[:, i]) for i, head in enumerate(parts["heads"]))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if update % 50 == 0 or update == updates - 1:
            print(f"text {update} loss {loss.item():.4f}", flush=True)
    state.save()


def load_text(tokenizer: CLIPTokenizer, folder: Path) -> CLIPTextModel:
    """The text tower of the first stage, frozen."""
    text = build(tokenizer).text_model
    Checkpoint(folder / "text.pt", text).load()
    return text.eval().requires_grad_(False)


def train(
    renders: Renders,
    redrawn: Renders,
    tokenizer: CLIPTokenizer,
    folder: Path,
    *,
    seconds: float,
    batch: int = 128,
    rate: float = 1e-3,
) -> CLIPModel:
    """Second stage: image tower and projections, contrastively, for a budget of CPU seconds; the text tower stays.

    One batch in three is of ``redrawn`` pictures. Heads that name the attributes from the image features speed up the
    image tower; they are not shipped.
    """
    model = build(tokenizer)
    model.text_model.load_state_dict(load_text(tokenizer, folder).state_dict())
    model.text_model.requires_grad_(False)
    parts = nn.ModuleDict({"model": model, "heads": heads()})
    optimizer = torch.optim.AdamW([p for p in parts.parameters() if p.requires_grad], lr=rate, weight_decay=0.02)
    state = Checkpoint(folder / "clip.pt", parts, optimizer)
    state.load()
    rng = np.random.default_rng(state.samples)
    while state.seconds < seconds:
        wait_while_paused(folder)
        start = time.process_time()
        fade = float(np.cos(np.pi / 2 * state.seconds / seconds) ** 2)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, state.samples / 6000 + 0.02) * (0.02 + 0.98 * fade)
        chosen = redrawn if rng.random() < 1 / 3 else renders
        loss, accuracy = step(parts, chosen, tokenizer, optimizer, rng, batch)
        state.advance(batch, time.process_time() - start)
        if state.due(30):
            print(f"clip {state.seconds:.0f}s {state.samples} loss {loss:.3f} match {accuracy:.2f}", flush=True)
            state.save()
    state.save()
    return model.eval()


def step(
    parts: nn.ModuleDict,
    renders: Renders,
    tokenizer: CLIPTokenizer,
    optimizer: torch.optim.Optimizer,
    rng: np.random.Generator,
    batch: int,
) -> tuple[float, float]:
    """One update; returns the loss and how often a picture finds its own caption in the batch."""
    model = parts["model"]
    index = np.sort(rng.integers(0, len(renders), batch))
    labels = torch.from_numpy(renders.labels[index].astype(np.int64))
    captions = [renders.caption(rng, int(i)) for i in index]
    captions += [random_caption(rng, *words(one_word_changed(rng, label))) for label in renders.labels[index]]
    ids = torch.from_numpy(token_ids(tokenizer, captions)[:, :24])  # after the end token nothing counts
    with autocast("cpu"):
        vision = model.vision_model(
            pixel_values=augment(soften(pixels_of(renders, index, IMAGE_SIZE), rng), rng)
        ).pooler_output
        image = F.normalize(model.visual_projection(vision).float(), dim=-1)
        text = model.text_model(input_ids=ids).pooler_output
        text, changed = F.normalize(model.text_projection(text).float(), dim=-1).chunk(2)
        names = sum(F.cross_entropy(head(vision).float(), labels[:, i]) for i, head in enumerate(parts["heads"]))
    logits = image @ text.T * model.logit_scale.exp().clamp(max=50)
    target = same_label_targets(labels)
    contrast = F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)
    (contrast + names + EVEN * unevenness(image, text, changed)).backward()
    nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    hit = target.gather(1, logits.argmax(1, keepdim=True)) > 0
    return contrast.item(), hit.float().mean().item()
