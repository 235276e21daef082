"""What a stranger gets wrong, through the command line: one clear line, exit code 2, nothing half-written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from videoedit.cli import main
from videoedit.media.video import write_video
from videoedit.testing import moving_square, save_models, tiny_models


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_models(tiny_models(), tmp_path_factory.mktemp("bad") / "tiny")


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bad") / "ünïcode clip.mp4"
    write_video(path, moving_square(6, (48, 32)), 8)
    return path


def edit(*arguments: object, capsys) -> tuple[int, str]:
    command = ["run", "tuneavideo", *map(str, arguments), "--source-prompt", "a square", "--steps", "2"]
    command += ["--tune-steps", "1", "--device", "cpu"]
    with pytest.raises(SystemExit) as stop:
        main(command)
    return int(stop.value.code or 0), capsys.readouterr().err


def assert_refused(answer: tuple[int, str], expected: str, out: Path) -> None:
    code, err = answer
    assert code == 2, err
    assert expected in err
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in err
    assert not out.exists()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path, clip: None, "no such file"),
        (lambda path, clip: path.write_bytes(b""), "empty"),
        (lambda path, clip: path.write_bytes(clip.read_bytes()[:300]), "not a video"),
        (lambda path, clip: path.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3]), "could be"),
        (lambda path, clip: path.write_text("hello\n" * 100), "not a video"),
        (lambda path, clip: path.mkdir(), "folder"),
    ],
    ids=["missing", "empty", "cut in the index", "cut in the pictures", "text", "folder"],
)
def test_clips_that_are_none(make, expected, model, clip, tmp_path: Path, capsys):
    path = tmp_path / "clip.mp4"
    make(path, clip)
    out = tmp_path / "out"
    assert_refused(edit(path, "--prompt", "x", "--model", model, "-o", out, capsys=capsys), expected, out)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--frames", "7"], "has 6"),
        (["--size", "30x30"], "nearest that fits"),
        (["--size", "big"], "WIDTHxHEIGHT"),
        (["--set", "tune.learning_rat=1"], "did you mean 'tune.learning_rate'"),
        (["--set", "sample.guidance_scale=much"], "sample.guidance_scale"),
        (["--model", "no/such-model"], "no/such-model"),
        (["--model", "nowhere"], "nowhere"),
    ],
)
def test_settings_that_do_not_fit(arguments, expected, model, clip, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    out = tmp_path / "out"
    given = [] if "--model" in arguments else ["--model", model]
    answer = edit(clip, "--prompt", "x", *given, "-o", out, *arguments, capsys=capsys)
    assert_refused(answer, expected, out)


def _truncate(folder: Path) -> None:
    path = folder / "unet/diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def _pickle(folder: Path) -> None:
    import torch

    path = folder / "unet/diffusion_pytorch_model.safetensors"
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()


def _wrong_kind(folder: Path) -> None:
    path = folder / "unet/diffusion_pytorch_model.safetensors"
    save_file({"lora_unet_down.weight": next(iter(load_file(path).values()))}, path)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [(_truncate, "unet"), (_pickle, "allow"), (_wrong_kind, "unet")],
    ids=["truncated", "pickle", "wrong kind"],
)
def test_weights_that_cannot_be_used(spoil, expected, clip, tmp_path: Path, capsys):
    folder = save_models(tiny_models(), tmp_path / "model")
    spoil(folder)
    out = tmp_path / "out"
    assert_refused(edit(clip, "--prompt", "x", "--model", folder, "-o", out, capsys=capsys), expected, out)


def test_a_folder_of_another_method_or_clip(model, clip, tmp_path: Path, capsys):
    out = tmp_path / "out"
    assert edit(clip, "--prompt", "x", "--model", model, "-o", out, capsys=capsys)[0] == 0
    before = {path: path.read_bytes() for path in out.iterdir()}
    other = tmp_path / "other.mp4"
    write_video(other, 255 - moving_square(4, (32, 32)), 8)
    for options in ((), ("--dry-run",)):
        code, err = edit(other, "--prompt", "x", "--model", model, "-o", out, *options, capsys=capsys)
        assert code == 2 and "holds runs on another clip" in err and "--fresh" in err
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    assert edit(other, "--prompt", "x", "--model", model, "-o", out, "--fresh", capsys=capsys)[0] == 0


def test_check_names_the_files_that_changed(model, clip, tmp_path: Path, capsys):
    out = tmp_path / "out"
    assert edit(clip, "--prompt", "x", "--model", model, "-o", out, capsys=capsys)[0] == 0
    for harm, expected in (
        (False, "every file is as it was written"),
        (True, "edit-x.mp4 of step 'measure x' was damaged"),
    ):
        if harm:
            path = out / "edit-x.mp4"
            times = path.stat().st_mtime_ns
            data = bytearray(path.read_bytes())
            data[-9] ^= 1
            path.write_bytes(data)
            os.utime(path, ns=(times, times))  # neither size nor time tells
        with pytest.raises(SystemExit) as stop:
            main(["check", str(out)])
        assert bool(stop.value.code) == harm and expected in capsys.readouterr().out
    assert edit(clip, "--prompt", "x", "--model", model, "-o", out, capsys=capsys)[0] == 0
    with pytest.raises(SystemExit) as stop:
        main(["check", str(out)])
    assert stop.value.code == 0, "a damaged file that the check found is made again by the next run"
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["check", str(tmp_path)])
    assert stop.value.code == 2 and "holds no videoedit run" in capsys.readouterr().err


def test_a_dry_run_says_what_a_changed_setting_would_make(model, clip, tmp_path: Path, capsys):
    command = ("--prompt", "x", "--model", model, "-o", tmp_path / "out")
    assert edit(clip, *command, capsys=capsys)[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    arguments = ["run", "tuneavideo", clip, *command, "--steps", "2", "--tune-steps", "1", "--device", "cpu"]
    arguments += ["--source-prompt", "a square"]
    with pytest.raises(SystemExit):
        main([str(argument) for argument in (*arguments, "--guidance", "3", "--dry-run")])
    said = capsys.readouterr().out
    assert "made: sample.guidance_scale 12.5 → 3" in said and len(re.findall(r"^  \S+ +kept$", said, re.M)) == 5
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_long_prompt_warns_with_the_words_that_are_cut(model, clip, tmp_path: Path, capsys, caplog):
    prompt = "a red square " * 40 + "zebra"
    code, _ = edit(clip, "--prompt", prompt, "--model", model, "-o", tmp_path / "out", capsys=capsys)
    assert code == 0
    assert "zebra" in caplog.text


def test_a_full_disk_loses_nothing_that_was_made(model, clip, tmp_path: Path):
    """A file size limit stands for the full disk; the same command finishes once there is room."""
    resource = pytest.importorskip("resource")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "videoedit", "run", "tuneavideo", str(clip), "--prompt", "x", "--model",
               str(model), "--source-prompt", "a square", "--steps", "2", "--tune-steps", "1", "--device", "cpu", "-o", str(out)]  # fmt: skip

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))

    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    full = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, env=environment)
    assert full.returncode == 2
    assert [line for line in full.stderr.splitlines() if line.startswith("error: ")][0].startswith("error: no space")
    assert not [path.name for path in out.iterdir() if ".part" in path.name]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
