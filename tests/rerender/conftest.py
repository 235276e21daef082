from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[3] / "shared" / "golden"


@pytest.fixture(scope="session")
def golden() -> Path:
    """Numbers of the official code on a clip that the project may not contain, where somebody keeps them beside it."""
    return _folder("rerender")


@pytest.fixture(scope="session")
def golden_bunny() -> Path:
    """The official propagation of a part of Big Buck Bunny."""
    return _folder("ebsynth/bunny")


def _folder(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"no golden data in {SHARED / name}")
    return SHARED / name
