"""The folder of a run: a workspace of one method and one clip, in which any setting may change.

``run.json`` says what the folder holds: the steps that were made, with the hashes of their files, and the calls that
asked for them, with their settings. Every file is written beside its place, flushed to disk and renamed, so a run may
be killed at any moment.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videoedit.errors import OutputError, is_printable, printable
from videoedit.files import explain_os_error, file_sha256, inside, refuse_links, write_text
from videoedit.runs.record import FORMAT, RECORD, Record, parse_record

UNFINISHED = (".state.safetensors", ".work")  # endings of what a step keeps while it is being made
LONGEST = 200  # bytes of a folder's name; files beside it have longer ones


@dataclass
class Workspace:
    """An open run folder; `open_workspace` makes one."""

    folder: Path
    record: dict[str, Any]

    def path(self, name: str) -> Path:
        """A file of the folder by its name in the record; OutputError if that leads out of the folder."""
        return inside(self.folder, name)

    @property
    def steps(self) -> dict[str, Any]:
        """All steps that the folder holds, by name."""
        found: dict[str, Any] = self.record["steps"]
        return found

    def save(self) -> None:
        """Write the record."""
        write_text(self.path(RECORD), json.dumps(self.record, indent=2, ensure_ascii=False, default=str))


@contextlib.contextmanager
def open_workspace(
    folder: Path, *, method: str, clip: Path | None = None, sha256: str = "", fresh: bool = False
) -> Iterator[Workspace]:
    """Make the folder of a method's runs on a clip, or take up the one that is there.

    `sha256` is the hash of the clip's contents. With `fresh`, what earlier calls made there is removed first. Raises
    OutputError for a folder of another method or clip, one that holds something else, or one in use.
    """
    found = check_folder(folder, method=method, clip=clip, sha256=sha256, fresh=fresh)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(folder)
    except OSError as error:
        raise explain_os_error(error, folder) from error
    with lock:
        workspace = Workspace(folder, found or {"format": FORMAT, "steps": {}, "calls": []})
        if fresh:
            _remove_all(workspace)
        sweep_parts(folder)
        given = {"path": str(clip or ""), "sha256": sha256}
        workspace.record |= {"method": method, "clip": given, "status": "running"}
        workspace.save()  # before anything else is there, so that the folder is known again after a kill
        yield workspace


def check_folder(
    folder: Path, *, method: str, clip: Path | None = None, sha256: str = "", fresh: bool = False
) -> dict[str, Any] | None:
    """The record in a folder that a run may use, None of an empty one; raises OutputError otherwise. Writes nothing."""
    record = read_workspace(folder, fresh=fresh)
    if record is None or fresh:
        return record
    known = record["clip"]
    if record["method"] != method:
        what = f"runs of {record['method']}, not of {method}"
    elif sha256 != known.get("sha256") and str(clip or "") != known.get("path"):
        what = f"runs on another clip ({known.get('path')})"
    else:
        return record
    raise OutputError(f"{folder} holds {what}; choose another folder with -o, or start over with --fresh")


def read_workspace(folder: Path, *, fresh: bool = False) -> dict[str, Any] | None:
    """The record of a run folder, None if there is none; OutputError for one that is no run folder or damaged."""
    if not is_printable(str(folder)) or any(len(os.fsencode(part)) > LONGEST for part in folder.parts):
        shown = printable(str(folder))[:80].replace("\n", "\\n")
        raise OutputError(f"{shown}: its name is too long, not UTF-8, or cannot be shown; give another with -o")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; -o names the folder to write to")
    path = folder / RECORD
    is_run = path.is_file()
    if not is_run and folder.is_dir() and any(not p.name.startswith(".") for p in folder.iterdir()):
        raise OutputError(f"{folder} is not empty and holds no videoedit run; choose another folder with -o")
    refuse_links(folder)
    if not is_run:
        return None
    try:
        return parse_record(path, Record)
    except (ValueError, OSError, RecursionError) as error:
        if fresh:
            return None
        advice = "choose another folder with -o, or use --fresh"
        raise OutputError(f"{path} is damaged, or no record of this version ({error}); {advice}") from error


def check_files(folder: Path) -> list[str]:
    """Lines on the files of a run folder whose contents are not those that its record says; all are hashed.

    A damaged one gets a time of its own, so that the next run looks at its contents, and makes it again. Raises
    OutputError if the folder holds no run.
    """
    record = read_workspace(folder)
    if record is None:
        raise OutputError(f"no run in {folder}: expected {RECORD}; give the folder that `videoedit run` wrote to")
    workspace, problems = Workspace(folder, record), []
    for name, step in workspace.steps.items():
        for file, (sha256, _, _) in step["files"].items():
            path = workspace.path(file)
            if not path.is_file():
                problems.append(f"{file} of step {name!r} is missing")
            elif file_sha256(path) != sha256:
                problems.append(f"{file} of step {name!r} was damaged or changed")
                with contextlib.suppress(OSError):
                    os.utime(path, (0, 0))
    return problems


def sweep_parts(folder: Path) -> None:
    """Remove what killed writers, ours and safetensors' own, left half-written in a folder that is nobody else's."""
    for pattern in (".*.part*", ".tmp??????"):
        for part in filter(Path.is_file, folder.rglob(pattern)):
            part.unlink()


def latest_call(record: dict[str, Any]) -> dict[str, Any]:
    """The settings, versions and steps (`stages`) of a record's latest call, to show; empty if it lists none."""
    calls, known = record.get("calls"), record.get("steps")
    if not (isinstance(calls, list) and calls and isinstance(calls[-1], dict) and isinstance(known, dict)):
        return {}
    latest, stages = calls[-1], {}
    for name, status in (latest.get("steps") or {}).items():
        if isinstance(step := known.get(name), dict):
            costs = {cost: step.get(cost) for cost in ("key", "seconds", "cpu_seconds", "peak_memory_mb")}
            stages[name] = {**costs, "reused": status == "kept"}
    return {"config": latest.get("config") or {}, "versions": latest.get("versions") or {}, "stages": stages}


def _remove_all(workspace: Workspace) -> None:
    """Forget all steps, and remove their files and unfinished work."""
    for step in workspace.steps.values():
        for name in step["files"]:
            workspace.path(name).unlink(missing_ok=True)
    for ending in UNFINISHED:
        for path in workspace.folder.glob(f"*{ending}"):
            remove(path)
    workspace.record |= {"steps": {}, "calls": []}


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; a link itself, never what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def lock_folder(folder: Path) -> contextlib.AbstractContextManager[Any]:
    """Hold a folder for the length of a block, or of this process; OutputError if another one holds it."""
    from filelock import FileLock, Timeout

    path = folder / ".lock"
    if path.is_symlink():
        raise OutputError(f"{path} is a link; remove it, or choose another folder with -o")
    try:
        return FileLock(path).acquire(blocking=False)
    except Timeout as error:
        raise OutputError(f"another videoedit is working in {folder}; wait for it or use -o") from error
