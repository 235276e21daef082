"""Jobs for test_units.py that end badly; a module of their own, since worker processes import them by name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from videoedit.errors import InputError


@dataclass(frozen=True)
class Touch:
    """Leaves a file with the context in it."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def run(self, context: str, step: Callable[[], None]) -> None:
        print("a library talks", flush=True)  # which is no news to the parent
        step()
        self.path.write_text(context)


@dataclass(frozen=True)
class Die(Touch):
    """Is killed half way, as by a system without memory, the first `times` times."""

    times: int

    def run(self, context: str, step: Callable[[], None]) -> None:
        step()
        with self.path.with_suffix(".deaths").open("a") as deaths:
            deaths.write("x")
        if self.path.with_suffix(".deaths").stat().st_size <= self.times:
            psutil.Process().kill()
        self.path.write_text(context)


@dataclass(frozen=True)
class Fail(Touch):
    """Raises, after a warning."""

    expected: bool

    def run(self, context: str, step: Callable[[], None]) -> None:
        logging.getLogger("videoedit.somewhere").warning("a warning of %s", self.name)
        raise InputError("no picture") if self.expected else ZeroDivisionError("a defect")
