"""The methods and commands of this repository keep what every method promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from videoedit.media.images import write_image
from videoedit.plugins import get_method
from videoedit.testing import check_method, moving_square, other_colors

FEW = {"steps": 2}
PREVIEW = {"preset": "preview", "flow": "dis", "workers": 1}
TUNED = {"tune": FEW, "invert": FEW, "sample": FEW}
SETTINGS: dict[str, dict[str, Any]] = {
    "framewise": {"sample": FEW},
    "tuneavideo": TUNED,
    "rerender": {"keyframes": {"interval": 3}, "translate": FEW, "propagate": PREVIEW},
    "hybrid": {**TUNED, "keyframes": {"interval": 3}, "propagate": PREVIEW},
    "propagate": {"propagate": PREVIEW},
}
WINDOWS = {f"translate.{name}_window": [0.3, 0.9] for name in ("attention", "shape", "adain", "fusion")}
CHANGES: dict[str, dict[str, Any]] = {
    "tuneavideo": {"tune.trainable": ["to_q"]},
    "rerender": {
        **WINDOWS,
        "controls": ["canny:0.5"],
        "keyframes.indices": [2],
        "translate.canny": [50, 90],
        "translate.freeu": [1.1, 1.2, 1.0, 0.2],
    },
    "hybrid": {"keyframes.indices": [2]},
    "propagate": {"cuts": [3]},
}


@pytest.fixture
def flow(tmp_path: Path) -> str:
    """A folder of flow files: everything moves two pixels to the right."""
    for first in range(6):
        for second in range(6):
            np.save(tmp_path / f"{first}_{second}.npy", np.full((32, 48, 2), (2 * (second - first), 0), np.float32))
    return str(tmp_path)


@pytest.fixture
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folders, each with key frames 2 and 4 of the check's clip."""
    frames = moving_square(6, (48, 32))
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    for folder, edited in zip(folders, (other_colors(frames), 255 - frames), strict=True):
        for index in (2, 4):
            write_image(folder / f"{index}.png", edited[index])
    return folders


def failures(name: str, flow: str, keys: list[Path], kills: int) -> list[str]:
    settings, changes = SETTINGS[name], dict(CHANGES.get(name, {}))
    if "propagate" in settings:
        changes["propagate.flow"] = flow
    if name == "propagate":
        settings, changes["keyframes"] = {**settings, "keyframes": [str(keys[0])]}, [str(keys[1])]
    return check_method(get_method(name), settings, changes=changes, kills=kills)


@pytest.mark.parametrize("name", ["framewise", "tuneavideo", "propagate"])
def test_every_method_keeps_its_promises(name: str, flow: str, keys: list[Path]):
    assert failures(name, flow, keys, kills=0) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_every_method_keeps_its_promises_and_survives_kills(name: str, flow: str, keys: list[Path]):
    assert failures(name, flow, keys, kills=6) == []
