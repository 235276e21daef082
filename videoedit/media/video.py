"""Reading and writing clips with PyAV: streaming, exact rational rates, sound copied.

Frames are uint8 ``[H, W, 3]`` RGB as a player shows them: upright, square pixels, opaque. Colours follow the
source's tags; untagged video is read as BT.601, as FFmpeg does. Written files are tagged BT.709.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from videoedit.errors import ConfigError, InputError, OutputError, ShapeError
from videoedit.files import atomic_path
from videoedit.media.decoding import DamagedError, box_names
from videoedit.media.encoding import Rate, as_rate, checked, encode
from videoedit.media.shown import Shown, open_frames
from videoedit.media.timeline import VideoInfo, due_frames, probe
from videoedit.types import Video

PathLike = str | os.PathLike[str]


def read_video(
    path: PathLike,
    *,
    start: int = 0,
    stride: int = 1,
    num_frames: int | None = None,
    fps: Fraction | None = None,
    audio_track: int | None = None,
) -> Video:
    """Read every `stride`-th frame from frame `start` on; all of them, or exactly `num_frames`.

    The clip is a video, a picture, an animation or a folder of numbered pictures. The rate of the result is the
    source's over `stride`; a variable rate is kept, frame by frame, unless `fps` asks for a constant one (see `probe`).
    start_time counts from the clip's first frame. `audio_track` counts from 0; without it the one that players take.
    A still image or one-frame clip gives one frame whatever `num_frames` says, with a note.
    Raises InputError for unusable files and when fewer frames are there than asked.
    """
    video = open_video(path, start=start, stride=stride, num_frames=num_frames, fps=fps, audio_track=audio_track)
    passing = iter_frames(path, start=start, stride=stride, num_frames=num_frames, fps=fps)
    first = next(passing)
    frames = np.fromiter(chain([first], passing), np.dtype((np.uint8, first.shape)))
    still = len(frames) == 1 and (num_frames or 1) > 1
    note = f"{Path(path).name} has one frame: it is treated as a still image"
    return replace(video, frames=frames, notes=(*video.notes, note) if still else video.notes)


def open_video(
    path: PathLike,
    *,
    start: int = 0,
    stride: int = 1,
    num_frames: int | None = None,
    fps: Fraction | None = None,
    audio_track: int | None = None,
) -> Video:
    """Like `read_video`, but its frames are a `FrameStream`: decoded when asked for, so a clip may be of any length."""
    _check_selection(start, stride, num_frames)
    path = Path(path)
    info = probe(path, fps)
    there = max(1, len(range(start, info.frames, stride)))
    shape = (min(there, num_frames or there), info.height, info.width, 3)
    stream: Any = FrameStream(path, start, stride, shape, fps)
    return Video(
        frames=stream,
        fps=info.fps / stride,
        path=path,
        start_time=info.begins(start),
        source_size=(info.height, info.width),
        times=_selected_times(info, range(start, start + shape[0] * stride, stride)),
        origin=info.origin,
        audio_track=choose_track(path, info, audio_track),
        has_audio=info.has_audio,
        notes=(*info.notes, *_tracks_left_out(info, audio_track)),
    )


def _selected_times(info: VideoInfo, numbers: range) -> tuple[Fraction, ...]:
    """Seconds of the selected frames from the first of them, and of their end; empty for a constant rate."""
    if not info.times:
        return ()
    ends = [*numbers, min(numbers.stop, info.frames)]
    return tuple(info.begins(number) - info.begins(numbers.start) for number in ends)


def choose_track(path: Path, info: VideoInfo, wanted: int | None) -> int:
    """The number of the sound track to take; ConfigError if there is none of that number."""
    if wanted is not None and wanted >= max(1, len(info.tracks)):
        there = "; ".join(f"{number}: {words}" for number, words in enumerate(info.tracks)) or "none"
        raise ConfigError(f"sound track {wanted} of {path} was asked for; it has {there}")
    return info.track if wanted is None else wanted


def _tracks_left_out(info: VideoInfo, wanted: int | None) -> tuple[str, ...]:
    if len(info.tracks) < 2:
        return ()
    taken = info.track if wanted is None else wanted
    listed = "; ".join(f"{number}: {words}" for number, words in enumerate(info.tracks))
    return (f"of {len(info.tracks)} sound tracks ({listed}) number {taken} is kept; --audio-track chooses",)


def _check_selection(start: int, stride: int, num_frames: int | None) -> None:
    for name, value, least in (("start", start, 0), ("stride", stride, 1), ("num_frames", num_frames, 1)):
        if value is not None and value < least:
            raise ConfigError(f"{name} is {value}; expected at least {least}")


@dataclass(frozen=True)
class FrameStream:
    """The selected frames of a clip, read from the file at each pass over them; none is kept in memory."""

    path: Path
    start: int
    stride: int
    shape: tuple[int, int, int, int]  # (F, H, W, 3)
    fps: Fraction | None = None  # a constant rate to resample to

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        """Frames uint8 [H, W, 3] in order, from the first one at each call."""
        return iter_frames(self.path, start=self.start, stride=self.stride, num_frames=len(self), fps=self.fps)

    def pick(self, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        """(number, frame) of some frames, in ascending order: one pass up to the last of them."""
        wanted = set(indices)
        if outside := [index for index in wanted if not 0 <= index < len(self)]:
            raise ShapeError(f"frame {outside[0]} was asked of a clip of {len(self)}; expected numbers from 0 on")
        passing = zip(range(max(wanted, default=-1) + 1), self, strict=False)
        return ((index, frame) for index, frame in passing if index in wanted)


def iter_frames(
    path: PathLike, *, start: int = 0, stride: int = 1, num_frames: int | None = None, fps: Fraction | None = None
) -> Iterator[np.ndarray]:
    """Yield frames uint8 [H, W, 3] one at a time; frames that are not asked for are never converted or kept.

    Where the picture's size changes midway, all frames are brought to the first one's.
    Raises InputError on the first step for an unusable file, and after the last frame if there were too few.
    """
    _check_selection(start, stride, num_frames)
    path = Path(path)
    seen = taken = 0
    shape: tuple[int, ...] | None = None
    damaged = False
    with open_frames(path) as opened:
        try:
            for seen, frame in enumerate(_at_constant_rate(path, opened.frames, fps), 1):
                if seen <= start or (seen - 1 - start) % stride:
                    continue
                pixels = frame.pixels()
                if shape is not None and pixels.shape != shape:
                    pixels = stretch_frames(pixels, (shape[1], shape[0]))
                shape = pixels.shape
                taken += 1
                yield pixels
                if taken == num_frames:
                    return
        except DamagedError:
            damaged = True
    if seen == 1 and taken == 1:
        return  # a still
    if damaged or (path.is_file() and box_names(path)[1]):
        raise InputError(
            f"{path}: the file is damaged or cut short, only {seen} frames could be read"
            + (f" ({taken} with start {start} and stride {stride})" if taken != seen else "")
            + (f"; {num_frames or 'all'} frames were asked: ask for at most {taken}, or repair it" if taken else "")
        )
    if num_frames is not None or taken == 0:
        raise InputError(_too_few(path, seen, taken, start, stride, num_frames))


def _at_constant_rate(path: Path, frames: Iterator[Shown], fps: Fraction | None) -> Iterator[Shown]:
    """The frames as they are, or each as often as it is due at a constant rate."""
    if fps is None:
        yield from frames
        return
    due = Counter(due_frames(probe(path), fps))
    for number, frame in enumerate(frames):
        for _ in range(due[number]):
            yield frame


def _too_few(path: Path, seen: int, taken: int, start: int, stride: int, asked: int | None) -> str:
    if seen == 0:
        return f"{path}: no frame could be decoded; convert it to mp4 or give another file"
    if taken == 0:
        return f"{path}: start {start} lies beyond the clip's {seen} frames; choose a start below {seen}"
    return (
        f"{path}: {asked} frames asked from frame {start} with stride {stride}, but the clip has {seen}, "
        f"which gives {taken}; ask for at most {taken} frames, or a smaller start or stride"
    )


def stretch_frames(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize frames ([F, H, W, 3] or one [H, W, 3]) to `size` = (width, height): area down, bicubic up."""
    if len(size) != 2 or min(size) < 1:
        raise ConfigError(f"size {size}: expected (width, height), both at least 1")
    width, height = size
    tall, wide = frames.shape[-3:-1]
    if (width, height) == (wide, tall):
        return np.ascontiguousarray(frames)
    if frames.ndim == 4:
        return np.stack([stretch_frames(frame, size) for frame in frames])
    method = cv2.INTER_AREA if width <= wide and height <= tall else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(np.ascontiguousarray(frames), (width, height), interpolation=method))


def write_video(
    path: PathLike,
    frames: np.ndarray | Iterable[np.ndarray],
    fps: Rate,
    *,
    audio_from: PathLike | Video | None = None,
    times: Sequence[Fraction] = (),
) -> None:
    """Write an mp4 that any browser plays: H.264 yuv420p, index first; same frames, same bytes.

    `frames` is an array [F, H, W, 3] or any iterable of [H, W, 3], uint8 RGB, encoded as it comes. The rate is kept
    exactly. Sound is copied unchanged where mp4 allows it (else encoded as AAC) from a file (all of it) or from a
    `Video` (the span that it covers). `times` are seconds of each frame and of the end, of a variable rate.
    H.264 yuv420p has even sides only: an odd side gets its last column or row twice, and the file remembers the true
    size for `read_video`.
    The file appears whole or not at all. Raises OutputError (disk full, no permission, not an .mp4 or .mov),
    ShapeError (not frames), InputError (the sound's file).
    """
    path, rate = Path(path), as_rate(fps)
    if path.suffix.lower() not in (".mp4", ".m4v", ".mov"):
        raise OutputError(f"{path}: videos are written as .mp4; choose such a name")
    if path.is_dir():
        raise OutputError(f"{path}: this is a folder; choose a file name that ends in .mp4")
    passing = checked(frames)
    first = next(passing, None)
    if first is None:
        raise ShapeError(f"{path}: no frames to write; expected at least one [H, W, 3]")
    with atomic_path(path) as temporary:
        try:
            encode(temporary, chain([first], passing), first.shape, rate, audio_from, times)
        except av.FFmpegError as error:
            if isinstance(error, OSError):  # the disk: explained by atomic_path
                raise
            raise OutputError(f"{path}: cannot be encoded ({error.strerror})") from error


def write_clip(path: Path, frames: Iterable[np.ndarray], video: Video, size: tuple[int, int]) -> None:
    """Write frames, uint8 [H, W, 3] each, at `size` (width, height) with the timing and sound of `video`."""
    resized = (stretch_frames(frame, size) for frame in frames)
    write_video(path, resized, video.fps, audio_from=video if video.has_audio else None, times=video.times)
