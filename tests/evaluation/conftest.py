from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from videoedit.media.video import write_video
from videoedit.testing import moving_square, other_colors, panning, save_models, tiny_controlnet, tiny_models


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """A whole tiny Stable-Diffusion-like model with random weights and a ControlNet, saved as a folder."""
    folder = save_models(tiny_models(), tmp_path_factory.mktemp("models") / "tiny")
    tiny_controlnet().save_pretrained(folder / "controlnet-canny")
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    """Two clips of five frames, a ground truth and masks: ``square.mp4``, ``wall.mp4``, ``truth.mp4``, ``masks/``."""
    folder = tmp_path_factory.mktemp("clips")
    square = moving_square(5, (48, 32))
    write_video(folder / "square.mp4", square, 8)
    write_video(folder / "truth.mp4", other_colors(square), 8)
    write_video(folder / "wall.mp4", panning(5, (48, 32)), 8)
    red = (square[..., 0].astype(int) - square[..., 1] > 100)[..., None]
    write_video(folder / "mask.mp4", np.where(red, 255, 0).astype(np.uint8).repeat(3, -1), 8)
    return folder


@pytest.fixture
def write_suite(tiny_folder: Path, clips: Path, tmp_path: Path):
    """Write a suite of two clips with two edits each, at settings that take no time; returns its path."""

    def write(**changes) -> Path:
        model = {"model": str(tiny_folder), "device": "cpu"}
        data = {
            "name": "tiny",
            "clips": {
                "square": {
                    "path": str(clips / "square.mp4"),
                    "prompt": "a red square",
                    "mask": str(clips / "mask.mp4"),
                    "edits": {
                        "blue": {"type": "attribute", "prompt": "a blue square", "truth": str(clips / "truth.mp4")},
                        "snow": {"type": "background", "prompt": "a red square in the snow"},
                    },
                },
                "wall": {
                    "path": str(clips / "wall.mp4"),
                    "prompt": "a wall",
                    "edits": {
                        "road": {"type": "subject", "prompt": "a road"},
                        "desert": {"type": "style", "prompt": "a wall in the desert"},
                    },
                },
            },
            "metrics": ["strength", "psnr", "flicker_ratio", "background_psnr", "frame_share", "seconds_per_frame"],
            "settings": {
                "tuneavideo": model | {"tune": {"steps": 1}, "invert": {"steps": 1}, "sample": {"steps": 1}},
                "rerender": model
                | {
                    "keyframes": {"interval": 1},
                    "translate": {"steps": 2},
                    "propagate": {"propagator": "flow", "workers": 1, "flow": "dis"},
                },
            },
        }
        path = tmp_path / "suite.yaml"
        path.write_text(yaml.safe_dump(data | changes))
        return path

    return write


@pytest.fixture
def tints(monkeypatch):
    """The package of ``plugin/`` installed: its methods `tint` and `tintall` can run."""
    monkeypatch.syspath_prepend(str(Path(__file__).with_name("plugin")))


class Calls:
    """What the tinting methods were called for: lines ``CLIP PROMPT SEED``, those since the last look."""

    def __init__(self, log: Path) -> None:
        self.log, self.seen = log, 0

    def new(self) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        new, self.seen = lines[self.seen :], len(lines)
        return new


@pytest.fixture
def calls(tmp_path: Path) -> Calls:
    return Calls(tmp_path / "calls.log")


@pytest.fixture
def tint_suite(tints, write_suite, tiny_folder: Path, tmp_path: Path, calls: Calls):
    """The same suite set for the tinting methods, which need no model; ``prompts`` replaces some by ``CLIP/EDIT``."""

    def write(prompts: dict[str, str] | None = None, **changes) -> Path:
        own = {"log": str(calls.log), "trap": str(tmp_path / "trap")}
        settings = {"tint": own, "tintall": own, "vae": {"model": str(tiny_folder), "device": "cpu"}}
        path = write_suite(settings=settings, **changes)
        data = yaml.safe_load(path.read_text())
        for name, prompt in (prompts or {}).items():
            clip, edit = name.split("/")
            data["clips"][clip]["edits"][edit]["prompt"] = prompt
        path.write_text(yaml.safe_dump(data))
        return path

    return write
