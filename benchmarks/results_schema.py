"""What every file in ``benchmarks/results/`` holds: a suite's rows, and what is needed to judge them.

python benchmarks/results_schema.py [FILE ...]      checks files (all of them), names what is wrong
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

RESULTS = Path(__file__).parent / "results"
SIDE_BY_SIDE = "side_by_side.json"  # measured apart from the project, in its own form
Better = Literal["lower", "higher", "one", "none"]  # "one": the nearer to 1; "none": a description
TOLERANCE = 0.01  # of a ratio; numbers are written with four digits


class Record(BaseModel):
    """Strict: a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Against(Record):
    """What a value is compared with."""

    name: str = Field(min_length=1)
    value: float
    ratio: float | None  # the row's value / this value; None where that means nothing, as between decibels
    wanted: float | None = None  # the ratio aimed at


class Row(Record):
    """One measured number."""

    group: str = ""  # rows of a group are compared: one input, one size
    name: str = Field(min_length=1)  # what was measured, e.g. an estimator
    measure: str = Field(min_length=1)  # e.g. "CPU time"
    unit: str = ""  # "" for shares and other plain numbers
    better: Better = "none"
    value: float  # the best of `values` for times, their mean for figures of quality
    values: tuple[float, ...] = ()  # of each call, frame or edit
    against: Against | None = None

    @model_validator(mode="after")
    def consistent(self) -> Self:
        if self.values and not within(self.value, min(self.values), max(self.values)):
            raise ValueError(f"{self.name}, {self.measure}: {self.value} is not between the least and most of `values`")
        if self.against and self.against.ratio is not None:
            expected = self.value / self.against.value
            if not math.isclose(self.against.ratio, expected, rel_tol=TOLERANCE):
                raise ValueError(f"{self.name}, {self.measure}: ratio {self.against.ratio} should be {expected:.4g}")
        return self


class Hardware(Record):
    """Where it ran; `flags` are those that decide how fast matrices are multiplied."""

    cpu: str
    cores: int
    flags: tuple[str, ...] = ()


class Result(Record):
    """One suite, run once."""

    schema_version: Literal[1] = 1
    suite: str = Field(pattern=r"^[a-z0-9_-]+$")  # the file's name without .json
    title: str = Field(min_length=1)
    method: str = Field(min_length=20)  # what was measured and how
    date: AwareDatetime  # when it began
    commit: str = Field(pattern=r"^([0-9a-f]{12}(-dirty)?|unknown)$")
    versions: dict[str, str]
    hardware: Hardware
    load_average: tuple[float, float, float]  # over 1, 5 and 15 minutes, when it began or was written
    settings: dict[str, Any] = {}
    rows: tuple[Row, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def rows_are_distinct(self) -> Self:
        seen: set[tuple[str, str, str]] = set()
        units: dict[tuple[str, str], str] = {}
        for row in self.rows:
            place = row.group, row.name, row.measure
            if place in seen:
                raise ValueError(f"{' / '.join(place)} stands there twice")
            seen.add(place)
            if units.setdefault((row.group, row.measure), row.unit) != row.unit:
                raise ValueError(
                    f"{row.group} / {row.measure} has two units: {units[row.group, row.measure]}, {row.unit}"
                )
        return self


def within(value: float, low: float, high: float) -> bool:
    """Whether a value lies between two, but for rounding."""
    margin = TOLERANCE * max(abs(low), abs(high))
    return low - margin <= value <= high + margin


def rounded(value: float, digits: int = 4) -> float:
    """To so many significant digits."""
    return float(f"{value:.{digits}g}")


def row(
    name: str,
    measure: str,
    value: float,
    unit: str = "",
    better: Better = "none",
    *,
    group: str = "",
    values: Any = (),
    against: tuple[str, float] | None = None,
    wanted: float | None = None,
) -> Row:
    """A row with its numbers rounded and its ratio to `against` (name, value) taken."""
    compared = None
    if against is not None:
        ratio = None if unit == "dB" or against[1] == 0 else rounded(value / against[1])
        compared = Against(name=against[0], value=rounded(against[1]), ratio=ratio, wanted=wanted)
    return Row(
        group=group,
        name=name,
        measure=measure,
        unit=unit,
        better=better,
        value=rounded(value),
        values=tuple(map(rounded, values)),
        against=compared,
    )


def read_result(path: Path) -> Result:
    """A result file, checked; raises pydantic's ValidationError."""
    return Result.model_validate_json(path.read_text(encoding="utf-8"))


def result_files() -> list[Path]:
    return sorted(path for path in RESULTS.glob("*.json") if path.name != SIDE_BY_SIDE)


def as_text(result: Result) -> str:
    """JSON with a line for each row, so that a diff shows which numbers changed."""
    data = result.model_dump(mode="json", exclude_defaults=True) | {"schema_version": result.schema_version}
    rows = data.pop("rows")
    head = json.dumps({"schema_version": data.pop("schema_version")} | data, indent=1, ensure_ascii=False)
    lines = ",\n".join("  " + json.dumps(one, ensure_ascii=False) for one in rows)
    return f'{head[:-2]},\n "rows": [\n{lines}\n ]\n}}\n'


def main() -> None:
    wrong = 0
    for path in [Path(name) for name in sys.argv[1:]] or result_files():
        try:
            read_result(path)
        except ValidationError as error:
            wrong += 1
            for one in error.errors():
                print(f"{path}: {'.'.join(map(str, one['loc']))}: {one['msg']}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
