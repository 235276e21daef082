"""The latent space: a fixed linear map of 4x4 patches, so that the UNet can train before the autoencoder exists.

The principal components of the patches are scaled so that each keeps the square root of its share of the
contrast; the autoencoder later learns the same latents (see ``autoencoder.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import load_file, save_file

from training.dataset import SIZE, Renders

FACTOR = 4  # pixels per latent, each way
CHANNELS = 5  # three colours, two slopes: see the model card for 4, 6 and 8
GRID = SIZE // FACTOR
SCALING_FACTOR = 0.5  # of the saved autoencoder: its own latents are twice the UNet's


def patches(images: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, 3] to float32 [N, H/4, W/4, 48] in [-1, 1]."""
    count, height, width, _ = images.shape
    pixels = images.astype(np.float32) / 127.5 - 1
    pixels = pixels.reshape(count, height // FACTOR, FACTOR, width // FACTOR, FACTOR, 3)
    return pixels.transpose(0, 1, 3, 5, 2, 4).reshape(count, height // FACTOR, width // FACTOR, -1)


@dataclass(frozen=True)
class PatchBasis:
    """latents = (patch - mean) @ basis * scale; ``mean`` [48], ``basis`` [48, C] (orthonormal), ``scale`` [C]."""

    mean: np.ndarray
    basis: np.ndarray
    scale: np.ndarray

    def encode(self, images: np.ndarray) -> np.ndarray:
        """uint8 [N, H, W, 3] to float32 latents [N, C, H/4, W/4] of variance about 1."""
        latents = (patches(images) - self.mean) @ self.basis * self.scale
        return np.ascontiguousarray(latents.transpose(0, 3, 1, 2))

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """The best linear picture: latents [N, C, h, w] to float32 [N, 4h, 4w, 3] in [-1, 1]."""
        flat = latents.transpose(0, 2, 3, 1) / self.scale @ self.basis.T + self.mean
        count, rows, cols, _ = flat.shape
        blocks = flat.reshape(count, rows, cols, 3, FACTOR, FACTOR).transpose(0, 1, 4, 2, 5, 3)
        return blocks.reshape(count, rows * FACTOR, cols * FACTOR, 3)

    def save(self, path: Path) -> None:
        save_file({"mean": self.mean, "basis": self.basis, "scale": self.scale}, path)


def load_basis(path: Path) -> PatchBasis:
    return PatchBasis(**load_file(path))


def fit_basis(images: np.ndarray) -> PatchBasis:
    """Principal components of the patches of uint8 pictures [N, H, W, 3]."""
    rows = patches(images).reshape(-1, FACTOR * FACTOR * 3)
    mean = rows.mean(0)
    values, vectors = np.linalg.eigh(np.cov((rows - mean).T))
    basis = np.ascontiguousarray(vectors[:, ::-1][:, :CHANNELS]).astype(np.float32)
    spread = np.sqrt(values[::-1][:CHANNELS])
    scaled = np.sqrt(spread)
    scale = scaled / spread / np.sqrt((scaled**2).mean())
    return PatchBasis(mean, basis, scale.astype(np.float32))


def photographs(count: int, size: int = SIZE, seed: int = 0) -> np.ndarray:
    """Random square crops of the free photographs in scikit-image and scikit-learn: uint8 [N, size, size, 3]."""
    import skimage.data
    from sklearn.datasets import load_sample_images

    names = ("astronaut", "chelsea", "coffee", "hubble_deep_field", "rocket")
    photos = [getattr(skimage.data, name)()[..., :3] for name in names] + load_sample_images().images
    rng = np.random.default_rng(seed)
    crops = np.empty((count, size, size, 3), np.uint8)
    for crop in crops:
        photo = photos[rng.integers(len(photos))]
        side = int(rng.uniform(0.25, 1) * min(photo.shape[:2]))
        y, x = (int(rng.integers(0, limit - side + 1)) for limit in photo.shape[:2])
        crop[:] = cv2.resize(photo[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_AREA)
    return crops


def prepare(folder: Path, renders: Renders) -> tuple[PatchBasis, np.ndarray, np.ndarray]:
    """The basis, latents float16 [N, C, 16, 16], and the subject's share of each cell float16 [N, 1, 16, 16]."""
    path = folder / "latents.npz"
    if not path.exists():
        basis = fit_basis(np.concatenate([renders.images[:3000], photographs(1000)]))
        basis.save(folder / "basis.safetensors")
        chunks = range(0, len(renders), 1000)
        latents = np.concatenate([basis.encode(renders.images[i : i + 1000]).astype(np.float16) for i in chunks])
        cells = renders.masks.reshape(len(renders), GRID, FACTOR, GRID, FACTOR).mean((2, 4), dtype=np.float32) / 255
        np.savez(path.with_name("part.npz"), latents=latents, masks=cells[:, None].astype(np.float16))
        path.with_name("part.npz").replace(path)
    data = np.load(path)
    return load_basis(folder / "basis.safetensors"), data["latents"], data["masks"]
