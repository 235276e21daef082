"""`videoedit run hybrid` from a clip to files, on a tiny model with random weights."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from hybrid.config import HybridConfig
from videoedit.config import build_config
from videoedit.errors import ConfigError, InputError
from videoedit.files import file_stem
from videoedit.media.images import read_image
from videoedit.media.video import probe, read_video, stretch_frames, write_video
from videoedit.metrics import psnr
from videoedit.pipeline import plan_run, run_method
from videoedit.runs.folder import latest_call
from videoedit.testing import moving_square, panning, save_models, tiny_models

FAST = {"preset": "preview", "flow": "dis", "workers": 1}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tiny_models(), tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ein Kätzchen") / "clip ü.mp4"
    write_video(path, moving_square(7, (48, 32)), Fraction(30000, 1001))
    return path


@pytest.fixture(scope="module")
def settings(clip: Path, model: Path):
    def make(**changes) -> dict:
        data = {
            "clip": str(clip), "model": str(model), "device": "cpu", "source_prompt": "a square",
            "prompts": ["a red square"], "keyframes": {"interval": 3}, "tune": {"steps": 2},
            "invert": {"steps": 2}, "sample": {"steps": 2}, "propagate": FAST,
        }  # fmt: skip
        return {**data, **changes}

    return make


@pytest.fixture(scope="module")
def config(settings):
    return lambda **changes: build_config(HybridConfig, settings(**changes))


@pytest.fixture(scope="module")
def baseline(config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the settings above."""
    folder = tmp_path_factory.mktemp("baseline") / "r"
    run_method("hybrid", config(), folder)
    return folder


def record_of(folder: Path) -> dict:
    record = json.loads((folder / "run.json").read_text())
    return record | latest_call(record)


def keys_of(folder: Path, prompt: str = "a red square") -> dict[int, np.ndarray]:
    return {int(path.stem): read_image(path) for path in sorted(folder.glob(f"keys/{file_stem(prompt)}/*.png"))}


def edit_of(folder: Path, prompt: str = "a red square") -> np.ndarray:
    return read_video(folder / f"edit-{file_stem(prompt)}.mp4").frames


def test_the_whole_clip_comes_back_at_its_rate_and_size(baseline: Path):
    info = probe(baseline / "edit-a-red-square.mp4")
    assert (info.frames, info.fps, info.width, info.height) == (7, Fraction(30000, 1001), 48, 32)
    record = record_of(baseline)
    assert record["status"] == "finished" and record["keyframes"] == [0, 3, 6]
    assert {"warp_error", "colour_drift", "patch_error", "seams", "loss"} <= set(record["plots"])
    assert all(len(values) == 7 for name, values in record["plots"].items() if name != "loss")
    assert record["metrics"]["a red square"]["warp_error@1"] == pytest.approx(np.mean(record["plots"]["warp_error"]))
    page = (baseline / "report.html").read_text()
    assert "Key frames 0, 3, 6" in page and "upright lines are key frames" in page and "Adobe" in page


def test_key_frames_of_the_result_are_the_edited_key_frames(config, tmp_path: Path):
    video = {"output_size": "model"}
    result = run_method("hybrid", config(video=video), tmp_path / "r")
    frames, keys = read_video(result.videos["a red square"]).frames, keys_of(tmp_path / "r")
    assert list(keys) == [0, 3, 6]

    def coarse(frame: np.ndarray) -> np.ndarray:  # an untrained model's fine noise does not survive the codec
        return stretch_frames(frame, (10, 6))[None]

    for index, key in keys.items():
        others = [psnr(coarse(frames[other]), coarse(key)) for other in range(7) if other != index]
        assert psnr(coarse(frames[index]), coarse(key)) > max(30, *others)


def test_the_key_frames_are_tuneavideos_own(config, baseline: Path, clip: Path, tmp_path: Path):
    """What Tune-A-Video makes of a clip of just these frames, the hybrid makes of them too."""
    from tuneavideo.config import TuneAVideoConfig

    c = config()
    shared = ("model", "device", "source_prompt", "prompts", "tune", "invert", "sample")
    own = {name: value for name, value in json.loads(c.model_dump_json()).items() if name in shared}
    data = own | {"clip": str(clip), "video": {"stride": 3, "num_frames": 3}}
    run_method("tuneavideo", build_config(TuneAVideoConfig, data), tmp_path / "r")
    for name in ("inverted.safetensors", "edit-a-red-square.safetensors"):
        assert (tmp_path / "r" / name).read_bytes() == (baseline / name).read_bytes()


def test_the_same_command_reuses_everything(config, baseline: Path):
    before = {path: path.read_bytes() for path in baseline.rglob("*.[mps][pna]*") if path.is_file()}
    run_method("hybrid", config(propagate={**FAST, "workers": 2}), baseline)
    assert all(stage["reused"] for stage in record_of(baseline)["stages"].values())
    assert before == {path: path.read_bytes() for path in before}


def test_prompts_share_one_tuning_also_later_ones(config, tmp_path: Path):
    run_method("hybrid", config(prompts=["a red square", "Snow!"]), tmp_path / "both")
    run_method("hybrid", config(), tmp_path / "r")
    result = run_method("hybrid", config(prompts=["Snow!"]), tmp_path / "r")
    record = record_of(tmp_path / "r")
    done = {name for name, stage in record["stages"].items() if not stage["reused"]}
    assert done == {
        "edit Snow!", "key frames Snow!", "propagate Snow!", "write Snow!", "measure Snow!", "picture keys.png",
    }  # fmt: skip
    assert list(result.videos) == list(record["metrics"]) == ["Snow!"]
    for prompt in ("a red square", "Snow!"):
        name = f"edit-{file_stem(prompt)}.mp4"
        assert (tmp_path / "r" / name).read_bytes() == (tmp_path / "both" / name).read_bytes()
    assert (edit_of(tmp_path / "both") != edit_of(tmp_path / "both", "Snow!")).any()
    plots = record_of(tmp_path / "both")["plots"]
    assert "warp_error, Snow!" in plots and "warp_error, a red square" in plots


def with_sound(path: Path, frames: np.ndarray, fps: int) -> Path:
    """A clip with a tone as long as its picture."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=fps)
        picture.height, picture.width, picture.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        sound = container.add_stream("aac", rate=16000, layout="mono")
        for pixels in frames:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(picture.encode(None))
        tone = np.sin(np.arange(16000 * len(frames) // fps) * 0.1).astype(np.float32)[None]
        for begin in range(0, tone.shape[1], 1024):
            frame = av.AudioFrame.from_ndarray(tone[:, begin : begin + 1024], format="fltp", layout="mono")
            frame.rate, frame.pts = 16000, begin
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def test_sound_and_an_odd_size_are_kept_and_key_frames_are_limited(config, tmp_path: Path):
    """Thirty frames at 8 a second: no interval given, so at most as many key frames as are allowed."""
    path = with_sound(tmp_path / "tone.mp4", moving_square(30, (50, 34)), 8)
    result = run_method("hybrid", config(clip=str(path), keyframes={"most": 5}), tmp_path / "r")
    info = probe(result.videos["a red square"])
    assert (info.frames, info.fps, info.width, info.height, info.has_audio) == (30, 8, 50, 34, True)
    assert record_of(tmp_path / "r")["keyframes"] == [0, 8, 16, 24, 29]
    with av.open(str(result.videos["a red square"])) as container:
        rate = container.streams.audio[0].rate
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert abs(samples / rate - 30 / 8) < 0.2


@pytest.mark.parametrize("count", [1, 2])
def test_short_clips_are_all_key_frames(config, tmp_path: Path, count: int):
    result = run_method("hybrid", config(video={"num_frames": count}), tmp_path / "r")
    assert probe(result.videos["a red square"]).frames == count
    assert list(keys_of(tmp_path / "r")) == list(range(count))


def test_nothing_is_carried_over_a_scene_cut(config, tmp_path: Path):
    path = tmp_path / "two shots.mp4"
    write_video(path, np.concatenate([moving_square(4, (48, 32)), 255 - panning(5, (48, 32))]), 8)
    run_method("hybrid", config(clip=str(path), keyframes={"most": 2}), tmp_path / "r")
    record = record_of(tmp_path / "r")
    assert record["keyframes"] == [0, 3, 4, 8]
    assert any("Scene cuts before frames [4]" in note for note in record["notes"])
    assert any("more than keyframes.most = 2" in note for note in record["notes"])


def test_with_the_truth_the_figures_say_how_near_it_is(config, baseline: Path, clip: Path, tmp_path: Path):
    result = run_method("hybrid", config(truth=[str(clip)]), tmp_path / "r")
    assert "psnr@1" in result.metrics["a red square"] and "psnr@1" in result.metrics["ground truth: a red square"]
    assert probe(tmp_path / "r/truth-a-red-square.mp4").frames == 7
    assert (edit_of(tmp_path / "r") == edit_of(baseline)).all()


@pytest.mark.parametrize(
    ("changes", "made"),
    [
        ({}, None),
        ({"negative_prompt": "snow"}, "edit a red square"),
        ({"seed": 1}, "tune"),
        ({"network": {"attention": "full"}}, "tune"),
        ({"source_prompt": "snow"}, "tune"),
        ({"invert": {"steps": 3}}, "invert"),
        ({"keyframes": {"interval": 2}}, "key frames"),
        ({"propagate": {**FAST, "blend": "select"}}, "propagate a red square"),
    ],
    ids=str,
)
def test_a_changed_setting_is_seen_by_the_stage_that_it_belongs_to(
    config, baseline: Path, changes: dict, made: str | None
):
    """The first of the steps that is made; those before it are kept."""
    status = plan_run("hybrid", config(**changes), baseline).status
    remade = [name for name, why in status.items() if why != "kept"]
    assert next(iter(remade), None) == made
    if made == "edit a red square":
        assert remade[1] == "key frames a red square"


def test_the_default_key_frames_are_the_fewest_that_give_the_most():
    keyframes = HybridConfig().keyframes
    assert (keyframes.interval, keyframes.most, keyframes.adaptive) == (None, 24, False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"source_prompt": "snow"},
        {"negative_prompt": "snow"},
        {"seed": 1},
        {"network": {"attention": "full"}},
        {"tune": {"steps": 0}},
        {"tune": {"steps": 2, "learning_rate": 1e-2}},
        {"invert": {"steps": 3}},
        {"sample": {"steps": 2, "guidance_scale": 3.0}},
        {"keyframes": {"interval": 2}},
        {"keyframes": {}},
        {"keyframes": {"indices": [2]}},
        {"propagate": {**FAST, "propagator": "flow"}},
        {"propagate": {**FAST, "preset": "fast"}},
        {"propagate": {**FAST, "blend": "select"}},
        {"propagate": {**FAST, "poisson": True}},
    ],
    ids=str,
)
def test_every_setting_changes_the_edit(config, baseline: Path, change: dict, tmp_path: Path):
    run_method("hybrid", config(**change), tmp_path / "r")
    assert (edit_of(tmp_path / "r") != edit_of(baseline)).any()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"prompts": []}, InputError, "--prompt"),
        ({"keyframes": {"interval": 0}}, ConfigError, "interval"),
        ({"keyframes": {"most": 1}}, ConfigError, "most"),
        ({"keyframes": {"indices": [7]}}, ConfigError, "frames are 0 to 6"),
        ({"video": {"num_frames": 8}}, InputError, "clip has 7"),
        ({"video": {"size": "30x30"}}, ConfigError, "nearest that fits"),
        ({"propagate": {"presett": "fast"}}, ConfigError, r"did you mean 'propagate\.preset'"),
        ({"tune": {"stepps": 3}}, ConfigError, r"did you mean 'tune\.steps'"),
        ({"prompts": ["a", "a"]}, ConfigError, "given twice"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_before_anything_is_written(settings, tmp_path: Path, changes, error, words):
    with pytest.raises(error, match=words) as caught:
        run_method("hybrid", build_config(HybridConfig, settings(**changes)), tmp_path / "r")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "r").exists()


def test_the_plan_is_the_sum_of_its_stages_plans(config):
    plan = plan_run("hybrid", config(prompts=["a", "b"]), estimate=True)
    assert [stage.name for stage in plan.stages] == [
        "key frames", "encode", "tune", "invert", "edit 1", "edit 2", "propagate 1", "propagate 2",
    ]  # fmt: skip
    by_name = {stage.name: stage for stage in plan.stages}
    assert by_name["key frames"].what == "3 of 7, every 3"
    assert by_name["encode"].what.startswith("3 frames ")
    assert by_name["tune"].flops > by_name["invert"].flops > 0 and by_name["propagate 1"].seconds > 0


@pytest.mark.parametrize("absent", ["tuneavideo", "rerender"])
def test_without_one_of_the_methods_it_says_so_in_one_line(absent: str, clip: Path, tmp_path: Path):
    script = (
        "import importlib.metadata as m, sys; whole = m.entry_points\n"
        f"m.entry_points = lambda **k: [p for p in whole(**k) if p.name != {absent!r}]\n"
        "from videoedit.cli import main; main(sys.argv[1:])"
    )
    arguments = ["run", "hybrid", str(clip), "--prompt", "x", "-o", str(tmp_path / "r")]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert f"method '{absent}', which is not installed" in line
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_kill_9_at_random_moments_changes_nothing(settings, tmp_path: Path):
    """Twenty kills while choosing, tuning, sampling, propagating and writing; see killer.py."""
    script = Path(__file__).parents[1] / "killer.py"
    longer = settings(
        prompts=["a red square", "snow"], tune={"steps": 30, "checkpoint_every": 7}, invert={"steps": 20},
        sample={"steps": 20},
    )  # fmt: skip
    arguments = ["hybrid", json.dumps(longer), str(tmp_path), "20"]
    done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 kills" in done.stdout
