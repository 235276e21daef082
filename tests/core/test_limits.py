"""What comes from outside is read within limits, named by file and line, and never reaches a terminal raw."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from tuneavideo.adapter import load_adapter
from tuneavideo.config import TuneAVideoConfig
from tuneavideo.unet_folder import load_inv_latents
from videoedit import limits
from videoedit.cli import main
from videoedit.config import build_config, parse_assignments, read_yaml, set_value
from videoedit.errors import ConfigError, InputError, WeightsError, printable
from videoedit.evaluation.results import UnitResult
from videoedit.media.images import read_image, write_image
from videoedit.media.video import write_video
from videoedit.models.weights import check_part, read_config
from videoedit.runs.preview import Preview
from videoedit.runs.progress import Events, Progress
from videoedit.testing import panning


def yaml_file(folder: Path, text: str) -> Path:
    path = folder / "a.yaml"
    path.write_text(text, encoding="utf-8")
    return path


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
for level in range(1, 10):
    BOMB += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BOMB, "line 7.*more than 1,000,000 values"),
        ("a: &a [*a]\n", "line 1.*repeat themselves"),
        ("a: " + "[" * 100 + "]" * 100, "nested deeper than 64"),
        ("seed: 2001-99-99\n", "cannot be read"),
        ("seed: !!int x\n", "cannot be read"),
        ("seed: !!python/object:os.system x\n", "line 1"),
        ("seed: " + "9" * 5000 + "\n", "cannot be read"),
    ],
    ids=["alias bomb", "recursion", "depth", "date", "integer", "object", "digits"],
)
def test_yaml_has_limits(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        read_yaml(yaml_file(tmp_path, text))
    assert len(str(caught.value)) < 400


def test_aliases_within_the_limit_are_fine(tmp_path: Path) -> None:
    assert read_yaml(yaml_file(tmp_path, "a: &a {b: 1}\nc: [*a, *a]\n")) == {"a": {"b": 1}, "c": [{"b": 1}, {"b": 1}]}


@pytest.mark.parametrize("value", ["2001-99-99", "0b_", "!!int x", "9" * 5000, "[" * 99 + "]" * 99])
def test_values_of_set_have_limits(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_assignments([f"seed={value}"])
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


def test_config_errors_say_file_and_line(tmp_path: Path) -> None:
    path = yaml_file(tmp_path, "seed: 1\ntune:\n  steps: many\n  leaning_rate: 1\n")
    with pytest.raises(ConfigError) as caught:
        build_config(TuneAVideoConfig, read_yaml(path))
    assert f"{path}:3: setting 'tune.steps'" in str(caught.value)
    assert f"{path}:4: unknown setting 'tune.leaning_rate'; did you mean 'tune.learning_rate'" in str(caught.value)
    data = read_yaml(path)
    set_value(data, "tune.steps", "few")  # no longer the file's
    with pytest.raises(ConfigError) as caught:
        build_config(TuneAVideoConfig, data)
    assert f"{path}:3" not in str(caught.value)


def test_no_escape_code_reaches_a_terminal(tmp_path: Path, capsys) -> None:
    assert printable("a\x1b[31mb\udcff\u202e é") == r"a\x1b[31mb\udcff\u202e é"
    stream = io.StringIO()
    Progress(stream=stream).say("\x1b]0;title\x07")
    assert "\x1b" not in stream.getvalue()
    with pytest.raises(SystemExit) as ended:
        main(["run", "framewise", f"{tmp_path}/\x1b[31mred.mp4", "--prompt", "x"])
    assert ended.value.code == 2
    assert "\x1b" not in capsys.readouterr().err


def test_a_limit_that_is_no_number_is_the_usual_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "0.png", panning(1)[0])
    monkeypatch.setenv("VIDEOEDIT_MAX_PIXELS", "abc")
    assert read_image(tmp_path / "0.png").shape == (48, 64, 3)
    monkeypatch.setenv("VIDEOEDIT_MAX_PIXELS", "100")
    with pytest.raises(InputError, match="64x48 pixels"):
        read_image(tmp_path / "0.png")


# ------------------------------------------------------------------------------------ what strangers send

UNIT = {"clip": "car", "edit": "style", "type": "style", "prompt": "p", "method": "m", "seed": 1, "status": "done"}


@pytest.mark.parametrize("name", ["clip", "edit", "method"])
@pytest.mark.parametrize("value", ["../../escaped", "/tmp/escaped", "a/b", "C:\\x", "..", "a\x1bb"])
def test_names_in_results_are_plain_names(name: str, value: str) -> None:
    UnitResult(**UNIT)
    with pytest.raises(ValueError, match=name):
        UnitResult(**UNIT | {name: value})


def test_a_video_of_results_lies_in_their_folder() -> None:
    assert UnitResult(**UNIT | {"video": "runs/m/edit.mp4"}).video
    with pytest.raises(ValueError, match="video"):
        UnitResult(**UNIT | {"video": "../../private.mp4"})


def test_an_index_of_weights_names_files_of_its_folder(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "../../elsewhere.safetensors"}}
    (tmp_path / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="not inside the folder"):
        check_part(tmp_path, False)


@pytest.mark.parametrize("load", [lambda path: load_adapter(path, None), load_inv_latents])
def test_pickles_are_read_only_where_allowed(load, tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"\x80\x04.")
    with pytest.raises(WeightsError, match="is a pickle"):
        load(tmp_path / "a.pt")


# --------------------------------------------------------------------------------------- events, previews


def propagate(tmp_path: Path, *more: str) -> int:
    write_video(tmp_path / "clip.mp4", panning(4), 8)
    write_image(tmp_path / "0.png", panning(1)[0])
    command = ["propagate", str(tmp_path / "clip.mp4"), "--keyframes", str(tmp_path / "0.png"), "--propagator", "flow"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "-o", str(tmp_path / "out"), *more])
    return int(ended.value.code or 0)


def test_a_program_is_told_in_json(tmp_path: Path, capsys) -> None:
    assert propagate(tmp_path, "--json", "--dry-run") == 0
    (plan,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert plan["event"] == "plan" and plan["frames"].startswith("4 of 4 frames") and not (tmp_path / "out").exists()
    assert propagate(tmp_path, "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    results = [event for event in events if event["event"] == "result"]
    assert [event["file"] for event in results] == [str(tmp_path / "out" / "propagated.mp4")]
    done = [event for event in events if event["event"] == "progress" and event["name"] == "propagate"][-1]
    assert done["done"] == done["total"]
    assert any(event["event"] == "step" and event["name"] == "source" for event in events)
    assert propagate(tmp_path, "--json", "--frames", "9") == 2
    said = capsys.readouterr()
    last = json.loads(said.out.splitlines()[-1])
    assert (last["event"], last["exit_code"]) == ("error", 2) and f"error: {last['text']}" in said.err


def test_the_quiet_say_where_the_videos_are(tmp_path: Path, capsys) -> None:
    assert propagate(tmp_path, "--quiet") == 0
    said = capsys.readouterr()
    assert said.out.split() == [str(tmp_path / "out" / "propagated.mp4")] and said.err == ""


def test_every_event_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
    for event in ("message", "step", "progress", "note", "preview", "result", "plan", "error"):
        assert f"| `{event}` |" in text


def test_a_preview_grows_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Preview, "seconds", 0)
    stream = io.StringIO()
    preview = Preview(tmp_path / "preview.png", Events(stream))
    widths = []
    for frame in panning(3):
        preview._due = 0
        preview.add(frame)
        widths.append(read_image(tmp_path / "preview.png").shape[1])
    assert widths[0] < widths[1] < widths[2]
    assert json.loads(stream.getvalue().splitlines()[0])["event"] == "preview"
    for frame in np.zeros((60, 48, 64, 3), np.uint8):
        preview.add(frame)
    assert len(preview._pictures) <= 24
    preview.finish()
    assert not (tmp_path / "preview.png").exists()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"layers_per_block": 256}, None),
        ({"layers_per_block": [2, 257]}, "layers_per_block is 257"),
        ({"inner": {"num_hidden_layers": 1000}}, "num_hidden_layers is 1000"),
        ({"sample_size": 2**20}, None),
        ({"block_out_channels": [320, 2**20 + 1]}, "block_out_channels is 1.04858e"),
    ],
)
def test_a_config_builds_no_endless_network(tmp_path: Path, config: dict, said: str | None):
    (tmp_path / "config.json").write_text(json.dumps(config))
    if said is None:
        assert read_config(tmp_path / "config.json") == config
        return
    with pytest.raises(WeightsError, match=f"{said}.*more than any network has"):
        read_config(tmp_path / "config.json")


def test_a_text_file_is_read_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "MOST_BYTES", 10)
    (tmp_path / "a.json").write_text("[1, 2, 34]")
    assert limits.read_text(tmp_path / "a.json") == "[1, 2, 34]"
    (tmp_path / "a.json").write_text("[1, 2, 345]")
    with pytest.raises(ValueError, match="it has 11 bytes, more than the 10 that are read"):
        limits.read_text(tmp_path / "a.json")


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs a device among the files")
def test_what_is_no_plain_file_is_not_opened():
    with pytest.raises(ValueError, match="not a regular file"):
        limits.read_text(Path("/dev/null"))
