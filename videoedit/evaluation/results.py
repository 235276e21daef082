"""``results.json``: what a comparative run found, unit by unit; written by the runner, read by everything else."""

from __future__ import annotations

import json
import math
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from videoedit.config import Section
from videoedit.errors import InputError
from videoedit.evaluation.suite import EditType
from videoedit.files import check_name, write_text
from videoedit.limits import parse_json, read_text

SCHEMA_VERSION = 1  # as in Results
RESULTS = "results.json"
SCHEMA = Path(__file__).parent / "results.schema.json"

Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A float; ``nan`` stands in a file as null."""


def _word(value: Any) -> Any:
    """A name that becomes the name of a folder."""
    if isinstance(value, str) and len(PurePosixPath(check_name(value)).parts) != 1:
        raise ValueError(f"{value!r} is no plain name")
    return value


Name = Annotated[str, AfterValidator(_word)]
Inside = Annotated[str, AfterValidator(check_name)]
"""A file of the results' folder, from there."""


class UnitResult(Section):
    """One edit of one clip by one method under one seed."""

    clip: Name
    edit: Name
    type: EditType
    """Of the edit."""
    prompt: str
    """A description of the clip after the edit."""
    method: Name
    """The name of its row, a key of `Results.methods`."""
    seed: int
    status: Literal["done", "failed"]
    reason: str = ""
    """One line on why it failed."""
    video: Inside | None = None
    """The edited clip, relative to the results' folder."""
    source: str | None = None
    """The clip that was to be edited, relative to the results' folder; null if it could not be read."""
    truth: str | None = None
    """The ground truth of the edit, if there is one, relative to the results' folder."""
    frames: tuple[int, int, int] = (0, 1, 0)
    """Frames of the clip that the edit covers and that were measured: first, stride, count."""
    asked: tuple[int, int, int] = (0, 1, 0)
    """Frames that the suite asked for: first, stride, count. A method that cannot take as many covers fewer."""
    fps: str = "0"
    """Rate of the frames measured, a fraction such as 30000/1001."""
    keyframes: tuple[int, ...] = ()
    """Positions of the key frames among the frames measured."""
    figures: dict[str, float | None] = Field(default_factory=dict)
    """Metric id -> figure; null where there was nothing to measure, `remarks` says why."""
    remarks: dict[str, str] = Field(default_factory=dict)
    """Metric id -> why it has no figure."""
    series: dict[str, list[Number]] = Field(default_factory=dict)
    """Metric id -> one value a frame or pair of frames."""
    notes: tuple[str, ...] = ()
    """Remarks on this unit for the reader."""
    key: str = ""
    """A hash of all that the unit depends on; the unit is reused while it stays the same."""

    @property
    def name(self) -> tuple[str, str, str, int]:
        """Clip, edit, method and seed, which tell units apart."""
        return self.clip, self.edit, self.method, self.seed

    @property
    def is_partial(self) -> bool:
        """True if the method covered fewer frames than were asked for."""
        return self.status == "done" and self.frames[2] < self.asked[2]


class MetricInfo(Section):
    """A metric's name in print and how to read it."""

    title: str
    meaning: str
    better: Literal["higher", "lower", "one", "none"]
    unit: str
    group: str
    headline: bool
    """True if it belongs into a short table."""


class MethodInfo(Section):
    """The making of a row of the table."""

    label: str
    """Name in print."""
    settings: dict[str, Any]
    """Resolved, without what differs from unit to unit."""
    model: str
    """Name of the model; empty if none was used."""
    licence: str
    imported: bool
    """Output elsewhere: only measured here, so its cost is unknown."""


class Results(Section):
    """All that is known after a run, complete or not."""

    schema_version: Literal[1] = 1
    suite: str
    """Its name."""
    suite_sha256: str
    """Over its clips' contents, frames, prompts, ground truths, boxes and masks: equal means the same task."""
    title: str
    created: str
    """Time of the first run, ISO 8601, UTC."""
    environment: dict[str, Any]
    """Versions and hardware of the last run."""
    methods: dict[str, MethodInfo] = Field(default_factory=dict)
    metrics: dict[str, MetricInfo] = Field(default_factory=dict)
    skipped: dict[str, str] = Field(default_factory=dict)
    """Metric id -> why it was not computed: what it lacks, and how to get it."""
    units: tuple[UnitResult, ...] = ()
    published: str | None = None
    """Name of the table of published numbers to show beside these."""


def read_results(path: Path) -> Results:
    """Read ``results.json``, or that of a folder. Raises InputError with one line if it is none that we can read."""
    file = path if path.suffix == ".json" else path / RESULTS
    text, version = _read_text(file)
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{file} was written by another version of videoedit (schema {version}, expected {SCHEMA_VERSION}); "
            "run the benchmark again into another folder"
        )
    try:
        return Results.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{file} is damaged: {where}: {first['msg'].lower()}; run the benchmark again") from error


def _read_text(file: Path) -> tuple[str, Any]:
    """The file's text and what it says about its schema."""
    if not file.is_file():
        raise InputError(f"no results in {file.parent}: expected {RESULTS}; give the folder of a `videoedit bench run`")
    try:
        text = read_text(file)
        data = parse_json(text)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({error}); run the benchmark again") from error
    if not isinstance(data, dict):
        raise InputError(f"{file} holds a {type(data).__name__}, expected the results of `videoedit bench run`")
    return text, data.get("schema_version")


def write_results(results: Results, folder: Path) -> Path:
    """Write ``results.json`` into `folder`, atomically; returns its path."""
    path = folder / RESULTS
    write_text(path, results.model_dump_json(indent=1) + "\n")
    return path


def read_unit(path: Path) -> UnitResult | None:
    """One unit's file, or None if there is none or it is of no use any more."""
    try:
        return UnitResult.model_validate_json(read_text(path))
    except (OSError, ValueError):
        return None


def schema_text() -> str:
    """The JSON schema of ``results.json``, as it stands in ``results.schema.json``."""
    return json.dumps(Results.model_json_schema(), indent=2, ensure_ascii=False) + "\n"
