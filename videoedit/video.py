"""Reading and writing clips with PyAV: streaming, exact rational rates, sound copied.

Frames are uint8 ``[H, W, 3]`` RGB as a player shows them: upright, square pixels, opaque. Colours follow the
source's tags; untagged video is read as BT.601, as FFmpeg does. Written files are tagged BT.709.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.stream import Disposition

from videoedit.errors import ConfigError, InputError, OutputError, ShapeError
from videoedit.run import atomic_path
from videoedit.types import Video

Rate = int | float | str | Fraction
PathLike = str | os.PathLike[str]

_ACCURATE = 0x4 | 0x2000 | 0x4000 | 0x40000  # swscale: bicubic, full chroma in and out, accurate rounding
_BT601, _BT709, _LIMITED, _FULL = 5, 1, 1, 2  # FFmpeg's numbers for matrices and ranges
_MATRIX = {1: _BT709, 4: 4, 7: 7, 9: 9, 10: 9}  # AVColorSpace -> swscale's matrix; the rest is BT.601
_OPEN: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
_TEXT_ART = {"tty", "bin", "xbin", "adf", "idf"}  # FFmpeg would render text files as video
_COPIED_AUDIO = {"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"}  # what fits an mp4 unchanged
_PREROLL = Fraction(1, 10)  # sound decoders need a little before the cut; the edit list hides it
_SIZE_TAG = "videoedit_size"  # shown size of an odd-sized clip that is stored with even sides


@dataclass(frozen=True)
class VideoInfo:
    """What `probe` found. Width and height are as displayed; rotation is clockwise, already applied to them."""

    frames: int
    fps: Fraction
    width: int
    height: int
    rotation: int
    has_audio: bool
    duration: Fraction
    is_variable_rate: bool
    notes: tuple[str, ...] = ()


class _DamagedError(Exception):
    """The stream breaks off here; all frames before were delivered."""


# ---------------------------------------------------------------- reading


def probe(path: PathLike) -> VideoInfo:
    """Look at a clip: reads the file once without decoding it, and decodes the first frame.

    Raises InputError, one line, for anything that is not a readable video or image.
    """
    return _examine(Path(path))[0]


def read_video(
    path: PathLike,
    *,
    start: int = 0,
    stride: int = 1,
    num_frames: int | None = None,
    size: tuple[int, int] | None = None,
) -> Video:
    """Read every `stride`-th frame from frame `start` on; all of them, or exactly `num_frames`.

    `size` is (width, height): frames are cropped to its aspect and resized. The rate of the result is the
    source's over `stride` (a variable rate: its average); start_time counts from the clip's first frame.
    A still image or one-frame clip gives one frame whatever `num_frames` says, with a note.
    Raises InputError for unusable files and when fewer frames are there than asked.
    """
    path = Path(path)
    info, times = _examine(path)
    notes = list(info.notes)
    there = max(1, len(range(start, info.frames, stride)) if start >= 0 and stride > 0 else 1)
    frames = np.empty(0, np.uint8)
    count = 0
    for pixels in iter_frames(path, start=start, stride=stride, num_frames=num_frames):
        pixels = pixels if size is None else resize_frames(pixels, size)
        if count == 0:
            frames = np.empty((min(there, num_frames or there), *pixels.shape), np.uint8)
        elif count == len(frames):  # more frames than packets: rare codecs
            frames = np.concatenate([frames, np.empty_like(frames)])
        frames[count] = pixels
        count += 1
    if count == 1 and (num_frames or 1) > 1:
        notes.append(f"{path.name} has one frame: it is treated as a still image")
    began = times[start] if info.is_variable_rate and start < len(times) else start / info.fps
    return Video(
        frames=frames[:count],
        fps=info.fps / stride,
        path=path,
        start_time=began,
        source_size=(info.height, info.width),
        has_audio=info.has_audio,
        notes=tuple(notes),
    )


def iter_frames(
    path: PathLike, *, start: int = 0, stride: int = 1, num_frames: int | None = None
) -> Iterator[np.ndarray]:
    """Yield frames uint8 [H, W, 3] one at a time; frames that are not asked for are never converted or kept.

    Raises InputError on the first step for an unusable file, and after the last frame if there were too few.
    """
    for name, value, least in (("start", start, 0), ("stride", stride, 1), ("num_frames", num_frames, 1)):
        if value is not None and value < least:
            raise ConfigError(f"{name} is {value}; expected at least {least}")
    path = Path(path)
    seen = taken = 0
    shape: tuple[int, ...] | None = None
    damaged = False
    with _open(path) as (container, stream):
        try:
            for seen, frame in enumerate(_decoded(container, stream), 1):
                if seen <= start or (seen - 1 - start) % stride:
                    continue
                pixels = _to_rgb(frame, container, stream)
                if shape is not None and pixels.shape != shape:  # the resolution changes midway
                    pixels = stretch_frames(pixels, (shape[1], shape[0]))
                shape = pixels.shape
                taken += 1
                yield pixels
                if taken == num_frames:
                    return
        except _DamagedError:
            damaged = True
    if seen == 1 and taken == 1:
        return  # a still
    if damaged or _box_names(path)[1]:
        raise InputError(
            f"{path}: the file is damaged or cut short, only {seen} frames could be read"
            + (f" ({taken} with start {start} and stride {stride})" if taken != seen else "")
            + (
                f"; {num_frames or 'all'} frames were asked: ask for at most {taken}, or repair it"
                if taken
                else ""
            )
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


@contextlib.contextmanager
def _open(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its video stream, or one InputError that says what is wrong."""
    _check_file(path)
    try:
        container = av.open(f"file:{path}", **_OPEN)
    except (av.FFmpegError, OSError) as error:
        names, _ = _box_names(path)
        if "ftyp" in names and "moov" not in names:
            raise InputError(
                f"{path}: the file is cut short or was never finished (its index, 'moov', is missing); "
                "copy or export it again"
            ) from error
        raise InputError(
            f"{path}: not a video or image that can be read; expected mp4, webm, gif, png ..."
        ) from error
    with container:
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams or streams[0].codec_context is None or container.format.name in _TEXT_ART:
            kind = (
                "has sound but no picture"
                if container.streams.audio
                else "not a video or image that can be read"
            )
            raise InputError(f"{path}: {kind}; expected mp4, webm, gif, png ...")
        yield container, streams[0]


def _check_file(path: Path) -> None:
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


def _box_names(path: Path) -> tuple[list[str], bool]:
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


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Frames in display order; _DamagedError after the last good one where the data is cut or broken."""
    stream.thread_type = "AUTO"
    seen = 0
    with contextlib.closing(container.demux(stream)) as packets:
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = [] if packet.is_corrupt else packet.decode()
                broken = packet.is_corrupt
            except av.FFmpegError:
                frames, broken = [], True
            yield from frames
            seen += len(frames)
            if broken and seen:  # before the first frame: a stream that was joined midway; go on
                break
    with contextlib.suppress(av.FFmpegError):
        yield from stream.decode(None)
    raise _DamagedError


def _to_rgb(frame: Any, container: Any, stream: Any) -> np.ndarray:
    """One decoded frame as displayed: cropped, square pixels, upright; transparency laid over white."""
    kind = frame.format
    options: dict[str, Any] = {}
    if not (kind.is_rgb or kind.has_palette):
        options = {
            "src_colorspace": _MATRIX.get(int(frame.colorspace), _BT601),
            "dst_colorspace": _BT601,
            "interpolation": _ACCURATE,
        }
        if int(frame.color_range) == _FULL or kind.name.startswith("yuvj"):
            options["src_color_range"] = _FULL
    alpha = _has_alpha(frame)
    pixels: np.ndarray = frame.to_ndarray(format="rgba" if alpha else "rgb24", **options)
    if alpha:
        opacity = pixels[..., 3:].astype(np.uint32)
        pixels = ((pixels[..., :3] * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)
    if shown := container.metadata.get(_SIZE_TAG):
        width, height = map(int, shown.split("x"))
        pixels = pixels[:height, :width]
    if (aspect := _pixel_aspect(stream)) != 1:
        pixels = stretch_frames(
            np.ascontiguousarray(pixels), (round(pixels.shape[1] * aspect), pixels.shape[0])
        )
    swap, flip_x, flip_y = _orientation(frame)
    pixels = pixels.transpose(1, 0, 2) if swap else pixels
    return np.ascontiguousarray(pixels[:: -1 if flip_y else 1, :: -1 if flip_x else 1])


def _has_alpha(frame: Any) -> bool:
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)


def _pixel_aspect(stream: Any) -> Fraction:
    """Width over height of one pixel; 1 where unknown or absurd."""
    aspect = _fraction(stream.sample_aspect_ratio)
    return aspect if aspect and Fraction(1, 5) < aspect < 5 else Fraction(1)


def _orientation(frame: Any) -> tuple[bool, bool, bool]:
    """(swap axes, then flip x, then flip y) that bring a frame upright, from its display matrix."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(data), "<i4")[:5].tolist()  # x' = a x + c y, y' = b x + d y
    return (True, c < 0, b < 0) if abs(b) > abs(a) else (False, a < 0, d < 0)


def _fraction(value: Any) -> Fraction:
    """PyAV's rational of any version (None: 0) as a Fraction."""
    return (
        Fraction(value.numerator, value.denominator)
        if value is not None and value.denominator
        else Fraction(0)
    )


def _examine(path: Path) -> tuple[VideoInfo, list[Fraction]]:
    """What `probe` returns, and the times of the frames in seconds from the first."""
    with _open(path) as (container, stream):
        times, last = _frame_times(container, stream)
        fps, variable = _rate(container, stream, times, last)
    with _open(path) as (container, stream):
        frame = _first_frame(path, container, stream)
        height, width = _to_rgb(frame, container, stream).shape[:2]
        has_audio = bool(container.streams.audio)
        aspect = _pixel_aspect(stream)
    turn = {(True, True, False): 90, (False, True, True): 180, (True, False, True): 270}
    notes = {
        f"variable frame rate: frames are kept and played at the average, {float(fps):.3f} a second": variable,
        f"the file is cut short: {len(times)} frames can be read": _box_names(path)[1],
        "more than 8 bits a colour: read as 8": _bits(frame) > 8,
        "HDR source read without tone mapping: colours look pale": int(stream.codec_context.color_trc) in (16, 18),
        "interlaced source: fields are not separated": bool(frame.interlaced_frame),
        f"pixels are not square ({aspect}): resized to {width}x{height}": aspect != 1,
        "transparent parts are laid over white": _has_alpha(frame) and _transparent(frame),
    }
    info = VideoInfo(
        frames=len(times),
        fps=fps,
        width=width,
        height=height,
        rotation=turn.get(_orientation(frame), 0),
        has_audio=has_audio,
        duration=len(times) / fps,
        is_variable_rate=variable,
        notes=tuple(note for note, holds in notes.items() if holds),
    )
    return info, times


def _first_frame(path: Path, container: Any, stream: Any) -> Any:
    with contextlib.suppress(_DamagedError):
        for frame in _decoded(container, stream):
            return frame
    raise InputError(_too_few(path, 0, 0, 0, 1, None))


def _bits(frame: Any) -> int:
    return 8 if frame.format.has_palette else max(component.bits for component in frame.format.components)


def _transparent(frame: Any) -> bool:
    return int(frame.to_ndarray(format="rgba")[..., 3].min()) < 255


def _frame_times(container: Any, stream: Any) -> tuple[list[Fraction], Fraction]:
    """Times of all frames in seconds from the first, without decoding; and how long the last one lasts (or 0)."""
    tick = _fraction(stream.time_base)
    stamps: list[tuple[int, int]] = []
    with contextlib.suppress(av.FFmpegError):  # a cut file: what is there
        for packet in container.demux(stream):
            if packet.is_corrupt:
                break
            if packet.size and not packet.is_discard:
                stamp = packet.pts if packet.pts is not None else packet.dts
                stamps.append((len(stamps) if stamp is None else stamp, packet.duration or 0))
    stamps.sort()
    return [(stamp - stamps[0][0]) * tick for stamp, _ in stamps], stamps[-1][
        1
    ] * tick if stamps else Fraction(0)


def _rate(container: Any, stream: Any, times: list[Fraction], last: Fraction) -> tuple[Fraction, bool]:
    """(frame rate, is it variable). The declared rate if the frames' times agree, else the average of the times."""
    declared = [_fraction(r) for r in (stream.average_rate, stream.guessed_rate, stream.base_rate) if r]
    if len(times) < 2 or times[-1] == 0:
        image = container.format.name.endswith("_pipe") or container.format.name == "image2"
        return (declared[0] if declared and not image else Fraction(1)), False
    tick, span, mean = _fraction(stream.time_base), times[-1], times[-1] / (len(times) - 1)
    if any(abs(b - a - mean) > tick + mean / 20 for a, b in itertools.pairwise(times)):
        return (len(times) / (span + (last or mean))).limit_denominator(1001), True
    agreeing = [rate for rate in declared if abs((len(times) - 1) / rate - span) <= 2 * tick]
    return (agreeing[0] if agreeing else (1 / mean).limit_denominator(1001)), False


# ---------------------------------------------------------------- resizing


def resize_frames(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Crop frames ([F, H, W, 3] or one [H, W, 3]) about the centre to the aspect of `size`, then resize to it."""
    width, height = _check_size(size)
    tall, wide = frames.shape[-3:-1]
    if wide * height > tall * width:
        crop = max(1, round(tall * width / height))
        left = (wide - crop) // 2
        frames = frames[..., left : left + crop, :]
    else:
        crop = max(1, round(wide * height / width))
        top = (tall - crop) // 2
        frames = frames[..., top : top + crop, :, :]
    return stretch_frames(frames, size)


def stretch_frames(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize frames ([F, H, W, 3] or one [H, W, 3]) to `size` = (width, height): area down, bicubic up."""
    width, height = _check_size(size)
    tall, wide = frames.shape[-3:-1]
    if (width, height) == (wide, tall):
        return np.ascontiguousarray(frames)
    if frames.ndim == 4:
        return np.stack([stretch_frames(frame, size) for frame in frames])
    method = cv2.INTER_AREA if width <= wide and height <= tall else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(np.ascontiguousarray(frames), (width, height), interpolation=method))


def _check_size(size: tuple[int, int]) -> tuple[int, int]:
    if len(size) != 2 or min(size) < 1:
        raise ConfigError(f"size {size}: expected (width, height), both at least 1")
    return size


# ---------------------------------------------------------------- writing


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
    path, rate = Path(path), _as_rate(fps)
    if path.suffix.lower() not in (".mp4", ".m4v", ".mov"):
        raise OutputError(f"{path}: videos are written as .mp4; choose such a name")
    if path.is_dir():
        raise OutputError(f"{path}: this is a folder; choose a file name that ends in .mp4")
    stream = iter(frames)
    first = next(stream, None)
    if first is None:
        raise ShapeError(f"{path}: no frames to write; expected at least one [H, W, 3]")
    checked = _checked(chain([first], stream), np.shape(first))
    with atomic_path(path) as temporary:
        try:
            _encode(temporary, checked, np.shape(first), rate, audio_from)
        except av.FFmpegError as error:
            if isinstance(error, OSError):  # the disk: explained by atomic_path
                raise
            raise OutputError(f"{path}: cannot be encoded ({error.strerror})") from error


def _as_rate(fps: Rate) -> Fraction:
    try:
        rate = Fraction(fps).limit_denominator(1001) if isinstance(fps, float) else Fraction(fps)
    except (TypeError, ValueError, OverflowError):
        rate = _fraction(fps) if hasattr(fps, "denominator") else Fraction(0)
    if rate <= 0:
        raise ConfigError(f"frame rate {fps}: expected a positive number such as 24 or 30000/1001")
    return rate


def _checked(frames: Iterable[np.ndarray], shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    for number, frame in enumerate(frames):
        array = np.asarray(frame)
        if array.shape != shape or len(shape) != 3 or shape[2] != 3 or array.dtype != np.uint8:
            wanted = shape if len(shape) == 3 and shape[2] == 3 else "[H, W, 3]"
            raise ShapeError(f"frame {number} is {array.dtype} {array.shape}; expected uint8 {wanted}")
        yield array


def _encode(
    path: Path, frames: Iterator[np.ndarray], shape: tuple[int, ...], rate: Fraction, audio_from: Any
) -> None:
    with contextlib.ExitStack() as stack:
        options = {"movflags": "+faststart+use_metadata_tags", "fflags": "+bitexact"}
        output = av.open(f"file:{path}", "w", format="mp4", options=options)
        try:
            video = _add_video(output, shape, rate)
            sound = stack.enter_context(_sound(audio_from, output)) if audio_from is not None else ()
            packets = _video_packets(video, frames, rate)
            for packet in heapq.merge(
                packets, sound, key=lambda packet: packet.dts * _fraction(packet.time_base)
            ):
                output.mux(packet)
        except BaseException:
            with contextlib.suppress(Exception):
                output.close()
            raise
        output.close()


def _add_video(output: Any, shape: tuple[int, ...], rate: Fraction) -> Any:
    height, width = shape[:2]
    # Same bytes every time: x264's choices depend on the number of threads, and its AVX-512 code for macroblock
    # trees reads memory that it did not write (two runs differ), which cpu-independent avoids.
    options = {"crf": "16", "preset": "medium", "x264-params": "cpu-independent=1"}
    stream = output.add_stream("libx264", rate=rate, options=options)
    context = stream.codec_context
    context.width, context.height = width + width % 2, height + height % 2
    context.pix_fmt, context.time_base = "yuv420p", 1 / rate
    context.thread_count, context.thread_type = 4, "FRAME"
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED
    if width % 2 or height % 2:
        output.metadata[_SIZE_TAG] = f"{width}x{height}"
    return stream


def _video_packets(stream: Any, frames: Iterator[np.ndarray], rate: Fraction) -> Iterator[Any]:
    for number, pixels in enumerate(frames):
        height, width = pixels.shape[:2]
        if width % 2 or height % 2:
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame = frame.reformat(
            format="yuv420p",
            src_colorspace=_BT601,  # of no meaning for RGB, but PyAV 14 ignores the target if it equals this
            dst_colorspace=_BT709,
            dst_color_range=_LIMITED,
            interpolation=_ACCURATE,
        )
        frame.pts, frame.time_base = number, 1 / rate
        yield from stream.encode(frame)
    yield from stream.encode(None)


# ---------------------------------------------------------------- sound


@contextlib.contextmanager
def _sound(source: PathLike | Video, output: Any) -> Iterator[Iterable[Any]]:
    """The packets of the source's first sound track, timed for `output`; nothing if it has none."""
    path, begin, end = (
        (source.path, source.start_time, source.start_time + source.duration)
        if isinstance(source, Video)
        else (Path(source), Fraction(0), None)
    )
    if path is None:
        yield ()
        return
    _check_file(path)
    try:
        container = av.open(f"file:{path}", **_OPEN)
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path}: no sound can be read from it; give a video or sound file") from error
    with container:
        track = next((s for s in container.streams.audio if s.codec_context is not None), None)
        if track is None:
            yield ()
            return
        # Times count from the first picture, which is the first frame of the output.
        clock = container.streams.video[0] if container.streams.video else track
        origin = (clock.start_time or 0) * _fraction(clock.time_base)
        begin, end = begin + origin, None if end is None else end + origin
        if track.codec_context.codec.canonical_name in _COPIED_AUDIO:
            yield _copied(container, track, output.add_stream_from_template(track), begin, end)
        else:
            yield _as_aac(container, track, output, begin, end)


def _copied(container: Any, track: Any, target: Any, begin: Fraction, end: Fraction | None) -> Iterator[Any]:
    """The packets between two times, unchanged. What lies before 0 is decoded but not played (mp4's edit list)."""
    tick = _fraction(track.time_base)
    shift = round(begin / tick)
    for packet in container.demux(track):
        if packet.pts is None or packet.size == 0:
            continue
        if begin and (packet.pts + (packet.duration or 0)) * tick <= begin - _PREROLL:
            continue
        if end is not None and packet.pts * tick >= end:
            return
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = target
        yield packet


def _as_aac(container: Any, track: Any, output: Any, begin: Fraction, end: Fraction | None) -> Iterator[Any]:
    """The sound between two times, to the sample, encoded as AAC."""
    rate = track.rate if track.rate in (22050, 24000, 32000, 44100, 48000) else 48000
    target = output.add_stream("aac", rate=rate, options={"b": "192k"})
    layout = target.codec_context.layout = track.layout.name
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
    length = None if end is None else round((end - begin) * rate)

    def packets() -> Iterator[Any]:
        for frame in chain(container.decode(track), [None]):
            for piece in resampler.resample(frame):  # type: ignore[arg-type]
                at = round((piece.pts * _fraction(piece.time_base) - begin) * rate)
                samples = piece.to_ndarray()[:, max(0, -at) : None if length is None else max(0, length - at)]
                if samples.shape[1] == 0:
                    continue
                cut = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", layout)
                cut.sample_rate, cut.pts, cut.time_base = rate, max(at, 0), Fraction(1, rate)
                yield from target.encode(cut)
        yield from target.encode(None)

    return packets()
