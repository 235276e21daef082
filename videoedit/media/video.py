"""Reading and writing clips with PyAV: streaming, exact rational rates, sound copied.

Frames are uint8 ``[H, W, 3]`` RGB as a player shows them: upright, square pixels, opaque. Colours follow the
source's tags; untagged video is read as BT.601, as FFmpeg does. Written files are tagged BT.709.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
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
from videoedit.media.decoding import (
    DamagedError,
    box_names,
    decoded_frames,
    frame_rate,
    frame_times,
    has_alpha,
    open_clip,
    pixel_aspect,
    to_rgb,
)
from videoedit.media.encoding import Rate, as_rate, checked, encode
from videoedit.types import Video

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class VideoInfo:
    """Facts of a clip. Width and height are as displayed."""

    frames: int
    fps: Fraction
    width: int
    height: int
    has_audio: bool
    duration: Fraction
    is_variable_rate: bool
    notes: tuple[str, ...] = ()


def probe(path: PathLike) -> VideoInfo:
    """Look at a clip: reads the file once without decoding it, and decodes the first frame.

    Raises InputError, one line, for anything that is not a readable video or image.
    """
    return _examine(Path(path))[0]


def _examine(path: Path) -> tuple[VideoInfo, list[Fraction]]:
    """The facts of a clip, and the times of the frames in seconds from the first."""
    with open_clip(path) as (container, stream):
        times, last = frame_times(container, stream)
        fps, variable = frame_rate(container, stream, times, last)
    with open_clip(path) as (container, stream):
        frame = _first_frame(path, container, stream)
        height, width = to_rgb(frame, container, stream).shape[:2]
        has_audio = bool(container.streams.audio)
        aspect = pixel_aspect(stream)
    notes = {
        f"variable frame rate: frames are kept and played at the average, {float(fps):.3f} a second": variable,
        f"the file is cut short: {len(times)} frames can be read": box_names(path)[1],
        "more than 8 bits a colour: read as 8": _bits(frame) > 8,
        "HDR source read without tone mapping: colours look pale": int(stream.codec_context.color_trc) in (16, 18),
        "interlaced source: fields are not separated": bool(frame.interlaced_frame),
        f"pixels are not square ({aspect}): resized to {width}x{height}": aspect != 1,
        "transparent parts are laid over white": has_alpha(frame) and _transparent(frame),
    }
    info = VideoInfo(
        frames=len(times),
        fps=fps,
        width=width,
        height=height,
        has_audio=has_audio,
        duration=len(times) / fps,
        is_variable_rate=variable,
        notes=tuple(note for note, holds in notes.items() if holds),
    )
    return info, times


def _first_frame(path: Path, container: Any, stream: Any) -> Any:
    with contextlib.suppress(DamagedError):
        for frame in decoded_frames(container, stream):
            return frame
    raise InputError(_too_few(path, 0, 0, 0, 1, None))


def _bits(frame: Any) -> int:
    return 8 if frame.format.has_palette else max(component.bits for component in frame.format.components)


def _transparent(frame: Any) -> bool:
    return int(frame.to_ndarray(format="rgba")[..., 3].min()) < 255


def read_video(
    path: PathLike,
    *,
    start: int = 0,
    stride: int = 1,
    num_frames: int | None = None,
) -> Video:
    """Read every `stride`-th frame from frame `start` on; all of them, or exactly `num_frames`.

    The rate of the result is the source's over `stride` (a variable rate: its average); start_time counts from the
    clip's first frame.
    A still image or one-frame clip gives one frame whatever `num_frames` says, with a note.
    Raises InputError for unusable files and when fewer frames are there than asked.
    """
    video = open_video(path, start=start, stride=stride, num_frames=num_frames)
    passing = iter_frames(path, start=start, stride=stride, num_frames=num_frames)
    first = next(passing)
    frames = np.fromiter(chain([first], passing), np.dtype((np.uint8, first.shape)))
    still = len(frames) == 1 and (num_frames or 1) > 1
    note = f"{Path(path).name} has one frame: it is treated as a still image"
    return replace(video, frames=frames, notes=(*video.notes, note) if still else video.notes)


def open_video(path: PathLike, *, start: int = 0, stride: int = 1, num_frames: int | None = None) -> Video:
    """Like `read_video`, but its frames are a `FrameStream`: decoded when asked for, so a clip may be of any length."""
    _check_selection(start, stride, num_frames)
    path = Path(path)
    info, times = _examine(path)
    there = max(1, len(range(start, info.frames, stride)))
    stream: Any = FrameStream(path, start, stride, (min(there, num_frames or there), info.height, info.width, 3))
    return Video(
        frames=stream,
        fps=info.fps / stride,
        path=path,
        start_time=times[start] if info.is_variable_rate and start < len(times) else start / info.fps,
        source_size=(info.height, info.width),
        has_audio=info.has_audio,
        notes=info.notes,
    )


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

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        """Frames uint8 [H, W, 3] in order, from the first one at each call."""
        return iter_frames(self.path, start=self.start, stride=self.stride, num_frames=len(self))

    def pick(self, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        """(number, frame) of some frames, in ascending order: one pass up to the last of them."""
        wanted = set(indices)
        if outside := [index for index in wanted if not 0 <= index < len(self)]:
            raise ShapeError(f"frame {outside[0]} was asked of a clip of {len(self)}; expected numbers from 0 on")
        passing = zip(range(max(wanted, default=-1) + 1), self, strict=False)
        return ((index, frame) for index, frame in passing if index in wanted)


def iter_frames(
    path: PathLike, *, start: int = 0, stride: int = 1, num_frames: int | None = None
) -> Iterator[np.ndarray]:
    """Yield frames uint8 [H, W, 3] one at a time; frames that are not asked for are never converted or kept.

    Raises InputError on the first step for an unusable file, and after the last frame if there were too few.
    """
    _check_selection(start, stride, num_frames)
    path = Path(path)
    seen = taken = 0
    shape: tuple[int, ...] | None = None
    damaged = False
    with open_clip(path) as (container, stream):
        try:
            for seen, frame in enumerate(decoded_frames(container, stream), 1):
                if seen <= start or (seen - 1 - start) % stride:
                    continue
                pixels = to_rgb(frame, container, stream)
                if shape is not None and pixels.shape != shape:  # the resolution changes midway
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
    if damaged or box_names(path)[1]:
        raise InputError(
            f"{path}: the file is damaged or cut short, only {seen} frames could be read"
            + (f" ({taken} with start {start} and stride {stride})" if taken != seen else "")
            + (f"; {num_frames or 'all'} frames were asked: ask for at most {taken}, or repair it" if taken else "")
        )
    if num_frames is not None or taken == 0:
        raise InputError(_too_few(path, seen, taken, start, stride, num_frames))


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
) -> None:
    """Write an mp4 that any browser plays: H.264 yuv420p, index first; same frames, same bytes.

    `frames` is an array [F, H, W, 3] or any iterable of [H, W, 3], uint8 RGB, encoded as it comes. The rate is kept
    exactly. Sound is copied unchanged where mp4 allows it (else encoded as AAC) from a file (all of it) or from a
    `Video` (the span that it covers). H.264 yuv420p has even sides only: an odd side gets its last column or row
    twice, and the file remembers the true size for `read_video`.
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
            encode(temporary, chain([first], passing), first.shape, rate, audio_from)
        except av.FFmpegError as error:
            if isinstance(error, OSError):  # the disk: explained by atomic_path
                raise
            raise OutputError(f"{path}: cannot be encoded ({error.strerror})") from error


def write_clip(path: Path, frames: Iterable[np.ndarray], video: Video, size: tuple[int, int]) -> None:
    """Write frames, uint8 [H, W, 3] each, at `size` (width, height) with the rate and sound of `video`."""
    resized = (stretch_frames(frame, size) for frame in frames)
    write_video(path, resized, video.fps, audio_from=video if video.has_audio else None)
