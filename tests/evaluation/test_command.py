"""``videoedit bench`` from the outside: what it prints, its exit codes, and that it is quick to say what it can do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from videoedit.cli import main
from videoedit.evaluation import read_results


@pytest.fixture
def bench(capsys):
    """Call it; returns exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["bench", *map(str, arguments)])
        out = capsys.readouterr()
        return int(stop.value.code or 0), out.out, out.err

    return call


@pytest.mark.parametrize("words", [["--help"], ["bench", "--help"], ["bench", "run", "--help"]])
def test_help_loads_nothing_heavy(words):
    script = (
        f"import sys; sys.argv = ['videoedit', *{words}]\n"
        "import videoedit.cli\n"
        "try: videoedit.cli.main()\n"
        "except SystemExit: pass\n"
        "print('loaded', [m for m in ('torch', 'numpy', 'cv2', 'yaml', 'videoedit.evaluation.suite') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "bench" in done.stdout and "loaded []" in done.stdout


def test_a_run_says_its_cost_first_and_ends_with_the_page(bench, tint_suite, tmp_path: Path):
    out = tmp_path / "out"
    code, stdout, stderr = bench("run", tint_suite(), "--methods", "tint,identity", "--subset", "wall", "-o", out)
    assert (code, stdout) == (0, "")
    lines = stderr.splitlines()
    assert lines[0] == "tiny: 1 clip, 2 edits, 1 seed" and lines[1] == f"into {out}"
    assert next(i for i, line in enumerate(lines) if "units to make, about" in line) < lines.index(
        "1/6 wall/desert, identity"
    )
    assert lines[-1] == f"page: {out / 'index.html'}"
    code, stdout, stderr = bench("run", tint_suite(), "--methods", "tint", "--subset", "wall", "-o", out)
    assert code == 0 and "all is made" in stderr and "1/6" not in stderr


def test_a_dry_run_prints_the_cost_and_writes_nothing(bench, tint_suite, tmp_path: Path, monkeypatch):
    suite = tint_suite()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, stdout, stderr = bench("run", suite, "--methods", "tint", "--seeds", "1,2", "--dry-run")
    assert code == 0 and "tint" in stdout and "about 4 min" in stdout and stderr == ""
    assert "into outputs/bench-tiny" in stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_failed_units_make_the_exit_code_1_and_are_named(bench, tint_suite, tmp_path: Path):
    suite = tint_suite({"wall/road": "boom"})
    code, _, stderr = bench("run", suite, "--methods", "tint", "-o", tmp_path / "out")
    assert code == 1
    assert stderr.splitlines()[-1] == "failed: wall/road, tint: ZeroDivisionError: the tint ran out"
    assert (tmp_path / "out/index.html").is_file()


def test_ctrl_c_is_130_and_the_same_command_goes_on(bench, tint_suite, calls, tmp_path: Path):
    command = ("run", tint_suite({"square/snow": "stop here"}), "--methods", "tint", "-o", tmp_path / "out")
    (tmp_path / "trap").touch()
    code, _, stderr = bench(*command)
    assert code == 130 and stderr.splitlines()[-1] == "stopped; the same command goes on from here"
    assert len(calls.new()) == 2
    (tmp_path / "trap").unlink()
    assert bench(*command)[0] == 0
    assert len(calls.new()) == 3, "the first edit is not made again"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--methods", "tinta"], "there is no method 'tinta'; did you mean 'tint'?"),
        (["--methods", "tint", "--set", "tint.amout=1"], "did you mean 'amount'?"),
        (["--methods", "tint", "--set", "amount=1"], "expected METHOD.KEY=VALUE"),
        (["--methods", "tint", "--subset", "type=stile"], "did you mean 'style'?"),
        (["--methods", "tint", "--seeds", "1,two"], "expected whole numbers"),
        (["--methods", "tint", "--results", "theirs"], "expected NAME=FOLDER"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_exit_code_2(bench, tint_suite, tmp_path: Path, more, expected):
    code, stdout, stderr = bench("run", tint_suite(), "-o", tmp_path / "out", *more)
    assert (code, stdout) == (2, "")
    assert stderr.startswith("error: ") and expected in stderr and stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_every_problem_of_a_suite_has_a_line(bench, tint_suite, tmp_path: Path):
    suite = tint_suite()
    data = yaml.safe_load(suite.read_text())
    data["clips"]["wall"]["edits"]["road"]["type"] = "stile"
    data["clips"]["square"]["pat"] = "x"
    suite.write_text(yaml.safe_dump(data))
    code, _, stderr = bench("run", suite, "-o", tmp_path / "out")
    lines = stderr.splitlines()
    assert code == 2 and len(lines) == 2 and all(line.startswith(f"error: suite {suite}: clip ") for line in lines)


def test_results_of_another_version_are_refused(bench, tint_suite, tmp_path: Path):
    out = tmp_path / "out"
    assert bench("run", tint_suite(), "--methods", "identity", "--subset", "wall/road", "-o", out)[0] == 0
    path = out / "results.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 9'))
    for command in (["run", tint_suite(), "-o", out], ["report", out], ["compare", out, "strength", "vae", "identity"]):
        code, _, stderr = bench(*command)
        assert code == 2 and "schema 9, expected 1" in stderr and stderr.count("\n") == 1


def test_report_and_compare_read_what_run_wrote(bench, tint_suite, tmp_path: Path):
    out = tmp_path / "out"
    assert bench("run", tint_suite(), "--methods", "tint", "-o", out)[0] == 0
    for name in ("index.html", "results.csv", "results.tex"):
        (out / name).unlink()
    code, stdout, _ = bench("report", out)
    assert code == 0 and stdout.strip() == str(out / "index.html")
    assert all((out / name).is_file() for name in ("index.html", "results.csv", "results.tex"))
    code, stdout, _ = bench("compare", out, "strength", "tint", "identity")
    figures = {u.name: u.figures["strength@1"] for u in read_results(out).units}
    both = [(figures[clip, edit, "tint", 33], figures[clip, edit, "identity", 33]) for clip, edit, method, _ in figures
            if method == "tint"]  # fmt: skip
    mean = sum(a - b for a, b in both) / 4
    assert code == 0 and "4 edits (all)" in stdout and f"mean difference {mean:+.4g}" in stdout
    assert bench("compare", out, "strenght", "tint", "identity")[0] == 2
    assert bench("compare", out, "strength", "tint", "identiti")[0] == 2


def test_metrics_are_listed_with_what_they_lack(bench, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    code, stdout, _ = bench("metrics")
    lines = stdout.splitlines()
    assert code == 0 and any(line.startswith("strength@1 ") for line in lines)
    assert not any("psnr_autoencoder" in line for line in lines), "not for benchmarks"


def test_import_writes_a_suite_that_runs(bench, clips: Path, tmp_path: Path):
    (tmp_path / "table.csv").write_text(
        "clip,prompt,type\nsquare.mp4,a blue square,attribute\nwall.mp4,a road,subject\n"
    )
    target = tmp_path / "mine.yaml"
    code, stdout, _ = bench("import", "clips", clips, "--table", tmp_path / "table.csv", "-o", target)
    assert code == 0 and "2 clips, 2 edits" in stdout
    code, stdout, _ = bench("run", target, "--methods", "identity", "--dry-run")
    assert code == 0 and "2 clips, 2 edits" in stdout
    assert bench("import", "clipz", clips, "-o", target)[0] == 2


def test_exported_videos_come_back_as_results_made_elsewhere(bench, tint_suite, tmp_path: Path):
    suite, out, given = tint_suite(), tmp_path / "out", tmp_path / "given"
    assert bench("run", suite, "--methods", "tint", "--subset", "wall", "-o", out)[0] == 0
    code, stdout, _ = bench("export", out, "v2vbench", given)
    assert code == 0 and str(given) in stdout
    lost = sorted((given / "tint").rglob("*.png"))[0]
    lost.unlink()
    more = ("--subset", "wall", "--results", f"theirs={given / 'tint'}", "-o", out)
    code, _, stderr = bench("run", suite, "--methods", "tint", *more)
    assert code == 1 and "1 of 5 frames are missing" in stderr.splitlines()[-1]
    units = {unit.name[1:3]: unit for unit in read_results(out).units}
    whole = next(edit for edit in ("road", "desert") if units[edit, "theirs"].status == "done")
    for name in ("strength@1", "flicker_ratio@1"):
        assert units[whole, "theirs"].figures[name] == units[whole, "tint"].figures[name]
