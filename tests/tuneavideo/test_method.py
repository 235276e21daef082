from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tuneavideo.config import EditFramesConfig, TuneAVideoConfig
from tuneavideo.method import TuneAVideo
from tuneavideo.tuning import tune
from tuneavideo.video_unet import VideoUNet
from videoedit.config import build_config
from videoedit.diffusion.guidance import guided
from videoedit.diffusion.inversion import ddim_invert
from videoedit.diffusion.latents import decode, encode_posterior, frames_to_pixels, pixels_to_frames
from videoedit.diffusion.prompts import encode_prompts
from videoedit.diffusion.sampling import ddim_sample
from videoedit.errors import ConfigError, InputError, OutputError, ShapeError
from videoedit.media.video import probe, read_video, write_video
from videoedit.pipeline import plan_run, run_method
from videoedit.runs.folder import latest_call
from videoedit.testing import moving_square, tiny_models


@pytest.fixture(scope="session")
def config(tiny_folder: Path, square_clip: Path):
    def make(**changes) -> TuneAVideoConfig:
        data = {
            "clip": str(square_clip),
            "model": str(tiny_folder),
            "device": "cpu",
            "source_prompt": "a square",
            "prompts": ["a red square"],
            "tune": {"steps": 3},
            "invert": {"steps": 3},
            "sample": {"steps": 3},
        }
        return build_config(TuneAVideoConfig, {**data, **changes})

    return make


EVERYTHING = ["source", "encode", "tune", "invert", "reconstruction", "edit a red square", "measure a red square"]


def outputs(folder: Path) -> dict[str, str]:
    """Hashes of everything that a run makes, except records of time."""
    files = [*folder.glob("*.mp4"), *folder.glob("*.safetensors"), folder / "config.yaml"]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def record_of(folder: Path) -> dict:
    """The record of a run with the settings and steps of its latest call."""
    record = json.loads((folder / "run.json").read_text())
    return record | latest_call(record)


def made(folder: Path) -> set[str]:
    """The steps that the latest call made."""
    return {name for name, stage in record_of(folder)["stages"].items() if not stage["reused"]}


def test_an_edit_keeps_frames_rate_and_size_and_reports(config, tmp_path: Path):
    result = run_method("tuneavideo", config(prompts=["a red square", "snow"]), tmp_path / "r")
    assert list(result.videos) == ["a red square", "snow"]
    for path in result.videos.values():
        info = probe(path)
        assert (info.frames, info.fps, info.width, info.height) == (6, 8, 48, 32)
    first, second = (read_video(path).frames for path in result.videos.values())
    assert (first != second).any()
    record = record_of(tmp_path / "r")
    assert record["status"] == "finished"
    assert list(record["stages"]) == [
        "source", "encode", "tune", "invert", "reconstruction",
        "edit a red square", "measure a red square", "edit snow", "measure snow",
    ]  # fmt: skip
    assert len(record["plots"]["loss"]) == 3
    assert (tmp_path / "r/report.html").stat().st_size > 1000
    assert not list((tmp_path / "r").glob("*.state.*"))


def test_the_same_command_reuses_everything(config, tmp_path: Path):
    run_method("tuneavideo", config(), tmp_path / "r")
    before = outputs(tmp_path / "r")
    run_method("tuneavideo", config(), tmp_path / "r")
    assert made(tmp_path / "r") == set()
    assert outputs(tmp_path / "r") == before
    run_method("tuneavideo", config(seed=34), tmp_path / "r")
    assert made(tmp_path / "r") == {"tune", "invert", "reconstruction", "edit a red square", "measure a red square"}
    assert outputs(tmp_path / "r")["adapter.safetensors"] != before["adapter.safetensors"]


def test_a_folder_of_another_method_or_clip_is_refused(config, tmp_path: Path):
    run_method("tuneavideo", config(), tmp_path / "r")
    other = tmp_path / "other.mp4"
    write_video(other, 255 - moving_square(6, (48, 32)), 8)
    with pytest.raises(OutputError, match=r"holds runs on another clip .*-o.*--fresh"):
        run_method("tuneavideo", config(clip=str(other)), tmp_path / "r")
    with pytest.raises(OutputError, match="another clip"):
        plan_run("tuneavideo", config(clip=str(other)), tmp_path / "r")
    run_method("tuneavideo", config(clip=str(other)), tmp_path / "r", fresh=True)
    assert record_of(tmp_path / "r")["clip"]["path"] == str(other)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sample": {"steps": 3, "guidance_scale": 5.0}}, ["edit a red square", "measure a red square"]),
        ({"negative_prompt": "snow"}, ["edit a red square", "measure a red square"]),
        ({"invert": {"steps": 4}}, ["invert", "reconstruction", "edit a red square", "measure a red square"]),
        ({"video": {"output_size": "model"}}, ["source", "reconstruction", "measure a red square"]),
        ({"tune": {"steps": 3, "checkpoint_every": 9}}, []),
        ({"video": {"num_frames": 4}}, EVERYTHING),
        ({"video": {"num_frames": 4, "start": 1}}, EVERYTHING),
        ({"video": {"size": "32x32"}}, EVERYTHING),
    ],
    ids=str,
)
def test_a_changed_setting_remakes_only_what_depends_on_it(config, finished, changes, expected, tmp_path: Path):
    folder = tmp_path / "r"
    shutil.copytree(finished, folder)
    plan = plan_run("tuneavideo", config(**changes), folder)
    assert {name for name, status in plan.status.items() if status != "kept"} == set(expected)
    run_method("tuneavideo", config(**changes), folder)
    assert made(folder) == set(expected)
    assert len(record_of(folder)["calls"]) == 2
    run_method("tuneavideo", config(**changes), tmp_path / "anew")
    kept = {"adapter.safetensors"} if not expected else set()  # says how often its tuning was saved
    same, anew = outputs(folder), outputs(tmp_path / "anew")
    assert {name for name in anew if same[name] != anew[name]} == kept


@pytest.fixture(scope="session")
def finished(config, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "r"
    run_method("tuneavideo", config(), folder)
    return folder


@pytest.mark.parametrize(
    "changes",
    [{"network": {"group_norm": "frame"}}, {"tune": {"steps": 4}}, {"source_prompt": "a car"}, {"seed": 1}],
    ids=str,
)
def test_the_tuning_needs_all_that_it_learns_by(config, finished, changes):
    status = plan_run("tuneavideo", config(**changes), finished).status
    assert status["encode"] == "kept" and status["tune"].startswith("made: ")


def test_an_edit_is_the_papers_steps_one_by_one():
    """Tuned on the source prompt, inverted and reconstructed on the empty one, sampled under guidance."""
    frames, steps = moving_square(3, (32, 32)), 3
    sections = {"tune": {"steps": 4, "learning_rate": 1e-3}, "invert": {"steps": steps}, "sample": {"steps": steps}}
    config = build_config(EditFramesConfig, sections)
    with TuneAVideo(tiny_models(), config, seed=5) as method:
        method.fit(frames, "a red car")
        edit = method.sample("a blue dog", "snow", config.sample).tensors["latents"]
        losses, noise, reconstruction = method.losses, method.noise.tensors["latents"], method.reconstruct()

    models = tiny_models()
    embed = {text: encode_prompts(models, [text]) for text in ("", "a red car", "a blue dog", "snow")}
    posterior = encode_posterior(models.vae, frames_to_pixels(frames))
    with VideoUNet(models.unet, generator=torch.Generator().manual_seed(5), **config.network.model_dump()) as unet:
        result = tune(unet, posterior, embed["a red car"], models.scheduler, seed=5, **config.tune.model_dump())
        unet.eval()
        plain = guided(unet, embed[""], embed[""], 1.0)
        inverted = ddim_invert(plain, posterior.mean, models.scheduler, steps)[-1]
        wanted = guided(unet, embed["a blue dog"], embed["snow"], 12.5)
        assert losses == result.losses
        torch.testing.assert_close(noise, inverted, rtol=0, atol=1e-4)
        sampled = ddim_sample(wanted, inverted, models.scheduler, steps)
        torch.testing.assert_close(edit, sampled, rtol=0, atol=1e-3)
        back = decode(models.vae, ddim_sample(plain, inverted, models.scheduler, steps))
        assert np.abs(reconstruction.astype(int) - pixels_to_frames(back)).max() <= 1


def test_replaced_contents_are_noticed(config, tmp_path: Path):
    """The files that a run starts from keep their names, and hold something else."""
    run_method("tuneavideo", config(), tmp_path / "a")
    run_method("tuneavideo", config(seed=3), tmp_path / "b")
    adapter, latents = tmp_path / "adapter.safetensors", tmp_path / "latents.safetensors"
    shutil.copy(tmp_path / "a/adapter.safetensors", adapter)
    shutil.copy(tmp_path / "a/inverted.safetensors", latents)
    given = config(adapter=str(adapter), tune={"steps": 0}, invert={"steps": 3, "latents": str(latents)})
    run_method("tuneavideo", given, tmp_path / "r")
    shutil.copy(tmp_path / "b/inverted.safetensors", latents)
    run_method("tuneavideo", given, tmp_path / "r")
    statuses = record_of(tmp_path / "r")["calls"][-1]["steps"]
    assert statuses["tune"] == "kept" and statuses["invert"] == "made: the contents of invert.latents changed"
    shutil.copy(tmp_path / "b/adapter.safetensors", adapter)
    run_method("tuneavideo", given, tmp_path / "r")
    statuses = record_of(tmp_path / "r")["calls"][-1]["steps"]
    assert statuses["tune"] == "made: the contents of adapter changed" and statuses["invert"] != "kept"


def test_a_replaced_clip_remakes_everything_and_a_moved_one_nothing(config, square_clip, tmp_path: Path):
    clip = tmp_path / "clip.mp4"
    shutil.copy(square_clip, clip)
    run_method("tuneavideo", config(clip=str(clip)), tmp_path / "r")
    clip.rename(tmp_path / "moved.mp4")
    run_method("tuneavideo", config(clip=str(tmp_path / "moved.mp4")), tmp_path / "r")
    assert made(tmp_path / "r") == set()
    write_video(tmp_path / "moved.mp4", 255 - moving_square(6, (48, 32)), 8)
    run_method("tuneavideo", config(clip=str(tmp_path / "moved.mp4")), tmp_path / "r")
    assert len(made(tmp_path / "r")) == 7


@pytest.mark.parametrize("name", ["edit-a-red-square.mp4", "adapter.safetensors", "source.mp4"])
def test_half_a_file_cut_away_is_healed_and_said_so(name: str, config, finished, tmp_path: Path):
    folder = tmp_path / "r"
    shutil.copytree(finished, folder)
    before = outputs(folder)
    path = folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    run_method("tuneavideo", config(), folder)
    assert outputs(folder) == before
    statuses = record_of(folder)["calls"][-1]["steps"]
    assert [status for status in statuses.values() if status != "kept"] == [f"made: {name} was damaged or changed"]


def test_a_lost_artefact_is_made_again_alike(config, tmp_path: Path):
    run_method("tuneavideo", config(), tmp_path / "r")
    before = outputs(tmp_path / "r")
    for name in ("inverted.safetensors", "edit-a-red-square.mp4"):
        (tmp_path / "r" / name).unlink()
    run_method("tuneavideo", config(), tmp_path / "r")
    assert outputs(tmp_path / "r") == before


def test_a_still_is_edited_as_a_still_and_said_so(config, tmp_path: Path):
    clip = tmp_path / "one.mp4"
    write_video(clip, moving_square(1, (32, 32)), 8)
    result = run_method("tuneavideo", config(clip=str(clip)), tmp_path / "r")
    assert probe(result.videos["a red square"]).frames == 1
    notes = record_of(tmp_path / "r")["notes"]
    assert any("one frame" in note for note in notes)


def with_sound(path: Path, num_frames: int, fps: int) -> Path:
    """A clip with a tone as long as its picture."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=fps)
        picture.width, picture.height, picture.pix_fmt = 48, 32, "yuv420p"
        sound = container.add_stream("aac", rate=16000, layout="mono")
        for pixels in moving_square(num_frames, (48, 32)):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(picture.encode(None))
        seconds = num_frames / fps
        tone = np.sin(np.arange(int(16000 * seconds)) * 0.1).astype(np.float32)[None]
        for begin in range(0, tone.shape[1], 1024):
            frame = av.AudioFrame.from_ndarray(tone[:, begin : begin + 1024], format="fltp", layout="mono")
            frame.rate, frame.pts = 16000, begin
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def test_stride_divides_the_rate_and_the_sound_is_cut_to_the_span(config, tmp_path: Path):
    clip = with_sound(tmp_path / "tone.mp4", 24, 8)
    video = {"start": 4, "stride": 2, "num_frames": 5}
    result = run_method("tuneavideo", config(clip=str(clip), video=video), tmp_path / "r")
    info = probe(result.videos["a red square"])
    assert (info.frames, info.fps, info.has_audio) == (5, Fraction(4), True)
    with av.open(str(result.videos["a red square"])) as container:
        rate = container.streams.audio[0].rate
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert abs(samples / rate - 5 / 4) < 0.2


def test_a_folder_takes_further_prompts_and_reuses_its_tuning(config, tmp_path: Path):
    both = run_method("tuneavideo", config(prompts=["a red square", "Snow!"]), tmp_path / "both")
    folder = tmp_path / "r"
    first = run_method("tuneavideo", config(), folder)
    second = run_method("tuneavideo", config(prompts=["Snow!"]), folder)
    record = record_of(folder)
    reused = {name for name, stage in record["stages"].items() if stage["reused"]}
    assert reused == {"source", "encode", "tune", "invert", "reconstruction"}
    assert set(record["stages"]) - reused == {"edit Snow!", "measure Snow!"}
    assert set(record["metrics"]) == {"reconstruction", "Snow!"}
    assert [video["prompt"] for video in record["videos"] if video["role"] == "edit"] == ["Snow!"]
    page = (folder / "report.html").read_text()
    assert "Snow!" in page and "a red square" not in page
    assert first.videos.keys() | second.videos.keys() == both.videos.keys()
    written = {name: value for name, value in outputs(folder).items() if name != "config.yaml"}
    assert written == {name: value for name, value in outputs(tmp_path / "both").items() if name != "config.yaml"}
    again = run_method("tuneavideo", config(prompts=["Snow!", "a red square"]), folder)
    record = record_of(folder)
    assert all(stage["reused"] for stage in record["stages"].values())
    assert again.metrics == both.metrics


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signals to other processes")
@pytest.mark.parametrize("asked", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_stopped_tuning_goes_on_from_its_last_step(asked, square_clip, tiny_folder, tmp_path: Path):
    """Ctrl-C, or SIGTERM, at some step between two checkpoints; nothing that was tuned is lost."""
    command = [sys.executable, "-m", "videoedit", "run", "tuneavideo", str(square_clip), "--model", str(tiny_folder),
               "--device", "cpu", "--source-prompt", "a square", "--prompt", "snow", "--tune-steps", "400", "--steps",
               "2"]  # fmt: skip
    state = None
    with subprocess.Popen([*command, "-o", str(tmp_path / "r")], stderr=subprocess.PIPE, text=True) as child:
        while child.poll() is None and not (state := next((tmp_path / "r").glob("tune-*.state.safetensors"), None)):
            time.sleep(0.01)
        time.sleep(0.1)
        child.send_signal(asked)
        error = child.communicate()[1]
    assert child.returncode == 130 and "goes on from here" in error and "Traceback" not in error
    with safe_open(state, "pt") as file:
        done = len(file.get_tensor("losses"))
    assert 50 < done < 400 and done % 50 != 0
    again = subprocess.run([*command, "-o", str(tmp_path / "r")], capture_output=True, text=True, check=True)
    assert "Traceback" not in again.stderr
    record = record_of(tmp_path / "r")
    assert record["steps"]["tune"]["value"]["resumed_from"] == done
    subprocess.run([*command, "-o", str(tmp_path / "calm")], capture_output=True, check=True)
    assert outputs(tmp_path / "r") == outputs(tmp_path / "calm")


def test_a_truth_can_be_given_later(config, square_clip, tmp_path: Path):
    run_method("tuneavideo", config(), tmp_path / "r")
    result = run_method("tuneavideo", config(truth=[str(square_clip)]), tmp_path / "r")
    assert made(tmp_path / "r") == {"measure a red square", "reference a red square"}
    assert "psnr@1" in result.metrics["a red square"]


def test_a_prompt_given_twice_is_refused(config):
    with pytest.raises(ConfigError, match="'snow' is given twice"):
        config(prompts=["snow", "a square", "snow"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"tune": {"steps": 3, "trainable": "v1"}},
        {"tune": {"steps": 3, "train_blocks": "official"}},
        {"tune": {"steps": 3, "latent": "mean"}},
        {"tune": {"steps": 3, "prompt_dropout": 1.0}},
        {"tune": {"steps": 3, "smoothness_weight": 1.0}},
        {"tune": {"steps": 3, "learning_rate": 1e-3}},
        {"tune": {"steps": 0}},
        {"network": {"attention": "full"}},
        {"network": {"group_norm": "frame"}},
        {"network": {"init": "official"}},
        {"network": {"temporal_mask": "causal", "init": "official"}},
        {"network": {"lora_rank": 2}},
        {"invert": {"steps": 4}},
        {"sample": {"steps": 4}},
        {"sample": {"steps": 3, "guidance_scale": 3.0}},
        {"negative_prompt": "snow"},
        {"seed": 1},
    ],
    ids=str,
)
def test_every_setting_changes_the_edit(config, change, tmp_path: Path, monkeypatch, baseline):
    run_method("tuneavideo", config(**change), tmp_path / "r")
    edit = read_video(next((tmp_path / "r").glob("edit-*.mp4"))).frames
    inverted = load_file(tmp_path / "r/inverted.safetensors")["latents"]
    assert not torch.equal(inverted, baseline[1]) or (edit != baseline[0]).any()


@pytest.fixture(scope="session")
def baseline(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("baseline") / "r"
    run_method("tuneavideo", config(), folder)
    return read_video(folder / "edit-a-red-square.mp4").frames, load_file(folder / "inverted.safetensors")["latents"]


def test_saved_latents_and_adapters_can_be_given(config, tmp_path: Path):
    run_method("tuneavideo", config(), tmp_path / "a")
    again = config(
        adapter=str(tmp_path / "a/adapter.safetensors"),
        invert={"steps": 3, "latents": str(tmp_path / "a/inverted.safetensors")},
        tune={"steps": 0},
    )
    run_method("tuneavideo", again, tmp_path / "b")
    assert outputs(tmp_path / "a")["edit-a-red-square.mp4"] == outputs(tmp_path / "b")["edit-a-red-square.mp4"]
    shorter = again.model_copy(update={"video": again.video.model_copy(update={"num_frames": 4})})
    with pytest.raises(ShapeError, match="needs"):
        run_method("tuneavideo", shorter, tmp_path / "c")


@pytest.mark.parametrize(
    ("change", "error", "expected"),
    [
        ({"video": {"num_frames": 7}}, InputError, "has 6"),
        ({"video": {"start": 6}}, InputError, "start"),
        ({"video": {"size": "30x30"}}, ConfigError, "nearest that fits"),
        ({"prompts": []}, InputError, "--prompt"),
        ({"clip": "missing.mp4"}, InputError, "missing.mp4"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(config, change, error, expected, tmp_path: Path):
    with pytest.raises(error, match=expected) as caught:
        run_method("tuneavideo", config(**change), tmp_path / "r")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "r").exists()


def test_the_plan_counts_without_weights(config, tmp_path: Path):
    small = plan_run("tuneavideo", config(), estimate=True)
    more = plan_run("tuneavideo", config(tune={"steps": 6}), estimate=True)
    by_name = {stage.name: stage for stage in small.stages}
    assert by_name["tune"].flops > by_name["invert"].flops > 0
    assert {s.name: s for s in more.stages}["tune"].flops == pytest.approx(2 * by_name["tune"].flops)
    assert by_name["tune"].memory_mb > 0


@pytest.mark.slow
def test_kill_9_at_random_moments_changes_nothing(tiny_folder: Path, square_clip: Path, tmp_path: Path):
    """Twenty kills during tuning, inversion and sampling; see killer.py."""
    settings = {
        "clip": str(square_clip), "model": str(tiny_folder), "device": "cpu", "source_prompt": "a square",
        "prompts": ["a red square", "snow"], "tune": {"steps": 40, "checkpoint_every": 7},
        "invert": {"steps": 30}, "sample": {"steps": 30},
    }  # fmt: skip
    script = Path(__file__).parents[1] / "killer.py"
    arguments = ["tuneavideo", json.dumps(settings), str(tmp_path), "20"]
    done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 kills" in done.stdout


def test_a_blind_edit_refuses_a_setting_that_is_none():
    with TuneAVideo(tiny_models()) as method, pytest.raises(ConfigError, match="did you mean 'guidance_scale'"):
        method.edit("snow", guidance_scal=5)
