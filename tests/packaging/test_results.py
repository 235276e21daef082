"""Every file in benchmarks/results/ holds what its schema says, the page shows it, and the documents quote it rightly."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pydantic import ValidationError

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
sys.path.append(str(BENCHMARKS))  # scripts, no package

import common  # noqa: E402
from bench_end_to_end import fewer_steps  # noqa: E402
from page import number, write_page  # noqa: E402
from results_schema import Result, as_text, read_result, result_files, row  # noqa: E402

NUMBER = re.compile(r"(?<![\w.,-])(-?(?:\d{1,3}(?:,\d{3})+|\d*\.?\d+)(?:e-?\d+)?)(?![\w.]*\d)( %| ms|)")
IN_UNITS = {" %": 100, " ms": 1000, "": 1}
DOCUMENTS = ("benchmarks/README.md",)  # README.md: see test_documents.py
SUITES = ("attention", "tuneavideo", "inversion", "flow", "patchmatch", "blend", "end_to_end")


def example(**changes: object) -> dict[str, object]:
    """A small valid result as plain data."""
    rows = [row("ours", "CPU time", 2.0, "s", "lower", values=[2.5, 2.0], against=("theirs", 8.0), wanted=0.5)]
    about = {"suite": "example", "title": "An example", "method": "What was measured, and how it was done."}
    where = {"date": "2026-01-02T03:04:05Z", "commit": "0123456789ab", "versions": {"python": "3.12", "torch": "2.9"}}
    hardware = {"cpu": "some CPU", "cores": 2}
    machine = {"hardware": hardware, "load_average": [0.1, 0.2, 0.3], "rows": [r.model_dump() for r in rows]}
    return about | where | machine | changes


def changed_row(**changes: object) -> list[dict[str, object]]:
    return [example()["rows"][0] | changes]  # type: ignore[index]


@pytest.mark.parametrize("path", result_files(), ids=lambda path: path.stem)
def test_result_files_are_valid(path: Path):
    assert read_result(path).suite == path.stem


def test_every_suite_has_a_script_and_a_result():
    for suite in SUITES:
        assert (BENCHMARKS / f"bench_{suite}.py").is_file()
        assert (BENCHMARKS / "results" / f"{suite}.json").is_file()


def test_the_text_of_a_result_reads_back(tmp_path: Path):
    result = Result.model_validate(example())
    (tmp_path / "example.json").write_text(as_text(result))
    assert read_result(tmp_path / "example.json") == result
    assert result.rows[0].against is not None and result.rows[0].against.ratio == 0.25


@pytest.mark.parametrize(
    "changes",
    [
        {"schema_version": 2},
        {"surprise": 1},
        {"commit": "the newest"},
        {"date": "2026-01-02T03:04:05"},
        {"load_average": [0.1]},
        {"rows": []},
        {"rows": changed_row(value=3.0)},
        {"rows": changed_row(value=float("nan"))},
        {"rows": changed_row(against={"name": "theirs", "value": 8.0, "ratio": 0.3})},
        {"rows": [*changed_row(), *changed_row()]},
        {"rows": [*changed_row(), *changed_row(name="others", unit="ms")]},
    ],
    ids=str,
)
def test_a_wrong_result_is_refused(changes: dict[str, object]):
    Result.model_validate(example())
    with pytest.raises(ValidationError):
        Result.model_validate(example(**changes))


def tables(text: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Each Markdown table: the result files that the text before it names (since the last heading or table), its cells.

    The first row and the first column are words.
    """
    for part in re.split(r"^#+ .*$", text, flags=re.M):
        named = ""
        for block in re.split(r"((?:^\|.*\n?)+)", part, flags=re.M):
            if not block.startswith("|"):
                named = block
                continue
            lines = [line.strip().strip("|").split("|")[1:] for line in block.splitlines()]
            yield re.findall(r"results/([\w-]+)\.json", named), lines[2:]


def numbers(cell: str) -> list[tuple[str, str]]:
    """The numbers of a cell with "%" or "ms", if that follows; not those that belong to words (512x288, `w=8`)."""
    return NUMBER.findall(re.sub(r"\d+x\d+|`[^`]*`", "", cell))


def stands_in(text: str, unit: str, values: set[float]) -> bool:
    """Whether a number is one of the values (shares, seconds), rounded as it is."""
    plain = text.replace(",", "")
    mantissa, _, exponent = plain.partition("e")
    last_digit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return any(abs(value * IN_UNITS[unit] - float(plain)) <= 0.5001 * last_digit for value in values)


def known(names: list[str]) -> set[float]:
    """All that may be quoted from result files: values, what they are compared with, ratios, what was wanted."""
    found = set()
    for name in names:
        for one in read_result(BENCHMARKS / "results" / f"{name}.json").rows:
            against = one.against
            found |= {one.value} | ({against.value, against.ratio, against.wanted} if against else set())
    return {value for value in found if value is not None}


def misquoted(text: str) -> list[str]:
    """Numbers in tables below the name of a result file that do not stand in it."""
    return [
        f"{cell.strip()}: {quoted} is not in {', '.join(names)}"
        for names, lines in tables(text)
        if names
        for cell in (cell for line in lines for cell in line)
        for quoted, unit in numbers(cell)
        if not stands_in(quoted, unit, known(names))
    ]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_tables_quote_the_results(document: str):
    text = (ROOT / document).read_text(encoding="utf-8")
    assert misquoted(text) == []
    assert any(names for names, _ in tables(text))


def test_a_misquoted_number_is_noticed():
    table = (
        "Numbers: [here](benchmarks/results/tuneavideo.json)\n\n| case | CPU-s |\n|---|---|\n| fp32, 8 frames | {} |\n"
    )
    assert misquoted(table.format("4.5 CPU-s, 1.1 GiB, 0.27 of the time")) == []
    assert len(misquoted(table.format("4.4"))) == 1
    assert misquoted(table.format("4.4").replace("tuneavideo.json", "")) == []
    assert stands_in("1,845", "", {1845.2}) and stands_in("3.6e-4", "", {0.00036}) and stands_in("4", " %", {0.042})
    assert [n for n, _ in numbers("512x288: 3.6e-4, -0.01 dB, .03 / 1,845 MB")] == ["3.6e-4", "-0.01", ".03", "1,845"]


def test_the_page_shows_every_value_and_loads_nothing(tmp_path: Path):
    results = [read_result(path) for path in result_files()]
    text = write_page(results, tmp_path / "index.html").read_text(encoding="utf-8")
    for result in results:
        assert result.commit in text and f'id="{result.suite}"' in text
        for one in result.rows:
            assert f">{number(one.value)}<" in text, one
    assert not re.search(r"<script|<link|<img|src=|url\(|@import|https?://", text)


def test_bars_are_as_long_as_their_values(tmp_path: Path):
    rows = [row(name, "CPU time", value, "s", "lower").model_dump() for name, value in (("slow", 8.0), ("quick", 2.0))]
    text = write_page([Result.model_validate(example(rows=rows))], tmp_path / "index.html").read_text(encoding="utf-8")
    svg = ElementTree.fromstring(next(part for part in re.findall(r"<svg.*?</svg>", text, re.S) if "<title>" in part))
    slow, quick = (float(bar.get("width", 0)) for bar in svg.iter("rect"))
    assert slow / quick == pytest.approx(4, rel=0.01)


def test_measuring_leaves_the_first_call_out_and_sees_memory():
    calls = []

    def work() -> None:
        calls.append(b"1" * 2**26)
        calls[-1] = b""

    cost = common.measure(work, repeats=3)
    assert len(calls) == 4 and len(cost.seconds) == 3
    assert cost.best == min(cost.seconds) > 0
    assert cost.peak_gib > 0.9 * 2**26 / 2**30


def test_publishing_writes_a_valid_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    rows = (row(name, "CPU time", value, "s", "lower") for name, value in (("slow", 8.0), ("quick", 2.0)))
    path = common.publish("example", "An example", rows, method="What was measured,\n    and how.", settings={"a": 1})
    result = read_result(path)
    assert path == tmp_path / "example.json"
    assert [one.name for one in result.rows] == ["slow", "quick"]
    assert result.versions["torch"] != "not installed" and result.settings == {"a": 1}
    assert "quick" in capsys.readouterr().out


def test_whole_runs_take_fewer_steps():
    settings = {"tune": {"steps": 80, "rate": 1}, "edit": {"sample": {"steps": 3}}, "interval": 10}
    assert list(fewer_steps(settings)) == ["--set", "tune.steps=16", "--set", "edit.sample.steps=1"]
