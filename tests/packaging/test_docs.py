"""Every YAML in configs/ is a valid config, and every command in the README exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from videoedit.cli import main
from videoedit.config import build_config, read_yaml
from videoedit.plugins import get_method

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def method_of(path: Path) -> str:
    """The method that a config in configs/ is for."""
    return path.stem if path.parent.name == "smoke" else path.parent.name


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: str(p.relative_to(ROOT)))
def test_configs_are_valid_and_their_clips_exist(path: Path):
    config = build_config(get_method(method_of(path)).load("config"), read_yaml(path), base=path.parent)
    truth = config.truth if isinstance(config.truth, tuple) else (config.truth,)
    for clip in (config.clip, *truth):
        assert clip is None or clip.is_file()


@pytest.mark.parametrize(
    "path", [p for p in CONFIGS if "clip:" in p.read_text()], ids=lambda p: f"{p.parent.name}/{p.stem}"
)
def test_configs_with_a_clip_can_be_planned(path: Path, capsys, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["run", method_of(path), "--config", str(path), "--dry-run"])
    out = capsys.readouterr().out
    assert not stop.value.code and "in all" in out
    assert list(tmp_path.iterdir()) == []


def test_the_tests_that_the_threat_model_names_exist():
    named = re.findall(r"\*(test_\w+)\*", (ROOT / "docs/security.md").read_text(encoding="utf-8"))
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 12
    for name in named:
        assert f"def {name}(" in sources, name


def test_make_targets_in_the_readme_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"^make ([\w-]+)", README, re.M)) <= targets
    assert {"demo", "demo-rerender", "test", "check", "bench"} <= targets


def test_commands_and_flags_in_the_readme_exist(capsys):
    used = set(re.findall(r"(?<!from )videoedit ([a-z-]+)", README))
    assert used <= {
        "run",
        "methods",
        "show-config",
        "doctor",
        "report",
        "models",
        "propagate",
        "bench",
        "demo",
        "env",
        "check",
    }
    benches = [["bench", name] for name in ("run", "import", "export", "compare", "metrics", "report", "vote", "votes")]
    assert {name for _, name in benches} >= set(re.findall(r"videoedit bench ([a-z-]+)", README))
    for command in (
        [],
        ["run", "tuneavideo"],
        ["run", "rerender"],
        ["run", "hybrid"],
        ["run", "framewise"],
        ["propagate"],
        *benches,
    ):
        with pytest.raises(SystemExit):
            main([*command, "--help"])
    shown = capsys.readouterr().out
    assert all(flag in shown for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", README) if flag != "--help")
    assert {flag.name for flag in get_method("tuneavideo").flags} >= {"--prompt", "--source-prompt"}


def test_python_in_the_documents_imports():
    for document in [ROOT / "README.md", *ROOT.glob("methods/*/README.md")]:
        for block in re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.S):
            imports = [node for node in ast.parse(block).body if isinstance(node, ast.Import | ast.ImportFrom)]
            assert imports
            exec(compile(ast.Module(imports, type_ignores=[]), document.name, "exec"), {})


def test_pictures_in_the_documents_exist():
    for document in [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("methods/*/README.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_documents_say_nothing_of_a_machine():
    for document in [*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("methods/*/*.md")]:
        assert not re.search(r"/work/|/tmp/|/home/|/root/", document.read_text(encoding="utf-8")), document
