"""A picture of unfinished work: ``preview.png`` in the run's folder, a contact sheet that grows; gone at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from videoedit.media.images import contact_rows, write_image
from videoedit.runs.progress import Progress

PREVIEW = "preview.png"
_MOST = 24  # pictures on a sheet, of this height
_HEIGHT = 96  # pixels
_SHARE = 0.02  # of the time, at most, that previews take


class Preview:
    """Writes the picture every `seconds`, less often if drawing it takes long; what it is drawn from stays as it is."""

    seconds = 10.0

    def __init__(self, path: Path, progress: Progress) -> None:
        self.path, self.progress = path, progress
        self._pictures: list[np.ndarray] = []
        self._passed, self._every = 0, 1
        self._due = time.monotonic() + self.seconds

    def add(self, frame: np.ndarray) -> None:
        """A finished frame, uint8 [H, W, 3], for the sheet."""
        if self._passed % self._every == 0:
            width = max(1, round(frame.shape[1] * _HEIGHT / frame.shape[0]))
            self._pictures.append(cv2.resize(frame, (width, _HEIGHT), interpolation=cv2.INTER_AREA))
        self._passed += 1
        if len(self._pictures) > _MOST:
            self._pictures, self._every = self._pictures[::2], self._every * 2
        self.show(lambda: _sheet(self._pictures))

    def show(self, draw: Callable[[], np.ndarray]) -> None:
        """Write the picture that `draw` gives, if it is time for one."""
        began = time.monotonic()
        if began < self._due:
            return
        write_image(self.path, draw())
        self.progress.preview(self.path)
        now = time.monotonic()
        self._due = now + max(self.seconds, (now - began) / _SHARE)

    def finish(self) -> None:
        """Remove the picture, and begin anew."""
        self.path.unlink(missing_ok=True)
        self._pictures, self._passed, self._every = [], 0, 1


def _sheet(pictures: list[np.ndarray]) -> np.ndarray:
    """Pictures in rows of eight, the last row filled up."""
    first = pictures[0]
    same = [picture for picture in pictures if picture.shape == first.shape]
    blank = np.full_like(first, 255)
    same += [blank] * (-len(same) % min(8, len(same)))
    return contact_rows(*(same[at : at + 8] for at in range(0, len(same), 8)), least=_HEIGHT)
