"""Still pictures that people bring: their color profiles, how they are turned, what is changed of them."""

from __future__ import annotations

import gc
import logging
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from videoedit.media.images import read_image
from videoedit.media.video import read_video

RED = np.full((8, 8, 3), (250, 5, 5), np.uint8)


def turned_profile() -> bytes:
    """An sRGB profile whose red is green, whose green is blue, and whose blue is red."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", data, 128)
    entries = {bytes(data[132 + 12 * i : 136 + 12 * i]): 136 + 12 * i for i in range(count)}
    red, green, blue = (slice(entries[name], entries[name] + 8) for name in (b"rXYZ", b"gXYZ", b"bXYZ"))
    data[red], data[green], data[blue] = data[green], data[blue], data[red]
    return bytes(data)


def test_a_color_profile_is_converted_to_srgb(tmp_path: Path) -> None:
    Image.fromarray(RED).save(tmp_path / "a.png", icc_profile=turned_profile())
    assert np.abs(read_image(tmp_path / "a.png").astype(int) - np.roll(RED, 1, axis=-1)).max() <= 2


def test_a_broken_color_profile_is_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.fromarray(RED).save(tmp_path / "b.png", icc_profile=b"no profile at all")
    with caplog.at_level(logging.WARNING):
        assert (read_image(tmp_path / "b.png") == RED).all()
    assert "b.png: its color profile cannot be used" in caplog.text


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize("turned", range(1, 9))
def test_a_single_picture_as_a_clip_is_what_a_viewer_shows(tmp_path: Path, suffix: str, turned: int) -> None:
    """Upright by its EXIF tag, its profile converted; read many times, since PyAV freed a profile's name twice."""
    exif = Image.Exif()
    exif[0x0112] = turned
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = np.random.default_rng(turned).integers(0, 255, (8, 12, 3), np.uint8)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(pixels).resize((48, 32)).save(path, exif=exif, icc_profile=profile, quality=95)
    for _ in range(3):
        shown = read_video(path).frames
        gc.collect()
    with Image.open(path) as opened:
        upright = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    assert shown.shape[1:] == upright.shape
    assert np.abs(shown[0].astype(int) - upright).max() <= 2


def test_an_animated_png_with_a_named_profile_does_not_end_the_process(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    first, *others = [Image.new("RGB", (48, 32), color) for color in ("red", "green", "blue")]
    first.save(tmp_path / "a.png", save_all=True, append_images=others, duration=100, icc_profile=profile)
    code = (
        "import gc, sys; from pathlib import Path; from videoedit.media.video import read_video\n"
        "for _ in range(20): video = read_video(Path(sys.argv[1])); gc.collect()\n"
        "assert video.num_frames == 3, video.num_frames"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.png"], check=True)


def test_a_folder_says_what_is_changed_of_its_pictures(tmp_path: Path) -> None:
    Image.new("RGBA", (48, 32), (255, 0, 0, 100)).save(tmp_path / "0.png")
    Image.new("RGB", (24, 16), "blue").save(tmp_path / "1.png")
    video = read_video(tmp_path)
    assert video.frames.shape == (2, 32, 48, 3)
    assert any("white" in note for note in video.notes)
    assert any("size changes" in note and "48x32" in note for note in video.notes)


def test_deep_pictures_are_said_to_be_read_with_8_bits(tmp_path: Path) -> None:
    deep = np.full((32, 48, 3), 40_000, np.uint16)
    (tmp_path / "0.png").write_bytes(cv2.imencode(".png", deep)[1].tobytes())
    for clip in (tmp_path, tmp_path / "0.png"):
        video = read_video(clip)
        assert any("8 bits" in note for note in video.notes)
        assert abs(int(video.frames[0, 0, 0, 0]) - 40_000 // 257) <= 1
