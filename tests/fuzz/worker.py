"""The process in which inputs are read: limited, watched, and replaced when it does not come back."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import shutil
import sys
import tempfile
import time
import traceback
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

from fuzz.inputs import KINDS, Input

MEMORY = 2**30  # bytes that reading one input may take
SECONDS = 10  # of CPU time
WARM = (
    "videoedit.models.loading",
    "tuneavideo.method",
    "rerender.command",
    "videoedit.evaluation.runner",
    "torch._dynamo",
)
LONGEST = 1500  # letters of a line
CHANGING = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.truncate")
CALLS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "socket.getaddrinfo")


class Watch:
    """Hears of every file that Python opens, and of every program and connection."""

    def __init__(self) -> None:
        self.folder, self.outside = "", ""  # of the input that is read; where not even reading is allowed, or empty
        self.seen: list[str] = []

    def __call__(self, event: str, given: tuple[Any, ...]) -> None:
        if not self.folder:
            return
        if event in CALLS:
            self.seen.append(f"{event} {str(given)[:200]}")
        elif event == "open" and isinstance(given[0], str | bytes):
            path = os.path.realpath(os.fsdecode(given[0]))
            if given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                self._check(path, "written")
            elif self.outside and path.startswith(self.outside):
                self.seen.append(f"read outside: {path}")
        elif event in CHANGING and not any(isinstance(one, int) and one >= 0 for one in given[2:]):
            for path in given[: 2 if event == "os.rename" else 1]:
                if isinstance(path, str | bytes | os.PathLike):
                    head, tail = os.path.split(os.fsdecode(path))
                    self._check(os.path.join(os.path.realpath(head), tail), event)  # noqa: PTH118

    def _check(self, path: str, what: str) -> None:
        allowed = path.startswith((self.folder, "/dev/", "/proc/")) or "__pycache__" in path
        if not allowed:
            self.seen.append(f"{what} outside: {path}")


def serve(pipe: Any, base: Path, root: Path, warm: bool) -> None:
    """Read inputs as they are asked for: (kind, number or dumped input) -> what came of it."""
    log = (root / f"worker-{os.getpid()}.log").open("wb")
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    logging.disable(logging.ERROR)
    sys.dont_write_bytecode = True
    for module in ("kinds_text", "kinds_weights", "kinds_media", "kinds_bad"):
        import_module(f"fuzz.{module}")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(root / "inside" / "torch")
    for module in WARM if warm else ():
        import_module(module)
    from videoedit.runs import machine

    platform.processor()  # asks a program, once
    watch = Watch()
    sys.addaudithook(watch)
    limit = _limit_memory()
    pipe.send("ready")
    while (job := pipe.recv()) is not None:
        with limit():
            machine.reset_peak()
            before, began = _resident(), time.process_time()
            try:
                result = run(*job, base, root, watch)
            except Exception as error:  # in making the input, or in putting it in its place
                result = _failed(f"harness: {type(error).__name__}", error)
            result |= {"seconds": time.process_time() - began, "megabytes": max(0.0, machine.peak_mb() - before)}
        pipe.send(result)


def run(kind: str, given: int | dict[str, Any], base: Path, root: Path, watch: Watch) -> dict[str, Any]:
    """Write an input into a folder of its own, read it there, and say what came of it."""
    chosen = KINDS[kind]
    made = chosen.make(Random(f"{kind} {given}"), base) if isinstance(given, int) else Input.load(given)
    folder = Path(tempfile.mkdtemp(dir=root / "inside", prefix="f-"))
    outside = root / "outside"
    try:
        arguments = made.write(folder, base, outside)
    except (OSError, ValueError):  # names that this system does not have
        shutil.rmtree(folder)
        return {"outcome": "refused", "line": "no such name here"}
    os.environ["VIDEOEDIT_CACHE"] = str(folder / "cache")
    tempfile.tempdir = str(folder)
    os.chdir(folder)
    watch.seen = []
    watch.folder, watch.outside = str(folder.resolve()), str(outside.resolve()) if chosen.confined else ""
    try:
        result = _read(chosen.read, folder, arguments)
    finally:
        watch.folder = ""
        tempfile.tempdir = None
        os.chdir(root)
    if watch.seen:
        result = {"outcome": "failed", "line": watch.seen[0], "where": watch.seen[0].partition(" ")[0]}
    shutil.rmtree(folder, ignore_errors=True)
    return result


def _read(read: Any, folder: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    from videoedit.errors import VideoEditError
    from videoedit.slips import one_line

    try:
        read(folder, **arguments)
    except MemoryError as error:
        return _failed("MemoryError", error)
    except Exception as error:
        line = one_line(error)
        if "not enough memory" in line or not line:
            return _failed(type(error).__name__, error)
        if isinstance(error, VideoEditError) and len(line) > LONGEST:
            return {"outcome": "failed", "line": f"a line of {len(line)} letters: {line[:200]}", "where": "long line"}
        return {"outcome": "refused", "line": line}
    return {"outcome": "read", "line": ""}


def _failed(name: str, error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "videoedit" in frame.filename or "methods" in frame.filename]
    where = f"{name} {Path(ours[-1].filename).name}:{ours[-1].name}" if ours else name
    text = "".join(traceback.format_exception(error))
    return {"outcome": "failed", "line": f"{name}: {str(error)[:300]}", "where": where, "traceback": text[-4000:]}


def _resident() -> float:
    import psutil

    return psutil.Process().memory_info().rss / 2**20


def _limit_memory() -> Any:
    """A context in which this process may take no more than `MEMORY` above what it has; Linux alone has that."""
    if not sys.platform.startswith("linux"):
        return contextlib.nullcontext
    import resource

    import psutil

    @contextlib.contextmanager
    def limited() -> Any:
        most = psutil.Process().memory_info().vms + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
        yield
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    return limited
