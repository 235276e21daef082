"""The autoencoder: a stock AutoencoderKL whose encoder is the fixed linear map; its decoder learns to invert it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from training.checkpoint import Checkpoint, wait_while_paused
from training.dataset import SIZE, Renders
from training.device import autocast, device
from training.latents import CHANNELS, COARSE, FACTOR, SCALING_FACTOR, PatchBasis, photographs, quadrant_slices

LOG_VARIANCE = -7.0  # of the posterior, constant: standard deviation 0.03
NOISE, GRAIN = 0.06, 0.4  # of the latents the decoder learns from; half of them have more, to tidy up grainy samples
ANCHOR = 100.0  # size of the constant features that keep the encoder's last GroupNorm from rescaling the others
LINEAR, GAIN = 16.0, 2.0  # where SiLU is a straight line, and how large the latents are there


def build() -> AutoencoderKL:
    """Factor 8, widths 16, 24, 48, 96, no attention; the posterior's variance is constant."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 24, 48, 96),
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        sample_size=SIZE,
        scaling_factor=SCALING_FACTOR,
        mid_block_add_attention=False,
        force_upcast=False,
    )
    return vae.to(memory_format=torch.channels_last)


@torch.no_grad()
def install_encoder(vae: AutoencoderKL, basis: PatchBasis) -> None:
    """Set the encoder's weights so that it computes ``basis.encode`` (divided by the scaling factor).

    Residual branches are silent. The three strided convolutions gather 2x2 pixels, the 4x4 quarters in the axes of
    ``basis.quadrant``, and the whole patch. GroupNorm would divide by each picture's contrast: large constants of
    both signs in every group fix its statistics, and each latent enters twice, once negated, so that the group's mean
    stays zero and the curvature of SiLU cancels.
    """
    encoder = vae.encoder
    silence(encoder)
    for colour in range(3):
        encoder.conv_in.weight[colour, colour, 1, 1] = 1
    down = encoder.down_blocks
    for colour, y, x in np.ndindex(3, 2, 2):
        down[0].downsamplers[0].conv.weight[colour * 4 + y * 2 + x, colour, y, x] = 1
    for block in (1, 2):
        connect(down[block].resnets[0].conv_shortcut)
    quadrant = torch.from_numpy(basis.quadrant).reshape(3, 2, 2, 2, 2, -1)  # colour, y (coarse, fine), x (same)
    for colour, y, x in np.ndindex(3, 2, 2):
        taps = quadrant[colour, :, y, :, x]  # [2, 2, QUADRANT]
        down[1].downsamplers[0].conv.weight[:, colour * 4 + y * 2 + x, :2, :2] = taps.permute(2, 0, 1)
    gather = down[2].downsamplers[0].conv
    scaled = basis.basis * basis.scale
    for y, x, index in quadrant_slices():
        gather.weight[:CHANNELS, : basis.quadrant.shape[1], y, x] = torch.from_numpy(
            (basis.quadrant.T @ scaled[index]).T
        )
    gather.bias[:CHANNELS] = torch.from_numpy(-basis.mean @ scaled)
    spread_over_groups(encoder, down[3].resnets[0].conv_shortcut)
    vae.quant_conv.weight.zero_()
    vae.quant_conv.weight[range(CHANNELS), range(CHANNELS), 0, 0] = 1 / SCALING_FACTOR
    vae.quant_conv.bias[:CHANNELS] = 0
    vae.quant_conv.bias[CHANNELS:] = LOG_VARIANCE
    for part in (encoder, vae.quant_conv):
        part.requires_grad_(False)


@torch.no_grad()
def installed_basis(vae: AutoencoderKL) -> PatchBasis:
    """Read the linear map back out of an encoder that ``install_encoder`` wrote.

    Of the mean only what the basis sees is kept: encoding needs no more, a linear decoding would.
    """
    down = vae.encoder.down_blocks
    taps = down[1].downsamplers[0].conv.weight[:, :12, :2, :2].float()
    quadrant = taps.reshape(-1, 3, 2, 2, 2, 2).permute(1, 4, 2, 5, 3, 0).reshape(48, -1).numpy()
    gather = down[2].downsamplers[0].conv
    scaled = np.empty((3 * FACTOR * FACTOR, CHANNELS), np.float32)
    for y, x, index in quadrant_slices():
        scaled[index] = quadrant @ gather.weight[:CHANNELS, : quadrant.shape[1], y, x].float().numpy().T
    scale = np.linalg.norm(scaled, axis=0)
    basis = scaled / scale
    mean = -basis @ (gather.bias[:CHANNELS].float().numpy() / scale)
    return PatchBasis(mean, basis, scale, quadrant)


def silence(encoder: nn.Module) -> None:
    """Set every convolution to zero; with that each residual branch adds nothing."""
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.zero_()
            module.bias.zero_()


def connect(layer: nn.Conv2d) -> None:
    """Hand each input channel on unchanged."""
    count = min(layer.weight.shape[:2])
    layer.weight[range(count), range(count), 0, 0] = 1


def spread_over_groups(encoder: nn.Module, entry: nn.Conv2d) -> None:
    """Lay the latents out in pairs over the groups of the last norm, beside constants, and read them out again."""
    norm, end = encoder.conv_norm_out, encoder.conv_out
    width = norm.num_channels // norm.num_groups
    constants = torch.zeros(norm.num_channels)
    for group in range(norm.num_groups):
        last = (group + 1) * width
        constants[last - 6 : last - 3], constants[last - 3 : last] = ANCHOR, -ANCHOR
    entry.bias.copy_(constants)
    spread = ANCHOR * (6 / width) ** 0.5
    norm.weight.zero_()
    norm.bias.zero_()
    for channel in range(CHANNELS):
        place = channel % norm.num_groups * width + 2 * (channel // norm.num_groups)
        for slot, sign in ((place, 1.0), (place + 1, -1.0)):
            entry.weight[slot, channel, 0, 0] = sign * GAIN
            norm.weight[slot], norm.bias[slot] = spread, LINEAR
            end.weight[channel, slot, 1, 1] = sign / (2 * GAIN)


@torch.no_grad()
def install_decoder(vae: AutoencoderKL, spread: np.ndarray, start: Path) -> None:
    """Let the decoder begin with unit latents, and where ``start`` holds an earlier model's with that one's layers."""
    vae.post_quant_conv.weight.zero_()
    vae.post_quant_conv.bias.zero_()
    vae.post_quant_conv.weight[range(CHANNELS), range(CHANNELS), 0, 0] = torch.from_numpy(SCALING_FACTOR / spread)
    if not start.exists():
        return
    known, decoder = AutoencoderKL.from_pretrained(start).float(), vae.decoder
    if known.config.latent_channels == CHANNELS:
        vae.post_quant_conv.load_state_dict(known.post_quant_conv.state_dict())
        decoder.load_state_dict(known.decoder.state_dict())
        return
    vae.post_quant_conv.weight[:COARSE, :COARSE] = known.post_quant_conv.weight
    vae.post_quant_conv.bias[:COARSE] = known.post_quant_conv.bias
    decoder.conv_in.weight[:, :COARSE] = known.decoder.conv_in.weight
    decoder.conv_in.bias.copy_(known.decoder.conv_in.bias)
    decoder.conv_in.weight[:, COARSE:] *= 0.3
    decoder.mid_block.load_state_dict(known.decoder.mid_block.state_dict())
    for block, other in zip(decoder.up_blocks, known.decoder.up_blocks, strict=False):
        block.load_state_dict(other.state_dict(), strict=False)
    between = decoder.up_blocks[len(known.decoder.up_blocks) - 1].upsamplers[0].conv
    between.weight *= 0.3
    between.weight[range(len(between.weight)), range(len(between.weight)), 1, 1] += 1


def loss(vae: AutoencoderKL, images: np.ndarray, basis: PatchBasis, rng: np.random.Generator) -> Tensor:
    """Error of the pictures decoded from noisy latents, and of their slopes."""
    pixels = torch.from_numpy(images).to(device()).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents = basis.encode(images)
    level = np.where(rng.random(len(images)) < 0.5, NOISE, rng.uniform(NOISE, GRAIN, len(images))) * SCALING_FACTOR
    latents += level[:, None, None, None].astype(np.float32) * rng.standard_normal(latents.shape, dtype=np.float32)
    given = torch.from_numpy(latents / SCALING_FACTOR).to(device()).contiguous(memory_format=torch.channels_last)
    with autocast():
        decoded = vae.decode(given).sample.float()
    error = decoded - pixels
    slopes = error.diff(dim=-1).square().mean() + error.diff(dim=-2).square().mean()
    return error.square().mean() + 0.05 * error.abs().mean() + 0.25 * slopes


def train(renders: Renders, basis: PatchBasis, folder: Path, *, seconds: float, batch: int = 12) -> AutoencoderKL:
    """Train the decoder for a budget of CPU seconds; two thirds renders, one third photographs and film."""
    photos = photographs(1500, seed=1)
    vae = build()
    install_encoder(vae, basis)
    if not (folder / "vae.pt").exists():
        spread = basis.encode(np.concatenate([renders.images[:600], photos[:200]])).std((0, 2, 3))
        install_decoder(vae, spread, folder / "start" / "vae")
    vae.to(device())
    learned = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=2e-3, weight_decay=0.0, fused=True)
    state = Checkpoint(folder / "vae.pt", vae, optimizer)
    state.load()
    rng = np.random.default_rng(state.samples + 7)
    while state.seconds < seconds:
        wait_while_paused(folder)
        start = time.process_time()
        for group in optimizer.param_groups:
            fade = float(np.cos(np.pi / 2 * min(1, state.seconds / seconds)) ** 2)
            group["lr"] = 2e-3 * min(1, state.samples / 1500 + 0.02) * (0.01 + 0.99 * fade)
        index = np.sort(rng.integers(0, len(renders), batch * 2 // 3))
        images = np.concatenate([renders.images[index], photos[rng.integers(0, len(photos), batch // 3)]])
        error = loss(vae, images, basis, rng)
        error.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        state.advance(batch, time.process_time() - start)
        if state.due(30):
            print(f"vae {state.seconds:.0f}s {state.samples} error {error.item():.5f}", flush=True)
            state.save()
    state.save()
    return vae.eval()


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, images: np.ndarray) -> np.ndarray:
    """Encode and decode uint8 pictures [N, H, W, 3]."""
    out = []
    for part in np.array_split(images, max(1, len(images) // 16)):
        pixels = torch.from_numpy(part.copy()).to(vae.device).permute(0, 3, 1, 2).to(vae.dtype) / 127.5 - 1
        decoded = vae.decode(vae.encode(pixels).latent_dist.mean).sample
        out.append(((decoded.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(out)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 arrays."""
    error = np.mean((a.astype(np.float32) - b.astype(np.float32)) ** 2)
    return float(10 * np.log10(255**2 / error))
