"""Files and hashes: writing whole or not at all, telling why a write failed, recognizing contents."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from videoedit.errors import OutputError, is_printable

if TYPE_CHECKING:
    import numpy as np

DEVICES = r"con|prn|aux|nul|com\d|lpt\d"  # of Windows, which has no files of these names


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
        temporary.write_bytes(text.encode())  # the same bytes on every system


def check_name(name: str) -> str:
    """The path of a file from its folder, as a record gives it; ValueError if it leads out, on any system."""
    parts = PurePosixPath(name).parts
    if (
        not parts
        or ".." in name.replace("\\", "/").split("/")
        or PureWindowsPath(name).anchor
        or not is_printable(name)
    ):
        raise ValueError(f"{name!r} is not the name of a file inside the folder")
    return name


def inside(folder: Path, name: str) -> Path:
    """A file of a folder by the name that a record gives it: the one door for all of them.

    OutputError for a name that leads out of the folder, or that goes by way of a link.
    """
    try:
        path = folder / check_name(name)
    except ValueError as error:
        raise OutputError(f"{folder}: {error}; make it again in another folder") from error
    for place in (path, *path.parents):
        if place == folder:
            break
        if place.is_symlink():
            raise OutputError(f"{place} is a link, which is not followed; remove it, or use another folder")
    return path


def relative(path: Path, folder: Path) -> str:
    """A path from a folder, written alike on every system; the whole path where it is on another drive of Windows."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return path.absolute().as_posix()


def refuse_links(folder: Path) -> None:
    """OutputError if a folder holds links, or what is neither a file nor a folder; it may be a link itself."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink():
                raise OutputError(f"{path} is a link, which is not followed; remove it, or use another folder")
            if name in files and path.exists() and not path.is_file():
                raise OutputError(f"{path} is no plain file; remove it, or use another folder")


def cache_folder() -> Path:
    """The folder of what may be fetched or made again: $VIDEOEDIT_CACHE, or the system's (XDG_CACHE_HOME)."""
    import platformdirs

    return Path(os.environ.get("VIDEOEDIT_CACHE") or platformdirs.user_cache_path("videoedit", False)).expanduser()


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


def contents_sha256(path: Path) -> str:
    """sha256 of a file's contents, or of the names and contents of a folder's files, hex."""
    if not path.is_dir():
        return file_sha256(path)
    parts = []
    for file in sorted(path.iterdir()):
        if file.is_file() and not file.name.startswith("."):
            parts.append([file.name, file_sha256(file)])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def file_states(path: Path) -> tuple[int, ...]:
    """What shows that a file, or a folder's files, may have been written or replaced; empty if there is none."""
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    found: list[int] = []
    for file in files:
        status = file.stat()
        found += [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    return tuple(found)


def digest_frames(frames: np.ndarray) -> str:
    """A hash of what frames, an array of any shape, show."""
    return digest([frames.shape, hashlib.sha256(frames.tobytes()).hexdigest()])


def file_stem(text: str) -> str:
    """A file name for a text such as a prompt: ``A red car!`` -> ``a-red-car-5d41c2``; other texts, other names.

    Lower-case words that stand in the name as they are need no hash: ``a red car`` -> ``a-red-car``. One that names a
    device of Windows does.
    """
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48].strip("-")
    if words and words.replace("-", " ") == text and not re.fullmatch(DEVICES, words):
        return words
    return "-".join([*filter(None, [words]), hashlib.sha256(text.encode()).hexdigest()[:6]])


def digest(value: Any) -> str:
    """A short stable hash of plain values (dicts, lists, strings, numbers)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
