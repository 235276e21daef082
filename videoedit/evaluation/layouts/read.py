"""Benchmarks in the layouts of others, read into a suite (`layouts.export` writes results out again).

- ``tgve``: LOVEU-TGVE 2023, ``SUBSET/480p_videos/CLIP.mp4`` (or ``480p_frames/CLIP/``), with its table (CSV) or its
  folder of YAML configs.
- ``v2vbench``: V2VBench, ``CLIP.mp4`` and the index, a YAML file.
- ``clips``: any folder of videos with a table, CSV with a heading, or a YAML list with the same keys.
  A row is one edit: ``clip`` (file name), ``prompt`` (what the edit should show) and ``type`` (subject, background,
  attribute, style or several); where wanted, ``edit`` (its id) and ``truth``; and of the clip, in any of its rows,
  ``source_prompt`` (what it shows), ``start``, ``stride``, ``frames`` and ``mask``.

`read_results_folder` tells where results that were made elsewhere may lie and what their files may be called.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import yaml

from videoedit.config import _Loader, parse_yaml, read_yaml
from videoedit.errors import ConfigError, InputError
from videoedit.evaluation.layouts.imported import (
    TGVE_TYPES,
    VIDEOS,
    find_clip,
    numbered,
    read_results_folder,
    subfolders,
)
from videoedit.evaluation.suite import EditType, Suite, SuiteError, build_suite, nearest
from videoedit.media.images import read_image
from videoedit.runs.folder import digest, write_text

__all__ = [
    "import_clips",
    "import_layout",
    "import_tgve",
    "import_v2vbench",
    "read_results_folder",
    "write_suite",
]

logger = logging.getLogger(__name__)

FRAME_RATE = Fraction(24)  # of clips that come as pictures, which have none

TGVE_SUBSETS = {"davis": "DAVIS_480p", "youtube": "youtube_480p", "videvo": "videvo_480p"}
TGVE_NAME, TGVE_SOURCE = "Video name", "Our GT caption"
TGVE_PROMPTS = {
    "style": "Style Change Caption",
    "object": "Object Change Caption",
    "background": "Background Change Caption",
    "multiple": "Multiple Changes Caption",
}
TGVE_SETTINGS = {
    "tune": {"steps": 500, "learning_rate": 3e-5},
    "invert": {"steps": 50},
    "sample": {"steps": 50, "guidance_scale": 12.5},
}
"""Of the benchmark's Tune-A-Video baseline; its model is Stable Diffusion 1.4."""

CLIP_COLUMNS = ("source_prompt", "start", "stride", "frames", "mask")
COLUMNS = ("clip", "prompt", "type", "edit", "truth", *CLIP_COLUMNS)

Draft = dict[str, Any]
"""A suite as its file has it, `clips` and `edits` by id, paths as Path."""


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
            source = _film(source, folder / f"{path.stem}-clips" / (tgve_part(source) or "") / f"{name}.mp4")
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
        return {key: _plain(inner, folder) for key, inner in value.items() if inner is not None}
    if isinstance(value, Path):
        place = Path(os.path.normpath(value.absolute()))
        return (place.relative_to(folder) if place.is_relative_to(folder) else place).as_posix()
    return value


def _film(pictures: Path, target: Path) -> Path:
    from videoedit.media.video import write_video

    write_video(target, (read_image(file) for _, file in numbered(pictures)), FRAME_RATE)
    return target


# ----------------------------------------------------------------------------------------- LOVEU-TGVE 2023


def import_tgve(folder: Path, table: Path | None = None) -> Draft:
    """The unpacked benchmark. `table`: its ``LOVEU-TGVE-2023_Dataset.csv`` or its folder of per-video YAML configs."""
    table = table or _usual(folder, ("LOVEU-TGVE-2023_Dataset.csv", "LOVEU-TGVE-2023*.csv", "*.csv", "configs"))
    if table.suffix.lower() in (".xlsx", ".xls"):
        raise ConfigError(f"{table} is a spreadsheet; save it as CSV (with its heading) and give that")
    captions = _tgve_captions(table) if table.is_file() and table.suffix.lower() == ".csv" else _tgve_configs(table)
    clips: dict[str, Any] = {}
    lost = []
    for subset, name, clip in captions:
        places = (folder / subset / "480p_videos", folder / subset, folder / subset / "480p_frames")
        if (path := find_clip(places, name)) is None:
            lost.append(name)
        else:
            clips[slug(name)] = {"path": path, **clip}
    _report_lost(lost, clips, folder, "DAVIS_480p/480p_videos/NAME.mp4 or DAVIS_480p/480p_frames/NAME/00000.jpg")
    return {
        "name": "tgve",
        "title": "LOVEU-TGVE 2023",
        "size": "480x480",
        "published": "tgve",
        "settings": {"tuneavideo": TGVE_SETTINGS},
        "clips": clips,
    }


def tgve_part(path: Path) -> str | None:
    """The part of TGVE that a clip comes from, which its path tells; None if it comes from elsewhere."""
    return next((part for part in path.parts if part in TGVE_SUBSETS.values()), None)


def _tgve_captions(table: Path) -> Iterator[tuple[str, str, Draft]]:
    """(subset, video, clip without its path) of the official table.

    It is three tables below each other, each under a row such as "Youtube Videos:", with empty rows between them; the
    official code cuts it by row numbers, of which the last cut has one row more than there are videos.
    """
    subset = ""
    seen: dict[str, Draft] = {}
    for line, row in _csv_rows(table, required=(TGVE_NAME, TGVE_SOURCE, *TGVE_PROMPTS.values())):
        name = row[TGVE_NAME]
        if name.endswith("Videos:"):
            word = name.removesuffix("Videos:").strip()
            subset = TGVE_SUBSETS.get(word.lower(), word)
            continue
        edits = {
            kind: {"type": TGVE_TYPES[kind], "prompt": row[column]}
            for kind, column in TGVE_PROMPTS.items()
            if row[column]
        }
        if not name or not edits:  # between the parts, and after the last
            continue
        if not subset:
            raise ConfigError(f"{table}, line {line}: {name!r} stands above the first part; expected a row like "
                              "'DAVIS Videos:' before it")  # fmt: skip
        clip = {"prompt": row[TGVE_SOURCE], "edits": edits}
        if seen.setdefault(slug(name), clip) is not clip:
            if seen[slug(name)] != clip:
                raise ConfigError(f"{table}, line {line}: {name!r} stands there twice, with different captions")
            continue
        yield subset, name, clip


def _tgve_configs(folder: Path) -> Iterator[tuple[str, str, Draft]]:
    """The same from the baseline's configs, ``SUBSET/VIDEO.yaml``."""
    files = sorted(folder.rglob("*.yaml")) if folder.is_dir() else [folder]
    if not files or not all(file.is_file() for file in files):
        raise ConfigError(f"{folder} holds no configs; expected SUBSET/VIDEO.yaml, or give the table as CSV")
    for file in files:
        data = read_yaml(file)
        try:
            train, prompts = data["train_data"], data["validation_data"]["prompts"]
            edits = {kind: {"type": TGVE_TYPES[kind], "prompt": _line(text)} for kind, text in prompts.items()}
            clip = {
                "prompt": _line(train["prompt"]),
                "stride": train.get("frame_rate", 1),
                "frames": train.get("num_frames"),
                "edits": edits,
            }
            yield file.parent.name, Path(train["video_path"]).name, clip
        except (KeyError, TypeError, AttributeError) as error:
            if len(files) > 1 and "validation_data" not in data:
                continue  # a template
            raise ConfigError(
                f"{file} is no config of the baseline ({error!r}); expected train_data.prompt, train_data.video_path "
                f"and validation_data.prompts with {', '.join(TGVE_TYPES)}"
            ) from error


# ----------------------------------------------------------------------------------------- V2VBench


def import_v2vbench(folder: Path, table: Path | None = None) -> Draft:
    """Source videos named after `video_id` and the index, ``config.yaml``: ``data: [{video_id, edit: [{prompt}]}]``.

    Edits are called by their number, as the layout does. Its index tells no types: an edit without a `type` that we
    know is taken as "several", of which nothing is expected to stay as it was.
    """
    table = table or _usual(folder, ("config.yaml", "*.yaml", "*.yml"))
    entries = read_yaml(table).get("data")
    if not isinstance(entries, list):
        raise ConfigError(f"{table} is no index of V2VBench: expected `data:` with a list of entries")
    clips: dict[str, Any] = {}
    lost = []
    for number, entry in enumerate(entries):
        try:
            name = str(entry["video_id"])
            edits = {
                str(index): {"type": _known_type(edit.get("type")) or "several", "prompt": _line(edit["prompt"])}
                for index, edit in enumerate(entry["edit"])
            }
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{table}, entry {number}: expected video_id and edit, a list of prompts ({error!r})"
            ) from error
        if slug(name) in clips:
            raise ConfigError(f"{table}, entry {number}: {name!r} stands there twice")
        if (path := find_clip((folder, *subfolders(folder)), name)) is None:
            lost.append(name)
        else:
            clips[slug(name)] = {"path": path, "prompt": _line(entry.get("prompt") or ""), "edits": edits}
    _report_lost(lost, clips, folder, "NAME.mp4, NAME.gif or NAME/00000.jpg")
    return {"name": "v2vbench", "title": "V2VBench", "published": "v2vbench", "clips": clips}


# ----------------------------------------------------------------------------------------- any folder of clips


def import_clips(folder: Path, table: Path | None = None) -> Draft:
    """Any folder of videos with a table of prompts (see the module's description for its columns).

    Raises SuiteError with a line for each problem of the table.
    """
    table = table or _usual(folder, ("prompts.csv", "prompts.yaml", "*.csv", "*.yaml", "*.yml"))
    problems: list[str] = []
    clips: dict[str, Any] = {}
    for where, row in _table_rows(table):
        try:
            for column in COLUMNS[:3]:
                if not row[column]:
                    raise ConfigError(f"{column!r} is empty; expected {', '.join(COLUMNS[:3])} in every row")
            path = _clip_path(folder, row["clip"])
            clip = clips.setdefault(slug(path.stem), {"path": path, "edits": {}})
            if clip["path"] != path:
                raise ConfigError(f"{path.name} and {clip['path'].name} would have the same id; rename one of them")
            _add_row(clip, row, table.parent)
        except ConfigError as error:
            problems.append(f"{table}, {where}: {error}")
    if not clips and not problems:
        problems.append(f"{table} has no rows; expected an edit in each, with {', '.join(COLUMNS[:3])}")
    if problems:
        raise SuiteError(problems)
    return {"name": slug(folder.absolute().name), "clips": clips}


def _add_row(clip: Draft, row: Mapping[str, str], base: Path) -> None:
    """Add one edit to a clip, and what its row says of the clip."""
    for column in CLIP_COLUMNS:
        if text := row[column]:
            key = "prompt" if column == "source_prompt" else column
            value = _of_clip(column, text, base)
            if clip.setdefault(key, value) != value:
                raise ConfigError(f"{column} of this clip is {clip[key]} in another row, here {value}; expected one")
    kind = _known_type(row["type"])
    if kind is None:
        raise ConfigError(f"type {row['type']!r} is unknown; {nearest(row['type'], get_args(EditType), 'types')}")
    edits = clip["edits"]
    same = sum(edit["type"] == kind for edit in edits.values())
    name = slug(row["edit"]) if row["edit"] else f"{kind}-{same + 1}" if same else kind
    if name in edits:
        raise ConfigError(f"this clip has two edits {name!r}; give them different ids in the column 'edit'")
    edits[name] = {"type": kind, "prompt": row["prompt"], "truth": base / row["truth"] if row["truth"] else None}


def _of_clip(column: str, text: str, base: Path) -> str | int | Path:
    """The value of one of `CLIP_COLUMNS`."""
    if column in ("start", "stride", "frames"):
        if not text.isdecimal():
            raise ConfigError(f"{column} is {text!r}, expected a whole number")
        return int(text)
    return base / text if column == "mask" else text


def _table_rows(table: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """(where, row) with every column of `COLUMNS`, empty where nothing is said; ConfigError for other columns."""
    if table.suffix.lower() in (".yaml", ".yml"):
        try:
            rows = parse_yaml(table.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{table} cannot be read as YAML: {_line(str(error))}") from error
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ConfigError(f"{table}: expected a list with an edit in each entry: {', '.join(COLUMNS[:3])}, ...")
        placed = [(f"entry {number}", {str(k): _line(v) for k, v in row.items()}) for number, row in enumerate(rows, 1)]
    else:
        placed = [(f"line {line}", row) for line, row in _csv_rows(table)]
    for where, row in placed:
        for column in row.keys() - set(COLUMNS):
            raise ConfigError(f"{table}: there is no column {column!r}; {nearest(column, COLUMNS, 'columns')}")
        if any(row.values()):
            yield where, dict.fromkeys(COLUMNS, "") | row


def _clip_path(folder: Path, name: str) -> Path:
    if (found := find_clip((folder,), name)) is not None:
        return found
    there = [file.stem for file in folder.iterdir() if file.suffix.lower() in VIDEOS or file.is_dir()]
    raise ConfigError(f"there is no clip {name!r} in {folder}; {nearest(name, there, 'there are')}")


# ----------------------------------------------------------------------------------------- small steps of reading


def slug(text: str) -> str:
    """An id: lower case, letters and digits of ASCII, dots, dashes and underscores."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9._-]+", "-", plain).strip("-._")[:100] or f"clip-{digest(text)[:8]}"


def _line(value: Any) -> str:
    """A value as one line of text; None is empty."""
    return "" if value is None else " ".join(str(value).split())


def _known_type(text: Any) -> str | None:
    """A type of edit by our name or TGVE's; None if it is neither."""
    kind = TGVE_TYPES.get(str(text).lower(), str(text).lower())
    return kind if kind in get_args(EditType) else None


def _csv_rows(table: Path, required: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, row) of a CSV file with a heading, separated by commas, semicolons or tabs; cells as one line of text."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{table} is not UTF-8 text; save it as CSV in UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{table} cannot be read: {error.strerror or error}") from error
    heading = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=heading.count), restval="")
    columns = [_line(name) for name in reader.fieldnames or ()]
    for name in required:
        if name not in columns:
            raise ConfigError(f"{table} has no column {name!r}; {nearest(name, columns, 'it has')}")
    for row in reader:
        if None in row:
            raise ConfigError(
                f"{table}, line {reader.line_num}: more cells than the heading; put texts with commas in quotes"
            )
        yield reader.line_num, {_line(name): _line(cell) for name, cell in row.items()}


def _usual(folder: Path, patterns: Sequence[str]) -> Path:
    """The table that lies in `folder` under its usual name."""
    for pattern in patterns:
        if found := sorted(folder.glob(pattern)):
            if len(found) > 1:
                raise ConfigError(
                    f"{folder} holds {found[0].name} and {found[1].name}; say with --table which is meant"
                )
            return found[0]
    raise ConfigError(f"{folder} holds no table of prompts ({', '.join(patterns)}); give it with --table")


def _report_lost(lost: Sequence[str], clips: Mapping[str, Any], folder: Path, expected: str) -> None:
    if not clips:
        raise InputError(f"{folder} holds none of the {len(lost)} clips; expected {expected}")
    if lost:
        names = ", ".join(lost[:5]) + (", ..." if len(lost) > 5 else "")
        logger.warning("left out: %d of %d clips are not in %s: %s", len(lost), len(lost) + len(clips), folder, names)
