from __future__ import annotations

from pathlib import Path

import pytest

from videoedit.media.video import write_video
from videoedit.testing import moving_square, save_models, tiny_models


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """A whole tiny Stable-Diffusion-like model with random weights, saved as a folder."""
    return save_models(tiny_models(), tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def square_clip(tmp_path_factory) -> Path:
    """Six frames of a moving square, 48x32, 8 frames a second, without sound."""
    path = tmp_path_factory.mktemp("clips") / "square.mp4"
    write_video(path, moving_square(6, (48, 32)), 8)
    return path
