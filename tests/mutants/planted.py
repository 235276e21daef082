"""The list of planted faults: exact replacements of a piece of the product, each with the tests that notice it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FIELDS = {"name", "file", "find", "replace", "killed_by"}
OPTIONAL = {"fast", "survives"}


@dataclass(frozen=True)
class Mutant:
    """One fault."""

    name: str
    file: str  # below the root of the repository
    find: str  # stands there once
    replace: str
    killed_by: tuple[str, ...]  # tests that fail when it is planted, as pytest's ids
    fast: bool = False  # one of the third that CI plants
    survives: str = ""  # why no test can notice it, of one that none does

    def planted(self, text: str) -> str:
        """The text of its file with the fault; ValueError unless `find` stands in it exactly once."""
        if (count := text.count(self.find)) != 1:
            raise ValueError(
                f"{self.name}: {self.file} has {count} places for {self.find!r}; expected 1: mend the list"
            )
        return text.replace(self.find, self.replace)


def read_mutants(folder: Path = HERE) -> list[Mutant]:
    """All faults of the YAML files in a folder; ValueError for an entry that is none, or a name given twice."""
    mutants: dict[str, Mutant] = {}
    for path in sorted(folder.glob("*.yaml")):
        for entry in yaml.safe_load(path.read_text("utf-8")):
            mutant = _mutant(path, entry)
            if mutant.name in mutants:
                raise ValueError(f"{path.name}: two faults are called {mutant.name!r}")
            mutants[mutant.name] = mutant
    return list(mutants.values())


def _mutant(path: Path, entry: Any) -> Mutant:
    if not isinstance(entry, dict) or not FIELDS <= entry.keys() <= FIELDS | OPTIONAL:
        raise ValueError(f"{path.name}: {entry!r} needs {', '.join(sorted(FIELDS))}, and may have fast, survives")
    mutant = Mutant(**{**entry, "killed_by": tuple(entry["killed_by"])})
    if bool(mutant.killed_by) == bool(mutant.survives):
        raise ValueError(f"{path.name}: {mutant.name!r} needs killed_by, or survives and no test")
    return mutant


def has_test(test: str, root: Path = ROOT) -> bool:
    """Tell whether a test of this id stands in its file; parameters in brackets are not looked at."""
    file, _, name = test.partition("::")
    path = root / file
    if not path.is_file() or not name:
        return False
    wanted = name.partition("[")[0].split("::")
    body: list[ast.stmt] = ast.parse(path.read_text("utf-8")).body
    for part in wanted:
        found = [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == part]
        if not found:
            return False
        body = found[0].body
    return True
