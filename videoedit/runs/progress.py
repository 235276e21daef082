"""Progress with time left: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

Advance = Callable[..., None]  # advance(n=1, note="")

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Tells a person what a run is doing; `Progress(quiet=True)` says nothing."""

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.quiet = quiet
        self.stream = stream or sys.stderr
        self._bars: RichProgress | None = None

    def say(self, text: str) -> None:
        """One line for the user."""
        if self.quiet:
            return
        if self._bars:
            self._bars.console.print(text, markup=False, highlight=False)
        else:
            self.stream.write(text + "\n")
            self.stream.flush()

    @contextlib.contextmanager
    def stage(self, name: str, total: int, done: int = 0) -> Iterator[Advance]:
        """Show `name` until the block ends; call the yielded ``advance(n=1, note="")`` as work gets done."""
        if self.quiet:
            yield lambda n=1, note="": None
        elif self.stream.isatty():
            with self._bar(name, total, done) as advance:
                yield advance
        else:
            yield from self._lines(name, total, done)

    @contextlib.contextmanager
    def _bar(self, name: str, total: int, done: int) -> Iterator[Advance]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            "{task.description:<14}",
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            "left",
            TimeRemainingColumn(),
            "[dim]{task.fields[note]}",
        )
        with Progress(*columns, console=Console(file=self.stream)) as bars:
            self._bars = bars
            task = bars.add_task(name, total=total, completed=done, note="")

            def advance(n: int = 1, note: str = "") -> None:
                bars.update(task, advance=n, note=note)

            try:
                yield advance
            finally:
                self._bars = None

    def _lines(self, name: str, total: int, done: int) -> Iterator[Advance]:
        began = last = time.monotonic()
        count = done

        def advance(n: int = 1, note: str = "") -> None:
            nonlocal count, last
            count += n
            now = time.monotonic()
            if count < total and now - last >= SECONDS_BETWEEN_LINES:
                last = now
                left = (now - began) / max(count - done, 1) * (total - count)
                self.say(f"{name}: {count}/{total}, about {_clock(left)} left {note}".rstrip())

        yield advance
        self.say(f"{name}: done in {_clock(time.monotonic() - began)}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
