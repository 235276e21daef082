"""Frames as numbered pictures, with opacity where key frames have it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest

from videoedit.cli import main
from videoedit.media.frame_files import linear, write_frame
from videoedit.media.images import write_image
from videoedit.media.video import read_video, write_video
from videoedit.testing import panning

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
OPACITY = np.random.default_rng(1).integers(0, 256, (6, 8), np.uint8)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def test_png_is_lossless_with_and_without_opacity(tmp_path: Path) -> None:
    write_frame(tmp_path / "a.png", PIXELS)
    write_frame(tmp_path / "b.png", PIXELS, OPACITY)
    assert np.array_equal(cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)[..., ::-1], PIXELS)
    both = cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(both[..., 2::-1], PIXELS) and np.array_equal(both[..., 3], OPACITY)


def test_light_is_linear() -> None:
    found = linear(np.array([0, 10, 128, 188, 255], np.uint8))
    assert found == pytest.approx([0, 0.003035, 0.215861, 0.502886, 1], abs=1e-5)


def test_exr_holds_light_and_colors_times_opacity(tmp_path: Path) -> None:
    write_frame(tmp_path / "a.exr", PIXELS, OPACITY)
    with OpenEXR.File(str(tmp_path / "a.exr")) as file:
        pixels = file.channels()["RGBA"].pixels
    share = OPACITY[..., None] / 255
    assert pixels.dtype == np.float16 and np.abs(pixels[..., 3:] - share).max() < 1e-3
    assert np.abs(pixels[..., :3] - linear(PIXELS) * share).max() < 1e-3


def test_exr_without_its_extra_is_refused_before_anything_is_written(tmp_path: Path, capsys, monkeypatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "OpenEXR" else find_spec(name))
    write_video(tmp_path / "clip.mp4", panning(3), 8)
    write_image(tmp_path / "0.png", panning(1)[0])
    command = ["propagate", str(tmp_path / "clip.mp4"), "--keyframes", str(tmp_path / "0.png"), "--format", "exr"]
    assert run(*command, "-o", str(tmp_path / "out")) == 2
    assert 'pip install "videoedit[exr]"' in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_propagated_frames_carry_the_opacity_of_their_key_frames(tmp_path: Path) -> None:
    frames = panning(7, step=2)
    write_video(tmp_path / "clip.mp4", frames, 8)
    (tmp_path / "keys").mkdir()
    for number in (0, 6):  # the left part of the wall is opaque, and passes by
        opacity = np.zeros(frames.shape[1:3], np.uint8)
        opacity[:, : 40 - 2 * number] = 255
        write_frame(tmp_path / "keys" / f"{number}.png", frames[number], opacity)
    out = tmp_path / "out"
    command = ["propagate", str(tmp_path / "clip.mp4"), "--keyframes", str(tmp_path / "keys"), "-o", str(out)]
    command += ["--propagator", "flow", "--set", "propagate.flow=dis"]
    assert run(*command, "--format", "png") == 0
    files = sorted((out / "propagated-frames").iterdir())
    assert [file.name for file in files] == [f"{number:06d}.png" for number in range(7)]
    middle = cv2.imread(str(files[3]), cv2.IMREAD_UNCHANGED)
    assert middle.shape[2] == 4 and middle[:, :28, 3].mean() > 230 and middle[:, 44:, 3].mean() < 25
    video = read_video(out / "propagated.mp4").frames[3]
    assert video[:, 46:].min() > 225  # over white
    assert np.abs(video[:, 4:24].astype(int) - middle[:, 4:24, 2::-1]).mean() < 6
    files[3].write_bytes(b"damaged")
    assert run(*command, "--format", "png") == 0
    assert np.array_equal(cv2.imread(str(files[3]), cv2.IMREAD_UNCHANGED), middle)
    assert run(*command, "--format", "exr") == 0  # the same frames, in light
    with OpenEXR.File(str(out / "propagated-frames" / "000003.exr")) as file:
        light = file.channels()["RGBA"].pixels
    share = middle[..., 3:] / 255
    assert np.abs(light[..., 3:] - share).max() < 1e-3
    assert np.abs(light[..., :3] - linear(middle[..., 2::-1]) * share).max() < 2e-3


def test_without_a_format_no_pictures_are_written(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", panning(3), 8)
    write_image(tmp_path / "0.png", panning(1)[0])
    command = [
        "propagate",
        str(tmp_path / "clip.mp4"),
        "--keyframes",
        str(tmp_path / "0.png"),
        "-o",
        str(tmp_path / "o"),
    ]
    assert run(*command, "--propagator", "flow") == 0
    assert not list((tmp_path / "o").glob("*-frames"))
