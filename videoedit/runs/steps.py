"""Steps: values that are made once and kept, under a key that follows from what they need.

A method lists its steps in their order; each is made only if nothing of the same key is kept, or if its files were
damaged. The same list, walked with ``dry=True``, says what a run would keep and what it would make, and why.
"""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videoedit.config import Section, deciding
from videoedit.errors import InputError, MethodError, WeightsError
from videoedit.files import atomic_path, digest, file_sha256, file_stem
from videoedit.runs import machine
from videoedit.runs.folder import UNFINISHED, Workspace, open_workspace, remove
from videoedit.runs.preview import PREVIEW, Preview
from videoedit.runs.progress import KEPT, NEW, Progress

if TYPE_CHECKING:
    from torch import Tensor


class UnmadeError(Exception):
    """A dry walk asks for what only a run will make."""


@dataclass(frozen=True)
class Step:
    """A value that is kept, or of a dry walk one that may have to be made."""

    name: str
    key: str
    workspace: Workspace
    unmade: bool = False

    @property
    def record(self) -> dict[str, Any]:
        """The step in ``run.json``; UnmadeError in a dry walk if it will be made."""
        if self.unmade:
            raise UnmadeError(self.name)
        found: dict[str, Any] = self.workspace.steps[self.name]
        return found

    @property
    def value(self) -> Any:
        """The small record that its making gave: plain values."""
        return self.record["value"]

    @property
    def paths(self) -> dict[str, Path]:
        """Its files by name."""
        return {name: self.workspace.path(name) for name in self.record["files"]}

    @property
    def contents(self) -> dict[str, str]:
        """The hashes of its files, by name: what to need where equal contents are the same whoever made them."""
        return {name: sha256 for name, (sha256, _, _) in self.record["files"].items()}

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors in its one file, on the CPU."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        (path,) = self.paths.values()
        try:
            return load_file(path)
        except SafetensorError as error:
            raise WeightsError(f"{path} is damaged ({error}); remove it, and give the command again") from error


class Steps:
    """The steps of one call in a run folder."""

    def __init__(self, workspace: Workspace, progress: Progress | None = None, *, dry: bool = False) -> None:
        self.workspace = workspace
        self.check_inputs: Callable[[], None] = lambda: None  # raises if what steps are made from has changed
        self.progress = progress or Progress(quiet=True)
        self.dry = dry
        self.preview = Preview(workspace.folder / PREVIEW, self.progress)
        self.status: dict[str, str] = {}  # by step, in their order: KEPT, or "made: why"
        self.notes: list[str] = []
        self._making: tuple[str, str, list[str]] | None = None  # name, key, notes

    def path(self, name: str) -> Path:
        """A file of the folder."""
        return self.workspace.path(name)

    def note(self, text: str, *, said: bool = False) -> None:
        """Say what the user should know, unless it was `said`, and remember it.

        It is said again whenever the step that is being made is kept.
        """
        if self._making and text not in self._making[2]:
            self._making[2].append(text)
        if text not in self.notes:
            self.notes.append(text)
            if not said:
                self.progress.note(text)

    def scratch(self, ending: str) -> Path:
        """A place, of the step that is being made, for what lets it go on after a kill; removed once it is done.

        `ending` is one of ``videoedit.runs.folder.UNFINISHED``.
        """
        assert self._making and ending in UNFINISHED, ending
        name, key, _ = self._making
        return self.path(f"{file_stem(name)}-{key}{ending}")

    # -- keeping ---------------------------------------------------------------------------------------

    def keep(self, name: str, make: Callable[[], Any], *, needs: Mapping[str, Any], files: Sequence[str] = ()) -> Step:
        """A step of which `make` writes `files`, each whole or not at all, and returns a small record of plain values.

        `needs` is all that these depend on, by name: plain values, sections of settings, other steps, paths (their
        contents count), and whatever has an ``identity`` of such values.
        """
        flat = flatten(needs)
        key = digest(flat)
        why = self._why(name, key, flat, files)
        self._say(name, why)
        if why and not self.dry:
            self._make(name, key, flat, make, files)
        elif not why:
            self._note_again(name)
        return Step(name, key, self.workspace, unmade=bool(why) and self.dry)

    def tensors(self, name: str, file: str, make: Callable[[], dict[str, Tensor]], *, needs: Mapping[str, Any]) -> Step:
        """A step whose value is tensors, kept as float32 in a safetensors file."""

        def save() -> None:
            from safetensors.torch import save_file

            made = {key: value.float().cpu().contiguous() for key, value in make().items()}
            with atomic_path(self.path(file)) as temporary:
                save_file(made, temporary)

        return self.keep(name, save, needs=needs, files=[file])

    def parts(
        self,
        name: str,
        file: str,
        needs: Mapping[str, Mapping[str, Any]],
        make: Callable[[dict[str, Path]], None],
    ) -> Step:
        """A step of many files, each under a key of its own: a change remakes only those that it touches.

        `needs` are those of each part, by its name; `file` is the name of a part's file with ``{}`` for the part's name
        and key. `make` gets the paths of the parts that are missing, and writes each whole or not at all.
        """
        flat = {part: flatten(one) for part, one in needs.items()}
        names = {part: file.format(f"{part}-{digest(one)[:8]}") for part, one in flat.items()}
        key = digest(names)
        known = self._known(name) or {"files": {}, "needs": {}}
        missing = {}
        for part, one in names.items():
            if self._broken(one, known["files"]):
                missing[part] = self.path(one)
        why = self._why_parts(flat, missing, known)
        self._say(name, why)
        unsaid = known.get("key") != key  # all parts are there, but a killed call could not say so
        if (why or unsaid) and not self.dry:
            for path in missing.values():  # a damaged one
                path.unlink(missing_ok=True)
            stored = {"parts": flat}
            self._make(name, key, stored, lambda: make(missing) if missing else None, names.values())
        elif not why and not unsaid:
            self._note_again(name)
        return Step(name, key, self.workspace, unmade=(bool(why) or unsaid) and self.dry)

    def sweep(self) -> None:
        """Remove parts that no step knows: a killed call with other settings left them."""
        known = self._known_files()
        folders = set()
        for step in self.workspace.steps.values():
            if "parts" in step["needs"]:
                folders |= {self.workspace.path(file).parent for file in step["files"]}
        folders.discard(self.workspace.folder)  # which holds more than parts
        for path in [path for folder in folders if folder.is_dir() for path in folder.iterdir()]:
            if path.relative_to(self.workspace.folder).as_posix() not in known:
                remove(path)

    def _known_files(self) -> set[str]:
        """The names of all files that steps have."""
        return set().union(*(step["files"] for step in self.workspace.steps.values()))

    def _make(self, name: str, key: str, needs: dict[str, Any], make: Callable[[], Any], files: Iterable[str]) -> None:
        notes: list[str] = []
        self._making = (name, key, notes)
        machine.reset_peak()
        wall, cpu = time.perf_counter(), machine.cpu_seconds()
        try:
            value = make()
        finally:
            self._making = None
        self.check_inputs()
        facts = {file: self._facts(name, file) for file in files}
        before = self.workspace.steps.pop(name, None)  # steps stand in the order of their latest making
        self.workspace.steps[name] = {
            "key": key,
            "needs": needs,
            "files": facts,
            "value": value,
            "notes": notes,
            "seconds": round(time.perf_counter() - wall, 3),
            "cpu_seconds": round(machine.cpu_seconds() - cpu, 3),
            "peak_memory_mb": round(machine.peak_mb()),
        }
        self.workspace.steps[name]["seal"] = seal(self.workspace.steps[name])
        self.workspace.save()
        self._tidy(name, before)

    def _facts(self, step: str, name: str) -> list[Any]:
        path = self.path(name)
        if not path.is_file():
            raise MethodError(f"step {step!r} was to write {path}, but did not")
        status = path.stat()
        return [file_sha256(path), status.st_size, status.st_mtime_ns]

    def _tidy(self, name: str, before: dict[str, Any] | None) -> None:
        """Remove what a step kept while it was being made, and the files of its earlier version that nobody has now."""
        for ending in UNFINISHED:
            for path in self.workspace.folder.glob(f"{file_stem(name)}-*{ending}"):
                remove(path)
        for file in set(before["files"] if before else ()) - self._known_files():
            self.workspace.path(file).unlink(missing_ok=True)

    # -- saying why ------------------------------------------------------------------------------------

    def _say(self, name: str, why: str) -> None:
        self.status[name] = why or KEPT
        if not self.dry:
            self.progress.step(name, why or KEPT)

    def _note_again(self, name: str) -> None:
        for text in self.workspace.steps[name].get("notes", []):
            self.note(text)

    def _why(self, name: str, key: str, needs: dict[str, Any], files: Sequence[str]) -> str:
        """The reason for which a step must be made; empty if it is kept."""
        known = self._known(name)
        if known is None:
            return "made: its record was damaged or changed" if name in self.workspace.steps else NEW
        if known["key"] != key:
            return f"made: {differences(known['needs'], needs)}"
        for file in files:
            if broken := self._broken(file, known["files"]):
                return f"made: {broken}"
        return ""

    def _known(self, name: str) -> dict[str, Any] | None:
        """A step as the folder has it; None if it has none, or one whose record is not as it was written."""
        step: dict[str, Any] | None = self.workspace.steps.get(name)
        return step if step and step.get("seal") == seal(step) else None

    def _why_parts(self, needs: dict[str, Any], missing: Mapping[str, Path], known: dict[str, Any]) -> str:
        if not missing:
            return ""
        if not known["files"]:
            return NEW
        first = next(iter(missing))
        old = known["needs"].get("parts", {}).get(first)
        file = next((name for name in known["files"] if Path(name).name == missing[first].name), "")
        if old is not None and old != needs[first]:
            why = differences(old, needs[first])
        else:
            why = self._broken(file, known["files"]) if file else "new"
        return f"made: {len(missing)} of {len(needs)}: {first}: {why}"

    def _broken(self, name: str, known: Mapping[str, Any]) -> str:
        """The damage of a file; empty if it is there as it was written.

        Size and time are looked at first, the contents only where these differ. A part of which the record does not
        know, since its call was killed, is whole if it is there.
        """
        path, facts = self.path(name), known.get(name)
        if not path.is_file():
            return f"{name} is missing"
        if facts is None:
            return ""
        sha256, size, changed = facts
        status = path.stat()
        if (status.st_size, status.st_mtime_ns) == (size, changed):
            return ""
        if status.st_size == size and file_sha256(path) == sha256:
            facts[2] = status.st_mtime_ns
            return ""
        return f"{name} was damaged or changed"

    @contextlib.contextmanager
    def collect_warnings(self) -> Iterator[None]:
        """Inside, warnings logged by the toolkit also become notes of the run."""
        handler, logger = _NoteHandler(self), logging.getLogger("videoedit")
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)


class _NoteHandler(logging.Handler):
    def __init__(self, steps: Steps) -> None:
        super().__init__(logging.WARNING)
        self.steps = steps

    def emit(self, record: logging.LogRecord) -> None:
        self.steps.note(record.getMessage(), said=True)


@contextlib.contextmanager
def temporary_steps(method: str, progress: Progress | None = None) -> Iterator[Steps]:
    """Steps in a folder that is gone afterwards: for calls from Python that keep nothing."""
    with (
        tempfile.TemporaryDirectory(prefix="videoedit-") as folder,
        open_workspace(Path(folder, "run"), method=method) as workspace,
    ):
        yield Steps(workspace, progress)


# -- needs ---------------------------------------------------------------------------------------------


def flatten(needs: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The needs of a step as plain values under dotted names; see `Steps.keep`."""
    flat: dict[str, Any] = {}
    for name, value in needs.items():
        if isinstance(value, Step):
            flat[f"{prefix}{name}"] = f"step {value.key}"
        elif isinstance(value, Path):
            flat[f"{prefix}{name}"] = f"contents {contents(value)}"
        elif isinstance(value, Section):
            paths = {field: given for field, given in value if isinstance(given, Path)}
            flat |= flatten(deciding(value) | paths, f"{prefix}{name}.")
        elif isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        elif hasattr(value, "identity"):
            flat |= flatten(value.identity, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = list(value) if isinstance(value, tuple) else value
    return flat


def seal(step: Mapping[str, Any]) -> str:
    """A hash of what the record of a step says, by which damage to it is found."""
    hashes = {file: facts[0] for file, facts in step["files"].items()}
    said = [step["key"], step["needs"], step.get("value"), step.get("notes"), hashes]
    return digest(json.loads(json.dumps(said, default=str)))


def contents(path: Path) -> str:
    """The hash of a file's contents; InputError if it is not there."""
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    return file_sha256(path)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], most: int = 2) -> str:
    """The changes between two sets of needs, for a person: ``sample.guidance_scale 12.5 → 5``."""
    changed = [name for name in dict.fromkeys([*new, *old]) if old.get(name) != new.get(name)]
    texts = [_difference(name, old.get(name), new.get(name)) for name in changed]
    direct = [text for text in texts if not text.endswith(" is made again")] or texts
    more = f", and {len(direct) - most} more" if len(direct) > most else ""
    return ", ".join(direct[:most]) + more


def _difference(name: str, old: Any, new: Any) -> str:
    if isinstance(new, str) and new.startswith("step "):
        return f"{name} is made again"
    if any(isinstance(value, str) and value.startswith("contents ") for value in (old, new)):
        return f"the contents of {name} changed"
    if any(isinstance(value, str) and len(value) > 60 for value in (old, new)):
        return f"{name} changed"
    return f"{name} {_shown(old)} → {_shown(new)}"


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
