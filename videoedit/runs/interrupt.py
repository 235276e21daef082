"""Ctrl-C and SIGTERM, put off until work in a loop has come to a point from which it can go on."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Stop:
    """A request to stop; `asked` is set by the first signal, a second one interrupts at once."""

    asked: bool = False

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Take a signal."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextlib.contextmanager
def deferred_stop() -> Iterator[Stop]:
    """Put Ctrl-C and SIGTERM off inside the block, which looks at `Stop.asked`, saves, and raises KeyboardInterrupt.

    Outside the main thread signals cannot be taken, and nothing is put off.
    """
    stop, before = Stop(), dict[signal.Signals, Any]()
    if threading.current_thread() is threading.main_thread():
        before |= {number: signal.signal(number, stop.ask) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt_on_sigterm() -> None:
    """Let SIGTERM end the program as Ctrl-C does: what is unfinished is left so that it can go on."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
