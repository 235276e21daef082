"""The device that is chosen when none is named, and figures of the machine on systems that tell less than Linux."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch

from videoedit.errors import ConfigError
from videoedit.models.device import best_device, choose_device
from videoedit.runs import machine


@pytest.mark.parametrize(
    ("version", "cuda", "mps", "best"),
    [
        ("2.13.0", True, True, "cuda"),
        ("2.6.0+cu124", True, False, "cuda"),
        ("2.13.0", False, True, "mps"),
        ("2.12.1", False, True, "cpu"),  # it cannot sample beyond a picture's border there
        ("2.14.0+cpu", False, False, "cpu"),
    ],
)
def test_the_best_device_is_a_gpu_that_can_do_all_the_work(version: str, cuda: bool, mps: bool, best: str):
    assert best_device(version, cuda=cuda, mps=mps) == best


def test_auto_is_what_no_name_means():
    assert choose_device("auto") == choose_device(None)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has an Apple GPU")
def test_a_gpu_that_is_not_there_is_explained():
    with pytest.raises(ConfigError, match="'mps' was asked for, but torch finds no GPU; use 'cpu'"):
        choose_device("mps")


def test_figures_of_the_machine_need_nothing_of_linux(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "STATUS", tmp_path / "none/status")
    monkeypatch.delattr(psutil.Process, "cpu_affinity", raising=False)  # as on macOS
    machine.reset_peak()
    block = bytearray(b"x" * 2**26)
    assert machine.peak_mb() > len(block) / 2**20
    assert machine.hardware()["cpu"] and machine.cores() == psutil.cpu_count()
    assert machine.cpu_seconds() > 0
