"""Imported results, made elsewhere: found in a folder, in any of a few shapes, and checked before they are scored."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from PIL import Image

from videoedit.errors import InputError
from videoedit.evaluation.suite import Suite, SuiteClip
from videoedit.media.shown import numbered
from videoedit.media.timeline import spans

VIDEOS = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".gif")
TGVE_TYPES = {"style": "style", "object": "subject", "background": "background", "multiple": "several"}
"""TGVE's names of the types of edits -> ours."""


def read_results_folder(folder: Path, suite: Suite) -> dict[tuple[str, str], Path | list[Path] | str]:
    """(clip, edit) -> its video, its pictures in order, or one line that says what is wrong with them.

    Understood: ``CLIP/EDIT/`` and ``CLIP--EDIT/`` with pictures that end in a number, counted from 0 or 1;
    ``CLIP/EDIT.mp4`` and ``CLIP--EDIT.mp4``; all this also one folder deeper (TGVE's subsets). A clip may be called by
    its id or its file, an edit by its id, TGVE's name of its type, or its number among the clip's edits (V2VBench).
    Edits of which there is nothing are not in the result. Raises InputError if there is nothing at all.
    """
    index = _index(folder)
    found: dict[tuple[str, str], Path | list[Path] | str] = {}
    for clip in suite.clips:
        expected = _expected(clip)
        for edit, others in edit_names(clip).items():
            for key in _keys(clip, (edit, *others)):
                if key in index:
                    found[clip.id, edit] = _checked(_only(folder, index[key]), expected)
                    break
    if not found:
        clip = suite.clips[0]
        raise InputError(
            f"{folder} holds no result for the suite {suite.name!r}; expected pictures in CLIP/EDIT/ or videos "
            f"CLIP/EDIT.mp4 or CLIP--EDIT.mp4, for example {clip.id}/{clip.edits[0].id}/00000.png"
        )
    return found


def _keys(clip: SuiteClip, edit_names: Sequence[str]) -> Iterator[str]:
    """Yield the names in `_index` that an edit may have: those of the edit, of the clip, and both ways to join them."""
    clip_names = dict.fromkeys((clip.id, clip.path.stem.lower()))
    for edit, name, joint in itertools.product(edit_names, clip_names, ("/", "--")):
        yield f"{name}{joint}{edit}"


def _index(folder: Path) -> dict[str, list[Path]]:
    """``clip/edit`` or ``clip--edit``, lower case -> videos and folders of pictures of that name, pictures first."""
    index: dict[str, list[Path]] = {}

    def enter(path: Path, prefix: str = "") -> None:
        if numbered(path) if path.is_dir() else path.suffix.lower() in VIDEOS:
            name = path.name if path.is_dir() else path.stem
            index.setdefault((prefix + name).lower(), []).append(path)

    for home in (folder, *subfolders(folder)):
        for path in home.iterdir():
            if "--" in path.name:
                enter(path)
            if path.is_dir():
                for inner in path.iterdir():
                    enter(inner, f"{path.name}/")
    for paths in index.values():
        paths.sort(key=Path.is_file)
    return index


def _only(folder: Path, places: Sequence[Path]) -> Path:
    """The first place; InputError if they lie in different folders, so that it is not clear which is meant."""
    for other in places[1:]:
        if other.parent != places[0].parent:
            names = f"{places[0].relative_to(folder)} and {other.relative_to(folder)}"
            raise InputError(f"{folder} holds the results of several methods, {names}; give the folder of one of them")
    return places[0]


def edit_names(clip: SuiteClip) -> dict[str, list[str]]:
    """Edit id -> its other names: TGVE's name of its type, its number; never another edit's name."""
    ids = [edit.id for edit in clip.edits]
    types = [edit.type for edit in clip.edits]
    has_numbers = any(map(str.isdecimal, ids))
    others: dict[str, list[str]] = {}
    for number, edit in enumerate(clip.edits):
        others[edit.id] = names = []
        for name, kind in TGVE_TYPES.items():
            if kind == edit.type and types.count(kind) == 1 and name not in ids:
                names.append(name)
        if not has_numbers:
            names.append(str(number))
    return others


def _expected(clip: SuiteClip) -> int | None:
    """Number of frames of an edit of this clip; None if the clip cannot be read."""
    from videoedit.media.video import probe

    try:
        there = len(range(clip.start, probe(clip.path).frames, clip.stride))
    except InputError:
        return clip.frames
    return there if clip.frames is None else min(there, clip.frames)


def _checked(place: Path, expected: int | None) -> Path | list[Path] | str:
    from videoedit.media.video import probe

    if place.is_dir():
        frames = numbered(place)
        return _trouble(place, frames, expected) or [file for _, file in frames]
    try:
        count = probe(place).frames
    except InputError as error:
        return str(error)
    if expected is not None and count != expected:
        return f"{place}: {count} frames, but the clip has {expected}; expected one for each"
    return place


def _trouble(place: Path, frames: Sequence[tuple[int, Path]], expected: int | None) -> str | None:
    """One line on the pictures of one edit that cannot be used; None if there is one of one size for each frame."""
    numbers = [number for number, _ in frames]
    for (a, first), (b, second) in itertools.pairwise(frames):
        if a == b:
            return f"{place}: frame {a} is there twice, {first.name} and {second.name}; remove one of them"
    base = 0 if numbers[0] == 0 else 1
    count = len(numbers) if expected is None else expected
    if absent := sorted(set(range(base, base + count)) - set(numbers)):
        return f"{place}: {len(absent)} of {count} frames are missing: {spans(absent)} (counted from {base})"
    if len(numbers) > count:
        return f"{place}: {len(numbers)} frames, but the clip has {count}; expected one for each"
    return _trouble_with_sizes(place, frames)


def _trouble_with_sizes(place: Path, frames: Sequence[tuple[int, Path]]) -> str | None:
    """One line if a picture cannot be read or is of another size than the first."""
    size = None
    for number, file in frames:
        try:
            with Image.open(file) as picture:
                found = picture.size
        except OSError:
            return f"{place}: frame {number}, {file.name}, is not a picture that can be read"
        size = size or found
        if found != size:
            return (
                f"{place}: frame {number} is {found[0]}x{found[1]}, the first is {size[0]}x{size[1]}; expected one size"
            )
    return None


def find_clip(places: Iterable[Path], name: str) -> Path | None:
    """A video (with or without its ending) or a folder of pictures called `name`."""
    for place in places:
        for suffix in ("", *VIDEOS):
            path = place / f"{name}{suffix}"
            if path.is_file() or (path.is_dir() and numbered(path)):
                return path
    return None


def subfolders(folder: Path) -> list[Path]:
    return sorted(filter(Path.is_dir, folder.glob("[!.]*")))
