"""Progress with time left: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from videoedit.errors import printable

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress as RichProgress

Advance = Callable[..., None]  # advance(n=1, note="")

SECONDS_BETWEEN_LINES = 10.0
NEW = "made: not there yet"
KEPT = "kept"


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
            self._bars.console.print(printable(text), markup=False, highlight=False)
        else:
            self.stream.write(printable(text) + "\n")
            self.stream.flush()

    def note(self, text: str) -> None:
        """Say what a user should know of the result."""
        self.say(f"note: {text}")

    def step(self, name: str, status: str) -> None:
        """Say whether a step is kept, or why it is made."""
        if status != NEW:
            self.say(f"{name}: {status}")

    def result(self, label: str, path: Path) -> None:
        """Say where a finished video is."""
        self.say(f"{label}: {path}")

    def preview(self, path: Path) -> None:
        """Tell programs that there is a new picture of the unfinished work; people find it in the folder."""

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
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description:<14}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            "left",
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
        )
        with Progress(*columns, console=Console(file=self.stream)) as bars:
            self._bars = bars
            task = bars.add_task(printable(name), total=total, completed=done, note="")

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


class Events(Progress):
    """Tells a program: one JSON object a line, as docs/events.md has them."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream=stream or sys.stdout)

    def send(self, event: str, **fields: Any) -> None:
        """Write one event."""
        self.stream.write(json.dumps({"event": event, **fields}, ensure_ascii=True) + "\n")
        self.stream.flush()

    def say(self, text: str) -> None:
        self.send("message", text=text)

    def note(self, text: str) -> None:
        self.send("note", text=text)

    def step(self, name: str, status: str) -> None:
        self.send("step", name=name, status=status)

    def result(self, label: str, path: Path) -> None:
        self.send("result", label=label, file=str(path))

    def preview(self, path: Path) -> None:
        self.send("preview", file=str(path))

    @contextlib.contextmanager
    def stage(self, name: str, total: int, done: int = 0) -> Iterator[Advance]:
        count, last = done, 0.0

        def advance(n: int = 1, note: str = "") -> None:
            nonlocal count, last
            count += n
            if count >= total or time.monotonic() - last >= 1:
                last = time.monotonic()
                self.send("progress", name=name, done=count, total=total, note=note)

        self.send("progress", name=name, done=count, total=total, note="")
        yield advance


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
