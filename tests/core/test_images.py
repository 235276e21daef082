"""Still pictures that people bring: their color profiles."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from videoedit.media.images import read_image

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
