"""A short run of the harness, what it found before, and that it would find something."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FOUND = sorted((Path(__file__).parent / "found").glob("*.json"))
QUICK = ("--set values", "archives", "configs", "flow files", "key-frame names", "official configs", "pictures",
         "results", "suites", "tables", "videos")  # fmt: skip
WHOLE = ("run records", "model folders", "safetensors", "caches", "names and prompts")


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    yield from working(tmp_path_factory.mktemp("fuzz"), models=False)


@pytest.fixture(scope="module")
def whole_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    yield from working(tmp_path_factory.mktemp("fuzz"), models=True)


def working(place: Path, *, models: bool) -> Iterator:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TESTS))
        base, harness = import_module("fuzz.base"), import_module("fuzz.harness")
        base.build(place / "base", models=models)
        with harness.working(place / "base", place / "root", warm=models) as worker:
            yield worker


def failures(worker, jobs) -> list[str]:
    found = import_module("fuzz.harness").run_all(worker, jobs)
    lines = []
    for tally in found.values():
        for one in tally.failures:
            lines.append(f"{one['kind']} {one['given']}: {one['line']}\n{one.get('traceback', '')}"[-3000:])
    return lines


def test_a_few_inputs_of_every_quick_kind(worker) -> None:
    assert not failures(worker, [(kind, number) for kind in QUICK for number in range(4)])


@pytest.mark.slow
def test_a_few_inputs_of_the_other_kinds(whole_worker) -> None:
    assert not failures(whole_worker, [(kind, number) for kind in WHOLE for number in range(10)])


def found(kinds: Sequence[str]) -> list:
    """The inputs of these kinds that failed once."""
    given = [json.loads(path.read_text("utf-8")) for path in FOUND]
    assert {one["kind"] for one in given} <= {*QUICK, *WHOLE}
    return [(one["kind"], one) for one in given if one["kind"] in kinds]


def test_what_was_found_before_is_read_or_refused(worker) -> None:
    assert not failures(worker, found(QUICK))


@pytest.mark.slow
def test_what_was_found_before_with_models_is_read_or_refused(whole_worker) -> None:
    assert not failures(whole_worker, found(WHOLE))


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("raise", "ZeroDivisionError"),
        ("write", "outside"),
        ("native", "changed outside"),
        ("memory", "MemoryError"),
        ("die", "the process died"),
        ("read", "read outside"),
        ("program", "subprocess.Popen"),
    ],
)
def test_the_harness_notices(way: str, expected: str, worker) -> None:
    """Readers that do what none may, of the kind `bad`."""
    given = {"tree": "", "files": {"a": "x"}, "links": {"b": "@OUTSIDE@/victim.txt"}, "arguments": {"way": way}}
    (line,) = failures(worker, [("bad", given)])
    assert expected in line
