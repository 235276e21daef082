"""The run folder: what was asked, what was done, what came out; resumable after being killed at any moment.

A stage is done when its artefacts exist and `run.json` says so under the stage's key, a hash of all that
the stage depends on. Every file is written beside its place, flushed to disk and renamed. A folder may serve several
calls that ask for different results of one run: `stages` are those of the latest call, `earlier` the others.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import platform
import re
import resource
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from videoedit.errors import OutputError
from videoedit.runs.progress import Progress

if TYPE_CHECKING:
    import numpy as np

VERSIONED = (
    "videoedit",
    "torch",
    "diffusers",
    "transformers",
    "safetensors",
    "av",
    "numpy",
    "opencv-python-headless",
)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it, on error remove it.

    Raises OutputError when the disk is full or the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        raise explain_os_error(error, path) from error
    except Exception as error:
        if code := re.search(r"\(os error (\d+)\)", str(error)):  # safetensors' own kind of OSError
            raise explain_os_error(OSError(int(code[1]), os.strerror(int(code[1]))), path) from error
        raise
    finally:
        with contextlib.suppress(OSError):  # the folder may not even be one
            temporary.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def explain_os_error(error: OSError, path: Path) -> OutputError:
    """A failed write as one line that says what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(existing_parent(path)).free / 2**20
            return OutputError(f"no space left to write {path} ({free:.0f} MiB free); free some space or use -o")
        return OutputError(f"no space left to write {path}; free some space or choose another folder with -o")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(f"no permission to write {path}; choose another folder with -o")
    return OutputError(f"cannot write {path}: {error.strerror or error}")


def existing_parent(path: Path) -> Path:
    """The nearest folder above `path` that exists."""
    return next(p for p in [path, *path.absolute().parents] if p.is_dir())


def file_sha256(path: Path) -> str:
    """sha256 of a file's contents, hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest_frames(frames: np.ndarray) -> str:
    """A hash of what frames, an array of any shape, show."""
    return digest([frames.shape, hashlib.sha256(frames.tobytes()).hexdigest()])


def file_stem(text: str) -> str:
    """A file name for a text such as a prompt: ``A red car!`` -> ``a-red-car-5d41c2``; other texts, other names.

    Lower-case words that stand in the name as they are need no hash: ``a red car`` -> ``a-red-car``.
    """
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48].strip("-")
    if words and words.replace("-", " ") == text:
        return words
    return "-".join([*filter(None, [words]), hashlib.sha256(text.encode()).hexdigest()[:6]])


def digest(value: Any) -> str:
    """A short stable hash of plain values (dicts, lists, strings, numbers)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


@dataclass
class Run:
    """An open run folder. Use `open_run`."""

    folder: Path
    record: dict[str, Any]
    progress: Progress = field(default_factory=lambda: Progress(quiet=True), repr=False)

    def path(self, name: str) -> Path:
        return self.folder / name

    def note(self, text: str) -> None:
        """Remember something that the user should know; shown in the report."""
        if text not in self.record["notes"]:
            self.record["notes"].append(text)

    @property
    def results(self) -> dict[str, Any]:
        """What stages found out, by stage: kept for calls that reuse them. Set it inside the stage."""
        found: dict[str, Any] = self.record["results"]
        return found

    def is_done(self, stage: str, key: str, files: list[Path]) -> bool:
        """Whether this stage was finished from the same inputs and its files are there."""
        known = self.record["stages"].get(stage) or self.record["earlier"].get(stage)
        return bool(known and known["key"] == key and all(file.is_file() for file in files))

    @contextlib.contextmanager
    def stage(self, name: str, key: str, files: list[Path]) -> Iterator[bool]:
        """Time one stage; yields True if it must run, False if its files can be reused.

        On success the stage is recorded as done. The caller writes `files` atomically inside.
        """
        stages, earlier = self.record["stages"], self.record["earlier"]
        if self.is_done(name, key, files):
            stages[name] = (earlier.pop(name, None) or stages[name]) | {"reused": True}
            yield False
            return
        _reset_peak()
        wall, cpu = time.perf_counter(), _cpu_seconds()
        yield True
        earlier.pop(name, None)
        stages[name] = {
            "key": key,
            "seconds": round(time.perf_counter() - wall, 3),
            "cpu_seconds": round(_cpu_seconds() - cpu, 3),
            "peak_memory_mb": round(_peak_mb()),
            "reused": False,
            "files": [str(file.relative_to(self.folder)) for file in files],
        }
        self.save()

    def save(self) -> None:
        write_text(self.path("run.json"), json.dumps(self.record, indent=2, ensure_ascii=False, default=str))

    def finish(self) -> None:
        self.record["status"] = "finished"
        self.save()

    @contextlib.contextmanager
    def collect_warnings(self) -> Iterator[None]:
        """Inside, warnings logged by the toolkit also become notes of the run."""
        handler = _NoteHandler(self)
        logger = logging.getLogger("videoedit")
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)


class _NoteHandler(logging.Handler):
    def __init__(self, run: Run) -> None:
        super().__init__(logging.WARNING)
        self.run = run

    def emit(self, record: logging.LogRecord) -> None:
        self.run.note(record.getMessage())


@contextlib.contextmanager
def open_run(folder: Path, *, identity: dict[str, Any], record: dict[str, Any], fresh: bool) -> Iterator[Run]:
    """Make a run folder or take up the one that is there.

    `identity` is all that decides the results (method, resolved config, hash of the input and of the
    weights). A folder with another identity is refused, naming what differs, unless `fresh`.
    Raises OutputError for a folder that holds something else or is in use.
    """
    old = refuse_foreign(folder, identity, fresh=fresh)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(folder)
    except OSError as error:
        raise explain_os_error(error, folder) from error
    try:
        if old and fresh:
            for name in [name for stage in _known_stages(old).values() for name in stage["files"]]:
                (folder / name).unlink(missing_ok=True)
            for state in folder.glob("*.state.safetensors"):
                state.unlink()
            for work in folder.glob("*.work"):  # unfinished, of a stage that goes on by itself
                shutil.rmtree(work)
            old = None
        for part in folder.rglob(".*.part*"):  # left by a killed run
            part.unlink()
        empty: dict[str, Any] = {"stages": {}, "earlier": {}, "results": {}, "notes": []}
        run = Run(folder, {**record, "identity": identity, **empty, "status": "running"})
        if old:
            run.record |= {kept: old[kept] for kept in ("results", "notes", "metrics", "plots") if kept in old}
            run.record["earlier"] = _known_stages(old)
        run.save()
        yield run
    finally:
        lock.close()


def refuse_foreign(folder: Path, identity: dict[str, Any], *, fresh: bool) -> dict[str, Any] | None:
    """The record of the run in `folder`, if any; raises OutputError if it is another run. Writes nothing."""
    old = _read_record(folder)
    if old and not fresh:
        changed = _differences(old.get("identity", {}), identity)
        if changed:
            raise OutputError(
                f"{folder} holds another run (differs in {', '.join(changed[:4])}); "
                f"choose another folder with -o, or start over with --fresh"
            )
    return old


def environment() -> dict[str, Any]:
    """Versions, for the record."""
    versions: dict[str, Any] = {"python": platform.python_version(), "platform": platform.platform()}
    for name in VERSIONED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def hardware() -> dict[str, Any]:
    """The machine, for who compares times."""
    import psutil
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = {"gpu": torch.cuda.get_device_name(0)} if torch.cuda.is_available() else {}
    return {"cpu": cpu, "cores": cores, "memory_gb": round(psutil.virtual_memory().total / 2**30, 1), **gpu}


def _read_record(folder: Path) -> dict[str, Any] | None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; -o names the folder to write to")
    if not folder.is_dir():
        return None
    path = folder / "run.json"
    if not path.is_file():
        if any(not p.name.startswith(".") for p in folder.iterdir()):
            raise OutputError(f"{folder} is not empty and holds no videoedit run; choose another folder with -o")
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record
    except ValueError as error:
        raise OutputError(f"{path} is damaged ({error}); remove the folder or choose another with -o") from error


def lock_folder(folder: Path) -> IO[str]:
    """Hold a folder until the file that is returned is closed; OutputError if another process holds it."""
    handle = (folder / ".lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        handle.close()
        raise OutputError(f"another videoedit is working in {folder}; wait for it or use -o") from error
    return handle


def _differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Dotted keys at which two nested mappings differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(set(old) | set(new))
        return [d for k in keys for d in _differences(old.get(k), new.get(k), f"{prefix}{k}.")]
    return [] if json.dumps(old, default=str) == json.dumps(new, default=str) else [prefix.rstrip(".")]


def _known_stages(record: dict[str, Any]) -> dict[str, Any]:
    """What a run's record says of stages, whichever call went through them."""
    return {**record.get("earlier", {}), **record.get("stages", {})}


def _cpu_seconds() -> float:
    """Of this process and of the child processes that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _reset_peak() -> None:
    """Start a new peak where the system allows it (Linux: VmHWM; CUDA: its allocator)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    torch = _cuda()
    if torch:
        torch.cuda.reset_peak_memory_stats()


def _peak_mb() -> float:
    torch = _cuda()
    if torch:
        return float(torch.cuda.max_memory_allocated()) / 2**20
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return float(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _cuda() -> Any:
    """torch if it is loaded and has initialised a GPU, else None."""
    import sys

    torch = sys.modules.get("torch")
    return torch if torch is not None and torch.cuda.is_initialized() else None
