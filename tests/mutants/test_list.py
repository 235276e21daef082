"""The list of planted faults is kept up with the code: each can be planted, and the tests that it names are there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from planted import ROOT, Mutant, has_test, read_mutants

MUTANTS = read_mutants()


def test_every_fault_can_be_planted():
    for mutant in MUTANTS:
        text = (ROOT / mutant.file).read_text("utf-8")
        planted = mutant.planted(text)
        assert planted != text, mutant.name
        compile(planted, mutant.file, "exec")


def test_the_tests_that_notice_them_are_there():
    named = {test for mutant in MUTANTS for test in mutant.killed_by}
    assert [test for test in sorted(named) if not has_test(test)] == []


def test_there_are_enough_and_a_third_is_fast():
    assert len(MUTANTS) >= 150
    assert sum(mutant.fast for mutant in MUTANTS) >= len(MUTANTS) / 3
    assert sum(bool(mutant.survives) for mutant in MUTANTS) <= 0.03 * len(MUTANTS)
    assert {mutant.file.split("/")[1] for mutant in MUTANTS if mutant.file.startswith("methods/")} == {
        path.parent.name for path in (ROOT / "methods").glob("*/__init__.py")
    }


@pytest.mark.parametrize("text, count", [("a = 1\n", 0), ("b = 2\nb = 2\n", 2)])
def test_a_place_that_is_not_there_once_is_named(text: str, count: int):
    mutant = Mutant("gone", "videoedit/x.py", "b = 2", "b = 3", ("tests/x.py::test_x",))
    with pytest.raises(ValueError, match=rf"gone: videoedit/x.py has {count} places for 'b = 2'"):
        mutant.planted(text)


def test_entries_that_are_none_are_named(tmp_path: Path):
    whole = {"name": "one", "file": "a.py", "find": "a", "replace": "b", "killed_by": ["tests/a.py::test_a"]}
    for entry, error in [
        ({**whole, "kiled_by": []}, "may have"),
        ({name: value for name, value in whole.items() if name != "find"}, "needs file, find"),
        ({**whole, "killed_by": []}, "'one' needs killed_by"),
    ]:
        (tmp_path / "list.yaml").write_text(yaml.safe_dump([entry]), "utf-8", newline="\n")
        with pytest.raises(ValueError, match=error):
            read_mutants(tmp_path)
    (tmp_path / "list.yaml").write_text(yaml.safe_dump([whole, whole]), "utf-8", newline="\n")
    with pytest.raises(ValueError, match="two faults are called 'one'"):
        read_mutants(tmp_path)


def test_a_test_that_is_not_there_is_noticed():
    here = "tests/mutants/test_list.py"
    assert has_test(f"{here}::test_every_fault_can_be_planted")
    assert has_test(f"{here}::test_a_place_that_is_not_there_once_is_named[a-0]")
    assert not has_test(f"{here}::test_no_such") and not has_test("tests/none.py::test_a") and not has_test(here)


def test_the_readme_gives_the_figures_of_the_list():
    text = (ROOT / "tests/mutants/README.md").read_text("utf-8")
    survivors = [mutant for mutant in MUTANTS if mutant.survives]
    assert f"{len(MUTANTS)} planted, {len(MUTANTS) - len(survivors)} killed" in text
    assert all(f"| `{mutant.name}` | {mutant.survives} |" in text for mutant in survivors)
