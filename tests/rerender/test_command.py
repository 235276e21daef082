"""`videoedit propagate`: from a clip and files of key frames to a video and a report; and everything that can be wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from rerender.command import find_keyframes
from rerender.config import PropagateRunConfig
from videoedit.cli import main
from videoedit.config import build_config
from videoedit.errors import ConfigError, InputError, VideoEditError
from videoedit.media.video import probe, read_video, stretch_frames, write_video
from videoedit.pipeline import plan_run, run_method
from videoedit.runs.folder import latest_call
from videoedit.testing import other_colors, panning

COUNT = 6
FRAMES = panning(COUNT, (64, 48))
SIZE = (64, 48)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Six frames at 24000/1001 with sound, in a folder with a space and letters beyond ASCII in its name."""
    folder = tmp_path_factory.mktemp("ein Kätzchen")
    silent, path = folder / "silent.mp4", folder / "clip ü.mp4"
    write_video(silent, FRAMES, Fraction(24000, 1001))
    _add_tone(folder / "tone.mp4")
    write_video(path, FRAMES, Fraction(24000, 1001), audio_from=folder / "tone.mp4")
    return path


def _add_tone(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        samples = np.sin(np.arange(44100 // 4) / 20).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture
def keys(tmp_path: Path, clip: Path) -> Path:
    """Key frames 1 and 4, in a folder."""
    folder = tmp_path / "edited é"
    folder.mkdir()
    source = read_video(clip).frames
    for index in (1, 4):
        Image.fromarray(other_colors(source)[index]).save(folder / f"shot2 {index:04d}.png")
    return folder


def config(clip: Path, keyframes: list[Path], **more) -> PropagateRunConfig:
    settings = {"propagator": "flow", "flow": "dis", "workers": 1} | more.pop("propagate", {})
    data = {"clip": str(clip), "keyframes": [str(path) for path in keyframes], "propagate": settings, **more}
    return build_config(PropagateRunConfig, data)


def record(folder: Path) -> dict:
    found = json.loads((folder / "run.json").read_text())
    return found | latest_call(found)


# ---------------------------------------------------------------------------------------------- whole runs


def test_the_result_has_frames_rate_size_and_sound_of_the_clip(clip: Path, keys: Path, tmp_path: Path, capsys):
    out = tmp_path / "aus gabe"
    with pytest.raises(SystemExit) as ended:
        main(["propagate", str(clip), "--keyframes", str(keys), "--propagator", "flow", "--workers", "1",
              "--set", "propagate.flow=dis", "-o", str(out)])  # fmt: skip
    assert ended.value.code == 0, capsys.readouterr().err
    info = probe(out / "propagated.mp4")
    assert (info.frames, info.fps, info.width, info.height) == (COUNT, Fraction(24000, 1001), *SIZE)
    assert info.has_audio
    result, source = read_video(out / "propagated.mp4").frames, read_video(clip).frames
    wanted = other_colors(source).astype(int)
    assert [np.abs(frame - wanted[i]).mean() < 12 for i, frame in enumerate(result)] == [True] * COUNT
    done = record(out)
    assert done["status"] == "finished" and (out / "report.html").stat().st_size > 1000
    assert all(len(done["plots"][name]) == COUNT for name in ("patch_error", "seams", "warp_error", "sharpness"))
    assert [path.name for path in out.iterdir() if path.name.startswith("propagation")] == []


@pytest.mark.slow
def test_figures_against_a_truth(clip: Path, keys: Path, tmp_path: Path):
    truth = tmp_path / "truth.mp4"
    write_video(truth, other_colors(read_video(clip).frames), 24)
    run_method("propagate", config(clip, [keys], truth=str(truth)), tmp_path / "o")
    done = record(tmp_path / "o")
    made, held, true = done["metrics"].values()
    assert list(done["metrics"]) == ["propagated (flow)", "the nearest key frame", "ground truth"]
    assert made["psnr@1"] > held["psnr@1"] + 4 and made["ssim@1"] > held["ssim@1"]
    assert made["warp_error@1"] < held["warp_error@1"] and true["psnr@1"] == 60
    assert len(done["plots"]["psnr"]) == len(done["plots"]["ssim, the nearest key frame"]) == COUNT


@pytest.mark.slow
def test_patches_are_compared_with_the_flow_alone(clip: Path, keys: Path, tmp_path: Path):
    propagate = {"propagator": "patchmatch", "preset": "preview", "flow": "dis", "workers": 1}
    run_method("propagate", config(clip, [keys], truth=str(clip), propagate=propagate), tmp_path / "o")
    labels = ["propagated (patchmatch, preview)", "propagated (flow)", "the nearest key frame", "ground truth"]
    assert list(record(tmp_path / "o")["metrics"]) == labels
    assert not list((tmp_path / "o").glob("*.work"))


@pytest.mark.slow
def test_a_second_call_makes_nothing_again_and_other_key_frames_make_it_anew(clip: Path, keys: Path, tmp_path: Path):
    settings = config(clip, [keys])
    first = (run_method("propagate", settings, tmp_path / "o").videos["propagated (flow)"]).read_bytes()
    run_method("propagate", settings, tmp_path / "o")
    assert all(stage["reused"] for stage in record(tmp_path / "o")["stages"].values())
    Image.fromarray(FRAMES[0]).save(next(keys.iterdir()))
    again = run_method("propagate", settings, tmp_path / "o").videos["propagated (flow)"]
    assert again.read_bytes() != first


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 24 frames, a folder of 4 edited key frames, and in ``o`` a finished run of them."""
    place, frames = tmp_path_factory.mktemp("finished"), panning(24, SIZE)
    write_video(place / "long.mp4", frames, 12)
    (place / "long keys").mkdir()
    for index in (0, 8, 16, 23):
        Image.fromarray(other_colors(frames)[index]).save(place / "long keys" / f"{index:04d}.png")
    run_method("propagate", config(place / "long.mp4", [place / "long keys"], cuts=[]), place / "o")
    return place


@pytest.fixture
def long_clip(finished: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The clip and the key frames of `finished`, in a folder of the test's own, and the finished run in its ``o``."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path / "long.mp4", tmp_path / "long keys"


def archives(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Contents and times of the finished intervals, by their frames."""
    found = {path.name[:13]: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("frames/*.zip")}
    assert len(found) == len(list(folder.glob("frames/*")))
    return found


@pytest.mark.parametrize("change", ["another picture", "one more", "one fewer", "a cut", "fewer frames"])
def test_only_the_intervals_that_a_change_touches_are_made_again(change: str, long_clip, tmp_path: Path):
    clip, keys = long_clip
    before = archives(tmp_path / "o")
    assert sorted(before) == ["000001-000007", "000009-000015", "000017-000022"]
    settings: dict = {"cuts": []}
    picture = Image.open(keys / "0000.png")
    if change == "another picture":
        picture.save(keys / "0008.png")
        kept, made = {"000017-000022"}, {"000001-000007", "000009-000015"}
    elif change == "one more":
        picture.save(keys / "0012.png")
        kept, made = {"000001-000007", "000017-000022"}, {"000009-000011", "000013-000015"}
    elif change == "one fewer":
        (keys / "0016.png").unlink()
        kept, made = {"000001-000007"}, {"000009-000022"}
    elif change == "a cut":
        settings["cuts"] = [12]
        kept, made = {"000001-000007", "000017-000022"}, {"000009-000011", "000012-000015"}
    else:
        (keys / "0023.png").unlink()
        settings["video"] = {"num_frames": 20}
        kept, made = {"000001-000007", "000009-000015"}, {"000017-000019"}
    plan = plan_run("propagate", config(clip, [keys], **settings), tmp_path / "o")
    assert plan.status["propagate"].startswith(f"made: {len(made)} of {len(kept | made)}")
    run_method("propagate", config(clip, [keys], **settings), tmp_path / "o")
    after = archives(tmp_path / "o")
    assert set(after) == kept | made
    assert all(after[name] == before[name] for name in kept)  # not even touched
    run_method("propagate", config(clip, [keys], **settings), tmp_path / "anew")
    assert {name: data for name, (data, _) in after.items()} == {
        name: data for name, (data, _) in archives(tmp_path / "anew").items()
    }
    assert (tmp_path / "o/propagated.mp4").read_bytes() == (tmp_path / "anew/propagated.mp4").read_bytes()


def test_a_damaged_interval_is_made_again(long_clip, tmp_path: Path):
    clip, keys = long_clip
    before = archives(tmp_path / "o")
    victim = next((tmp_path / "o/frames").glob("000009*"))
    victim.write_bytes(victim.read_bytes()[:-100])
    (tmp_path / "o/propagated.mp4").write_bytes(b"half")
    run_method("propagate", config(clip, [keys], cuts=[]), tmp_path / "o")
    assert {name: data for name, (data, _) in archives(tmp_path / "o").items()} == {
        name: data for name, (data, _) in before.items()
    }
    statuses = record(tmp_path / "o")["calls"][-1]["steps"]
    assert statuses["propagate"] == f"made: 1 of 3: 000009-000015: frames/{victim.name} was damaged or changed"
    assert probe(tmp_path / "o/propagated.mp4").frames == 24


@pytest.mark.slow
def test_stride_and_size(clip: Path, keys: Path, tmp_path: Path):
    """Key frames are named by their number in the clip; here frames 1, 3 and 5 are edited, at half the size."""
    (keys / "shot2 0004.png").unlink()
    half = other_colors(stretch_frames(read_video(clip).frames, (32, 24)))
    Image.fromarray(half[1]).save(keys / "shot2 0001.png")
    settings = config(clip, [keys], video={"start": 1, "stride": 2, "size": "32x24", "output_size": "model"})
    run_method("propagate", settings, tmp_path / "o")
    result = read_video(tmp_path / "o/propagated.mp4")
    assert result.frames.shape == (3, 24, 32, 3) and result.fps == Fraction(12000, 1001)
    assert np.abs(result.frames[0].astype(int) - half[1]).mean() < 9


@pytest.mark.slow
def test_cuts_are_found_and_not_crossed(tmp_path: Path):
    frames = np.concatenate([panning(4, SIZE), panning(4, SIZE, seed=9) // 4])
    write_video(tmp_path / "clip.mp4", frames, 10)
    for index in (0, 7):
        colour = np.full((48, 64, 3), 40 if index else 220, np.uint8)
        Image.fromarray(colour).save(tmp_path / f"{index}.png")
    run_method("propagate", config(tmp_path / "clip.mp4", [tmp_path / "0.png", tmp_path / "7.png"]), tmp_path / "o")
    result = read_video(tmp_path / "o/propagated.mp4").frames
    assert (result[:4] > 200).all() and (result[4:] < 60).all()
    assert "Scene cuts before frames [4]" in str(record(tmp_path / "o")["notes"])
    with pytest.raises(InputError, match=r"frames 4 to 7 are a shot .* no key frame.*--set cuts=\[\]"):
        run_method("propagate", config(tmp_path / "clip.mp4", [tmp_path / "0.png"]), tmp_path / "p")
    run_method("propagate", config(tmp_path / "clip.mp4", [tmp_path / "0.png"], cuts=[]), tmp_path / "q")
    assert (read_video(tmp_path / "q/propagated.mp4").frames > 200).all()


def test_a_clip_that_is_all_key_frames(tmp_path: Path):
    write_video(tmp_path / "one.mp4", FRAMES[:1], 10)
    Image.fromarray(FRAMES[3]).save(tmp_path / "0.png")
    run_method("propagate", config(tmp_path / "one.mp4", [tmp_path / "0.png"]), tmp_path / "o")
    assert probe(tmp_path / "o/propagated.mp4").frames == 1


def test_the_plan_counts_and_checks(clip: Path, keys: Path):
    plan = plan_run("propagate", config(clip, [keys]))
    assert (
        plan.frames.startswith("6 of 6 frames")
        and "2 of the frames are key frames." in plan.notes
        and "with sound" in plan.frames
    )
    assert plan.size == plan.output_size == SIZE and plan.stages[0].seconds > 0
    with pytest.raises(ConfigError, match=r"no key frames were given.*--keyframes"):
        plan_run("propagate", config(clip, []))


@pytest.mark.slow
@pytest.mark.parametrize("propagator", ["flow", "patchmatch"])
def test_kill_9_at_random_moments_changes_nothing(propagator: str, clip: Path, keys: Path, tmp_path: Path):
    """Twenty kills while reading, propagating and writing; see killer.py."""
    script = Path(__file__).parents[1] / "killer.py"
    kills = "14" if propagator == "flow" else "6"
    propagate = {"propagator": propagator, "preset": "preview", "flow": "dis", "workers": 2}
    settings = json.dumps({"clip": str(clip), "keyframes": [str(keys)], "cuts": [], "propagate": propagate})
    done = subprocess.run(
        [sys.executable, str(script), "propagate", settings, str(tmp_path), kills],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{kills} kills" in done.stdout


# ------------------------------------------------------------------------------------------ key frame files


def picture(path: Path, size: tuple[int, int] = SIZE, mode: str = "RGB", **options) -> Path:
    Image.new(mode, size, options.pop("color", 0)).save(path, **options)
    return path


def test_files_are_matched_by_the_last_number_in_their_names(tmp_path: Path):
    names = ["take2_0010.png", "5.jpg", "a 0007 .webp", "x-0.JPEG"]
    for name in names:
        picture(tmp_path / name)
    found = find_keyframes([tmp_path], range(0, 20), SIZE)
    assert {index: path.name for index, path in found.items()} == {
        0: "x-0.JPEG", 5: "5.jpg", 7: "a 0007 .webp", 10: "take2_0010.png",
    }  # fmt: skip
    assert list(found) == [0, 5, 7, 10]
    alone = find_keyframes([tmp_path / "5.jpg"], range(3, 9, 2), SIZE)
    assert list(alone) == [1]


def test_opaque_alpha_grey_palette_and_turned_photos_are_fine(tmp_path: Path):
    picture(tmp_path / "0.png", mode="RGBA", color=(1, 2, 3, 255))
    picture(tmp_path / "1.png", mode="L")
    picture(tmp_path / "2.png", mode="P")
    turned = Image.Exif()
    turned[0x0112] = 6
    picture(tmp_path / "3.jpg", SIZE[::-1], exif=turned)
    assert list(find_keyframes([tmp_path], range(4), SIZE)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: picture(d / "1.png", (32, 24)), r"1\.png is 32x24, the clip is worked on at 64x48; .*--size 32x24"),
        (lambda d: [picture(d / "1.png"), picture(d / "2.png", (9, 9))], r"2\.png is 9x9.*\(1 of 2 key frames differ\)"),
        (lambda d: picture(d / "6.png"), r"6\.png is for frame 6, but the edited frames are 0-5; frames count from 0"),
        (lambda d: [picture(d / "1.png"), picture(d / "01.jpg")], r"01\.jpg and .*1\.png are both for frame 1"),
        (lambda d: picture(d / "key.png"), r"key\.png has no frame number in its name; call it key-0010\.png"),
        (lambda d: (d / "1.png").write_text("hello"), r"1\.png is not a picture that can be read"),
        (lambda d: (d / "1.jpg").write_bytes(b""), r"1\.jpg is not a picture that can be read"),
        (lambda d: (d / "notes.txt").write_text("hello"), r"no key frame is in .*expected png, jpg or webp"),
        (lambda d: None, r"no key frame is in "),
        (lambda d: picture(d / "1.webp", save_all=True, append_images=[Image.new("RGB", SIZE, "red")]), "an animation"),
    ],
)  # fmt: skip
def test_what_is_no_key_frame_is_explained_in_one_line(tmp_path: Path, make, message: str):
    make(tmp_path)
    with pytest.raises(VideoEditError, match=message) as caught:
        find_keyframes([tmp_path], range(COUNT), SIZE)
    assert "\n" not in str(caught.value)


def test_paths_that_are_not_there_or_no_pictures(tmp_path: Path):
    with pytest.raises(InputError, match=r"there is no .*keys; --keyframes takes a folder or files"):
        find_keyframes([tmp_path / "keys"], range(COUNT), SIZE)
    (tmp_path / "1.txt").write_text("hello")
    with pytest.raises(InputError, match=r"1\.txt is no key frame: expected a png, jpg or webp"):
        find_keyframes([tmp_path / "1.txt"], range(COUNT), SIZE)


def test_other_files_in_the_folder_are_named(tmp_path: Path, caplog):
    picture(tmp_path / "1.png")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / ".DS_Store").write_text("hello")
    assert list(find_keyframes([tmp_path], range(COUNT), SIZE)) == [1]
    assert "notes.txt is no png, jpg or webp and was left out" in caplog.text and "DS_Store" not in caplog.text
