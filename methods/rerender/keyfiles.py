"""Files of edited key frames, as artists deliver them: which picture is for which frame of the clip."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from videoedit.errors import ConfigError, InputError
from videoedit.media.images import check_header, check_pixels
from videoedit.runs.clip import span

logger = logging.getLogger("videoedit.rerender")

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # EXIF
COUNTING = "frames count from 0 (FFmpeg numbers files from 1: give it -start_number 0)"
NUMBER = re.compile(r"(?<!\d)(?<!\dx)\d+(?!\d|x\d)")  # not those of a size, 1920x1080
FRAME = re.compile(r"(?:^|[^a-z])(?:f|frame|img|image|key|keyframe)[ ._-]?$", re.IGNORECASE)  # before a frame's number
LISTED = 24  # key frames in a table; of more, the first and the last ones
MULTIPLES = (2, 3, 4, 8)  # of the clip's size, that key frames may have


def find_keyframes(
    given: Sequence[Path], selected: range, size: tuple[int, int], named: Mapping[int, Path] | None = None
) -> dict[int, Path]:
    """The files of all key frames by index, in order.

    `given` are folders and files; the number at the end of a file's name (``shot2_0040.png``: 40) is that of its frame
    in the clip. `named` are files whose frames were said; they go before others for the same frames. `selected` are the
    frame numbers that are edited; the index of a key frame is its place among them. `size` (width, height) is that of
    the clip; pictures may be a whole multiple of it. Reads no more than the heads of pictures.

    Raises InputError, one line, for a path that is not there, a file that is no picture, has another size,
    no number, a doubtful one, one that another file has too, or one outside the clip; ConfigError
    for none at all.
    """
    named = named or {}
    if not given and not named:
        raise ConfigError("no key frames were given; name a folder or files with --keyframes")
    found: dict[int, Path] = {}
    said = {path.absolute() for path in named.values()}
    numbered = list(named.items())
    for path in itertools.chain.from_iterable(map(_pictures, given)):
        if path.absolute() not in said and (number := frame_number(path)) not in named:
            numbered.append((number, path))
    for number, path in numbered:
        if number not in selected:
            raise InputError(f"{path} is for frame {number}, but the edited frames are {span(selected)}; {COUNTING}")
        index = selected.index(number)
        if index in found:
            raise InputError(
                f"{found[index]} and {path} are both for frame {number}; keep one of them, or say which: "
                f"--keyframe {number}={path}"
            )
        found[index] = path
    _check_sizes(found, size)
    return dict(sorted(found.items()))


def frame_number(path: Path) -> int:
    """The frame that a file's name says: the number at its end, or the only one; InputError if that is doubtful."""
    groups = list(NUMBER.finditer(path.stem))
    if not groups:
        raise InputError(f"{path} has no frame number in its name; call it {path.stem}-0010{path.suffix}, say")
    if _is_doubtful(path.stem, groups):
        readings = " or ".join(dict.fromkeys(str(int(group[0])) for group in groups))
        raise InputError(
            f"{path} may be for frame {readings}; rename it so that it ends in its frame's number, "
            f"or say it: --keyframe {int(groups[0][0])}={path}"
        )
    return int(groups[-1][0])


def _is_doubtful(stem: str, groups: Sequence[re.Match[str]]) -> bool:
    """Whether another number than the last may be the frame's: the last is no ending, or of a word, or follows one."""
    if len(groups) == 1:
        return False
    last = groups[-1]
    before = stem[: last.start()]
    of_word = before[-1:].isalpha() and not FRAME.search(before)  # _v2, take2
    return last.end() < len(stem) or of_word or any(_may_count(group, last) for group in groups[:-1])


def _may_count(group: re.Match[str], last: re.Match[str]) -> bool:
    """Whether a number before the last one looks like a frame's too: called one, longer, or as long and by itself."""
    before, after = group.string[: group.start()], group.string[group.end() :]
    alone = not before[-1:].isalpha() and not after[:1].isalpha()
    longer = len(group[0]) - len(last[0])
    return bool(FRAME.search(before)) or longer > 0 or (alone and longer == 0)


def sizes_note(files: Mapping[int, Path], size: tuple[int, int]) -> list[str]:
    """A note on key frames that are larger than the clip, if any is."""
    larger = sorted({_checked_size(path) for path in files.values()} - {size})
    shown = ", ".join(f"{width}x{height}" for width, height in larger)
    return [f"Key frames of {shown} are shrunk to {size[0]}x{size[1]}."] if larger else []


def table(files: Mapping[int, Path], numbers: range) -> str:
    """Which file is taken for which frame, in lines for a person."""
    lines = ["key frames (frame: file)"]
    for index, path in files.items():
        lines.append(f"  {numbers[index]:>6}: {path.name}")
    if len(files) > LISTED:
        half = LISTED // 2
        lines[1 + half : -half] = [f"     ...: {len(files) - 2 * half} more, by the numbers in their names"]
    return "\n".join(lines)


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
    multiples = [(size[0] * times, size[1] * times) for times in MULTIPLES]
    wrong = {path: found for path, found in sizes.items() if found != size and found not in multiples}
    if not wrong:
        return
    path, found = next(iter(wrong.items()))
    many = f" ({len(wrong)} of {len(sizes)} key frames differ)" if len(sizes) > 1 else ""
    fits = f", or work at theirs with --size {found[0]}x{found[1]}" if set(sizes.values()) == {found} else ""
    raise InputError(
        f"{path} is {found[0]}x{found[1]}, the clip is worked on at {size[0]}x{size[1]}{many}; how they would lie on "
        f"each other is not guessed: export them at {size[0]}x{size[1]} or 2, 3, 4, 8 times that{fits}"
    )


def _checked_size(path: Path) -> tuple[int, int]:
    """(width, height) as displayed, of a picture."""
    check_header(path)
    try:
        with Image.open(path) as picture:
            check_pixels(path, *picture.size)
            if getattr(picture, "n_frames", 1) > 1:
                raise InputError(f"{path} is an animation; give one picture for each key frame")
            sideways = picture.getexif().get(ORIENTATION) in SIDEWAYS
            return (picture.height, picture.width) if sideways else picture.size
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: its header declares more pixels than are read; make it smaller") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} is not a picture that can be read; give a png, jpg or webp") from error
