"""The schema of ``run.json``, checked whenever one is read: a folder may come from a stranger, or be damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from videoedit.files import check_name
from videoedit.limits import read_text

RECORD = "run.json"
FORMAT = 2  # of the record; folders of another one are refused
MOST_DIGITS = 20  # of a whole number

FileName = Annotated[str, AfterValidator(check_name)]
"""A file of the folder, by its path from there; none that leads out of it."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class _Call(_Part):
    config: dict[str, Any] = {}
    versions: dict[str, Any] = {}
    steps: dict[str, str] = {}


class _Clip(_Part):
    path: str = ""
    sha256: str = ""


class _Stage(_Part):
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory_mb: float | None = None


class _Step(_Stage):
    key: str
    needs: dict[str, Any]
    files: dict[FileName, Annotated[list[Any], Field(min_length=3, max_length=3)]]
    value: Any = None
    notes: list[str] = []


class _Input(_Part):
    frames: int | None = None
    fps: str | float | None = None
    size: str | list[int] | None = None


class Shown(_Part):
    """All that the report shows of a record."""

    title: str | None = None
    method: str | None = None
    status: str = "finished"
    seed: int | None = None
    config: dict[str, Any] | None = None
    versions: dict[str, Any] | None = None
    input: _Input | None = None
    model: dict[str, Any] | str | None = None
    stages: dict[str, _Stage] | list[_Stage] | None = None
    videos: list[dict[str, Any]] | None = None
    pictures: list[dict[str, Any]] | None = None
    metrics: dict[str, Any] | None = None
    plots: dict[str, Any] = {}
    keyframes: list[int] | None = None
    notes: list[str] | None = None
    licences: dict[str, Any] | None = None
    steps: dict[str, _Stage] = {}
    calls: list[_Call] = []


class Record(Shown):
    """All that a run reads of it, too."""

    format: Literal[2]
    method: str
    clip: _Clip
    steps: dict[str, _Step]  # type: ignore[assignment]
    calls: list[_Call]


def parse_record(path: Path, schema: type[Shown]) -> dict[str, Any]:
    """The record in a file, as plain values; ValueError or OSError, with what is wrong, if it does not fit."""
    text = read_text(path)
    try:
        schema.model_validate_json(text)  # which also bounds how deep it is nested
        record: dict[str, Any] = json.loads(text, parse_int=_whole)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part)[:60] for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from error
    return record


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)
