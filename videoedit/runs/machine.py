"""Facts of the machine: versions, hardware, and what work costs on it."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

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
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = {"gpu": torch.cuda.get_device_name(0)} if torch.cuda.is_available() else {}
    return {"cpu": cpu, "cores": cores, "memory_gb": round(psutil.virtual_memory().total / 2**30, 1), **gpu}


def cpu_seconds() -> float:
    """CPU time of this process and of the child processes that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def reset_peak() -> None:
    """Start a new peak where the system allows it (Linux: VmHWM; CUDA: its allocator)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    torch = _cuda()
    if torch:
        torch.cuda.reset_peak_memory_stats()


def peak_mb() -> float:
    torch = _cuda()
    if torch:
        return float(torch.cuda.max_memory_allocated()) / 2**20
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return float(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _cuda() -> Any:
    """torch if it is loaded and has initialised a GPU, else None."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and torch.cuda.is_initialized() else None
