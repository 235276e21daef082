"""One timeline from frames as shown: counts, times, sound in step, whatever the container says."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PIL import Image

import videoedit.media.timeline as timeline
from videoedit.cli import main
from videoedit.errors import ConfigError, InputError
from videoedit.media.video import iter_frames, open_video, probe, read_video, write_clip
from videoedit.runs.clip import Clip

RATE = 48000
TICK = Fraction(1, 90000)


def gray(level: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def write(path: Path, times: Any, flash: int, *, sound: float = 0.0, beep: float | None = None, **more: Any) -> None:
    """A clip of dark frames at these seconds with one bright frame, and a beep from second `beep` on.

    `sound` is the second at which the sound track begins; `layouts` are those of its tracks; `container` its format.
    """
    layouts = more.get("layouts", ("mono",))
    with av.open(str(path), "w", format=more.get("container"), options=more.get("options", {})) as out:
        stream = out.add_stream("libx264", rate=25, options={"g": "12", **more.get("video", {})})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.time_base = TICK
        tracks = []
        for layout in layouts if beep is not None else ():
            track = out.add_stream("aac", rate=RATE)
            track.codec_context.layout = layout
            tracks.append(track)
        for number, moment in enumerate(times):
            frame = av.VideoFrame.from_ndarray(gray(230 if number == flash else 20), format="rgb24")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = round(Fraction(moment) / TICK), TICK
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        for number, track in enumerate(tracks):
            out.mux(_tone(track, sound, (beep or 0) + number, float(times[-1]) + 0.5))


def _tone(track: Any, begin: float, beep: float, end: float) -> list[Any]:
    at = begin + np.arange(int((end - begin) * RATE)) / RATE
    wave = np.where((at >= beep) & (at < beep + 0.2), 0.8 * np.sin(2 * np.pi * 1000 * at), 0).astype(np.float32)
    layout = track.codec_context.layout
    packets = []
    for first in range(0, len(wave) - 1024, 1024):
        samples = np.repeat(wave[None, first : first + 1024], layout.nb_channels, 0)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", layout.name)
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), first + round(begin * RATE)
        packets += track.encode(frame)
    return packets + track.encode(None)


def seen_and_heard(path: Path) -> tuple[float, float]:
    """Seconds of the brightest frame and of the first loud sample, as a player shows and plays them."""
    flash, brightest, beep = -1.0, -1.0, -1.0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            level = float(frame.to_ndarray(format="gray").mean())
            if level > brightest:
                flash, brightest = float(frame.pts * frame.time_base), level
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            loud = np.flatnonzero(np.abs(frame.to_ndarray()[0]) > 0.2)
            if len(loud) and frame.pts is not None and beep < 0:
                beep = float(frame.pts * frame.time_base) + loud[0] / frame.sample_rate
    return flash, beep


def copied(source: Path, target: Path, **options: Any) -> None:
    """The clip written again by the toolkit, as every edit is."""
    video = open_video(source, **options)
    write_clip(target, iter(video.frames), video, (video.width, video.height))


EVEN = [Fraction(i, 24) for i in range(72)]
PAUSED = [Fraction(i if i < 36 else i + 48, 24) for i in range(72)]  # one frame held for two seconds
UNEVEN = [Fraction(i, 24) + Fraction(i % 3, 100) for i in range(72)]
LATE = [moment + Fraction(7, 10) for moment in EVEN]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("times", [EVEN, PAUSED, UNEVEN, LATE], ids=["even", "paused", "uneven", "late"])
@pytest.mark.parametrize("options", [{}, {"fps": Fraction(30)}, {"start": 24}], ids=["kept", "resampled", "started"])
def test_flash_and_beep_stay_together(tmp_path: Path, suffix: str, times: Any, options: Any) -> None:
    flash = 40
    write(tmp_path / f"clip.{suffix}", times, flash, beep=float(times[flash]))
    copied(tmp_path / f"clip.{suffix}", tmp_path / "out.mp4", **options)
    seen, heard = seen_and_heard(tmp_path / "out.mp4")
    assert abs(seen - heard) < 1 / 24
    if not options:
        assert seen == pytest.approx(float(times[flash] - times[0]), abs=0.012)  # Matroska counts milliseconds


def test_a_stream_joined_midway_begins_with_its_first_frame(tmp_path: Path) -> None:
    write(tmp_path / "whole.ts", EVEN, 40, beep=float(EVEN[40]))
    data = (tmp_path / "whole.ts").read_bytes()
    middle = len(data) // 8 // 188 * 188
    (tmp_path / "joined.ts").write_bytes(data[middle:])
    info = probe(tmp_path / "joined.ts")
    frames = sum(1 for _ in iter_frames(tmp_path / "joined.ts"))
    assert frames == info.frames < 72 and info.fps == 24 and not info.is_variable_rate
    copied(tmp_path / "joined.ts", tmp_path / "out.mp4")
    seen, heard = seen_and_heard(tmp_path / "out.mp4")
    assert abs(seen - heard) < 1 / 24


def test_two_clips_joined_whose_clock_begins_anew(tmp_path: Path) -> None:
    write(tmp_path / "one.ts", EVEN[:24], 5)
    data = (tmp_path / "one.ts").read_bytes()
    (tmp_path / "joined.ts").write_bytes(data + data)
    info = probe(tmp_path / "joined.ts")
    assert (info.frames, info.fps, info.is_variable_rate) == (48, 24, False)


def test_a_held_frame_is_held_in_the_copy_and_said(tmp_path: Path) -> None:
    write(tmp_path / "clip.mp4", PAUSED, 40)
    info = probe(tmp_path / "clip.mp4")
    assert info.is_variable_rate and info.frames == 72 and float(info.duration) == pytest.approx(5, abs=0.06)
    assert any("variable frame rate" in note and "keeps its time" in note for note in info.notes)
    copied(tmp_path / "clip.mp4", tmp_path / "out.mp4")
    again = probe(tmp_path / "out.mp4")
    apart = [abs(float(a - b)) for a, b in zip(info.times, again.times, strict=True)]
    assert again.frames == 72 and max(apart[:-1]) < 1e-3 and apart[-1] < 0.05


def test_resampling_shows_at_each_instant_what_was_shown(tmp_path: Path) -> None:
    write(tmp_path / "clip.mp4", PAUSED, 36)
    video = read_video(tmp_path / "clip.mp4", fps=Fraction(12))
    assert video.fps == 12 and video.num_frames == 60 and not video.times
    bright = np.flatnonzero(video.frames.mean((1, 2, 3)) > 128)
    assert bright.tolist() == [42]  # of second 3.5, on 1/24 s
    assert any("resampled from 72 frames to 60 at 12 a second" in note for note in video.notes)
    write(tmp_path / "even.mp4", EVEN, 36)
    every = list(iter_frames(tmp_path / "even.mp4", fps=Fraction(48)))
    assert len(every) == 144 and np.array_equal(every[10], every[11])
    assert probe(tmp_path / "even.mp4", Fraction(24)).notes == ()


def test_strides_of_a_variable_rate_keep_their_times(tmp_path: Path) -> None:
    write(tmp_path / "clip.mp4", PAUSED, 36)
    video = read_video(tmp_path / "clip.mp4", start=30, stride=3, num_frames=5)
    wanted = [float(PAUSED[i] - PAUSED[30]) for i in (30, 33, 36, 39, 42, 45)]
    assert [float(moment) for moment in video.times] == pytest.approx(wanted, abs=1e-3)
    assert video.duration == video.times[-1] and float(video.start_time) == pytest.approx(30 / 24, abs=1e-3)


# ------------------------------------------------------------------------------------------------ sound


def test_the_track_that_is_asked_for_is_kept_with_its_channels(tmp_path: Path) -> None:
    write(tmp_path / "clip.mkv", EVEN, 10, beep=1.0, layouts=("stereo", "5.1"))
    video = open_video(tmp_path / "clip.mkv")
    assert any("2 sound tracks (0: stereo aac; 1: 5.1 aac) number 0 is kept" in note for note in video.notes)
    copied(tmp_path / "clip.mkv", tmp_path / "first.mp4")
    copied(tmp_path / "clip.mkv", tmp_path / "second.mp4", audio_track=1)
    channels = []
    for name in ("first", "second"):
        with av.open(str(tmp_path / f"{name}.mp4")) as container:
            channels.append(container.streams.audio[0].layout.name)
    assert channels == ["stereo", "5.1"]
    assert seen_and_heard(tmp_path / "second.mp4")[1] == pytest.approx(2.0, abs=0.03)
    with pytest.raises(ConfigError, match=r"sound track 2 .*; it has 0: stereo aac; 1: 5.1 aac"):
        open_video(tmp_path / "clip.mkv", audio_track=2)


def test_channels_survive_where_sound_is_encoded_anew(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "clip.mkv"), "w") as out:
        stream = out.add_stream("libx264", rate=24)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        track = out.add_stream("pcm_s16le", rate=RATE)
        track.codec_context.layout = "5.1"
        for _ in range(24):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(gray(50), format="rgb24").reformat(format="yuv420p")))
        out.mux(stream.encode(None))
        samples = np.zeros((1, 6 * RATE), np.int16)
        frame = av.AudioFrame.from_ndarray(samples, "s16", "5.1")
        frame.sample_rate, frame.pts = RATE, 0
        out.mux(track.encode(frame))
        out.mux(track.encode(None))
    copied(tmp_path / "clip.mkv", tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        sound = container.streams.audio[0]
        assert (sound.codec_context.name, sound.layout.name) == ("aac", "5.1")


def test_streams_that_are_left_out_are_named(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "clip.mkv"), "w") as out:
        for _ in range(2):
            stream = out.add_stream("libx264", rate=24)
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for stream in out.streams.video:
            for _ in range(3):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(gray(50), format="rgb24").reformat(format="yuv420p")))
            out.mux(stream.encode(None))
    assert "1 video stream of the file is left out" in probe(tmp_path / "clip.mkv").notes


# ---------------------------------------------------------------------------------- pictures, animations


def test_a_folder_of_pictures_is_a_clip(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in (8, 9, 10, 11):
        cv2.imwrite(str(folder / f"shot-{number}.png"), gray(10 * number))
    (folder / "notes.txt").write_text("not a frame")
    video = read_video(folder)
    assert video.frames[:, 0, 0, 0].tolist() == [80, 90, 100, 110] and video.fps == 25
    assert video.notes == ("it has no frame rate: taken as 25 a second; --fps says another",)
    assert read_video(folder, fps=Fraction(8), start=1, stride=2).frames[:, 0, 0, 0].tolist() == [90, 110]
    assert probe(folder, Fraction(8)).fps == 8 and probe(folder, Fraction(8)).notes == ()
    copied(folder, tmp_path / "out.mp4", fps=Fraction(8))
    assert probe(tmp_path / "out.mp4").fps == 8
    (folder / "shot-10.png").unlink()
    assert any("missing from the folder (10)" in note for note in probe(folder).notes)


@pytest.mark.parametrize("names", [(), ("a1.png", "b1.png"), ("first.png",), ("1.txt",)])
def test_folders_that_are_no_clip(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        cv2.imwrite(str(tmp_path / name), gray(9)) if name.endswith("png") else (tmp_path / name).write_text("x")
    with pytest.raises(InputError, match=str(tmp_path)):
        probe(tmp_path)


def test_transparent_pictures_of_a_folder_lie_over_white(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, 4:, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "0.png")
    Image.fromarray(pixels).save(tmp_path / "1.png")
    frame = read_video(tmp_path).frames[1]
    assert (frame[:, :4] == 255).all() and (frame[:, 4:] == 0).all()


@pytest.mark.parametrize("suffix", ["webp", "avif", "gif", "png"])
def test_animations_keep_their_frames_and_times(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(gray(20 * i + 10)) for i in range(8)]
    path = tmp_path / f"clip.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[100] * 4 + [300] * 4, loop=0, **options)
    info = probe(path)
    assert (info.frames, info.is_variable_rate) == (8, True)
    assert [float(moment) for moment in info.times[:8]] == pytest.approx(
        [0, 0.1, 0.2, 0.3, 0.4, 0.7, 1.0, 1.3], abs=0.01
    )
    levels = read_video(path).frames[:, 20, 20, 1]
    assert np.abs(levels.astype(int) - np.arange(10, 170, 20)).max() <= 4


@pytest.mark.parametrize("codec", ["libvpx-vp9", "libvpx"])
def test_transparency_of_webm_is_seen(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "clip.webm"
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=12, options={"auto-alt-ref": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuva420p"
        stream.metadata["alpha_mode"] = "1"
        pixels = np.zeros((48, 64, 4), np.uint8)
        pixels[:, 32:] = (200, 30, 30, 255)
        for _ in range(6):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format="yuva420p")))
        out.mux(stream.encode(None))
    video = read_video(path)
    assert video.num_frames == 6 and "transparent parts are laid over white" in video.notes
    assert video.frames[3, :, :24].min() > 245 and abs(int(video.frames[3, 20, 50, 0]) - 200) < 12


def test_a_raw_stream_has_the_rate_of_its_headers(tmp_path: Path) -> None:
    write(tmp_path / "clip.h264", EVEN[:12], 3, container="h264")
    info = probe(tmp_path / "clip.h264")
    assert info.frames == 12 and 1 <= info.fps <= 60 and 0.1 < info.duration < 10


# -------------------------------------------------------------------------------------- damage and limits


def test_damaged_frames_are_numbered_up_to_the_next_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    rng = np.random.default_rng(3)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=24, options={"g": "12", "sc_threshold": "0", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        sizes = []
        for _ in range(36):
            noise = rng.integers(0, 256, (48, 64, 3), np.uint8)
            packets = stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format="yuv420p"))
            out.mux(packets)
        out.mux(stream.encode(None))
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            if packet.size:
                sizes.append((packet.pos, packet.size))
    data = bytearray(path.read_bytes())
    begin, size = sizes[15]
    data[begin + 40 : begin + size] = bytes(size - 40)
    path.write_bytes(data)
    assert "the data is damaged: frames 15-23 may look broken" in probe(path).notes


def test_the_first_size_holds_for_all_frames(tmp_path: Path) -> None:
    for name, size in (("a", (48, 64)), ("b", (96, 128))):
        with av.open(str(tmp_path / f"{name}.ts"), "w") as out:
            stream = out.add_stream("libx264", rate=24)
            stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
            for _ in range(6):
                out.mux(
                    stream.encode(
                        av.VideoFrame.from_ndarray(gray(90, *size), format="rgb24").reformat(format="yuv420p")
                    )
                )
            out.mux(stream.encode(None))
    path = tmp_path / "joined.ts"
    path.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    video = read_video(path)
    assert video.frames.shape == (12, 48, 64, 3)
    assert "the picture's size changes midway: all frames are brought to the first one's, 64x48" in video.notes


def test_huge_pictures_are_refused_by_their_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOEDIT_MAX_PIXELS", "3000")
    cv2.imwrite(str(tmp_path / "0.png"), gray(9))
    for path in (tmp_path / "0.png", tmp_path):
        with pytest.raises(InputError, match=r"64x48 pixels .* VIDEOEDIT_MAX_PIXELS=3072"):
            read_video(path)


# ---------------------------------------------------------------------------------------------- the cache


def test_facts_are_kept_by_contents_and_never_trusted_blindly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOEDIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(timeline, "_WORTH_KEEPING", 0)
    write(tmp_path / "clip.mp4", PAUSED, 40)
    info = probe(tmp_path / "clip.mp4")
    (kept,) = (tmp_path / "cache" / "timelines").iterdir()
    timeline._known.cache_clear()
    monkeypatch.setattr(timeline, "_examine", None)  # nothing is decoded again
    (tmp_path / "copy.mp4").write_bytes((tmp_path / "clip.mp4").read_bytes())
    assert probe(tmp_path / "copy.mp4") == info
    monkeypatch.undo()
    monkeypatch.setenv("VIDEOEDIT_CACHE", str(tmp_path / "cache"))
    text = kept.read_text()
    slips = (('"frames":72', '"frames":"x"'), ('"frames":72', '"frames":7'), ('"width":64', '"width":0'))
    for broken in ("", "[1]", *(text.replace(*slip) for slip in slips)):
        assert broken != text
        kept.write_text(broken)
        timeline._known.cache_clear()
        assert probe(tmp_path / "clip.mp4") == info


# ---------------------------------------------------------------------------------------- through a whole run


def test_timing_and_track_go_through_propagation(tmp_path: Path) -> None:
    source, out = tmp_path / "clip.mkv", tmp_path / "out"
    write(source, PAUSED, 36, beep=float(PAUSED[36]), layouts=("stereo", "5.1"))
    frames = read_video(source).frames
    (tmp_path / "keys").mkdir()
    for number in (0, 36, 71):
        cv2.imwrite(str(tmp_path / "keys" / f"{number}.png"), frames[number])

    def propagated(*more: str) -> Any:
        command = [
            "propagate",
            str(source),
            "--keyframes",
            str(tmp_path / "keys"),
            "--propagator",
            "flow",
            "-o",
            str(out),
        ]
        with pytest.raises(SystemExit) as ended:
            main([*command, "--set", "propagate.flow=dis", "--set", "propagate.workers=1", *more])
        assert not ended.value.code
        with av.open(str(out / "propagated.mp4")) as container:
            return container.streams.audio[0].layout.name, probe(out / "propagated.mp4")

    layout, info = propagated()
    seen, heard = seen_and_heard(out / "propagated.mp4")
    assert (
        (layout, info.frames) == ("stereo", 72) and seen == pytest.approx(3.5, abs=0.01) and abs(seen - heard) < 1 / 24
    )
    assert propagated("--audio-track", "1")[0] == "5.1"
    layout, info = propagated("--fps", "24", "--frames", "72")  # as many frames, of another pace
    assert (layout, info.is_variable_rate, info.frames, info.fps) == ("stereo", False, 72, 24)


def test_a_truth_is_resampled_as_the_clip_is(tmp_path: Path) -> None:
    write(tmp_path / "clip.mp4", EVEN, 10)
    clip = Clip.of(np.stack([gray(1)] * 8))
    resampled = replace(clip, resampled=Fraction(48), numbers=range(16, 24))
    found = [float(frame.mean()) > 100 for frame in resampled.same_frames(tmp_path / "clip.mp4")]
    assert found == [False] * 4 + [True] * 2 + [False] * 2  # frame 10 is shown twice
    assert resampled.identity != replace(resampled, resampled=None).identity
