"""The clip of a run: which frames of it are edited, at which size, decoded only when somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from videoedit.files import digest_frames
from videoedit.media.video import FrameStream, iter_frames, stretch_frames, write_clip
from videoedit.types import Video

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Clip:
    """Frames to edit: selected ones of a file, or an array.

    `open` gives the video, at its own size, when frames are first asked for. `numbers` are those of the frames in the
    file. Sizes are (width, height).
    """

    open: Callable[[], Video] = field(repr=False)
    sha256: str  # of the file's contents, or of the array
    numbers: range
    fps: Fraction  # of the selected frames
    size: tuple[int, int]  # to work at
    output_size: tuple[int, int]  # to write
    resampled: Fraction | None = None  # the constant rate that the file was brought to
    audio_track: int | None = None  # that is kept; None: the one that players take
    frame_format: str = "mp4"  # png, exr: the frames of edits are written as pictures too
    picked: str = ""  # numbers of the frames in the file, where these are just some of a clip

    @staticmethod
    def of(frames: np.ndarray, fps: Fraction | int = 8, size: tuple[int, int] | None = None) -> Clip:
        """A clip out of an array, uint8 [F, H, W, 3] RGB; `size` (width, height) to work at: its own by default."""
        video = Video(frames=frames, fps=Fraction(fps))
        own = (video.width, video.height)
        return Clip(lambda: video, digest_frames(frames), range(len(frames)), video.fps, size or own, own)

    @cached_property
    def video(self) -> Video:
        """The selected frames at the clip's own size: an array, or a stream for methods that stream."""
        return self.open()

    @property
    def num_frames(self) -> int:
        return len(self.numbers)

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the frames at the working size, as plain values."""
        return {
            "contents": self.sha256,
            "frames": self.picked or span(self.numbers),
            "size": "{}x{}".format(*self.size),
            **({"fps": str(self.resampled)} if self.resampled else {}),
        }

    @cached_property
    def frames(self) -> np.ndarray:
        """All frames at the working size, uint8 [F, H, W, 3]."""
        frames = self.video.frames
        return stretch_frames(np.stack(list(frames)) if isinstance(frames, FrameStream) else frames, self.size)

    def stream(self) -> Iterator[np.ndarray]:
        """The frames at the working size, uint8 [H, W, 3] each, in order, from the first at each call."""
        return (stretch_frames(frame, self.size) for frame in self.video.frames)

    def pick(self, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Some of them with their numbers, in order."""
        frames: Any = self.video.frames
        if isinstance(frames, FrameStream):
            picked = frames.pick(indices)
        else:
            picked = ((index, frames[index]) for index in sorted(set(indices)))
        return ((index, stretch_frames(frame, self.size)) for index, frame in picked)

    def some(self, indices: tuple[int, ...]) -> Clip:
        """The clip of just these frames, whose rate is their mean one."""
        pace = Fraction(max(len(indices) - 1, 1), max(indices[-1] - indices[0], 1))
        fps = self.fps * pace

        def open_some() -> Video:
            stream: Any = self.video.frames
            frames = np.stack([frame for _, frame in stream.pick(indices)])
            return replace(self.video, frames=frames, fps=fps, times=())

        picked = ", ".join(str(self.numbers[index]) for index in indices)
        return Clip(
            open_some, self.sha256, range(len(indices)), fps, self.size, self.output_size, self.resampled, picked=picked
        )

    def write(self, path: Path, frames: Iterable[np.ndarray]) -> None:
        """Write a version of the clip, uint8 [H, W, 3] each, at the output size with the clip's rate and sound."""
        write_clip(path, frames, self.video, self.output_size)

    def same_frames(self, path: Path) -> Iterator[np.ndarray]:
        """The frames of another file that stand where the clip's do, uint8 [H, W, 3] each at that file's own size."""
        numbers = self.numbers
        return iter_frames(path, start=numbers.start, stride=numbers.step, num_frames=len(numbers), fps=self.resampled)


def span(numbers: range) -> str:
    """Frame numbers for a person: ``0-46, every 2th``."""
    every = f", every {numbers.step}th" if numbers.step > 1 else ""
    return f"{numbers[0]}-{numbers[-1]}{every}"
