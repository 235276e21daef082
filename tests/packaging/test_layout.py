from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import videoedit

ROOT = Path(__file__).parents[2]
METHODS = ROOT / "methods"
METHOD_NAMES = {path.parent.name for path in METHODS.glob("*/__init__.py")}
PACKAGES = {"videoedit": ROOT / "videoedit", **{name: METHODS / name for name in sorted(METHOD_NAMES)}}

# The floors of the core from the ground: a module imports from lower floors and its own room only. `motion` stands above
# `models`, which fetches its weights; `config` and `files` above `errors`, which they raise.
FLOORS = (
    ("types", "errors"),
    ("limits",),
    ("config", "files"),
    ("diffusion", "attention", "media"),
    ("models", "plugins", "images"),
    ("motion", "controls"),
    ("runs",),
    ("metrics",),
    ("pages",),
    ("deliver",),
    ("pipeline",),
    ("testing", "doctor"),
    ("evaluation", "conformance"),
    ("slips",),
    ("cli",),
    ("__main__",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def modules(package: str) -> dict[str, Path]:
    """All modules of a package by their dotted names."""
    folder = PACKAGES[package]
    found = {}
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def runtime_imports(node: ast.AST, *, inside_functions: bool) -> Iterator[str]:
    """Dotted names that a piece of source imports when it runs: nothing under ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not inside_functions:
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            yield child.module or ""
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        yield from runtime_imports(child, inside_functions=inside_functions)


def upward(module: str, source: str) -> list[str]:
    """The imports of a module of the core that do not go to a lower floor or its own room."""
    room = module.split(".")[1]
    wrong = []
    for name in runtime_imports(ast.parse(source), inside_functions=True):
        package, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if package == "videoedit" and target in FLOOR_OF and target != room and FLOOR_OF[target] >= FLOOR_OF[room]:
            wrong.append(name)
    return wrong


def test_every_room_of_the_core_has_a_floor():
    assert {name.split(".")[1] for name in modules("videoedit") if "." in name} == set(FLOOR_OF)


def test_imports_in_the_core_go_down():
    for name, path in modules("videoedit").items():
        if "." in name:
            assert not upward(name, path.read_text(encoding="utf-8")), name


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("videoedit.models.lazy", "from videoedit.runs.planning import Plan", True),
        ("videoedit.models.lazy", "def f():\n    from videoedit import pipeline", True),
        ("videoedit.diffusion.ddim", "import videoedit.attention.store", True),
        ("videoedit.models.lazy", "if TYPE_CHECKING:\n    from videoedit.runs.planning import Plan", False),
        ("videoedit.runs.steps", "from videoedit.files import digest\nfrom videoedit.runs import folder", False),
    ],
)
def test_an_import_that_goes_up_is_found(module: str, source: str, wrong: bool):
    assert bool(upward(module, source)) == wrong


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other_in_a_circle(package):
    known = modules(package)
    graph = {}
    for name, path in known.items():
        imports = runtime_imports(ast.parse(path.read_text(encoding="utf-8")), inside_functions=False)
        graph[name] = set(imports) & set(known) - {name}
    graphlib.TopologicalSorter(graph).prepare()


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_from_methods_to_the_core_only(package):
    forbidden = (METHOD_NAMES - {package}) | {"methods", "tests", "benchmarks", "training"}
    for path in PACKAGES[package].rglob("*.py"):
        assert not imported(path) & forbidden, path


def test_every_public_name_exists():
    for name in videoedit.__all__:
        assert getattr(videoedit, name) is not None


def test_version_is_the_package_metadata():
    from importlib.metadata import version

    assert version("videoedit") == videoedit.__version__
