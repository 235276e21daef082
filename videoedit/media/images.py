"""Still pictures in and out, uint8 [H, W, 3] RGB."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps

from videoedit.errors import InputError
from videoedit.files import atomic_path

logger = logging.getLogger("videoedit.media")
NO_PICTURE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # by which Pillow says so
MOST_PIXELS = 100_000_000  # of a picture or a frame; $VIDEOEDIT_MAX_PIXELS says another number


def write_image(path: Path, image: np.ndarray) -> None:
    """Write a picture, atomically, in the format that its name says (png, webp, jpg)."""
    encoded = cv2.imencode(path.suffix, np.ascontiguousarray(image[..., ::-1]))[1]
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def check_pixels(path: Path, width: int, height: int) -> None:
    """InputError if a picture, by the size that its header declares, is larger than this toolkit decodes."""
    given = os.environ.get("VIDEOEDIT_MAX_PIXELS", "")
    most = int(given) if given.isdecimal() else MOST_PIXELS
    if width * height > most:
        raise InputError(
            f"{path}: {width}x{height} pixels are more than the {most / 1e6:.0f} million that are read; "
            f"make it smaller, or set VIDEOEDIT_MAX_PIXELS={width * height}"
        )


def lay_over_white(colors: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Colors over white, all uint8 [H, W, 3]."""
    share = opacity.astype(np.uint32)
    return ((colors * share + 255 * (255 - share) + 127) // 255).astype(np.uint8)


def over_white(picture: Image.Image) -> np.ndarray:
    """A picture as uint8 [H, W, 3] RGB, what is transparent laid over white."""
    rgba = np.asarray(picture.convert("RGBA"))
    return lay_over_white(rgba[..., :3], rgba[..., 3:])


def read_image(path: Path) -> np.ndarray:
    """Read a still picture as a viewer shows it: upright, opaque, its color profile converted to sRGB.

    A profile that is broken is left out with a warning. Raises InputError with one line if it is no picture.
    """
    if not path.is_file():
        raise InputError(f"there is no picture {path}")
    check_header(path)
    image = None
    with contextlib.suppress(cv2.error):
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
    if image is None:
        raise InputError(f"{path} is not a picture that can be read; give a png, jpg or webp")
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    managed = _color_managed(path)
    return image if managed is None else managed


def has_transparency(path: Path) -> bool:
    """Whether a picture has transparent parts."""
    with contextlib.suppress(*NO_PICTURE), Image.open(path) as opened:
        return opened.has_transparency_data and int(np.asarray(opened.convert("RGBA"))[..., 3].min()) < 255
    return False


def is_deep(path: Path) -> bool:
    """Whether a picture has more than 8 bits a color."""
    with contextlib.suppress(cv2.error):
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        return image is not None and image.dtype != np.uint8
    return False


def read_opacity(path: Path) -> np.ndarray:
    """The opacity of a picture as a gray one, uint8 [H, W, 3]: 0 is transparent."""
    check_header(path)
    with Image.open(path) as opened:
        opacity = np.asarray(ImageOps.exif_transpose(opened).convert("RGBA"))[..., 3:]
    return opacity.repeat(3, -1)


def check_header(path: Path) -> None:
    """InputError for a picture whose header declares more pixels than this toolkit decodes, or for no regular file."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: this is not a regular file; give the path of one picture")
    try:
        with Image.open(path) as opened:
            check_pixels(path, *opened.size)
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: its header declares more pixels than are read; make it smaller") from error
    except NO_PICTURE:
        return


def _color_managed(path: Path) -> np.ndarray | None:
    """The picture in sRGB if it carries a color profile that can be used; None if not."""
    try:
        with Image.open(path) as opened:
            data = opened.info.get("icc_profile")
            if not data:
                return None
            picture = ImageOps.exif_transpose(opened)
            profile = ImageCms.getOpenProfile(io.BytesIO(data))
            mode = _mode_of(picture, profile.profile.xcolor_space.strip())
            srgb = ImageCms.createProfile("sRGB")
            return np.asarray(ImageCms.profileToProfile(_as_bytes(picture, mode), profile, srgb, outputMode="RGB"))
    except (ImageCms.PyCMSError, *NO_PICTURE) as error:
        _warn(f"{path}: its color profile cannot be used ({error}); its colors are taken as they are")
        return None


def _mode_of(picture: Image.Image, space: str) -> str:
    """Pillow's mode for colors of a profile's space; ValueError if that is not the picture's."""
    ink, grey = picture.mode == "CMYK", picture.mode[0] in "LI1"
    modes = {"CMYK": "CMYK" if ink else None, "GRAY": "L" if grey else None, "RGB": None if ink else "RGB"}
    if mode := modes.get(space):
        return mode
    raise ValueError(f"it is for {space}, the picture is {picture.mode}")


def _as_bytes(picture: Image.Image, mode: str) -> Image.Image:
    """The picture in `mode`, 8 bits a color; Pillow clips 16-bit grey in place of scaling it."""
    if picture.mode.startswith("I"):
        picture = Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
    return picture.convert(mode)


@functools.cache  # a picture is read many times
def _warn(text: str) -> None:
    logger.warning(text)


def contact_rows(*rows: Sequence[np.ndarray], least: int = 160) -> np.ndarray:
    """Rows of pictures, uint8 [H, W, 3] each and of one size, on one sheet; empty rows are left out.

    Pictures lower than `least` pixels are enlarged by a whole number, each pixel to a square.
    """
    return np.concatenate([_row(images, least) for images in rows if len(images)])


def _row(images: Sequence[np.ndarray], least: int) -> np.ndarray:
    times = max(1, -(-least // images[0].shape[0]))
    shown = []
    for image in images:
        large = image.repeat(times, 0).repeat(times, 1)
        shown.append(np.pad(large, ((0, 4), (0, 4), (0, 0)), constant_values=255))
    return np.concatenate(shown, axis=1)


class Pictures(Mapping[int, np.ndarray]):
    """Pictures by frame number, each read from its file when it is asked for; larger ones shrunk to `size`.

    With `alpha` it is their opacity in place of their colors.
    """

    def __init__(self, paths: Mapping[int, Path], size: tuple[int, int] | None = None, *, alpha: bool = False) -> None:
        self.paths, self.size, self.read = dict(paths), size, read_opacity if alpha else read_image

    def __getitem__(self, index: int) -> np.ndarray:
        image = self.read(self.paths[index])
        if self.size is None or image.shape[1::-1] == self.size:
            return image
        return cv2.resize(image, self.size, interpolation=cv2.INTER_AREA)

    def __iter__(self) -> Iterator[int]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)
