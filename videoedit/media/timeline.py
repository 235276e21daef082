"""The facts of a clip, from its frames as they are shown: how many, when, how large, which are damaged.

One pass decodes them all. What it finds is kept by the hash of the clip's contents, if it took long.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from videoedit.errors import InputError, OutputError
from videoedit.files import cache_folder, contents_sha256, file_states, write_text
from videoedit.media.decoding import DamagedError, box_names, frame_rate, has_alpha, pixel_aspect
from videoedit.media.shown import DEEP, TRANSPARENT, Opened, Shown, open_frames

DEFAULT_RATE = Fraction(25)  # of clips that have none: FFmpeg's
_VERSION = 2  # of what is kept; raise it when a fact is found in another way
_WORTH_KEEPING = 0.5  # seconds that looking took


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
    times: tuple[Fraction, ...] = ()  # of a variable rate: seconds of each frame from the first one, and of the end
    origin: Fraction = Fraction(0)  # seconds of the first frame on the file's clock, which its sound goes by
    tracks: tuple[str, ...] = ()  # of sound, in words
    track: int = 0  # of them, the one that is taken
    has_rate: bool = True  # of its own

    def begins(self, frame: int) -> Fraction:
        """Seconds from the first frame to this one, or to the end for the number after the last."""
        return self.times[frame] if self.times and frame < len(self.times) else frame / self.fps


def probe(path: str | Path, fps: Fraction | None = None) -> VideoInfo:
    """Look at a clip: a video, a picture, an animation or a folder of pictures.

    `fps` is the rate of clips that have none; others are resampled to it: at each instant the frame that is shown then.
    Raises InputError, one line, for anything that is not a readable clip.
    """
    path = Path(path)
    info = _known(path, *file_states(path))
    return info if fps is None else _at_rate(info, fps)


def _at_rate(info: VideoInfo, fps: Fraction) -> VideoInfo:
    """The facts of a clip that is brought to a constant rate."""
    duration = info.frames / fps if not info.has_rate else info.duration
    frames = info.frames if not info.has_rate else max(1, round(info.duration * fps))
    notes = tuple(note for note in info.notes if not note.startswith(("variable frame rate", "it has no frame rate")))
    if info.is_variable_rate or (info.has_rate and fps != info.fps):
        notes += (f"resampled from {info.frames} frames to {frames} at {float(fps):g} a second; numbers count those",)
    return replace(info, frames=frames, fps=fps, duration=duration, is_variable_rate=False, times=(), notes=notes)


def due_frames(info: VideoInfo, fps: Fraction) -> list[int]:
    """For each frame at a constant rate the number of the file's own frame that is shown then."""
    wanted = _at_rate(info, fps).frames
    if not info.has_rate:
        return list(range(wanted))
    due, own = [], 0
    for number in range(wanted):
        while own + 1 < info.frames and info.begins(own + 1) <= number / fps + Fraction(1, 1000):
            own += 1
        due.append(own)
    return due


@functools.lru_cache(maxsize=64)
def _known(path: Path, *state: int) -> VideoInfo:
    """The facts of a clip, from the cache or by a pass over it."""
    kept = None
    if state:
        kept = cache_folder() / "timelines" / f"{contents_sha256(path)}-{_VERSION}.json"
        try:
            info = TypeAdapter(VideoInfo).validate_json(kept.read_bytes())
            if _is_possible(info):
                return info
        except (OSError, ValidationError, ArithmeticError):  # not there, or not what was written
            pass
    began = time.perf_counter()
    info = _examine(path)
    if kept is not None and time.perf_counter() - began > _WORTH_KEEPING:
        with contextlib.suppress(OutputError):  # a cache that cannot be written is none
            write_text(kept, TypeAdapter(VideoInfo).dump_json(info).decode())
    return info


def _is_possible(info: VideoInfo) -> bool:
    """Whether the facts agree with each other, as those of every clip do."""
    if min(info.frames, info.width, info.height) <= 0 or min(info.fps, info.duration) <= 0:
        return False
    if not 0 <= info.track < max(1, len(info.tracks)) or info.has_audio != bool(info.tracks):
        return False
    counted = len(info.times) == (info.frames + 1 if info.is_variable_rate else 0)
    return counted and all(before < after for before, after in itertools.pairwise(info.times))


def _examine(path: Path) -> VideoInfo:
    """The facts of a clip by decoding it."""
    with open_frames(path) as opened:
        passed, first, width, height = _pass(path, opened)
        clock, lasts, has_rate = _clock(passed.frames, opened)
        times = [moment - clock[0] for moment in clock]
        fps, variable = frame_rate(times, lasts, opened.rates if has_rate else [DEFAULT_RATE], opened.tick)
        tracks, track = _sound(opened.container)
        notes = [*opened.notes, *passed.notes, *_notes(path, opened, first, len(times), (width, height))]
    if variable:
        notes.insert(0, f"variable frame rate, {float(fps):.3f} a second on average: each frame keeps its time")
    if not has_rate and len(times) > 1:
        notes.insert(0, f"it has no frame rate: taken as {float(fps):g} a second; --fps says another")
    mean = times[-1] / max(1, len(times) - 1)
    ends = (*times, times[-1] + (lasts or mean)) if variable else ()
    return VideoInfo(
        frames=len(times),
        fps=fps,
        width=width,
        height=height,
        has_audio=bool(tracks),
        duration=ends[-1] if ends else len(times) / fps,
        is_variable_rate=variable,
        notes=tuple(notes),
        times=ends,
        origin=clock[0],
        tracks=tracks,
        track=track,
        has_rate=has_rate,
    )


@dataclass
class _Pass:
    """What a pass over the frames has seen."""

    frames: list[Shown]  # without their pixels
    notes: list[str]


def _pass(path: Path, opened: Opened) -> tuple[_Pass, Any, int, int]:
    """All frames of a clip without their pixels, the decoder's first one, and the width and height of that."""
    frames: list[Shown] = []
    sizes: Counter[tuple[int, int]] = Counter()
    first, height, width = None, 0, 0
    cut = False
    try:
        for frame in opened.frames:
            if not frames:
                first, (height, width) = frame.source, frame.pixels().shape[:2]
            sizes[frame.size] += 1
            frames.append(replace(frame, pixels=_no_pixels, source=None))
    except DamagedError:
        cut = True
    if not frames:
        raise InputError(f"{path}: no frame could be decoded; convert it to mp4 or give another file")
    notes = []
    if len(sizes) > 1:
        notes.append(f"the picture's size changes midway: all frames are brought to the first one's, {width}x{height}")
    if damage := _damaged(frames):
        notes.append(f"the data is damaged: frames {spans(damage)} may look broken")
    if cut or (opened.container and box_names(path)[1]):
        notes.append(f"the file is cut short: {len(frames)} frames can be read")
    return _Pass(frames, notes), first, width, height


def _no_pixels() -> Any:
    raise AssertionError("the clip is closed")


def _damaged(frames: Sequence[Shown]) -> list[int]:
    """Numbers of the frames that were decoded from damaged data, or are built upon such."""
    found, spoilt = [], False
    for number, frame in enumerate(frames):
        spoilt = frame.damaged or (spoilt and not frame.stands_alone)
        if spoilt:
            found.append(number)
    return found


def spans(numbers: Iterable[int], most: int = 5) -> str:
    """Ascending numbers for a person: ``24-35, 40, ...``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    texts = ["-".join(map(str, run)) for run in runs]
    return ", ".join(texts[:most] + (["..."] if len(texts) > most else []))


def _clock(frames: Sequence[Shown], opened: Opened) -> tuple[list[Fraction], Fraction, bool]:
    """Times of the frames on the file's clock, how long the last one lasts, and whether the file has a clock at all.

    Where the clock stands still or jumps back, as in joined files, it goes on at the pace before.
    """
    if all(frame.time is None for frame in frames):
        pace = 1 / next(iter(opened.rates), DEFAULT_RATE)
        return [number * pace for number in range(len(frames))], pace, bool(opened.rates)
    times: list[Fraction] = []
    pace, shift = 1 / next(iter(opened.rates), DEFAULT_RATE), Fraction(0)
    for frame in frames:
        moment = None if frame.time is None else frame.time + shift
        if times and (moment is None or moment <= times[-1]):
            shift += times[-1] + pace - moment if moment is not None else 0
            moment = times[-1] + pace
        times.append(moment or Fraction(0))
    return times, frames[-1].lasts, True


# ------------------------------------------------------------------------------------------- what to know


def _sound(container: Any) -> tuple[tuple[str, ...], int]:
    """The sound tracks in words, and the number of the one that players take."""
    tracks: list[str] = []
    preferred: int | None = None
    for stream in container.streams.audio if container else ():
        if stream.codec_context is None:
            continue
        if stream.disposition & stream.disposition.default and preferred is None:
            preferred = len(tracks)
        words = (stream.metadata.get("language", ""), stream.codec_context.layout.name, stream.codec_context.name)
        tracks.append(" ".join(filter(None, words)))
    return tuple(tracks), preferred or 0


def _notes(path: Path, opened: Opened, frame: Any, count: int, size: tuple[int, int]) -> Iterable[str]:
    """What a user should know of a video: what is left out or changed on the way in."""
    if frame is None:
        return
    aspect = pixel_aspect(opened.stream)
    if _bits(frame) > 8:
        yield DEEP
    if int(opened.stream.codec_context.color_trc) in (16, 18):
        yield "HDR source read without tone mapping: colours look pale"
    if frame.interlaced_frame:
        yield "interlaced source: fields are not separated"
    if aspect != 1:
        yield f"pixels are not square ({aspect}): resized to {size[0]}x{size[1]}"
    if has_alpha(frame) and int(frame.to_ndarray(format="rgba")[..., 3].min()) < 255:
        yield TRANSPARENT
    yield from _left_out(opened)


def _left_out(opened: Opened) -> Iterable[str]:
    """Streams of the file that no output has."""
    kinds: Counter[str] = Counter()
    for stream in opened.container.streams:
        is_cover = stream.type == "video" and stream.disposition & stream.disposition.attached_pic
        if stream.index != opened.stream.index and stream.type != "audio" and not is_cover:
            kinds[stream.type or "unknown"] += 1
    for kind, number in kinds.items():
        yield f"{number} {kind} stream{'s' if number > 1 else ''} of the file {'are' if number > 1 else 'is'} left out"


def _bits(frame: Any) -> int:
    return 8 if frame.format.has_palette else max(component.bits for component in frame.format.components)
