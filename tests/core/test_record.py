"""Run records of strangers: names that lead out of their folder, and what is no record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from videoedit.errors import OutputError
from videoedit.files import check_name, inside
from videoedit.runs.record import Record, Shown, parse_record


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "..\\a", "C:\\a", "\\\\host\\a", "", "a\x1b[2J", "a\nb"])
def test_a_name_that_leads_out_of_its_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not the name of a file inside the folder"):
        check_name(name)
    with pytest.raises(OutputError):
        inside(tmp_path, name)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "victim")
    for name in ("link", "link/a.mp4"):
        with pytest.raises(OutputError, match="is a link, which is not followed"):
            inside(folder, name)
    assert inside(folder, "sub/a.mp4") == folder / "sub/a.mp4"


WRONG = [
    "[1]",
    "{}",
    '"x"',
    json.dumps({"format": 2, "method": "m", "clip": {}, "steps": {"a": {"key": "k", "needs": {}, "files": {"../v": [1, 2, "h"]}}}, "calls": []}),
    json.dumps({"format": 2, "method": "m", "clip": {}, "steps": {"a": 1}, "calls": []}),
    '{"format": 2, "method": "m", "clip": {}, "steps": {}, "calls": [], "x": ' + "9" * 30 + "}",
    "[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_record_is_a_value_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError):
        parse_record(tmp_path / "run.json", Record)


def test_a_record_is_read_as_plain_values(tmp_path: Path) -> None:
    record = {"format": 2, "method": "m", "clip": {"path": "c.mp4", "sha256": "0"}, "steps": {}, "calls": [], "seed": 3}
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert parse_record(tmp_path / "run.json", Record) == parse_record(tmp_path / "run.json", Shown) == record
