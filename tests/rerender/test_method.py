"""`videoedit run rerender` from a clip to files, on the embedded model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from rerender.config import RerenderConfig
from videoedit.config import build_config
from videoedit.errors import ConfigError, InputError, WeightsError
from videoedit.media.images import read_image, write_image
from videoedit.media.video import probe, read_video, write_video
from videoedit.models.assets import MINI
from videoedit.pipeline import plan_run, run_method
from videoedit.runs.folder import latest_call
from videoedit.testing import moving_square, panning

PREVIEW = {"preset": "preview", "flow": "dis", "workers": 1}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ein Kätzchen") / "clip ü.mp4"
    write_video(path, moving_square(6, (48, 32)), 8)
    return path


@pytest.fixture
def settings(clip: Path):
    def make(**changes) -> dict:
        data = {"clip": str(clip), "prompt": "a red car in the snow", "device": "cpu", "keyframes": {"interval": 3},
                "translate": {"steps": 3}, "propagate": PREVIEW}  # fmt: skip
        return {**data, **changes}

    return make


@pytest.fixture
def config(settings):
    return lambda **changes: build_config(RerenderConfig, settings(**changes))


def keys_of(folder: Path) -> dict[int, np.ndarray]:
    return {int(path.stem): read_image(path) for path in sorted(folder.glob("keys/*.png"))}


def record_of(folder: Path) -> dict:
    """The record of a run with the settings and steps of its latest call."""
    record = json.loads((folder / "run.json").read_text())
    return record | latest_call(record)


def test_an_edit_keeps_frames_rate_and_size_and_reports(config, tmp_path: Path):
    result = run_method("rerender", config(), tmp_path / "r")
    info = probe(result.videos["a red car in the snow"])
    assert (info.frames, info.fps, info.width, info.height) == (6, 8, 48, 32)
    assert list(keys_of(tmp_path / "r")) == [0, 3, 5]
    record = record_of(tmp_path / "r")
    assert set(record["stages"]) == {
        "source", "key frames", "translate", "propagate", "write a red car in the snow",
        "measure a red car in the snow", "picture keys.png", "picture flow.png",
    }  # fmt: skip
    assert {"warp_error", "colour_drift", "patch_error", "seams"} <= set(record["plots"])
    assert all(len(values) == 6 for values in record["plots"].values())
    page = (tmp_path / "r/report.html").read_text()
    assert "Key frames 0, 3, 5" in page and "Flow and occlusion" in page
    again = run_method("rerender", config(propagate={**PREVIEW, "workers": 2}), tmp_path / "r")
    assert again.videos == result.videos  # how many workers is no other run
    assert all(stage["reused"] for stage in record_of(tmp_path / "r")["stages"].values())


def test_until_keyframes_stops_there_and_names_every_key(config, tmp_path: Path):
    result = run_method("rerender", config(until="keyframes", keyframes={"indices": [2]}), tmp_path / "r")
    assert not result.videos and not (tmp_path / "r/edit.mp4").exists()
    assert list(keys_of(tmp_path / "r")) == [0, 2, 5]
    assert "Key frames 0, 2, 5" in (tmp_path / "r/report.html").read_text()


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "a blue car in the snow"},
        {"negative_prompt": "a red car"},
        {"seed": 34},
        {"controls": []},
        {"controls": ["canny:0.3"]},
        {"translate": {"steps": 4}},
        {"translate": {"steps": 3, "strength": 0.4}},
        {"translate": {"steps": 3, "compat": "official"}},
    ],
    ids=str,
)
def test_each_setting_changes_the_key_frames(config, tmp_path: Path, changes: dict):
    for name, changed in (("a", {}), ("b", changes)):
        few = {"video": {"num_frames": 3}, "keyframes": {"interval": 2}, "until": "keyframes"}
        run_method("rerender", config(**few, **changed), tmp_path / name)
    a, b = keys_of(tmp_path / "a"), keys_of(tmp_path / "b")
    assert (a[2] != b[2]).any()


def test_a_controls_other_weights_and_a_changed_key_frame_are_noticed(config, tmp_path: Path):
    control = tmp_path / "control"
    shutil.copytree(MINI / "controlnet-canny", control)
    few = {"video": {"num_frames": 3}, "keyframes": {"interval": 2}, "controls": [f"canny={control}"]}
    run_method("rerender", config(**few), tmp_path / "r")
    before = keys_of(tmp_path / "r")
    (weights,) = control.glob("*.safetensors")
    tensors = load_file(weights)
    save_file({name: tensor * 0.5 for name, tensor in tensors.items()}, weights)
    run_method("rerender", config(**few), tmp_path / "r")
    statuses = record_of(tmp_path / "r")["calls"][-1]["steps"]
    assert (
        statuses["key frames"] == "kept"
        and statuses["translate"] == "made: the contents of controls.canny:1 (1) changed"
    )
    after = keys_of(tmp_path / "r")
    assert (after[2] != before[2]).any()
    write_image(tmp_path / "r/keys/000002.png", before[2])
    run_method("rerender", config(**few), tmp_path / "r")
    statuses = record_of(tmp_path / "r")["calls"][-1]["steps"]
    assert statuses["translate"] == "made: keys/000002.png was damaged or changed"
    assert np.array_equal(keys_of(tmp_path / "r")[2], after[2])


@pytest.mark.parametrize("count", [1, 2])
def test_short_clips_and_long_intervals(config, tmp_path: Path, count: int):
    result = run_method("rerender", config(video={"num_frames": count}, keyframes={"interval": 10**9}), tmp_path / "r")
    assert probe(next(iter(result.videos.values()))).frames == count
    assert list(keys_of(tmp_path / "r")) == list(range(count))


def test_a_scene_cut_starts_a_shot_with_an_anchor_of_its_own(config, tmp_path: Path):
    path = tmp_path / "two shots.mp4"
    frames = np.concatenate([moving_square(4, (48, 32)), 255 - panning(5, (48, 32))])
    write_video(path, frames, 8)
    result = run_method("rerender", config(clip=str(path), keyframes={"interval": 9}), tmp_path / "r")
    assert list(keys_of(tmp_path / "r")) == [0, 3, 4, 8]
    assert read_video(next(iter(result.videos.values()))).num_frames == 9
    assert "Scene cuts before frames [4]" in (tmp_path / "r/report.html").read_text()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"prompt": ""}, InputError, "--prompt"),
        ({"controls": ["cany"]}, ConfigError, "expected one of canny"),
        ({"controls": ["depth"]}, WeightsError, "only for canny"),
        ({"controls": ["canny=/no/such/folder"]}, WeightsError, "no ControlNet"),
        ({"keyframes": {"interval": 0}}, ConfigError, "interval"),
        ({"keyframes": {"interval": -3}}, ConfigError, "interval"),
        ({"keyframes": {"indices": [6]}}, ConfigError, "frames are 0 to 5"),
        ({"video": {"num_frames": 7}}, InputError, "clip has 6"),
        ({"propagate": {"flow": "no-such-flow"}}, ConfigError, "no-such-flow"),
    ],
    ids=str,
)
def test_bad_input_is_one_line(settings, tmp_path: Path, changes: dict, error: type, words: str):
    for run in (plan_run, run_method):  # a dry run refuses what the run would refuse
        with pytest.raises(error, match=words) as caught:
            run("rerender", build_config(RerenderConfig, settings(**changes)), tmp_path / "r")
        assert "\n" not in str(caught.value)
    assert not list((tmp_path / "r").glob("*.mp4")) or error is not InputError


def test_any_setting_may_change_and_what_depends_on_it_is_made_again(config, tmp_path: Path):
    few = {"video": {"num_frames": 2}, "until": "keyframes"}
    run_method("rerender", config(**few), tmp_path / "r")
    before = keys_of(tmp_path / "r")
    plan = plan_run("rerender", config(**few, seed=1), tmp_path / "r")
    assert plan.status["key frames"] == "kept" and plan.status["translate"] == "made: seed 33 → 1"
    run_method("rerender", config(**few, seed=1), tmp_path / "r")
    assert (keys_of(tmp_path / "r")[1] != before[1]).any()
    statuses = record_of(tmp_path / "r")["calls"][-1]["steps"]
    assert statuses["source"] == statuses["key frames"] == "kept"


def test_the_plan_counts_key_frames_and_evaluations(config):
    plan = plan_run("rerender", config(translate={"steps": 20, "strength": 0.75}), estimate=True)
    translate = next(stage for stage in plan.stages if stage.name == "translate")
    assert translate.what.startswith("3 key frames x 23 network evaluations (official: 40)")
    assert translate.flops > 0 and translate.memory_mb > 0
    assert plan.stages[-1].seconds > 0


@pytest.mark.slow
def test_kill_9_at_random_moments_changes_nothing(settings, tmp_path: Path):
    """Twenty kills while choosing, translating, propagating and writing; see killer.py."""
    script = Path(__file__).parents[1] / "killer.py"
    arguments = ["rerender", json.dumps(settings(translate={"steps": 6})), str(tmp_path), "20"]
    done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 kills" in done.stdout
