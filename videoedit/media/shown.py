"""A clip's frames as a player shows them: of a video, an animated picture, a folder of pictures."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from videoedit.errors import InputError
from videoedit.media.decoding import check_file, decoded_frames, fraction, open_clip, to_rgb
from videoedit.media.images import NO_PICTURE, check_header, has_transparency, is_deep, over_white, read_image

TRANSPARENT, DEEP = "transparent parts are laid over white", "more than 8 bits a colour: read as 8"
_FASTEST = 1000  # frames a second; what is more is the resolution of some clock
STILLS = ("PNG", "JPEG", "MPO", "BMP", "TIFF", "WEBP", "AVIF")  # Pillow's names of formats that can be one picture
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")  # of a folder that is a clip


@dataclass(frozen=True)
class Shown:
    """A frame as it is shown."""

    time: Fraction | None  # seconds on the file's own clock; None if it has none
    lasts: Fraction  # seconds; 0 if unknown
    pixels: Callable[[], np.ndarray]  # uint8 [H, W, 3] RGB, upright, square pixels
    size: tuple[int, int] = (0, 0)  # width and height as stored
    stands_alone: bool = True  # not built upon frames before
    damaged: bool = False
    source: Any = None  # the decoder's frame


@dataclass(frozen=True)
class Opened:
    """A clip that is being read: its frames, once, and what the file says of them."""

    frames: Iterator[Shown]
    rates: Sequence[Fraction] = ()  # that the file declares, the likeliest first
    tick: Fraction = Fraction(1, 1000)  # resolution of its times, seconds
    container: Any = None
    stream: Any = None
    notes: tuple[str, ...] = ()


@contextlib.contextmanager
def open_frames(path: Path) -> Iterator[Opened]:
    """A video, animated picture or folder of numbered pictures, ready to be read once.

    Raises InputError with one line that says what is wrong. Its `frames` end in DamagedError where the data breaks off.
    """
    if path.is_dir():
        yield _open_folder(path)
        return
    check_file(path)
    check_header(path)
    if (pictures := _pictures_in(path)) == 1:
        yield _open_still(path)
    elif pictures and _is_for_pillow(path):
        yield _open_animation(path)
    else:
        with open_clip(path) as (container, stream):
            yield _open_stream(container, stream)


def _open_stream(container: Any, stream: Any) -> Opened:
    rates = [fraction(rate) for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate) if rate]
    if container.format.name in ("h264", "hevc"):  # raw: these are the demuxer's guesses
        own = fraction(stream.codec_context.framerate)
        rates = [own] if own else []
    elif container.format.name.endswith("_pipe") or container.format.name == "image2":
        rates = [Fraction(1)]

    def frames() -> Iterator[Shown]:
        tick = fraction(stream.time_base)
        for frame in decoded_frames(container, stream):
            yield Shown(
                time=None if frame.pts is None else frame.pts * tick,
                lasts=(frame.duration or 0) * tick,
                pixels=lambda frame=frame: to_rgb(frame, container, stream),  # type: ignore[misc]
                size=(frame.width, frame.height),
                stands_alone=bool(frame.key_frame),
                damaged=bool(frame.is_corrupt),
                source=frame,
            )

    rates = [rate for rate in rates if rate <= _FASTEST]
    return Opened(frames(), rates, fraction(stream.time_base), container, stream)


# ---------------------------------------------------------------------------------------- animated pictures


def _pictures_in(path: Path) -> int:
    """How many pictures a file of a picture format holds; 0 for other files."""
    with contextlib.suppress(*NO_PICTURE), Image.open(path) as image:
        if image.format in STILLS:
            return int(getattr(image, "n_frames", 1))
    return 0


def _is_for_pillow(path: Path) -> bool:
    """Whether FFmpeg cannot read animations of this format: WebP, AVIF."""
    with path.open("rb") as handle:
        head = handle.read(16)
    return (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or head[4:12] == b"ftypavis"


def _open_still(path: Path) -> Opened:
    """A single picture, read as those of a folder are."""
    shown = Shown(None, Fraction(0), lambda: _read_over_white(path))
    return Opened(iter([shown]), rates=[Fraction(1)], notes=_picture_notes(path))


def _open_animation(path: Path) -> Opened:
    def frames() -> Iterator[Shown]:
        time = Fraction(0)
        with Image.open(path) as image:
            try:
                for picture in ImageSequence.Iterator(image):
                    shown = over_white(picture)
                    lasts = Fraction(round(picture.info.get("duration") or 100), 1000)
                    yield Shown(time, lasts, lambda shown=shown: shown)  # type: ignore[misc]
                    time += lasts
            except NO_PICTURE as error:
                raise InputError(f"{path}: the animation is damaged ({error}); export it again") from error

    return Opened(frames())


# ------------------------------------------------------------------------------------- folders of pictures


def _open_folder(path: Path) -> Opened:
    numbered = folder_pictures(path)
    numbers = [number for number, _ in numbered]
    missing = _missing(numbers)
    regular = len({after - before for before, after in itertools.pairwise(numbers)}) == 1  # every n-th frame was kept
    notes = _picture_notes(numbered[0][1])
    if missing and not regular:
        some = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        notes += (f"pictures are missing from the folder ({some}): those that are there follow each other",)

    def frames() -> Iterator[Shown]:
        for _, file in numbered:
            pixels = lambda file=file: _read_over_white(file)  # noqa: E731
            yield Shown(None, Fraction(0), pixels, _stored_size(file))

    return Opened(frames(), notes=notes)


def _missing(numbers: Sequence[int], most: int = 6) -> list[int]:
    """The first numbers between the others, of numbers in order, that are not among them."""
    found: list[int] = []
    for before, after in itertools.pairwise(numbers):
        found += range(before + 1, min(after, before + 1 + most))
    return found[:most]


def numbered(folder: Path) -> list[tuple[int, Path]]:
    """(number, file) of the pictures whose names end in a number, in order."""
    found: list[tuple[int, Path]] = []
    for file in _pictures(folder):
        if match := re.search(r"\d+$", file.stem):
            found.append((int(match[0]), file))
    return sorted(found)


def _pictures(folder: Path) -> list[Path]:
    files = sorted(folder.iterdir())
    return [file for file in files if file.suffix.lower() in PICTURES and not file.name.startswith(".")]


def folder_pictures(path: Path) -> list[tuple[int, Path]]:
    """The pictures of a folder that is a clip, by the numbers at the ends of their names, in order.

    Raises InputError if there are none, or if a name leaves the order open.
    """
    found = numbered(path)
    known = {file for _, file in found}
    if odd := [file.name for file in _pictures(path) if file not in known]:
        raise InputError(f"{path}: the name of {odd[0]} does not end in a frame's number, as 0000.png does")
    if not found:
        raise InputError(f"{path}: a folder without pictures; give a video, or a folder of numbered png or jpg files")
    for (number, first), (after, second) in itertools.pairwise(found):
        if number == after:
            raise InputError(f"{path}: {first.name} and {second.name} have one number; leave one of them")
    return found


def _read_over_white(file: Path) -> np.ndarray:
    """A picture with what is transparent laid over white."""
    check_header(file)
    with contextlib.suppress(*NO_PICTURE), Image.open(file) as image:
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            return over_white(ImageOps.exif_transpose(image))
    return read_image(file)


def _stored_size(file: Path) -> tuple[int, int]:
    """Width and height by a picture's header; (0, 0) if it has none that can be read."""
    with contextlib.suppress(*NO_PICTURE), Image.open(file) as image:
        return image.size
    return 0, 0


def _picture_notes(file: Path) -> tuple[str, ...]:
    """What is changed of a picture on its way in."""
    notes = [TRANSPARENT] if has_transparency(file) else []
    if is_deep(file):
        notes.append(DEEP)
    return tuple(notes)
