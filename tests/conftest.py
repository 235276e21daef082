"""One thread: the networks of the tests are too small for more, and threads that wait for a busy core cost dearly."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

CACHE = tempfile.TemporaryDirectory(prefix="videoedit-tests-")  # nothing is read from, or left in, a person's own
os.environ["VIDEOEDIT_CACHE"] = CACHE.name
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")


@pytest.fixture
def is_mapped() -> Callable[[Path], bool]:
    """Tells whether this process has a file mapped, which Windows would then neither replace nor remove."""
    process = psutil.Process()
    if not hasattr(process, "memory_maps"):  # macOS
        return lambda path: False
    return lambda path: any(part.path == str(path) for part in process.memory_maps())
