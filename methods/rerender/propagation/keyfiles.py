"""Key frames that somebody edited in another program: files, matched to frames by the number in their names."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from videoedit.errors import ConfigError, InputError
from videoedit.runs.clip import span

logger = logging.getLogger("videoedit.rerender")

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # EXIF
COUNTING = "frames count from 0 (FFmpeg numbers files from 1: give it -start_number 0)"


def find_keyframes(given: Sequence[Path], selected: range, size: tuple[int, int]) -> dict[int, Path]:
    """The files of all key frames by index, in order.

    `given` are folders and files; the last number in a file's name (``shot2_0040.png``: 40) is the number of its frame
    in the clip. `selected` are the frame numbers that are edited; the index of a key frame is its place among them.
    `size` (width, height) is that of the clip. Reads no more than the heads of opaque pictures.

    Raises InputError, one line, for a path that is not there, a file that is no picture, has another size or
    transparent parts, no number, one that another file has too, or one outside the clip; ConfigError for none at all.
    """
    if not given:
        raise ConfigError("no key frames were given; name a folder or files with --keyframes")
    found: dict[int, Path] = {}
    for path in chain.from_iterable(map(_pictures, given)):
        numbers = re.findall(r"\d+", path.stem)
        if not numbers:
            raise InputError(f"{path} has no frame number in its name; call it {path.stem}-0010{path.suffix}, say")
        number = int(numbers[-1])
        if number not in selected:
            raise InputError(f"{path} is for frame {number}, but the edited frames are {span(selected)}; {COUNTING}")
        index = selected.index(number)
        if index in found:
            raise InputError(f"{found[index]} and {path} are both for frame {number}; keep one of them")
        found[index] = path
    _check_sizes(found, size)
    return dict(sorted(found.items()))


def _pictures(place: Path) -> Iterator[Path]:
    """A file itself; of a folder the pictures in it. Other files there are named in a warning."""
    if not place.exists():
        raise InputError(f"there is no {place}; --keyframes takes a folder or files")
    if not place.is_dir():
        if place.suffix.lower() not in SUFFIXES:
            raise InputError(f"{place} is no key frame: expected a png, jpg or webp")
        yield place
        return
    files = [path for path in sorted(place.iterdir()) if path.is_file() and not path.name.startswith(".")]
    pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not pictures:
        raise InputError(f"no key frame is in {place}: expected png, jpg or webp files named by frame, as 0010.png")
    if others := [path.name for path in files if path not in pictures]:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        logger.warning("in %s, %s%s is no png, jpg or webp and was left out", place, others[0], more)
    yield from pictures


def _check_sizes(files: dict[int, Path], size: tuple[int, int]) -> None:
    sizes = {path: _checked_size(path) for path in files.values()}
    wrong = {path: found for path, found in sizes.items() if found != size}
    if not wrong:
        return
    path, found = next(iter(wrong.items()))
    many = f" ({len(wrong)} of {len(sizes)} key frames differ)" if len(sizes) > 1 else ""
    fits = f", or work at theirs with --size {found[0]}x{found[1]}" if set(sizes.values()) == {found} else ""
    raise InputError(
        f"{path} is {found[0]}x{found[1]}, the clip is worked on at {size[0]}x{size[1]}{many}; how they would lie on "
        f"each other is not guessed: export them at {size[0]}x{size[1]}{fits}"
    )


def _checked_size(path: Path) -> tuple[int, int]:
    """(width, height) as displayed, of an opaque picture."""
    try:
        with Image.open(path) as picture:
            if getattr(picture, "n_frames", 1) > 1:
                raise InputError(f"{path} is an animation; give one picture for each key frame")
            if picture.has_transparency_data and np.asarray(picture.convert("RGBA"))[..., 3].min() < 255:
                raise InputError(f"{path} has transparent parts; lay it over its frame and save it without them")
            sideways = picture.getexif().get(ORIENTATION) in SIDEWAYS
            return (picture.height, picture.width) if sideways else picture.size
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} is not a picture that can be read; give a png, jpg or webp") from error
