"""Any folder of videos with a table, CSV with a heading, or a YAML list with the same keys.

A row is one edit: ``clip`` (file name), ``prompt`` (what the edit should show) and ``type`` (subject, background,
attribute, style or several); where wanted, ``edit`` (its id) and ``truth`` (its ground truth); and of the clip, in any
of its rows, ``source_prompt`` (what it shows), ``start``, ``stride``, ``frames`` and ``mask``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml

from videoedit.config import parse_yaml
from videoedit.errors import ConfigError
from videoedit.evaluation.layouts.common import Draft, csv_rows, known_type, one_line, slug, usual_table
from videoedit.evaluation.layouts.imported import VIDEOS, find_clip
from videoedit.evaluation.suite import EditType, SuiteError, nearest

CLIP_COLUMNS = ("source_prompt", "start", "stride", "frames", "mask")
COLUMNS = ("clip", "prompt", "type", "edit", "truth", *CLIP_COLUMNS)


def import_clips(folder: Path, table: Path | None = None) -> Draft:
    """Read a folder of videos with a table of prompts (see the module's description for its columns).

    Raises SuiteError with a line for each problem of the table.
    """
    table = table or usual_table(folder, ("prompts.csv", "prompts.yaml", "*.csv", "*.yaml", "*.yml"))
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
    kind = known_type(row["type"])
    if kind is None:
        raise ConfigError(f"type {row['type']!r} is unknown; {nearest(row['type'], get_args(EditType), 'types')}")
    edits = clip["edits"]
    same = [edit["type"] for edit in edits.values()].count(kind)
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
    """Yield (place, row) with every column of `COLUMNS`, empty where nothing is said; ConfigError for others."""
    is_yaml = table.suffix.lower() in (".yaml", ".yml")
    rows = list(_yaml_rows(table) if is_yaml else csv_rows(table))
    for number, row in rows:
        for column in row.keys() - set(COLUMNS):
            raise ConfigError(f"{table}: there is no column {column!r}; {nearest(column, COLUMNS, 'columns')}")
        if any(row.values()):
            yield f"{'entry' if is_yaml else 'line'} {number}", dict.fromkeys(COLUMNS, "") | row


def _yaml_rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (number, row) of a YAML file with a list of rows; cells as one line of text."""
    try:
        rows = parse_yaml(table.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{table} cannot be read as YAML: {one_line(str(error))}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{table}: expected a list with an edit in each entry: {', '.join(COLUMNS[:3])}, ...")
    for number, row in enumerate(rows, 1):
        yield number, {str(key): one_line(value) for key, value in row.items()}


def _clip_path(folder: Path, name: str) -> Path:
    if (found := find_clip((folder,), name)) is not None:
        return found
    there = []
    for file in folder.iterdir():
        if file.suffix.lower() in VIDEOS or file.is_dir():
            there.append(file.stem)
    raise ConfigError(f"there is no clip {name!r} in {folder}; {nearest(name, there, 'there are')}")
