"""Frames and sound on their way into an mp4 that any browser plays: the lower half of `write_video`."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from videoedit.errors import ConfigError, ShapeError
from videoedit.media.decoding import ACCURATE, BT601, BT709, LIMITED, SIZE_TAG, fraction
from videoedit.media.sound import sound_packets

_FINE = Fraction(1, 90000)  # seconds; unit of a variable rate's times
Rate = int | float | str | Fraction


def as_rate(fps: Rate) -> Fraction:
    """Frames a second, exactly; ConfigError unless it is a positive number."""
    try:
        rate = Fraction(fps).limit_denominator(1001) if isinstance(fps, float) else Fraction(fps)
    except (TypeError, ValueError, OverflowError):
        rate = fraction(fps) if hasattr(fps, "denominator") else Fraction(0)
    if rate <= 0:
        raise ConfigError(f"frame rate {fps}: expected a positive number such as 24 or 30000/1001")
    return rate


def checked(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The frames as they come; ShapeError at the first that is no uint8 [H, W, 3] or not of the first one's size."""
    shape: tuple[int, ...] = ()
    for number, frame in enumerate(frames):
        array = np.asarray(frame)
        shape = shape or array.shape
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
            raise ShapeError(f"frame {number} is {array.dtype} {array.shape}; expected uint8 [H, W, 3]")
        if array.shape != shape:
            raise ShapeError(f"frame {number} is {array.shape}, the first was {shape}; expected one size")
        yield array


def encode(
    path: Path,
    frames: Iterator[np.ndarray],
    shape: tuple[int, ...],
    rate: Fraction,
    audio_from: Any,
    times: Sequence[Fraction] = (),
) -> None:
    """Write frames of `shape` [H, W, 3] and the sound of a file, or of a `Video`'s span, if it is not None.

    `times`, seconds of each frame and of the end, are those of a variable rate.
    """
    with contextlib.ExitStack() as stack:
        options = {"movflags": "+faststart+use_metadata_tags", "fflags": "+bitexact"}
        output = av.open(f"file:{path}", "w", format="mp4", options=options)
        try:
            video = _add_video(output, shape, rate, _tick(rate, times))
            sound = stack.enter_context(sound_packets(audio_from, output)) if audio_from is not None else ()
            packets = _video_packets(video, frames, _tick(rate, times), times)
            for packet in heapq.merge(packets, sound, key=lambda packet: packet.dts * fraction(packet.time_base)):
                output.mux(packet)
        except BaseException:
            with contextlib.suppress(Exception):
                output.close()
            raise
        output.close()


def _tick(rate: Fraction, times: Sequence[Fraction]) -> Fraction:
    """The unit of the frames' times, seconds."""
    return _FINE if times else 1 / rate


def _add_video(output: Any, shape: tuple[int, ...], rate: Fraction, tick: Fraction) -> Any:
    height, width = shape[:2]
    # Same bytes every time: x264's choices depend on the number of threads, and its AVX-512 code for macroblock
    # trees reads fresh memory, so that two runs differ; cpu-independent does without it.
    options = {"crf": "16", "preset": "medium", "x264-params": "cpu-independent=1"}
    stream = output.add_stream("libx264", rate=rate, options=options)
    context = stream.codec_context
    context.width, context.height = width + width % 2, height + height % 2
    context.pix_fmt, context.time_base = "yuv420p", tick
    context.thread_count, context.thread_type = 4, "FRAME"
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = LIMITED
    if width % 2 or height % 2:
        output.metadata[SIZE_TAG] = f"{width}x{height}"
    return stream


def _video_packets(
    stream: Any, frames: Iterator[np.ndarray], tick: Fraction, times: Sequence[Fraction]
) -> Iterator[Any]:
    for number, pixels in enumerate(frames):
        height, width = pixels.shape[:2]
        if width % 2 or height % 2:
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame = frame.reformat(
            format="yuv420p",
            src_colorspace=BT601,  # of no meaning for RGB, but PyAV 14 ignores the target if it equals this
            dst_colorspace=BT709,
            dst_color_range=LIMITED,
            interpolation=ACCURATE,
        )
        frame.pts, frame.time_base = number, tick
        if times:
            frame.pts = round(times[number] / tick)
            frame.duration = round(times[number + 1] / tick) - frame.pts
        yield from stream.encode(frame)
    yield from stream.encode(None)
