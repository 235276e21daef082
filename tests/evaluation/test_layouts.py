"""Benchmarks of others come in, results go out and come back, and what is wrong with a folder is said in one line."""

from __future__ import annotations

import csv
import itertools
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from videoedit.errors import ConfigError, InputError, OutputError
from videoedit.evaluation.layouts.common import slug
from videoedit.evaluation.layouts.export import export_results
from videoedit.evaluation.layouts.imported import read_results_folder
from videoedit.evaluation.layouts.suites import import_layout
from videoedit.evaluation.results import MethodInfo, Results, UnitResult, write_results
from videoedit.evaluation.suite import Suite, SuiteError, build_suite, dump_suite, read_suite
from videoedit.files import write_text
from videoedit.media.images import read_image
from videoedit.media.video import iter_frames, probe, write_video
from videoedit.testing import moving_square

FRAMES = moving_square(4, (32, 24))
CAPTIONS = ["Video name", "Our GT caption", "Style Change Caption", "Object Change Caption", "Background Change Caption",
            "Multiple Changes Caption", "Source"]  # fmt: skip


def make_video(path: Path, frames: np.ndarray = FRAMES) -> Path:
    write_video(path, frames, 12)
    return path


def pictures(
    folder: Path, frames: np.ndarray = FRAMES, *, first: int = 0, suffix: str = "png", digits: int = 5
) -> Path:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, first):
        Image.fromarray(frame).save(folder / f"{number:0{digits}d}.{suffix}")
    return folder


def read_all(found: object) -> np.ndarray:
    assert not isinstance(found, str), found
    return np.stack(list(iter_frames(found)) if isinstance(found, Path) else [read_image(file) for file in found])  # type: ignore[attr-defined]


# ----------------------------------------------------------------------------------------- TGVE


def official_rows() -> list[list[str]]:
    """The official table in small: three parts, empty rows between them, and one row too many at the end."""

    def row(name: str) -> list[str]:
        return [name, f"{name} runs", *(f"{name}, {kind} changed, really" for kind in "SOBM"), "web"]

    empty = [""] * 7
    return [["DAVIS Videos:", *empty[1:]], row("bmx"), row("gold-fish"), empty, ["Youtube Videos:", *empty[1:]], row("salsa"),
            empty, ["Videvo Videos:", *empty[1:]], row("lotus"), empty]  # fmt: skip


def write_csv(path: Path, rows: list[list[str]], heading: list[str] = CAPTIONS, delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([heading, *rows])
    return path


@pytest.fixture
def tgve(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    make_video(data / "DAVIS_480p/480p_videos/bmx.mp4")
    make_video(data / "DAVIS_480p/480p_videos/gold-fish.mp4")
    pictures(data / "youtube_480p/480p_frames/salsa", suffix="jpg")
    make_video(data / "videvo_480p/480p_videos/lotus.mp4")
    write_csv(data / "LOVEU-TGVE-2023_Dataset.csv", official_rows())
    return data


def test_tgve_comes_in_with_its_parts_types_and_protocol(tgve: Path, tmp_path: Path) -> None:
    suite = import_layout("tgve", tgve, None, tmp_path / "tgve.yaml")
    assert [clip.id for clip in suite.clips] == ["bmx", "gold-fish", "salsa", "lotus"]  # the last, empty row is no clip
    assert (suite.size, suite.published, suite.seeds) == ((480, 480), "tgve", (33,))
    first = suite.clips[0]
    assert first.prompt == "bmx runs" and first.path == tgve / "DAVIS_480p/480p_videos/bmx.mp4"
    assert [(edit.id, edit.type) for edit in first.edits] == [
        ("style", "style"), ("object", "subject"), ("background", "background"), ("multiple", "several")]  # fmt: skip
    assert first.edits[2].prompt == "bmx, B changed, really"
    assert suite.settings["tuneavideo"]["tune"] == {"steps": 500, "learning_rate": 3e-5}
    assert suite.settings["tuneavideo"]["sample"] == {"steps": 50, "guidance_scale": 12.5}
    assert suite.settings["tuneavideo"]["invert"] == {"steps": 50}
    assert read_suite(tmp_path / "tgve.yaml").clips == suite.clips


def test_clips_that_come_as_pictures_become_videos_beside_the_suite(tgve: Path, tmp_path: Path) -> None:
    suite = import_layout("tgve", tgve, None, tmp_path / "out" / "tgve.yaml")
    salsa = next(clip for clip in suite.clips if clip.id == "salsa")
    assert salsa.path == tmp_path / "out/tgve-clips/youtube_480p/salsa.mp4"
    assert probe(salsa.path).frames == 4
    assert "path: tgve-clips/youtube_480p/salsa.mp4" in (tmp_path / "out/tgve.yaml").read_text()


def test_tgve_clips_that_are_not_there_are_left_out_aloud(
    tgve: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tgve / "DAVIS_480p/480p_videos/bmx.mp4").unlink()
    with caplog.at_level(logging.WARNING):
        suite = import_layout("tgve", tgve, None, tmp_path / "tgve.yaml")
    assert len(suite.clips) == 3 and f"left out: 1 of 4 clips are not in {tgve}: bmx" in caplog.text
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"holds none of the 4 clips; expected DAVIS_480p"):
        import_layout("tgve", empty, tgve / "LOVEU-TGVE-2023_Dataset.csv", tmp_path / "x.yaml")


def test_tgve_comes_in_from_the_configs_of_the_baseline(tgve: Path, tmp_path: Path) -> None:
    config = {
        "train_data": {
            "video_path": "./data/DAVIS_480p/480p_frames/bmx",
            "prompt": "a bmx",
            "num_frames": 3,
            "frame_rate": 1,
        },
        "validation_data": {"prompts": {"style": "grey bmx", "object": "unicycle"}},
    }
    write_text(tmp_path / "configs/DAVIS_480p/bmx.yaml", yaml.safe_dump(config))
    suite = import_layout("tgve", tgve, tmp_path / "configs", tmp_path / "tgve.yaml")
    (clip,) = suite.clips
    assert (clip.id, clip.prompt, clip.frames) == ("bmx", "a bmx", 3)
    assert {edit.id: edit.prompt for edit in clip.edits} == {"style": "grey bmx", "object": "unicycle"}


@pytest.mark.parametrize(
    ("rows", "heading", "message"),
    [
        (official_rows()[1:2], CAPTIONS, "line 2: 'bmx' stands above the first part"),
        (
            [*official_rows()[:2], ["bmx", "other", "a", "b", "c", "d", ""]],
            CAPTIONS,
            "line 4: 'bmx' stands there twice",
        ),
        (official_rows(), ["Video nam", *CAPTIONS[1:]], "no column 'Video name'; did you mean 'Video nam'"),
        ([["DAVIS Videos:"], ["bmx", *"abcdefghij"]], CAPTIONS, "line 3: more cells than the heading"),
    ],
)
def test_a_broken_tgve_table_is_refused(
    tgve: Path, tmp_path: Path, rows: list[list[str]], heading: list[str], message: str
) -> None:
    table = write_csv(tmp_path / "table.csv", rows, heading)
    with pytest.raises(ConfigError, match=message):
        import_layout("tgve", tgve, table, tmp_path / "x.yaml")
    with pytest.raises(ConfigError, match="is a spreadsheet; save it as CSV"):
        import_layout("tgve", tgve, tmp_path / "LOVEU-TGVE_2023_data.xlsx", tmp_path / "x.yaml")


# ----------------------------------------------------------------------------------------- V2VBench


def test_v2vbench_comes_in(tmp_path: Path) -> None:
    make_video(tmp_path / "videos/hike.mp4")
    edits = [
        {"prompt": "a superman hikes"},
        {"prompt": "pixel art", "type": "style"},
        {"prompt": "x", "type": "stylisation"},
    ]
    write_text(
        tmp_path / "config.yaml",
        yaml.safe_dump({"data": [{"video_id": "hike", "prompt": "a man hikes", "edit": edits}]}),
    )
    (clip,) = import_layout("v2vbench", tmp_path, None, tmp_path / "suite.yaml").clips
    assert (clip.prompt, clip.path) == ("a man hikes", tmp_path / "videos/hike.mp4")
    assert [(edit.id, edit.type) for edit in clip.edits] == [("0", "several"), ("1", "style"), ("2", "several")]
    write_text(tmp_path / "config.yaml", "data:\n- {video: hike}\n")
    with pytest.raises(ConfigError, match=r"config.yaml, entry 0: expected video_id and edit"):
        import_layout("v2vbench", tmp_path, tmp_path / "config.yaml", tmp_path / "x.yaml")


# ----------------------------------------------------------------------------------------- any folder of clips


HEADING = ["clip", "source_prompt", "prompt", "type", "edit", "frames"]


def test_a_folder_of_clips_comes_in(tmp_path: Path) -> None:
    folder = tmp_path / "My Clips"
    make_video(folder / "Car Turn.mp4")
    make_video(folder / "12e4.mov")
    rows = [["Car Turn.mp4", "a car turns", "a car, in snow", "style", "", "3"], ["Car Turn", "", "a bus", "object", "bus", ""],
            ["Car Turn", "", "a car in Mars' sand", "style", "", ""], ["12e4", "", "on", "several", "1e5", ""],
            ["", "", "", "", "", ""]]  # fmt: skip
    for delimiter in ",;\t":
        write_csv(folder / "prompts.csv", rows, HEADING, delimiter)
        suite = import_layout("clips", folder, None, folder / "suite.yaml")
        assert suite.name == "my-clips"
        car, other = suite.clips
        assert (car.id, car.prompt, car.frames, other.id) == ("car-turn", "a car turns", 3, "12e4")
        assert [(edit.id, edit.type) for edit in car.edits] == [
            ("style", "style"),
            ("bus", "subject"),
            ("style-2", "style"),
        ]
        assert read_suite(folder / "suite.yaml").clips == suite.clips  # 12e4 and "on" stay texts
        (folder / "suite.yaml").unlink()
    entries = [{"clip": "Car Turn", "prompt": "a bus", "type": "subject", "frames": 3}]
    write_text(tmp_path / "table.yaml", yaml.safe_dump(entries))
    (clip,) = import_layout("clips", folder, tmp_path / "table.yaml", tmp_path / "suite.yaml").clips
    assert (clip.id, clip.frames, clip.edits[0].prompt) == ("car-turn", 3, "a bus")


def test_every_problem_of_a_table_is_a_line(tmp_path: Path) -> None:
    make_video(tmp_path / "car.mp4")
    rows = [["cra", "", "a bus", "subject", "", ""], ["car", "", "a bus", "stile", "", ""], ["car", "", "", "style", "", ""],
            ["car", "", "p", "style", "x", "3"], ["car", "", "q", "style", "x", ""], ["car", "", "r", "style", "", "4"],
            ["car", "", "s", "style", "", "many"]]  # fmt: skip
    with pytest.raises(SuiteError) as caught:
        import_layout("clips", tmp_path, write_csv(tmp_path / "t.csv", rows, HEADING), tmp_path / "x.yaml")
    expected = ["line 2: there is no clip 'cra' in .*; did you mean 'car'", "line 3: type 'stile' is unknown; did you mean 'style'",
                "line 4: 'prompt' is empty", "line 6: this clip has two edits 'x'", "line 7: frames of this clip is 3 in another row, here 4",
                "line 8: frames is 'many', expected a whole number"]  # fmt: skip
    assert len(caught.value.problems) == len(expected)
    for problem, pattern in zip(caught.value.problems, expected, strict=True):
        assert "\n" not in problem
        with pytest.raises(ConfigError, match=pattern):
            raise ConfigError(problem)
    assert not (tmp_path / "x.yaml").exists()
    with pytest.raises(ConfigError, match="there is no column 'promt'; did you mean 'prompt'"):
        import_layout(
            "clips", tmp_path, write_csv(tmp_path / "t.csv", [["car", "x"]], ["clip", "promt"]), tmp_path / "x.yaml"
        )


def test_unknown_layouts_and_folders_without_a_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="layout 'tgev' is unknown; did you mean 'tgve'"):
        import_layout("tgev", tmp_path, None, tmp_path / "x.yaml")
    with pytest.raises(ConfigError, match=r"holds no table of prompts .* give it with --table"):
        import_layout("clips", tmp_path, None, tmp_path / "x.yaml")
    write_text(tmp_path / "a.csv", "")
    write_text(tmp_path / "b.csv", "")
    with pytest.raises(ConfigError, match=r"holds a.csv and b.csv; say with --table which is meant"):
        import_layout("clips", tmp_path, None, tmp_path / "x.yaml")
    with pytest.raises(InputError, match="no such folder"):
        import_layout("clips", tmp_path / "nowhere", None, tmp_path / "x.yaml")


def test_ids_are_plain() -> None:
    assert slug("Çar Turn (2).final") == "car-turn-2-.final"
    assert slug("日本").startswith("clip-") and slug("日本") != slug("中国")


# ----------------------------------------------------------------------------------------- results made elsewhere


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    make_video(tmp_path / "Big Fish.mp4")
    edits = {"red": {"type": "attribute", "prompt": "red"}, "sea": {"type": "background", "prompt": "sea"}}
    return build_suite(
        {"name": "mine", "clips": {"fish": {"path": "Big Fish.mp4", "prompt": "a fish", "edits": edits}}}, tmp_path
    )


@pytest.mark.parametrize("shape", ["fish/red", "fish--red", "Big Fish/red", "FISH/Red", "fish/0", "part/fish/red"])
@pytest.mark.parametrize(("suffix", "first", "digits"), [("png", 0, 5), ("png", 1, 1)])
def test_folders_of_pictures_are_read_in_any_shape(
    tmp_path: Path, suite: Suite, shape: str, suffix: str, first: int, digits: int
) -> None:
    pictures(tmp_path / "theirs" / shape, np.repeat(FRAMES, 3, axis=0)[:4], first=first, suffix=suffix, digits=digits)
    found = read_results_folder(tmp_path / "theirs", suite)
    assert list(found) == [("fish", "red")]
    assert np.array_equal(read_all(found["fish", "red"]), np.repeat(FRAMES, 3, axis=0)[:4])


def test_pictures_are_ordered_by_number_not_by_name(tmp_path: Path) -> None:
    frames = moving_square(12, (32, 24))
    make_video(tmp_path / "fish.mp4", frames)
    edits = {"red": {"type": "style", "prompt": "red"}}
    suite = build_suite({"name": "mine", "clips": {"fish": {"path": "fish.mp4", "edits": edits}}}, tmp_path)
    pictures(tmp_path / "theirs/fish/style", frames, digits=1)
    assert np.array_equal(read_all(read_results_folder(tmp_path / "theirs", suite)["fish", "red"]), frames)


@pytest.mark.parametrize("name", ["fish/red.mp4", "fish--red.mp4", "fish/0.mov", "DAVIS_480p/fish/red.mp4"])
def test_videos_are_found(tmp_path: Path, suite: Suite, name: str) -> None:
    make_video(tmp_path / "theirs" / name)
    assert read_results_folder(tmp_path / "theirs", suite) == {("fish", "red"): tmp_path / "theirs" / name}


def test_pictures_are_preferred_to_a_video_of_the_same_edit(tmp_path: Path, suite: Suite) -> None:
    make_video(tmp_path / "theirs/fish/red.mp4")
    pictures(tmp_path / "theirs/fish/red")
    assert isinstance(read_results_folder(tmp_path / "theirs", suite)["fish", "red"], list)


def spoil_size(folder: Path) -> None:
    Image.fromarray(FRAMES[2][:, :16]).save(folder / "00002.png")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "00001.png").unlink(), r"1 of 4 frames are missing: 1 \(counted from 0\)"),
        (lambda folder: [(folder / f"0000{n}.png").unlink() for n in (1, 2)], r"2 of 4 frames are missing: 1-2 "),
        (lambda folder: (folder / "00003.png").unlink(), r"1 of 4 frames are missing: 3 "),
        (lambda folder: (folder / "00000.png").unlink(), r"1 of 4 frames are missing: 4 \(counted from 1\)"),
        (lambda folder: shutil.copy(folder / "00000.png", folder / "00004.png"), "5 frames, but the clip has 4"),
        (lambda folder: (folder / "00001.jpg").write_bytes(b"x"), "frame 1 is there twice, 00001.jpg and 00001.png"),
        (lambda folder: (folder / "00001.png").write_bytes(b"x"), "frame 1, 00001.png, is not a picture"),
        (spoil_size, "frame 2 is 16x24, the first is 32x24"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_one_edit_is_one_line_and_the_others_stay(
    tmp_path: Path, suite: Suite, spoil: Callable[[Path], object], message: str
) -> None:
    pictures(tmp_path / "theirs/fish/sea")
    spoil(pictures(tmp_path / "theirs/fish/red"))
    found = read_results_folder(tmp_path / "theirs", suite)
    trouble = found["fish", "red"]
    assert isinstance(trouble, str) and "\n" not in trouble and trouble.startswith(f"{tmp_path / 'theirs/fish/red'}: ")
    with pytest.raises(ConfigError, match=message):
        raise ConfigError(trouble)
    assert np.array_equal(read_all(found["fish", "sea"]), FRAMES)


def test_videos_of_another_length_or_none_are_a_line(tmp_path: Path, suite: Suite) -> None:
    make_video(tmp_path / "theirs/fish/red.mp4", FRAMES[:3])
    write_text(tmp_path / "theirs/fish/sea.mp4", "no video")
    found = read_results_folder(tmp_path / "theirs", suite)
    assert str(found["fish", "red"]).endswith("red.mp4: 3 frames, but the clip has 4; expected one for each")
    assert isinstance(found["fish", "sea"], str) and "not a video" in found["fish", "sea"]


def test_folders_without_results_or_with_those_of_several_methods_are_refused(tmp_path: Path, suite: Suite) -> None:
    pictures(tmp_path / "theirs/fisch/red")
    with pytest.raises(InputError, match=r"holds no result for the suite 'mine'; .* for example fish/red/00000.png"):
        read_results_folder(tmp_path / "theirs", suite)
    for method in ("one", "two"):
        pictures(tmp_path / "both" / method / "fish/red")
    with pytest.raises(InputError, match=r"holds the results of several methods, .*; give the folder of one"):
        read_results_folder(tmp_path / "both", suite)


# ----------------------------------------------------------------------------------------- there and back


def finished(folder: Path, suite: Suite, seeds: tuple[int, ...] = (33,), failed: str = "") -> None:
    """The folder of a run over `suite`, with noisy edits: nothing that an encoder likes."""
    random = np.random.default_rng(0)
    units = []
    for clip in suite.clips:
        for edit in clip.edits:
            for seed in seeds:
                noisy = np.clip(FRAMES + random.normal(0, 20, FRAMES.shape), 0, 255).astype(np.uint8)
                video = make_video(folder / f"runs/one/{clip.id}/{edit.id}/{seed}.mp4", noisy).relative_to(folder)
                status = (
                    {"status": "failed", "reason": "no memory"}
                    if edit.id == failed
                    else {"status": "done", "video": str(video)}
                )
                units.append(UnitResult(clip=clip.id, edit=edit.id, type=edit.type, prompt=edit.prompt, method="one",
                                        seed=seed, frames=(0, 1, 4), asked=(0, 1, 4), **status))  # fmt: skip
    one = MethodInfo(label="One", settings={}, model="", licence="", imported=False)
    write_results(Results(suite=suite.name, suite_sha256=suite.sha256(), title="", created="", environment={},
                          methods={"one": one}, units=tuple(units)), folder)  # fmt: skip
    write_text(folder / "suite.yaml", dump_suite(suite))


def edited(folder: Path, suite: Suite) -> dict[tuple[str, str], np.ndarray]:
    return {(clip.id, edit.id): np.stack(list(iter_frames(folder / f"runs/one/{clip.id}/{edit.id}/33.mp4")))
            for clip in suite.clips for edit in clip.edits}  # fmt: skip


def test_tgve_there_and_back_keeps_every_pixel_in_png(tgve: Path, tmp_path: Path) -> None:
    suite = import_layout("tgve", tgve, None, tmp_path / "tgve.yaml")
    finished(tmp_path / "run", suite)
    target = export_results(tmp_path / "run", "tgve", tmp_path / "out", pictures="png")
    assert (target / "one/DAVIS_480p/bmx/object/00003.png").is_file()
    found = read_results_folder(target / "one", suite)
    assert len(found) == 16
    for key, frames in edited(tmp_path / "run", suite).items():
        assert np.array_equal(read_all(found[key]), frames)


def test_tgve_is_written_as_its_script_reads_it(tgve: Path, tmp_path: Path) -> None:
    suite = import_layout("tgve", tgve, None, tmp_path / "tgve.yaml")
    finished(tmp_path / "run", suite)
    target = export_results(tmp_path / "run", "tgve", tmp_path / "out")
    assert not list(target.rglob("*.png"))
    for subset, clip in (("DAVIS_480p", "bmx"), ("youtube_480p", "salsa"), ("videvo_480p", "lotus")):
        for kind in ("style", "object", "background", "multiple"):
            files = sorted((target / f"one/{subset}/{clip}/{kind}").glob("*.jpg"))
            assert [file.name for file in files] == [f"{n:05d}.jpg" for n in range(4)]
    found = read_results_folder(target / "one", suite)
    for key, frames in edited(tmp_path / "run", suite).items():
        difference = read_all(found[key]).astype(int) - frames
        assert 0 < np.abs(difference).mean() < 3  # JPEG of noise: near, not the same


def test_the_captions_that_are_exported_come_in_again(tgve: Path, tmp_path: Path) -> None:
    suite = import_layout("tgve", tgve, None, tmp_path / "tgve.yaml")
    finished(tmp_path / "run", suite)
    target = export_results(tmp_path / "run", "tgve", tmp_path / "out", pictures="png")
    again = import_layout("tgve", tgve, target / "prompts.csv", tmp_path / "again.yaml")
    assert [(c.id, c.prompt, c.edits) for c in again.clips if c.id != "salsa"] == [
        (c.id, c.prompt, c.edits) for c in suite.clips if c.id != "salsa"
    ]


def test_v2vbench_there_and_back(tmp_path: Path, suite: Suite) -> None:
    finished(tmp_path / "run", suite, seeds=(33, 34))
    target = export_results(tmp_path / "run", "v2vbench", tmp_path / "out")
    assert sorted(path.name for path in target.iterdir()) == ["config.yaml", "one-33", "one-34"]
    assert (target / "one-33/fish/1/00000.png").is_file()
    found = read_results_folder(target / "one-33", suite)
    for key, frames in edited(tmp_path / "run", suite).items():
        assert np.array_equal(read_all(found[key]), frames)
    make_video(tmp_path / "videos/fish.mp4")
    (clip,) = import_layout("v2vbench", tmp_path / "videos", target / "config.yaml", tmp_path / "again.yaml").clips
    assert [(edit.type, edit.prompt) for edit in clip.edits] == [("attribute", "red"), ("background", "sea")]


def test_other_suites_take_tgve_names_where_a_type_has_one(
    tmp_path: Path, suite: Suite, caplog: pytest.LogCaptureFixture
) -> None:
    finished(tmp_path / "run", suite, failed="red")
    with caplog.at_level(logging.WARNING):
        target = export_results(tmp_path / "run", "tgve", tmp_path / "out", pictures="png")
    assert [path.name for path in (target / "one/mine/fish").iterdir()] == ["background"]
    assert "left out: fish/red of one failed: no memory" in caplog.text
    assert set(read_results_folder(target / "one", suite)) == {("fish", "sea")}


def test_units_that_the_suite_does_not_have_are_named_before_anything_is_written(tmp_path: Path, suite: Suite) -> None:
    finished(tmp_path / "run", suite)
    path = tmp_path / "run" / "suite.yaml"
    data = yaml.safe_load(path.read_text("utf-8"))
    del data["clips"][suite.clips[0].id]["edits"][suite.clips[0].edits[0].id]
    write_text(path, yaml.safe_dump(data))
    with pytest.raises(InputError, match=rf"results name {suite.clips[0].id}/.*which suite\.yaml lacks"):
        export_results(tmp_path / "run", "v2vbench", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_export_refuses_what_it_cannot_do(tmp_path: Path, suite: Suite) -> None:
    with pytest.raises(ConfigError, match="layout 'clips' cannot be exported"):
        export_results(tmp_path, "clips", tmp_path / "out")
    with pytest.raises(InputError, match="no results in"):
        export_results(tmp_path, "tgve", tmp_path / "out")
    finished(tmp_path / "run", suite)
    with pytest.raises(ConfigError, match="png or jpg, not 'gif'"):
        export_results(tmp_path / "run", "tgve", tmp_path / "out", pictures="gif")
    with pytest.raises(OutputError, match="is there already and not empty"):
        export_results(tmp_path / "run", "tgve", tmp_path / "run")


@pytest.mark.slow
def test_scores_are_the_same_after_a_round_trip(tint_suite: Callable[..., Path], tmp_path: Path) -> None:
    from videoedit.evaluation import choose_entries, run_suite

    suite = read_suite(tint_suite())
    ours = run_suite(suite, choose_entries(suite, ["tint"]), tmp_path / "ours")
    ways = {"exact": ("tgve", "png"), "other": ("v2vbench", None), "lossy": ("tgve", None)}
    back = [
        f"{name}={export_results(tmp_path / 'ours', layout, tmp_path / name, pictures=kind) / 'tint'}"
        for name, (layout, kind) in ways.items()
    ]
    theirs = run_suite(suite, choose_entries(suite, [], back), tmp_path / "theirs")
    after = {unit.name[:3]: unit.figures for unit in theirs.units}
    edits = [unit for unit in ours.units if unit.method == "tint"]
    assert len(edits) == 4
    for unit, metric in itertools.product(edits, ("strength@1", "psnr@1", "flicker_ratio@1", "background_psnr@1")):
        figure = unit.figures[metric]
        exact, other, lossy = (after[unit.clip, unit.edit, name][metric] for name in ways)
        assert figure == exact == other
        if figure is None:  # no truth, or nothing to keep
            assert lossy is None and metric in ("psnr@1", "background_psnr@1")
        else:
            assert lossy != figure and lossy == pytest.approx(figure, rel=0.05)
