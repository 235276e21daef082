"""Clips in and out: what is read is what was written, and what cannot be read is said in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from videoedit.errors import ConfigError, InputError, OutputError, ShapeError
from videoedit.media.video import iter_frames, open_video, probe, read_video, stretch_frames, write_video
from videoedit.types import Video


def picture(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth picture whose red level tells its number and whose corners all differ."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [np.full((height, width), 20 + 8 * number), 40 + 160 * x / width, 40 + 160 * y / height]
    return np.stack(planes, axis=-1).astype(np.uint8)


def clip(count: int = 12, height: int = 48, width: int = 64) -> np.ndarray:
    return np.stack([picture(i, height, width) for i in range(count)])


def numbers(frames: Any) -> list[int]:
    """Which pictures these are."""
    return [round((float(frame[..., 0].mean()) - 20) / 8) for frame in frames]


def off(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b).mean())


def encode(path: Path, frames: Any, stamps: Any, *, codec: str, pix_fmt: str, tick: Fraction, **options: str) -> None:
    """Write a file with PyAV alone: any codec, any time stamps."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = tick
        for stamp, pixels in zip(stamps, frames, strict=True):
            kind = "rgba" if pixels.shape[2] == 4 else "rgb24"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=kind).reformat(format=pix_fmt)
            frame.pts, frame.time_base = stamp, tick
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_video(path, clip(), 25)
    return path


# ------------------------------------------------------------ round trips


@pytest.mark.parametrize(
    "rate", [Fraction(30000, 1001), 10, 8, Fraction(24000, 1001), 23.976, "25/2", Fraction(7, 3), 60]
)
def test_rate_count_and_size_survive_exactly(tmp_path: Path, rate: Any) -> None:
    write_video(tmp_path / "new" / "clip.mp4", clip(5), rate)
    video = read_video(tmp_path / "new" / "clip.mp4")
    exact = Fraction(2997, 125) if rate == 23.976 else Fraction(rate)
    assert (video.fps, video.frames.shape, video.start_time, video.notes) == (exact, (5, 48, 64, 3), 0, ())
    assert video.duration == 5 / exact
    assert off(video.frames, clip(5)) < 1.5


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 9), (33, 48), (48, 47), (101, 75)])
def test_odd_sizes_come_back_and_are_stored_as_plain_yuv420p(tmp_path: Path, size: tuple[int, int]) -> None:
    height, width = size
    frames = clip(3, height, width)
    write_video(tmp_path / "odd.mp4", frames, 10)
    video = read_video(tmp_path / "odd.mp4")
    assert video.frames.shape == frames.shape
    if min(size) > 20:  # below, neighbours of very different colour share theirs
        assert off(video.frames, frames) < 3
    info = probe(tmp_path / "odd.mp4")
    assert (info.width, info.height, info.frames) == (width, height, 3)
    with av.open(str(tmp_path / "odd.mp4")) as container:
        stored = next(container.decode(video=0))
        assert stored.format.name == "yuv420p"
        assert (stored.height, stored.width) == (height + height % 2, width + width % 2)


def test_selection(mp4: Path) -> None:
    assert numbers(iter_frames(mp4)) == list(range(12))
    assert numbers(iter_frames(mp4, start=2, stride=3)) == [2, 5, 8, 11]
    video = read_video(mp4, start=3, stride=2, num_frames=4)
    assert numbers(video.frames) == [3, 5, 7, 9]
    assert (video.fps, video.start_time, video.duration) == (Fraction(25, 2), Fraction(3, 25), Fraction(8, 25))
    assert (video.source_size, video.has_audio, video.path) == ((48, 64), False, mp4)


def test_a_stream_gives_the_same_frames_again_and_again(mp4: Path) -> None:
    read, opened = (make(mp4, start=2, stride=3, num_frames=3) for make in (read_video, open_video))
    assert opened.frames.shape == read.frames.shape and len(opened.frames) == 3
    for _ in range(2):
        assert np.array_equal(np.stack(list(opened.frames)), read.frames)
    picked = dict(opened.frames.pick([2, 0]))
    assert list(picked) == [0, 2] and np.array_equal(np.stack(list(picked.values())), read.frames[[0, 2]])
    assert (opened.fps, opened.start_time, opened.source_size) == (read.fps, read.start_time, read.source_size)
    with pytest.raises(ShapeError, match="clip of 3"):
        opened.frames.pick([3])


def test_written_files_are_for_browsers(mp4: Path) -> None:
    data = mp4.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(mp4)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)


def test_colours_survive_without_a_tint(tmp_path: Path) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 30, 90)]
    frames = np.stack([np.full((32, 32, 3), colour, np.uint8) for colour in colours])
    write_video(tmp_path / "c.mp4", frames, 10)
    assert np.abs(read_video(tmp_path / "c.mp4").frames.astype(int) - frames).max() <= 3


WRITE = """
import sys, cv2, numpy as np
from videoedit.media.video import write_video
rng = np.random.default_rng(0)
world = cv2.GaussianBlur(rng.integers(0, 256, (200, 300, 3), np.uint8), (0, 0), 3)
world = cv2.normalize(world, None, 0, 255, cv2.NORM_MINMAX)
zooms = [np.float32([[1 + i / 100, 0, -30], [0, 1 + i / 100, -20]]) for i in range(20)]
frames = [cv2.warpAffine(world, zoom, (192, 144)) for zoom in zooms]  # motion by parts of a pixel shows it
for name in sys.argv[1:]:
    write_video(name, frames, 25)
"""


def test_writes_are_the_same_bytes(tmp_path: Path) -> None:
    """In one process and across two, whatever fresh memory holds: x264's AVX-512 code reads some of it."""
    names = [str(tmp_path / f"{i}.mp4") for i in range(4)]
    for fill, pair in (("90", names[:2]), ("165", names[2:])):
        command = [sys.executable, "-c", WRITE, *pair]
        subprocess.run(command, env={**os.environ, "MALLOC_PERTURB_": fill}, check=True)
    assert len({Path(name).read_bytes() for name in names}) == 1


def test_array_and_generator_give_the_same_file(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", clip(), 25)
    write_video(tmp_path / "b.mp4", iter(list(clip())), 25)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_frames_are_not_collected(tmp_path: Path) -> None:
    alive, most = 0, 0

    def gone() -> None:
        nonlocal alive
        alive -= 1

    def source() -> Iterator[np.ndarray]:
        nonlocal alive, most
        for i in range(120):
            frame = picture(i % 20)
            weakref.finalize(frame, gone)
            alive += 1
            most = max(most, alive)
            yield frame

    write_video(tmp_path / "long.mp4", source(), 25)
    assert most <= 4
    first = next(iter_frames(tmp_path / "long.mp4", start=100))
    assert numbers([first]) == [0]


# ------------------------------------------------------------ kinds of source

MATRICES = {  # the track header's a, b, c, d and what must happen to the stored picture
    0: ((1, 0, 0, 1), lambda p: p),
    90: ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
    180: ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
    270: ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
    "mirror": ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
}


@pytest.mark.parametrize("turn", MATRICES)
def test_rotation_is_applied(mp4: Path, tmp_path: Path, turn: Any) -> None:
    (a, b, c, d), expected = MATRICES[turn]
    data = bytearray(mp4.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    matrix = np.array([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30], ">i4")
    data[at : at + 36] = matrix.tobytes()
    path = tmp_path / "turned.mp4"
    path.write_bytes(data)
    want = expected(picture(0))
    frame = next(iter_frames(path))
    assert frame.flags["C_CONTIGUOUS"]
    assert off(frame, want) < 1.5
    info = probe(path)
    assert (info.height, info.width) == want.shape[:2]


def test_variable_rate_keeps_frames_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    stamps = [0, 1, 2, 6, 7, 12, 13, 14]
    encode(path, clip(8), stamps, codec="libx264", pix_fmt="yuv420p", tick=Fraction(1, 30))
    info = probe(path)
    assert (info.frames, info.is_variable_rate) == (8, True)
    assert abs(info.fps - Fraction(8 * 30, 15)) < 1
    video = read_video(path, start=3, num_frames=4)
    assert numbers(video.frames) == [3, 4, 5, 6]
    assert video.start_time == Fraction(6, 30)
    assert "variable frame rate" in video.notes[0]


def test_matroska_millisecond_stamps_are_no_variable_rate(tmp_path: Path) -> None:
    path = tmp_path / "m.mkv"
    tick = Fraction(1001, 30000)
    encode(path, clip(20), range(20), codec="libx264", pix_fmt="yuv420p", tick=tick)
    info = probe(path)
    assert (info.frames, info.is_variable_rate) == (20, False)
    assert abs(info.fps - 1 / tick) < Fraction(1, 100)


def test_gif(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    encode(path, clip(6), range(6), codec="gif", pix_fmt="rgb8", tick=Fraction(1, 10))
    video = read_video(path)
    assert (video.num_frames, video.fps, video.notes) == (6, 10, ())
    assert off(video.frames, clip(6)) < 30  # 3-3-2 bits


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
@pytest.mark.parametrize("name", ["still", "frame%03d", "a:b c"])
def test_a_still_is_a_one_frame_video(tmp_path: Path, suffix: str, name: str) -> None:
    path = tmp_path / (name + suffix)
    path.write_bytes(cv2.imencode(suffix, picture(3, 33, 47)[..., ::-1])[1].tobytes())
    video = read_video(path)
    assert (video.frames.shape, video.fps, video.notes) == ((1, 33, 47, 3), 1, ())
    assert off(video.frames[0], picture(3, 33, 47)) <= (0 if suffix != ".jpg" else 3)
    assert "one frame" in read_video(path, num_frames=8).notes[0]
    write_video(tmp_path / "one.mp4", video.frames, 8)
    assert read_video(tmp_path / "one.mp4", num_frames=24, stride=2).num_frames == 1


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    pixels = np.dstack([picture(0), np.full((48, 64), 255, np.uint8)])
    pixels[:24, :, 3] = 0
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", pixels[..., [2, 1, 0, 3]])[1].tobytes())
    video = read_video(tmp_path / "a.png")
    assert (video.frames[0, :24] == 255).all()
    assert (video.frames[0, 24:] == picture(0)[24:]).all()
    assert "white" in video.notes[0]


def test_ten_bits_and_square_pixels(tmp_path: Path) -> None:
    encode(tmp_path / "t.mkv", clip(3), range(3), codec="ffv1", pix_fmt="yuv420p10le", tick=Fraction(1, 25))
    video = read_video(tmp_path / "t.mkv")
    assert off(video.frames, clip(3)) < 2
    assert "8 bits" in video.notes[0]
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(picture(0), format="rgb24").reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    video = read_video(path)
    assert (video.frames.shape, video.source_size) == ((1, 48, 128, 3), (48, 128))
    assert "not square" in video.notes[0]


# ------------------------------------------------------------ sizes


def test_frames_are_stretched_to_a_size() -> None:
    frames = np.zeros((2, 40, 80, 3), np.uint8)
    frames[:, :, 20:60] = 200
    assert off(stretch_frames(picture(0), (32, 24)), picture(0)[::2, ::2]) < 4
    assert stretch_frames(frames, (13, 7)).shape == (2, 7, 13, 3)
    checked = (np.indices((8, 12)).sum(0) % 2 * 200).astype(np.uint8)[..., None].repeat(3, -1)
    assert (stretch_frames(checked, (6, 4)) == 100).all()  # by area
    ramp = np.arange(0, 240, 20, dtype=np.uint8)[None, :, None].repeat(8, 0).repeat(3, -1)
    assert len(np.unique(stretch_frames(ramp, (24, 8)))) > 20  # and smoothly
    with pytest.raises(ConfigError, match="size"):
        stretch_frames(frames, (0, 8))


# ------------------------------------------------------------ sound

SOUND_RATE = 48000


def noise(seconds: float = 2.0) -> np.ndarray:
    """Mono noise below 6 kHz: every shift of it is recognised."""
    rng = np.random.default_rng(1)
    raw = np.convolve(rng.standard_normal(int(seconds * SOUND_RATE)), np.hanning(16), mode="same")
    return (raw / np.abs(raw).max() * 0.8).astype(np.float32)


def with_sound(path: Path, codec: str, sample_format: str) -> None:
    """20 frames at 10 a second with two seconds of noise."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=10)
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        audio = out.add_stream(codec, rate=SOUND_RATE)
        audio.codec_context.layout = "mono"
        for i, pixels in enumerate(clip(20)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 10)
            out.mux(video.encode(frame))
        samples = noise()[None]
        if sample_format == "s16":
            samples = (samples * 32767).astype(np.int16)
        for at in range(0, samples.shape[1], 4800):
            piece = av.AudioFrame.from_ndarray(samples[:, at : at + 4800].copy(), sample_format, "mono")
            piece.sample_rate, piece.pts, piece.time_base = SOUND_RATE, at, Fraction(1, SOUND_RATE)
            out.mux(audio.encode(piece))
        out.mux(audio.encode(None))
        out.mux(video.encode(None))


def heard(path: Path) -> np.ndarray:
    """The samples that play from the first picture on."""
    with av.open(str(path)) as container:
        track = container.streams.audio[0]
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SOUND_RATE)
        sound = np.zeros(0, np.float32)
        for frame in container.decode(track):
            for piece in resampler.resample(frame):
                at = round(float(piece.pts * piece.time_base.numerator / piece.time_base.denominator) * SOUND_RATE)
                samples = piece.to_ndarray()[0]
                samples = samples[max(0, -at) :]
                at = max(at, 0)
                sound = np.concatenate([sound, np.zeros(max(0, at + len(samples) - len(sound)), np.float32)])
                sound[at : at + len(samples)] = samples
    return sound


def delay(sound: np.ndarray, reference: np.ndarray) -> int:
    """By how many samples `sound` comes later than `reference`."""
    n = min(len(sound), len(reference), SOUND_RATE // 4)
    spectrum = np.fft.rfft(sound[:n], 2 * n) * np.conj(np.fft.rfft(reference[:n], 2 * n))
    shift = int(np.argmax(np.fft.irfft(spectrum)))
    return shift if shift < n else shift - 2 * n


SOURCES = [("a.mp4", "aac", "fltp", "aac"), ("a.mkv", "pcm_s16le", "s16", "aac"), ("a.mkv", "flac", "s16", "flac")]


@pytest.mark.parametrize(("name", "codec", "sample_format", "stored"), SOURCES)
def test_sound_is_kept_and_cut_to_the_span(
    tmp_path: Path, name: str, codec: str, sample_format: str, stored: str
) -> None:
    source = tmp_path / name
    with_sound(source, codec, sample_format)
    video = read_video(source, start=6, stride=2, num_frames=4)
    assert video.has_audio
    assert (video.start_time, video.duration) == (Fraction(6, 10), Fraction(8, 10))
    write_video(tmp_path / "whole.mp4", clip(20), 10, audio_from=source)
    write_video(tmp_path / "span.mp4", video.frames, video.fps, audio_from=video)
    with av.open(str(tmp_path / "span.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == stored
    whole, span = heard(tmp_path / "whole.mp4"), heard(tmp_path / "span.mp4")
    assert abs(delay(whole, noise())) <= 1
    assert abs(len(whole) / SOUND_RATE - 2) < 0.05
    assert abs(delay(span, noise()[round(0.6 * SOUND_RATE) :])) <= 1
    assert abs(len(span) / SOUND_RATE - 0.8) < 0.15
    assert probe(tmp_path / "span.mp4").frames == 4
    # The start is heard, not faded in: the decoder got what came before.
    window = slice(0, 1024)
    assert np.corrcoef(span[window], noise()[28800:][window])[0, 1] > 0.9


def test_copied_sound_is_not_encoded_again(tmp_path: Path) -> None:
    with_sound(tmp_path / "a.mp4", "aac", "fltp")
    write_video(tmp_path / "b.mp4", clip(20), 10, audio_from=tmp_path / "a.mp4")
    packets = []
    for name in ("a.mp4", "b.mp4"):
        with av.open(str(tmp_path / name)) as container:
            packets.append([bytes(packet) for packet in container.demux(audio=0) if packet.size])
    assert packets[0] == packets[1]


def test_no_sound_where_there_is_none(mp4: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", clip(3), 10, audio_from=mp4)
    write_video(tmp_path / "b.mp4", clip(3), 10, audio_from=Video(frames=clip(3), fps=Fraction(10)))
    with_sound(tmp_path / "c.mp4", "aac", "fltp")
    late = Video(frames=clip(3), fps=Fraction(10), path=tmp_path / "c.mp4", start_time=Fraction(50))
    write_video(tmp_path / "d.mp4", clip(3), 10, audio_from=late)
    for name in ("a.mp4", "b.mp4", "d.mp4"):
        assert probe(tmp_path / name).frames == 3
        assert not probe(tmp_path / name).has_audio
    with pytest.raises(InputError, match="no such file"):
        write_video(tmp_path / "e.mp4", clip(3), 10, audio_from=tmp_path / "missing.wav")
    assert not list(tmp_path.glob("*e.mp4*"))


# ------------------------------------------------------------ bad input


def refused(path: Path, **options: Any) -> str:
    """The one line that `read_video` refuses a file with."""
    with pytest.raises(InputError) as caught:
        read_video(path, **options)
    line = str(caught.value)
    assert "\n" not in line and str(path) in line
    return line


def test_files_that_are_no_video(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "missing.mp4")
    assert "folder" in refused(tmp_path)
    (tmp_path / "empty.mp4").touch()
    assert "empty" in refused(tmp_path / "empty.mp4")
    for name in ("notes.txt", "notes.mp4", "notes.py"):
        (tmp_path / name).write_text("not a film\n" * 200)
        assert "not a video" in refused(tmp_path / name)
    (tmp_path / "random.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    assert "not a video" in refused(tmp_path / "random.mp4")
    with av.open(str(tmp_path / "s.wav"), "w") as out:
        audio = out.add_stream("pcm_s16le", rate=8000)
        piece = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        piece.sample_rate = 8000
        out.mux(audio.encode(piece))
    assert "sound but no picture" in refused(tmp_path / "s.wav")


def test_fewer_frames_than_asked(mp4: Path) -> None:
    assert "at most 12" in refused(mp4, num_frames=13)
    assert "at most 3" in refused(mp4, start=2, stride=4, num_frames=5)
    assert "below 12" in refused(mp4, start=12)
    assert read_video(mp4, num_frames=12).num_frames == 12
    for wrong in ({"start": -1}, {"stride": 0}, {"num_frames": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            read_video(mp4, **wrong)


@pytest.fixture(scope="module")
def textured(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, int]:
    """A clip with much to store in each frame, and where its pictures begin."""
    path = tmp_path_factory.mktemp("cut") / "clip.mp4"
    rng = np.random.default_rng(0)
    write_video(path, [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(16)], 25)
    data = path.read_bytes()
    return data, data.index(b"mdat") + 4


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9, 0.99])
def test_cut_within_the_pictures(tmp_path: Path, textured: tuple[bytes, int], share: float) -> None:
    data, begin = textured
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: begin + int((len(data) - begin) * share)])
    line = refused(path)
    there = 0 if "no frame" in line else int(line.split("only ")[1].split()[0])
    assert there < 16
    if share >= 0.6:
        assert there >= 16 * share - 8
        video = read_video(path, num_frames=there)
        assert video.num_frames == there and "cut short" in video.notes[0]
    if there:
        assert str(there) in refused(path, num_frames=there + 1)


def test_cut_before_the_pictures(tmp_path: Path, textured: tuple[bytes, int]) -> None:
    data, begin = textured
    path = tmp_path / "cut.mp4"
    for size in (1, 20, 100, 400, begin - 30, begin, begin + 1):
        path.write_bytes(data[:size])
        refused(path)
    index_last = data[:32] + data[begin - 8 : begin + 2000]  # as a camera leaves it that lost power
    path.write_bytes(index_last)
    assert "moov" in refused(path)


def test_broken_in_the_middle(tmp_path: Path, textured: tuple[bytes, int]) -> None:
    data = bytearray(textured[0])
    middle = (textured[1] + len(data)) // 2
    data[middle : middle + 4000] = bytes(4000)
    (tmp_path / "broken.mp4").write_bytes(data)
    video = read_video(tmp_path / "broken.mp4")
    assert 8 <= video.num_frames < 16 and any("damaged: frames 7-" in note for note in video.notes)


# ------------------------------------------------------------ bad output


def test_nothing_is_left_when_the_frames_fail(tmp_path: Path) -> None:
    def failing() -> Iterator[np.ndarray]:
        yield from clip(5)
        raise RuntimeError("no more")

    target = tmp_path / "a.mp4"
    with pytest.raises(RuntimeError, match="no more"):
        write_video(target, failing(), 10)
    assert not list(tmp_path.iterdir())
    write_video(target, clip(3), 10)
    before = target.read_bytes()
    with pytest.raises(RuntimeError):
        write_video(target, failing(), 10)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"] and target.read_bytes() == before


def test_wrong_frames_rates_and_names(tmp_path: Path) -> None:
    for frames in (np.zeros((0, 8, 8, 3), np.uint8), clip(2).astype(np.float32), clip(2)[..., 0], [1, 2]):
        with pytest.raises(ShapeError):
            write_video(tmp_path / "a.mp4", frames, 10)
    with pytest.raises(ShapeError, match="one size"):
        write_video(tmp_path / "a.mp4", [picture(0), picture(1, 24)], 10)
    for rate in (0, -5, float("nan"), float("inf"), "fast"):
        with pytest.raises(ConfigError, match="frame rate"):
            write_video(tmp_path / "a.mp4", clip(2), rate)
    with pytest.raises(OutputError, match=r"\.mp4"):
        write_video(tmp_path / "a.avi", clip(2), 10)
    (tmp_path / "f.mp4").mkdir()
    with pytest.raises(OutputError, match="folder"):
        write_video(tmp_path / "f.mp4", clip(2), 10)
    assert [p.name for p in tmp_path.iterdir()] == ["f.mp4"]


FULL_DISK = """
import sys
from videoedit.errors import OutputError
from videoedit.media.video import read_video, write_video
frames = read_video(sys.argv[1]).frames
try:
    write_video(sys.argv[2], frames, 25)
except OutputError as error:
    sys.exit(f"OutputError {error}")
"""


def test_full_disk(tmp_path: Path, textured: tuple[bytes, int]) -> None:
    resource = pytest.importorskip("resource")
    (tmp_path / "in.mp4").write_bytes(textured[0])
    write_video(tmp_path / "in2.mp4", read_video(tmp_path / "in.mp4").frames, 25)
    whole = (tmp_path / "in2.mp4").stat().st_size
    for room in (whole - 1, whole - 900, whole // 2, 30):  # at the last byte, the index, a frame, the header

        def limit(room: int = room) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

        command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "in.mp4"), str(tmp_path / "out" / "a.mp4")]
        done = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False)
        assert done.returncode == 1, (room, done.stderr)
        assert "OutputError no space left to write" in done.stderr and "MiB free" in done.stderr
        assert not list((tmp_path / "out").iterdir())
