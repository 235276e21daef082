"""The findings of FFmpeg in a file, made plain: its frames, their times, and how each looks when displayed.

The lower half of `videoedit.media.video`. Works with PyAV 14 to 19, whose rationals differ (see `fraction`).
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from videoedit.errors import InputError
from videoedit.media.images import lay_over_white

ACCURATE = 0x4 | 0x2000 | 0x4000 | 0x40000  # swscale: bicubic, full chroma in and out, accurate rounding
BT601, BT709, LIMITED, _FULL = 5, 1, 1, 2  # FFmpeg's numbers for matrices and ranges
SIZE_TAG = "videoedit_size"  # shown size of an odd-sized clip that is stored with even sides
OPEN_OPTIONS: dict[str, Any] = {"options": {"pattern_type": "none"}}  # a "%" in an image's name is just that
if int(av.__version__.split(".")[0]) < 19:
    OPEN_OPTIONS["metadata_errors"] = "replace"
_MATRIX = {1: BT709, 4: 4, 7: 7, 9: 9, 10: 9}  # AVColorSpace -> swscale's matrix; the rest is BT.601
_TURNED = {-90: (True, True, False), 90: (True, False, True), 180: (False, True, True), -180: (False, True, True)}
_TEXT_ART = {"tty", "bin", "xbin", "adf", "idf"}  # FFmpeg would render text files as video


class DamagedError(Exception):
    """The stream breaks off here; all frames before were delivered."""


@contextlib.contextmanager
def open_clip(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its video stream, or one InputError that says what is wrong."""
    check_file(path)
    try:
        container = av.open(f"file:{path}", **OPEN_OPTIONS)
    except (av.FFmpegError, OSError) as error:
        names, _ = box_names(path)
        if "ftyp" in names and "moov" not in names:
            raise InputError(
                f"{path}: the file is cut short or was never finished (its index, 'moov', is missing); "
                "copy or export it again"
            ) from error
        raise InputError(f"{path}: not a video or image that can be read; expected mp4, webm, gif, png ...") from error
    with container:
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams or streams[0].codec_context is None or container.format.name in _TEXT_ART:
            kind = "has sound but no picture" if container.streams.audio else "not a video or image that can be read"
            raise InputError(f"{path}: {kind}; expected mp4, webm, gif, png ...")
        yield container, streams[0]


def check_file(path: Path) -> None:
    if not path.exists():
        raise InputError(f"{path}: no such file; give the path of a video or image")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise InputError(f"{path}: this is {kind}; give the path of one video or image")
    try:
        with path.open("rb") as handle:
            empty = not handle.read(1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if empty:
        raise InputError(f"{path}: the file is empty (0 bytes); copy or export it again")


def box_names(path: Path) -> tuple[list[str], bool]:
    """Top-level boxes of an mp4/mov file and whether the file ends inside the last one; ([], False) for others."""
    names: list[str] = []
    total, position = path.stat().st_size, 0
    with path.open("rb") as handle:
        while position + 8 <= total:
            handle.seek(position)
            head = handle.read(16)
            size, name = int.from_bytes(head[:4], "big"), head[4:8].decode("latin-1")
            if not names and name not in ("ftyp", "moov", "mdat", "wide", "free", "skip"):
                return [], False
            size = int.from_bytes(head[8:], "big") if size == 1 else size or total - position
            names.append(name)
            if size < 8:
                return names, False
            position += size
    return names, position > total


def decoded_frames(container: Any, stream: Any) -> Iterator[Any]:
    """Frames in display order; DamagedError after the last one where the data is cut or broken at its end."""
    stream.thread_type = "AUTO"
    decoder = _alpha_decoder(stream) or stream.codec_context
    seen, broken = 0, False
    for packet in _whole_packets(container, stream):
        try:
            frames = decoder.decode(packet) if packet else []
            broken = bool(seen) and (packet is None or (broken and not frames))
        except av.FFmpegError:
            frames, broken = [], bool(seen)  # a stream that was joined midway begins broken
        yield from frames
        seen += len(frames)
    with contextlib.suppress(av.FFmpegError):
        yield from decoder.decode(None)
    if broken:
        raise DamagedError


def _whole_packets(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of a stream; None at the end if it breaks off there. A corrupt one counts if others follow."""
    held = None
    with contextlib.closing(container.demux(stream)) as packets:
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except av.FFmpegError:
                yield None
                return
            if held is not None and packet.size:
                yield held
                held = None
            if packet.is_corrupt:
                held = packet
            else:
                yield packet
    if held is not None:
        yield None


def _alpha_decoder(stream: Any) -> Any:
    """The decoder that knows the transparency of WebM, if it has some and this FFmpeg that decoder; else None."""
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name)
    if name is None or "1" not in (stream.metadata.get(key) for key in ("alpha_mode", "ALPHA_MODE")):
        return None
    try:
        return av.CodecContext.create(name, "r")
    except (av.FFmpegError, ValueError):
        return None


def to_rgb(frame: Any, container: Any, stream: Any) -> np.ndarray:
    """One decoded frame as displayed: cropped, square pixels, upright; transparency laid over white."""
    kind = frame.format
    options: dict[str, Any] = {}
    if not (kind.is_rgb or kind.has_palette):
        options = {
            "src_colorspace": _MATRIX.get(int(frame.colorspace), BT601),
            "dst_colorspace": BT601,
            "interpolation": ACCURATE,
        }
        if int(frame.color_range) == _FULL or kind.name.startswith("yuvj"):
            options["src_color_range"] = _FULL
    if (aspect := pixel_aspect(stream)) != 1:
        options |= {"width": max(1, round(frame.width * aspect)), "interpolation": ACCURATE}
    alpha = has_alpha(frame)
    pixels: np.ndarray = frame.to_ndarray(format="rgba" if alpha else "rgb24", **options)
    if alpha:
        pixels = lay_over_white(pixels[..., :3], pixels[..., 3:])
    if shown := container.metadata.get(SIZE_TAG):
        width, height = map(int, shown.split("x"))
        pixels = pixels[:height, :width]
    swap, flip_x, flip_y = orientation(frame, stream.codec_context.name)
    pixels = pixels.transpose(1, 0, 2) if swap else pixels
    return np.ascontiguousarray(pixels[:: -1 if flip_y else 1, :: -1 if flip_x else 1])


def has_alpha(frame: Any) -> bool:
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)


def pixel_aspect(stream: Any) -> Fraction:
    """Width over height of one pixel; 1 where unknown or absurd."""
    aspect = fraction(stream.sample_aspect_ratio)
    return aspect if aspect and Fraction(1, 5) < aspect < 5 else Fraction(1)


def orientation(frame: Any, codec: str) -> tuple[bool, bool, bool]:
    """(swap axes, then flip x, then flip y) that bring a frame upright, from its display matrix.

    The side data of PNG is not touched: PyAV would free the name of its color profile a second time.
    """
    data = None
    if codec not in ("png", "apng"):
        with contextlib.suppress(ValueError):  # some of it is of a sort that this PyAV has no name for
            data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return _TURNED.get(int(frame.rotation), (False, False, False))
    a, b, _, c, d = np.frombuffer(bytes(data), "<i4")[:5].tolist()  # x' = a x + c y, y' = b x + d y
    return (True, c < 0, b < 0) if abs(b) > abs(a) else (False, a < 0, d < 0)


def frame_rate(
    times: list[Fraction], lasts: Fraction, declared: Sequence[Fraction], tick: Fraction
) -> tuple[Fraction, bool]:
    """(frame rate, is it variable). The declared rate if the frames' times agree, else the average of the times."""
    if len(times) < 2 or times[-1] == 0:
        return (declared[0] if declared else Fraction(1)), False
    span, mean = times[-1], times[-1] / (len(times) - 1)
    if any(abs(b - a - mean) > tick + mean / 20 for a, b in itertools.pairwise(times)):
        return (len(times) / (span + (lasts or mean))).limit_denominator(1001), True
    agreeing = [rate for rate in declared if abs((len(times) - 1) / rate - span) <= 2 * tick]
    return (agreeing[0] if agreeing else (1 / mean).limit_denominator(1001)), False


def fraction(value: Any) -> Fraction:
    """PyAV's rational of any version (None: 0) as a Fraction."""
    return Fraction(value.numerator, value.denominator) if value is not None and value.denominator else Fraction(0)
