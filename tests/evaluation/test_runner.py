"""Comparative runs: made once, measured once, failing alone; what an earlier call found is kept while it holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from videoedit.errors import OutputError
from videoedit.evaluation import choose_entries, forecast, read_results, read_suite, run_suite
from videoedit.evaluation.suite import SuiteError
from videoedit.media.images import write_image
from videoedit.media.video import probe, read_video, write_video
from videoedit.testing import moving_square


def stamps(folder: Path, *kinds: str) -> dict[str, int]:
    """When each file below these folders was written."""
    files = [file for kind in kinds for file in (folder / kind).rglob("*") if file.suffix in (".json", ".mp4")]
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in files}


def by_name(results) -> dict[str, object]:
    return {f"{unit.clip}/{unit.edit} {unit.method} {unit.seed}": unit for unit in results.units}


# ------------------------------------------------------------------------------------------ a whole run


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_folder: Path, clips: Path):
    """Two clips, four edits, the sanity rows and both methods on a tiny model."""
    folder = tmp_path_factory.mktemp("whole")
    model = {"model": str(tiny_folder), "device": "cpu"}
    suite = {
        "name": "tiny",
        "clips": {
            "square": {
                "path": str(clips / "square.mp4"),
                "prompt": "a red square",
                "boxes": [[0.1, 0.3, 0.4, 0.7]] * 5,
                "edits": {
                    "blue": {"type": "attribute", "prompt": "a blue square", "truth": str(clips / "truth.mp4")},
                    "snow": {"type": "background", "prompt": "a red square in the snow"},
                },
            },
            "wall": {
                "path": str(clips / "wall.mp4"),
                "prompt": "a wall",
                "frames": 4,
                "start": 1,
                "edits": {
                    "road": {"type": "subject", "prompt": "a road"},
                    "desert": {"type": "style", "prompt": "a wall in the desert"},
                },
            },
        },
        "settings": {
            "tuneavideo": model | {"tune": {"steps": 1}, "invert": {"steps": 1}, "sample": {"steps": 1}},
            "rerender": model
            | {
                "keyframes": {"interval": 1},
                "translate": {"steps": 1, "strength": None, "fusion_window": None, "attention_window": None},
                "propagate": {"propagator": "flow", "workers": 1, "flow": "dis"},
            },
        },
        "metrics": ["strength", "psnr", "warp_error", "background_psnr", "frame_share", "seam_score", "peak_memory"],
    }
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite, sort_keys=False))
    results = run_suite(folder / "suite.yaml", ["tuneavideo", "rerender"], folder / "out")
    return results, folder


def test_a_whole_run_has_a_row_for_every_method_and_edit(whole):
    results, folder = whole
    assert [unit.reason for unit in results.units if unit.status != "done"] == []
    assert [(u.clip, u.edit, u.method) for u in results.units] == [
        (clip, edit, method)
        for clip, edits in (("square", ("blue", "snow")), ("wall", ("road", "desert")))
        for edit in edits
        for method in ("identity", "vae", "tuneavideo", "rerender")
    ]
    assert read_results(folder / "out") == results
    assert list(results.methods) == ["identity", "vae", "tuneavideo", "rerender"]
    assert results.methods["vae"].model == results.methods["tuneavideo"].model
    assert results.methods["tuneavideo"].settings["tune"]["steps"] == 1
    assert not {"clip", "prompts", "seed"} & set(results.methods["tuneavideo"].settings)
    assert results.environment["videoedit"] and results.environment["cores"] >= 1
    assert "warp_error@1/dis" in results.metrics and results.metrics["strength@1"].headline
    for name in ("index.html", "results.csv", "results.tex", "suite.yaml"):
        assert (folder / "out" / name).stat().st_size > 100, name


def test_every_unit_shows_its_frames_and_files(whole):
    results, folder = whole
    for unit in results.units:
        info = probe(folder / "out" / unit.video)
        assert (info.frames, info.width, info.height, info.fps) == (unit.frames[2], 48, 32, 8)
        assert unit.frames == unit.asked == ((0, 1, 5) if unit.clip == "square" else (1, 1, 4))
        assert (folder / "out" / unit.source).is_file()
        assert (unit.truth is not None) == (unit.edit == "blue")
        assert unit.fps == "8"
        assert unit.figures["frame_share@1"] == 1
        assert len(unit.series["warp_error@1/dis"]) == unit.frames[2]


def test_figures_are_null_with_a_reason_where_there_is_nothing_to_measure(whole):
    units = by_name(whole[0])
    assert units["square/blue identity 33"].figures["psnr@1"] is not None
    assert units["square/snow identity 33"].figures["psnr@1"] is None
    assert "ground truth" in units["square/snow identity 33"].remarks["psnr@1"]
    assert units["wall/road identity 33"].figures["background_psnr@1"] is None
    assert units["square/snow identity 33"].figures["background_psnr@1"] is not None
    for unit in units.values():
        assert set(unit.remarks) == {name for name, figure in unit.figures.items() if figure is None}


def test_doing_nothing_changes_least_and_the_model_changes_most(whole):
    units = by_name(whole[0])
    for edit in ("square/blue", "square/snow"):
        copied, others = (
            units[f"{edit} identity 33"],
            [units[f"{edit} {m} 33"] for m in ("vae", "tuneavideo", "rerender")],
        )
        assert copied.figures["strength@1"] < 2  # the codec
        assert all(other.figures["strength@1"] > 5 for other in others)


def test_the_identity_row_is_the_source_through_our_writer(whole, clips: Path, tmp_path: Path):
    source = read_video(clips / "wall.mp4", start=1, num_frames=4)
    write_video(tmp_path / "again.mp4", source.frames, 8)
    unit = by_name(whole[0])["wall/road identity 33"]
    assert (whole[1] / "out" / unit.video).read_bytes() == (tmp_path / "again.mp4").read_bytes()


def test_key_frames_are_those_of_the_run(whole):
    units = by_name(whole[0])
    assert units["square/blue rerender 33"].keyframes == (0, 1, 2, 3, 4)
    assert units["square/blue tuneavideo 33"].keyframes == ()


def test_one_tuning_serves_all_edits_of_a_clip_and_is_shared_out(whole):
    _, folder = whole
    runs = sorted((folder / "out/runs/tuneavideo").glob("*/*/run.json"))
    assert len(runs) == 2
    made = [
        json.loads((folder / f"out/made/square/{edit}/tuneavideo-33.json").read_text()) for edit in ("blue", "snow")
    ]
    stages = [one["made"]["stages"] for one in made]
    assert stages[0]["tune"] == stages[1]["tune"]
    own = [set(a) - set(b) for a, b in (stages, stages[::-1])]
    assert all(len(names) == 1 for names in own), own  # what edits; the rest they share
    assert not any(name.startswith("measure") for one in stages for name in one)


def test_the_same_call_makes_and_measures_nothing_again(whole):
    results, folder = whole
    before = stamps(folder / "out", "made", "units", "runs")
    assert len(before) > 40
    again = run_suite(folder / "suite.yaml", ["tuneavideo", "rerender"], folder / "out")
    assert again.units == results.units
    assert stamps(folder / "out", "made", "units", "runs") == before
    text = forecast(folder / "suite.yaml", ["tuneavideo", "rerender"], folder / "out").text()
    assert "all is made" in text


# --------------------------------------------------------------------------------- what is run again


def test_an_interrupted_run_goes_on_where_it_stopped(tint_suite, calls, tmp_path: Path):
    suite, out = tint_suite({"wall/desert": "stop here"}), tmp_path / "out"
    (tmp_path / "trap").touch()
    with pytest.raises(KeyboardInterrupt):
        run_suite(suite, ["tint"], out)
    done = {f"{unit.clip}/{unit.edit}" for unit in read_results(out).units if unit.method == "tint"}
    assert done == {"square/blue", "square/snow"}
    assert len(calls.new()) == 3
    before = stamps(out, "made", "units")
    (tmp_path / "trap").unlink()
    results = run_suite(suite, ["tint"], out)
    assert calls.new() == ["wall stop here 33", "wall a road 33"]
    assert len(results.units) == 12 and all(unit.status == "done" for unit in results.units)
    told = {f"{unit.clip}/{unit.edit}" for unit in results.units if any("interrupted" in note for note in unit.notes)}
    assert told == {"wall/desert"}
    after = stamps(out, "made", "units")
    assert {name: after[name] for name in before} == before


def test_a_changed_prompt_reruns_its_own_units(tint_suite, calls, tmp_path: Path):
    out = tmp_path / "out"
    first = by_name(run_suite(tint_suite(), ["tint", "tintall"], out))
    calls.new()
    second = by_name(run_suite(tint_suite({"square/snow": "rain"}), ["tint", "tintall"], out))
    assert calls.new() == ["square rain 33", "square rain 33"]
    assert first.keys() == second.keys()
    changed = {name for name in first if first[name].prompt != second[name].prompt}
    assert changed == {f"square/snow {method} 33" for method in ("identity", "vae", "tint", "tintall")}
    assert {name for name in first if first[name] != second[name]} == changed


def test_changed_settings_rerun_their_method_alone(tint_suite, calls, tmp_path: Path):
    out, suite = tmp_path / "out", read_suite(tint_suite())
    run_suite(suite, ["tint", "tintall"], out, subset=["wall"])
    calls.new()
    videos = stamps(out, "runs")
    results = run_suite(suite.with_settings(["tint.amount=0.25"]), ["tint", "tintall"], out, subset=["wall"])
    assert len(calls.new()) == 2
    assert results.methods["tint"].settings["amount"] == 0.25
    after = stamps(out, "runs")
    assert {name for name in videos if after[name] != videos[name]} == {name for name in videos if "runs/tint/" in name}


def test_a_new_metric_measures_itself_and_edits_nothing(tint_suite, calls, tmp_path: Path):
    out = tmp_path / "out"
    run_suite(tint_suite(metrics=["strength"]), ["tint"], out)
    calls.new()
    videos = stamps(out, "made", "runs")
    kept = out / "units/wall/road/tint-33.json"
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"figures": {"strength@1": 123.0}}))
    results = run_suite(tint_suite(metrics=["strength", "ssim", "colour_drift"]), ["tint"], out)
    assert calls.new() == [] and stamps(out, "made", "runs") == videos
    assert by_name(results)["wall/road tint 33"].figures["strength@1"] == 123, "what is known is not measured again"
    assert all(unit.figures["colour_drift@1"] is not None for unit in results.units)
    assert all(("ssim@1" in unit.remarks) == (unit.edit != "blue") for unit in results.units)


def test_a_changed_clip_reruns_its_edits(tint_suite, calls, tmp_path: Path):
    suite, out = tint_suite(), tmp_path / "out"
    data = yaml.safe_load(suite.read_text())
    mine = tmp_path / "mine.mp4"
    write_video(mine, moving_square(5, (48, 32)), 8)
    data["clips"]["wall"]["path"] = str(mine)
    suite.write_text(yaml.safe_dump(data))
    run_suite(suite, ["tintall"], out)
    calls.new()
    write_video(mine, moving_square(6, (40, 32)), 8)
    results = by_name(run_suite(suite, ["tintall"], out))
    assert sorted({line.split()[0] for line in calls.new()}) == ["mine"]
    assert results["wall/road tintall 33"].frames == (0, 1, 6) and results["wall/road identity 33"].frames == (0, 1, 6)


def test_measuring_at_another_size_edits_nothing(tint_suite, calls, tmp_path: Path):
    out = tmp_path / "out"
    first = by_name(run_suite(tint_suite(), ["tint"], out))
    calls.new()
    second = by_name(run_suite(tint_suite(size="24x16"), ["tint"], out))
    assert calls.new() == []
    name = "wall/road identity 33"
    assert first[name].figures["strength@1"] != second[name].figures["strength@1"]


def test_a_lost_video_is_made_again(tint_suite, calls, tmp_path: Path):
    suite, out = tint_suite(), tmp_path / "out"
    results = by_name(run_suite(suite, ["tint"], out))
    calls.new()
    (out / results["wall/road tint 33"].video).unlink()
    again = by_name(run_suite(suite, ["tint"], out))
    assert calls.new() == ["wall a road 33"]
    assert (out / again["wall/road tint 33"].video).is_file()


# ------------------------------------------------------------------------------- parts of a suite, seeds


def test_parts_of_a_suite_and_other_methods_add_up_in_one_folder(tint_suite, calls, tmp_path: Path):
    suite, out = tint_suite(), tmp_path / "out"
    first = run_suite(suite, ["tint"], out, subset=["square/blue"])
    assert {unit.edit for unit in first.units} == {"blue"}
    second = run_suite(suite, ["tint"], out, subset=["type=style"])
    assert {unit.edit for unit in second.units} == {"blue", "desert"}
    assert first.suite_sha256 == second.suite_sha256
    third = run_suite(suite, ["tintall"], out, subset=["square"])
    assert {(unit.edit, unit.method) for unit in third.units if unit.method.startswith("tint")} == {
        ("blue", "tint"), ("desert", "tint"), ("blue", "tintall"), ("snow", "tintall")
    }  # fmt: skip
    assert set(third.methods) == {"identity", "vae", "tint", "tintall"}
    assert len(calls.new()) == 4
    changed = run_suite(read_suite(suite).with_settings(["tint.amount=0.1"]), ["tint"], out, subset=["square"])
    kept = {(unit.edit, unit.method) for unit in changed.units if unit.method == "tint"}
    assert kept == {("blue", "tint"), ("snow", "tint")}, "what other settings made must not stand in one row with them"


def test_seeds_are_units_of_their_own_but_of_the_sanity_rows(tint_suite, calls, tmp_path: Path):
    suite, out = tint_suite(seeds=[1, 2]), tmp_path / "out"
    results = run_suite(suite, ["tint"], out, subset=["wall/road"])
    assert [(unit.method, unit.seed) for unit in results.units] == [
        ("identity", 1), ("vae", 1), ("tint", 1), ("tint", 2)
    ]  # fmt: skip
    assert calls.new() == ["wall a road 1", "wall a road 2"]
    videos = [(out / unit.video).read_bytes() for unit in results.units if unit.method == "tint"]
    assert videos[0] != videos[1]
    run_suite(suite, ["tint"], out, subset=["wall/road"], seeds=[2, 3])
    assert calls.new() == ["wall a road 3"]


def test_the_cost_of_shared_work_is_divided_by_the_edits_it_served(tint_suite, tmp_path: Path):
    suite, out = tint_suite(metrics=["seconds_per_frame"]), tmp_path / "out"

    def seconds(results, edit: str) -> float:
        return 5 * by_name(results)[f"square/{edit} tintall 33"].figures["seconds_per_frame@1"]

    alone = seconds(run_suite(suite, ["tintall"], out, subset=["square/blue"]), "blue")
    both = run_suite(suite, ["tintall"], out, subset=["square/snow"])
    stages = json.loads((out / "made/square/blue/tintall-33.json").read_text())["made"]["stages"]
    shared = stages["learn"]["seconds"] + stages["source"]["seconds"]
    assert shared >= 0.2
    assert alone == pytest.approx(sum(stage["seconds"] for stage in stages.values()), abs=0.002)
    assert seconds(both, "blue") == pytest.approx(alone - shared / 2, abs=0.002)
    assert shared / 2 - 0.002 < seconds(both, "snow") < shared / 2 + 1


def test_a_method_that_cannot_take_the_whole_clip_spans_it(tint_suite, tmp_path: Path):
    suite = read_suite(tint_suite()).with_settings(["tintall.video.num_frames=2"])
    results = by_name(run_suite(suite, ["tint", "tintall"], tmp_path / "out", subset=["square/blue"]))
    part = results["square/blue tintall 33"]
    assert part.frames == (0, 3, 2) and part.asked == (0, 1, 5) and part.is_partial and part.fps == "8/3"
    assert part.figures["frame_share@1"] == pytest.approx(2 / 5)
    assert not results["square/blue tint 33"].is_partial
    assert results["square/blue tint 33"].keyframes == (0, 2)


# ------------------------------------------------------------------------------------------- failures


def test_a_method_that_raises_fails_alone_with_its_reason(tint_suite, calls, tmp_path: Path):
    prompts = {"square/blue": "boom", "square/snow": "refuse this", "wall/road": "exit now"}
    suite, out = tint_suite(prompts), tmp_path / "out"
    results = by_name(run_suite(suite, ["tint", "tintall"], out))
    for method in ("tint", "tintall"):
        units = {edit: results[f"{edit} {method} 33"] for edit in (*prompts, "wall/desert")}
        assert {edit: unit.status for edit, unit in units.items()} == {
            "square/blue": "failed", "square/snow": "failed", "wall/road": "failed", "wall/desert": "done"
        }  # fmt: skip
        assert units["square/blue"].reason == "ZeroDivisionError: the tint ran out"
        assert units["square/snow"].reason == "this method tints no snow; ask for something else"
        assert "tried to exit (3)" in units["wall/road"].reason
        trace = out / f"units/square/blue/{method}-33.traceback.txt"
        assert "raise ZeroDivisionError" in trace.read_text()
        assert not trace.parents[1].joinpath("snow", trace.name).exists()
        assert units["square/blue"].source and units["square/blue"].asked == (0, 1, 5)
    assert all(unit.status == "done" for name, unit in results.items() if "identity" in name or "vae" in name)
    calls.new()
    run_suite(suite, ["tint"], out, subset=["wall/desert"])
    assert calls.new() == []
    kept = by_name(read_results(out))
    assert kept["square/blue tint 33"].status == "failed", "a failure stands until it is tried again"
    fixed = by_name(run_suite(tint_suite(), ["tint", "tintall"], out))
    assert all(unit.status == "done" for unit in fixed.values())
    assert not list(out.rglob("*.traceback.txt"))


def test_a_missing_clip_costs_its_own_units_only(tint_suite, calls, tmp_path: Path):
    suite, out = tint_suite(), tmp_path / "out"
    data = yaml.safe_load(suite.read_text())
    data["clips"]["wall"]["path"] = str(tmp_path / "gone.mp4")
    data["clips"]["square"]["edits"]["blue"]["truth"] = str(tmp_path / "gone-too.mp4")
    suite.write_text(yaml.safe_dump(data))
    text = forecast(suite, ["tint"], out).text()
    assert "will fail: 6 units: the clip is missing: no file" in text and "gone-too.mp4" in text
    results = by_name(run_suite(suite, ["tint"], out))
    assert {name.split()[0] for name, unit in results.items() if unit.status == "done"} == {"square/snow"}
    assert "gone.mp4" in results["wall/road tint 33"].reason and results["wall/road tint 33"].source is None
    assert "gone-too.mp4" in results["square/blue identity 33"].reason
    assert calls.new() == ["square a red square in the snow 33"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": 9}, "9 frames were asked for from frame 0 at stride 1, but the clip has 5"),
        ({"start": 5}, "but the clip has 5"),
        ({"boxes": [[0, 0, 1, 1]]}, "boxes for 1 frames"),
    ],
)
def test_a_clip_that_does_not_fit_fails_with_the_reason(tint_suite, tmp_path: Path, change, words):
    suite = tint_suite()
    data = yaml.safe_load(suite.read_text())
    data["clips"]["wall"] |= change
    suite.write_text(yaml.safe_dump(data))
    results = run_suite(suite, [], tmp_path / "out", subset=["wall/road"])
    assert all(unit.status == "failed" and words in unit.reason for unit in results.units)
    assert len(results.units) == 2


# ------------------------------------------------------------------------------------- what is refused


def test_everything_that_makes_no_sense_is_found_at_once(tint_suite, tmp_path: Path):
    suite = tint_suite(metrics=["psnr", "pnsr"], published="tgbe", flow="dis")
    suite = read_suite(suite).with_settings(["tint.amout=3", "tinta.amount=3", "tintall.prompts=[a]", "vae.moddel=x"])
    with pytest.raises(SuiteError) as caught:
        run_suite(suite, ["tint", "tintall", "tunavideo"], tmp_path / "out")
    problems = caught.value.problems
    for words in (
        "there is no method 'tunavideo'; did you mean 'tuneavideo'?",
        "settings of 'tint': unknown setting 'amout'; did you mean 'amount'?",
        "settings of 'tinta': there is no such method; did you mean 'tint'?",
        "settings of 'tintall': prompts cannot be set here",
        "settings of 'vae': unknown setting 'moddel'; did you mean 'model'?",
        "there is no metric 'pnsr'; did you mean 'psnr'?",
        "no table of published numbers is called 'tgbe'",
    ):
        assert sum(words in problem for problem in problems) == 1, (words, problems)
    assert len(problems) == 7 and not (tmp_path / "out").exists()


def test_folders_of_something_else_are_refused(tint_suite, tmp_path: Path):
    suite, out = tint_suite(), tmp_path / "out"
    run_suite(suite, [], out, subset=["wall/road"])
    with pytest.raises(OutputError, match="results of the suite 'tiny', not 'other'"):
        run_suite(tint_suite(name="other"), [], out)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty and holds no benchmark"):
        run_suite(suite, [], tmp_path / "full")
    with pytest.raises(OutputError, match="is a file"):
        run_suite(suite, [], tmp_path / "full/notes.txt")
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["notes.txt"]


def test_a_folder_in_use_is_refused(tint_suite, tmp_path: Path):
    from videoedit.runs.folder import lock_folder

    out = tmp_path / "out"
    out.mkdir()
    with lock_folder(out), pytest.raises(OutputError, match="another videoedit is working"):
        run_suite(tint_suite(), [], out)


def test_a_forecast_writes_nothing_and_says_what_it_costs(tint_suite, calls, tmp_path: Path):
    told = forecast(tint_suite(seeds=[1, 2]), ["tint", "tintall"], tmp_path / "out")
    assert not (tmp_path / "out").exists() and calls.new() == []
    shares = {share.method: share for share in told.shares}
    assert (shares["identity"].units, shares["tint"].units, shares["tintall"].units) == (4, 8, 8)
    assert shares["tint"].seconds == pytest.approx(8 * 30) and shares["tintall"].seconds == pytest.approx(4 * 30)
    assert shares["tint"].memory_mb == 700
    text = told.text()
    assert "tiny: 2 clips, 4 edits, 2 seeds" in text and "about 6 min" in text and "tint: It is a toy." in text


# --------------------------------------------------------------------------------- results made elsewhere


def test_results_made_elsewhere_stand_beside_ours(tint_suite, clips: Path, tmp_path: Path):
    source, given = read_video(clips / "square.mp4").frames, tmp_path / "theirs"
    for number, frame in enumerate(source):
        (given / "square/snow").mkdir(parents=True, exist_ok=True)
        write_image(given / f"square/snow/{number:05d}.png", frame)
        if number != 2:
            (given / "square/blue").mkdir(parents=True, exist_ok=True)
            write_image(given / f"square/blue/{number:05d}.png", frame)
    (given / "wall").mkdir()
    write_video(given / "wall/road.mp4", 255 - read_video(clips / "wall.mp4").frames, 8)
    suite = read_suite(tint_suite())
    entries = choose_entries(suite, [], [f"theirs={given}"])
    results = run_suite(suite, entries, tmp_path / "out")
    units = by_name(results)
    exact = units["square/snow theirs 33"]
    assert exact.status == "done" and exact.figures["strength@1"] == 0, "frames are measured as they are"
    assert exact.figures["seconds_per_frame@1"] is None
    assert units["wall/road theirs 33"].figures["strength@1"] > 20
    assert "1 of 5 frames" in units["square/blue theirs 33"].reason
    assert "nothing for wall/desert" in units["wall/desert theirs 33"].reason
    assert results.methods["theirs"].imported
    assert probe(tmp_path / "out" / exact.video).frames == 5
    write_image(given / "square/snow/00004.png", np.zeros_like(source[0]))
    again = by_name(run_suite(suite, choose_entries(suite, [], [f"theirs={given}"]), tmp_path / "out"))
    assert again["square/snow theirs 33"].figures["strength@1"] > 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("theirs", "expected NAME=FOLDER"),
        ("the irs=x", "expected NAME=FOLDER"),
        ("tint=.", "is the name of a method here"),
        ("vae=.", "is the name of a method here"),
        ("theirs=gone", "there is no folder gone"),
    ],
)
def test_results_that_cannot_be_taken_are_named(tint_suite, text, words, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SuiteError, match=words):
        choose_entries(read_suite(tint_suite()), [], [text])
