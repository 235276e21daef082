"""Facts of the machine: versions, hardware, and what work costs on it."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

CPU_INFO, STATUS = Path("/proc/cpuinfo"), Path("/proc/self/status")  # Linux tells more than other systems
YOUNG = 20.0  # seconds: a process that has just begun for the sake of one run
VERSIONED = ("videoedit", "torch", "diffusers", "transformers", "safetensors", "av", "numpy", "opencv-python-headless")


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

    from videoedit.models.device import choose_device, device_name

    named = re.search(r"^model name\s*: (.+)$", cpu_info(), re.MULTILINE)
    cpu = named[1].strip() if named else platform.processor() or platform.machine()
    gpu = {"gpu": device_name(place)} if (place := choose_device(None)).type != "cpu" else {}
    return {"cpu": cpu, "cores": cores(), "memory_gb": round(psutil.virtual_memory().total / 2**30, 1), **gpu}


def cpu_info() -> str:
    """All that Linux tells of the processor; empty on other systems."""
    return CPU_INFO.read_text("utf-8", errors="replace") if CPU_INFO.is_file() else ""


def cores() -> int:
    """Cores that this process may use."""
    import psutil

    allowed = getattr(psutil.Process(), "cpu_affinity", None)  # not on macOS
    return len(allowed()) if allowed else psutil.cpu_count() or 1


class Stopwatch:
    """Wall and CPU seconds since a run began: since the process did, Python's imports included, if that is young."""

    def __init__(self) -> None:
        import psutil

        age = time.time() - psutil.Process().create_time()
        is_command = age < YOUNG
        self._began = time.perf_counter() - (age if is_command else 0.0)
        self._used = 0.0 if is_command else cpu_seconds()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    @property
    def cpu_seconds(self) -> float:
        return cpu_seconds() - self._used


def cpu_seconds() -> float:
    """CPU time of this process and of the child processes that have ended (Windows does not tell theirs)."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def reset_peak() -> None:
    """Start a new peak where the system allows it (Linux: VmHWM; CUDA: its allocator)."""
    with contextlib.suppress(OSError):
        STATUS.with_name("clear_refs").write_text("5", encoding="utf-8")
    torch = _cuda()
    if torch:
        torch.cuda.reset_peak_memory_stats()


def peak_mb() -> float:
    """Peak since the last `reset_peak`; Windows: since the start, macOS: what is taken now."""
    import psutil

    torch = _cuda()
    if torch:
        return float(torch.cuda.max_memory_allocated()) / 2**20
    if STATUS.is_file() and (peak := re.search(r"^VmHWM:\s*(\d+) kB$", STATUS.read_text("utf-8"), re.MULTILINE)):
        return int(peak[1]) / 1024
    memory = psutil.Process().memory_info()
    return float(getattr(memory, "peak_wset", memory.rss)) / 2**20


def _cuda() -> Any:
    """torch if it is loaded and has initialised a GPU, else None."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and torch.cuda.is_initialized() else None
