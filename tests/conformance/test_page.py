"""The method that docs/new-method.md builds, taken from the page as it stands."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from videoedit.cli import main
from videoedit.media.video import probe, write_video
from videoedit.plugins import get_method
from videoedit.testing import check_method, moving_square, save_models, tiny_models

PAGE = (Path(__file__).parents[2] / "docs/new-method.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([\w./]+)`[^`\n]*(?:`[^`\n]*`[^`\n]*)*:\n\n```\w+\n(.*?)```", PAGE, re.M | re.S))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package of the page, installed."""
    site = tmp_path / "site"
    for name, text in FILES.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(site))
    yield site
    for name in [name for name in sys.modules if name.split(".")[0] == "palette"]:
        del sys.modules[name]


def test_the_page_has_a_whole_package_in_seventy_lines():
    assert list(FILES) == ["pyproject.toml", "palette/__init__.py", "palette/method.py", "test_palette.py"]
    assert sum(bool(line.strip()) for text in FILES.values() for line in text.splitlines()) <= 70


def test_the_method_of_the_page_keeps_its_promises(package: Path):
    assert check_method(get_method("palette"), kills=0) == []


@pytest.mark.slow
def test_the_test_of_the_page_passes(package: Path):
    names: dict[str, Any] = {}
    exec(compile(FILES["test_palette.py"], "test_palette.py", "exec"), names)
    names["test_the_method_keeps_its_promises"]()


def test_the_method_of_the_page_runs(package: Path, tmp_path: Path, capsys):
    write_video(tmp_path / "clip.mp4", moving_square(5, (48, 32)), 8)
    model = save_models(tiny_models(), tmp_path / "model")
    with pytest.raises(SystemExit) as stop:
        main(["run", "palette", str(tmp_path / "clip.mp4"), "--prompt", "a red car", "--model", str(model),
              "--device", "cpu", "-o", str(tmp_path / "r")])  # fmt: skip
    assert not stop.value.code
    assert probe(tmp_path / "r/edit-a-red-car.mp4").frames == 5
    assert {"drawn.png", "report.html"} <= {path.name for path in (tmp_path / "r").iterdir()}
