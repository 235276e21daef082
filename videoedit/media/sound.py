"""The sound that belongs to a span of a clip: copied packet by packet where mp4 allows it, else encoded as AAC."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np

from videoedit.errors import InputError
from videoedit.media.decoding import OPEN_OPTIONS, check_file, fraction
from videoedit.types import Video

_COPIED = {"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"}  # what fits an mp4 unchanged
_USUAL = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}  # layout of channels
_PREROLL = Fraction(1, 10)  # seconds; decoders need a little before the cut, which the edit list then hides


@contextlib.contextmanager
def sound_packets(source: str | os.PathLike[str] | Video, output: Any) -> Iterator[Iterable[Any]]:
    """The packets of the source's sound track, timed for `output`; nothing if it has none."""
    if isinstance(source, Video):
        path, begin, number = source.path, source.origin + source.start_time, source.audio_track
        end = begin + source.duration
    else:
        path, begin, end, number = Path(source), None, None, 0
    if path is None or path.is_dir():
        yield ()
        return
    check_file(path)
    try:
        container = av.open(f"file:{path}", **OPEN_OPTIONS)
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path}: no sound can be read from it; give a video or sound file") from error
    with container:
        tracks = [stream for stream in container.streams.audio if stream.codec_context is not None]
        if number >= len(tracks):
            yield ()
            return
        track = tracks[number]
        # Times count from the first picture, which is the first frame of the output.
        if begin is None:
            clock = container.streams.video[0] if container.streams.video else track
            begin = (clock.start_time or 0) * fraction(clock.time_base)
        if track.codec_context.codec.canonical_name in _COPIED:
            yield _copied(container, track, output.add_stream_from_template(track), begin, end)
        else:
            yield _as_aac(container, track, output, begin, end)


def _copied(container: Any, track: Any, target: Any, begin: Fraction, end: Fraction | None) -> Iterator[Any]:
    """The packets between two times, unchanged. What lies before 0 is decoded but not played (mp4's edit list)."""
    tick = fraction(track.time_base)
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
    """The sound between two times, to the sample, encoded as AAC; more than eight channels are mixed down."""
    rate = track.rate if track.rate in (22050, 24000, 32000, 44100, 48000) else 48000
    layout = _USUAL.get(track.channels, "stereo")
    if track.channels in _USUAL and not track.layout.name.endswith("channels"):  # it says what they are
        layout = track.layout.name
    target = output.add_stream("aac", rate=rate, options={"b": f"{max(192, 64 * track.channels)}k"})
    target.codec_context.layout = layout
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
    length = None if end is None else round((end - begin) * rate)

    def packets() -> Iterator[Any]:
        for frame in chain(container.decode(track), [None]):
            for piece in resampler.resample(frame):  # type: ignore[arg-type]
                at = round(((piece.pts or 0) * fraction(piece.time_base) - begin) * rate)
                samples: Any = piece.to_ndarray()[:, max(0, -at) : None if length is None else max(0, length - at)]
                if samples.shape[1] == 0:
                    continue
                cut = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", layout)
                cut.sample_rate, cut.pts, cut.time_base = rate, max(at, 0), Fraction(1, rate)
                yield from target.encode(cut)
        yield from target.encode(None)

    return packets()
