"""Steps that the readers of other benchmarks' layouts share: tables, ids, types of edits."""

from __future__ import annotations

import csv
import io
import logging
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from videoedit.errors import ConfigError, InputError
from videoedit.evaluation.layouts.imported import TGVE_TYPES
from videoedit.evaluation.suite import EditType, nearest
from videoedit.files import digest

logger = logging.getLogger(__name__)

Draft = dict[str, Any]
"""A suite as its file has it, `clips` and `edits` by id, paths as Path."""


def slug(text: str) -> str:
    """An id: lower case, letters and digits of ASCII, dots, dashes and underscores."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9._-]+", "-", plain).strip("-._")[:100] or f"clip-{digest(text)[:8]}"


def one_line(value: Any) -> str:
    """A value as one line of text; None is empty."""
    return "" if value is None else " ".join(str(value).split())


def known_type(text: Any) -> str | None:
    """A type of edit by our name or TGVE's; None if it is neither."""
    kind = TGVE_TYPES.get(str(text).lower(), str(text).lower())
    return kind if kind in get_args(EditType) else None


def csv_rows(table: Path, required: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, row) of a CSV file with a heading, separated by commas, semicolons or tabs; cells as one line of text."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{table} is not UTF-8 text; save it as CSV in UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{table} cannot be read: {error.strerror or error}") from error
    heading = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=heading.count), restval="")
    columns = [one_line(name) for name in reader.fieldnames or ()]
    for name in required:
        if name not in columns:
            raise ConfigError(f"{table} has no column {name!r}; {nearest(name, columns, 'it has')}")
    for row in reader:
        if None in row:
            raise ConfigError(
                f"{table}, line {reader.line_num}: more cells than the heading; put texts with commas in quotes"
            )
        yield reader.line_num, {one_line(name): one_line(cell) for name, cell in row.items()}


def usual_table(folder: Path, patterns: Sequence[str]) -> Path:
    """The table that lies in `folder` under its usual name."""
    for pattern in patterns:
        if found := sorted(folder.glob(pattern)):
            if len(found) > 1:
                raise ConfigError(
                    f"{folder} holds {found[0].name} and {found[1].name}; say with --table which is meant"
                )
            return found[0]
    raise ConfigError(f"{folder} holds no table of prompts ({', '.join(patterns)}); give it with --table")


def report_lost(lost: Sequence[str], clips: Mapping[str, Any], folder: Path, expected: str) -> None:
    if not clips:
        raise InputError(f"{folder} holds none of the {len(lost)} clips; expected {expected}")
    if lost:
        names = ", ".join(lost[:5]) + (", ..." if len(lost) > 5 else "")
        logger.warning("left out: %d of %d clips are not in %s: %s", len(lost), len(lost) + len(clips), folder, names)
