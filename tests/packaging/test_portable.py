"""Nothing in the product needs what only Unix, or only Linux, has; text files are UTF-8 everywhere."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SOURCES = [path for folder in ("videoedit", "methods") for path in sorted((ROOT / folder).rglob("*.py"))]
MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "select", "syslog", "crypt"}
NAMES = {
    "os": {"fork", "forkpty", "getuid", "geteuid", "getgid", "getpgid", "killpg", "setsid", "sched_getaffinity", "wait",
           "waitpid", "WNOHANG", "mkfifo", "statvfs", "sysconf", "getloadavg", "nice"},
    "signal": {"SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD", "alarm", "setitimer", "pause"},
}  # fmt: skip

# Read by every interpreter that starts, workers too. Libraries may import what their branches for Unix need.
BAR = """
import builtins, os

def barred(name, globals=None, *rest, **named):
    ours = (globals or {}).get("__name__", "").partition(".")[0] in ("videoedit", "tuneavideo", "rerender", "hybrid", "framewise")
    if ours and name in ("fcntl", "resource", "pwd", "grp", "termios"):
        raise ModuleNotFoundError(f"{name} is barred")
    return real(name, globals, *rest, **named)

real, builtins.__import__ = builtins.__import__, barred
for name in ("fork", "forkpty", "sched_getaffinity", "killpg", "setsid"):
    if hasattr(os, name):
        delattr(os, name)
"""
SMOKE = """
import importlib, os, pkgutil, sys

try:
    exec("import fcntl", {"__name__": "videoedit.planted"})
    sys.exit("nothing is barred")
except ModuleNotFoundError:
    pass
for package in ("videoedit", "tuneavideo", "rerender", "hybrid", "framewise"):
    module = importlib.import_module(package)
    for found in pkgutil.walk_packages(module.__path__, f"{package}."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)

from videoedit.cli import main

if __name__ == "__main__":
    configs, out = sys.argv[1:]
    for config in sorted(os.listdir(configs)):
        name = config.removesuffix(".yaml")
        try:
            main(["run", name, "--config", os.path.join(configs, config), "-o", os.path.join(out, name)])
        except SystemExit as end:
            assert not end.code, name
"""


def unix_only(source: str) -> list[str]:
    """The modules and names in a piece of source that Windows lacks."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
            found.append(node.module or "")
        elif isinstance(node, ast.ImportFrom):
            found += [alias.name for alias in node.names if alias.name in NAMES.get(node.module or "", ())]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found += [node.attr] if node.attr in NAMES.get(node.value.id, ()) else []
    return found


def without_encoding(source: str) -> Iterator[int]:
    """Lines in which text is read or written as the system happens to encode it, or ends lines."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        named = any(keyword.arg == "encoding" for keyword in node.keywords)
        if node.func.attr == "read_text" and not named and not node.args:
            yield node.lineno
        if node.func.attr == "write_text" and not named:
            yield node.lineno


@pytest.mark.parametrize(
    "planted",
    ["import fcntl", "def f():\n    import resource", "from os import fork", "import os\nos.sched_getaffinity(0)",
     "import signal\nsignal.SIGKILL", "from pwd import getpwuid"],
)  # fmt: skip
def test_what_only_unix_has_is_noticed(planted: str):
    assert unix_only(planted)


def test_nothing_that_only_unix_has_is_used():
    assert {str(path): names for path in SOURCES if (names := unix_only(path.read_text("utf-8")))} == {}


def test_text_is_utf_8():
    assert list(without_encoding("p.read_text()\np.write_text('a')\np.read_text('utf-8')")) == [1, 2]
    found = {str(path): lines for path in SOURCES if (lines := list(without_encoding(path.read_text("utf-8"))))}
    assert found == {}


def test_what_is_printed_to_a_file_is_utf_8_too(tmp_path: Path):
    command = [sys.executable, "-m", "videoedit", "show-config", "framewise", "--set", "prompts=[雪]"]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "cp1252"}, check=False)
    assert done.returncode == 0 and "雪" in done.stdout.decode("utf-8"), done.stderr


def test_the_workflow_takes_every_python_that_is_supported():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    supported = [name.rpartition(" ")[2] for name in project["classifiers"] if "Python :: 3." in name]
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text("utf-8"))["jobs"]
    matrix = jobs["tests"]["strategy"]["matrix"]
    assert matrix["python"] == supported
    assert [system.partition("-")[0] for system in matrix["os"]] == ["ubuntu", "macos", "windows"]


@pytest.mark.slow
def test_all_modules_and_the_smoke_runs_do_without_what_only_unix_has(tmp_path: Path):
    (tmp_path / "sitecustomize.py").write_text(BAR)
    (tmp_path / "smoke.py").write_text(SMOKE)
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    command = [sys.executable, str(tmp_path / "smoke.py"), str(ROOT / "configs/smoke"), str(tmp_path / "out")]
    environment = os.environ | {"PYTHONPATH": path, "PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("out/*/run.json"))) == 4
