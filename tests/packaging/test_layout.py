from __future__ import annotations

import ast
from pathlib import Path

import pytest

import videoedit

ROOT = Path(__file__).parents[2]
METHODS = ROOT / "methods"
PACKAGES = {
    "videoedit": ROOT / "videoedit",
    "tuneavideo": METHODS / "tuneavideo",
    "rerender": METHODS / "rerender",
    "hybrid": METHODS / "hybrid",
    "framewise": METHODS / "framewise",
}


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_from_methods_to_the_core_only(package):
    forbidden = (PACKAGES.keys() - {"videoedit", package}) | {"methods", "tests", "benchmarks", "training"}
    for path in PACKAGES[package].rglob("*.py"):
        assert not imported(path) & forbidden, path


def test_every_public_name_exists():
    for name in videoedit.__all__:
        assert getattr(videoedit, name) is not None


def test_version_is_the_package_metadata():
    from importlib.metadata import version

    assert version("videoedit") == videoedit.__version__
