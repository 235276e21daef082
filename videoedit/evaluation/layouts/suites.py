"""Benchmarks in the layouts of others, written as a suite's file (`layouts.export` writes results out again).

The layouts are described where they are read: `layouts.tgve`, `layouts.v2vbench` and `layouts.clips`;
`layouts.imported` says where results that were made elsewhere may lie and how their files may be called.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from videoedit.config import _Loader
from videoedit.errors import ConfigError, InputError
from videoedit.evaluation.layouts.clips import import_clips
from videoedit.evaluation.layouts.common import Draft
from videoedit.evaluation.layouts.tgve import import_tgve, tgve_part
from videoedit.evaluation.layouts.v2vbench import import_v2vbench
from videoedit.evaluation.suite import Suite, build_suite, nearest
from videoedit.files import write_text
from videoedit.media.images import read_image
from videoedit.media.shown import numbered

FRAME_RATE = Fraction(24)  # of clips that come as pictures, which have none


def import_layout(layout: str, folder: Path, table: Path | None, out: Path) -> Suite:
    """Read a benchmark of one of the layouts and write it as a suite.

    `table`: captions or index, if they do not lie in `folder` under their usual name. Clips of which there is no file
    are left out with a warning. Raises ConfigError or InputError; of a table, a line for each problem.
    """
    importers: dict[str, Callable[[Path, Path | None], Draft]] = {
        "tgve": import_tgve,
        "v2vbench": import_v2vbench,
        "clips": import_clips,
    }
    if layout not in importers:
        raise ConfigError(f"layout {layout!r} is unknown; {nearest(layout, importers, 'there are')}")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one that holds the videos")
    return write_suite(importers[layout](folder, table), out)


def write_suite(draft: Draft, path: Path) -> Suite:
    """Write a suite's file, atomically, and return the suite. Paths below the file's folder become relative.

    Clips that are folders of pictures become videos in ``NAME-clips`` beside it, 24 frames a second.
    """
    folder = Path(os.path.normpath(path.absolute().parent))
    clips = {}
    for name, clip in draft["clips"].items():
        source = Path(clip["path"])
        if source.is_dir():
            source = _write_clip(source, folder / f"{path.stem}-clips" / (tgve_part(source) or "") / f"{name}.mp4")
        clips[name] = {**clip, "path": source}
        clips[name]["edits"] = clips[name].pop("edits")  # last, for the reader
    values = _plain({**draft, "clips": clips}, folder)
    suite = build_suite(values, folder)
    write_text(path, yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))
    return suite


class _Dumper(yaml.SafeDumper):
    """Puts texts in quotes that `read_yaml` would take for numbers, such as 12e4."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def _plain(value: Any, folder: Path) -> Any:
    """Plain YAML values: no None, paths as text, relative to `folder` where they lie below it."""
    if isinstance(value, Mapping):
        plain = {}
        for key, inner in value.items():
            if inner is not None:
                plain[key] = _plain(inner, folder)
        return plain
    if isinstance(value, Path):
        place = Path(os.path.normpath(value.absolute()))
        return (place.relative_to(folder) if place.is_relative_to(folder) else place).as_posix()
    return value


def _write_clip(pictures: Path, target: Path) -> Path:
    from videoedit.media.video import write_video

    write_video(target, (read_image(file) for _, file in numbered(pictures)), FRAME_RATE)
    return target
