"""CSV that comes back as it went, LaTeX that is balanced, escaped, and bold only where a test says so."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from videoedit.errors import ConfigError
from videoedit.evaluation.results import MethodInfo, MetricInfo, Results, UnitResult
from videoedit.evaluation.tables import escape, table_metrics, to_csv, to_latex

NOISE = np.random.default_rng(0).normal(0, 0.02, 12)
STRENGTH, WARP, SSIM = "strength@1", "warp_error@1/dis", "ssim@1"
EVIL = r'50% of A_B & {C} #1 $x^2$ ~ \cmd <b> | [0] "q"'


def metric(title: str, better: str, group: str, unit: str = "", headline: bool = True) -> MetricInfo:
    return MetricInfo(title=title, meaning="", better=better, unit=unit, group=group, headline=headline)


METRICS = {
    WARP: metric("Warp error", "lower", "consistency"),
    STRENGTH: metric("Strength", "none", "strength", "Lab", headline=False),
    SSIM: metric("SSIM", "higher", "fidelity", headline=False),
}


def results(
    figures: Mapping[str, Callable[[int], dict[str, float | None]]],
    labels: Mapping[str, str] | None = None,
    **unit: object,
) -> Results:
    """Method -> its figures for each of 12 edits."""
    kinds = ("subject", "background", "attribute", "style")
    fields: dict[str, object] = {"prompt": "a red car", "status": "done", "seed": 33, "frames": (0, 2, 24)} | unit
    units = [
        UnitResult(clip=f"clip{i // 4}", edit=kinds[i % 4], type=kinds[i % 4], method=m, figures=of(i), **fields)
        for m, of in figures.items()
        for i in range(12)
    ]
    methods = {
        m: MethodInfo(label=(labels or {}).get(m, m), settings={}, model="", licence="", imported=False)
        for m in figures
    }
    return Results(suite="mini_a", suite_sha256="0" * 64, title="Mini", created="2026", environment={}, methods=methods,
                   metrics=METRICS, units=tuple(units))  # fmt: skip


def of(warp: float, strength: float = 10.0) -> Callable[[int], dict[str, float | None]]:
    return lambda i: {WARP: warp + NOISE[i] / 100, STRENGTH: strength, SSIM: None}


def is_balanced(latex: str) -> bool:
    """Braces closed in order, environments too; every row of the table has as many cells as columns."""
    depth = 0
    for mark in re.findall(r"(?<!\\)(?:\\\\)*([{}])", latex):
        depth += 1 if mark == "{" else -1
        if depth < 0:
            return False
    begun, ended = re.findall(r"\\begin\{(\w+)\}", latex), re.findall(r"\\end\{(\w+)\}", latex)
    columns = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", latex)[1])  # type: ignore[index]
    rows = [line for line in latex.splitlines() if line.endswith(r"\\")]
    return depth == 0 and begun == ended[::-1] and all(len(re.split(r"(?<!\\)&", row)) == columns for row in rows)


# ----------------------------------------------------------------------------------------- CSV


def test_csv_comes_back_as_it_went() -> None:
    nasty = 'a "quoted", comma;\nnew line, ünïcode'
    found = results(
        {"one": lambda i: {WARP: 0.1 + 0.2, SSIM: float("inf"), STRENGTH: None}}, prompt=nasty, video="runs/o.mp4"
    )
    rows = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert len(rows) == 12
    assert rows[5] | {"prompt": ""} == {
        "clip": "clip1", "edit": "background", "type": "background", "prompt": "", "method": "one", "seed": "33",
        "status": "done", "reason": "", "start": "0", "stride": "2", "count": "24", "fps": "0", "video": "runs/o.mp4",
        WARP: repr(0.1 + 0.2), STRENGTH: "", SSIM: "inf",
    }  # fmt: skip
    assert rows[0]["prompt"] == nasty and float(rows[0][WARP]) == 0.1 + 0.2


def test_csv_says_why_a_unit_failed() -> None:
    rows = list(
        csv.DictReader(io.StringIO(to_csv(results({"one": lambda i: {}}, status="failed", reason="no, memory"))))
    )
    assert {(row["status"], row["reason"], row[WARP]) for row in rows} == {("failed", "no, memory", "")}


# ----------------------------------------------------------------------------------------- LaTeX


def test_special_characters_lose_their_meaning() -> None:
    assert escape("50%_#&$") == r"50\%\_\#\&\$"
    assert escape(r"\x{y}") == r"\textbackslash{}x\{y\}"
    assert escape("a~b^c<d>[1]") == r"a\textasciitilde{}b\textasciicircum{}c\textless{}d\textgreater{}{[}1{]}"
    found = results({"identity": of(0.01, 0.0), "x": of(0.02), "y": of(0.03)}, {"x": EVIL, "y": "[tricky]"})
    evil = {WARP: METRICS[WARP].model_copy(update={"title": EVIL, "unit": "%"}), STRENGTH: METRICS[STRENGTH]}
    latex = to_latex(found.model_copy(update={"suite": EVIL, "metrics": evil}))
    assert is_balanced(latex)
    assert not re.search(r"(?<!\\)[%#~]", latex)
    assert re.search(r"\\label\{tab:[A-Za-z0-9.-]+\}", latex)


def test_the_balance_check_itself_finds_faults() -> None:
    good = to_latex(results({"one": of(0.1), "two": of(0.2)}))
    assert is_balanced(good)
    for bad in (good.replace("}", "", 1), good.replace(r"\end{table}", ""), good.replace("one &", "one & &")):
        assert not is_balanced(bad)


def test_strength_stands_first_and_sanity_rows_apart() -> None:
    found = results({"one": of(0.0123), "identity": of(0.01, 0.0), "two": of(0.0456)})
    assert table_metrics(found) == [STRENGTH, WARP]
    assert table_metrics(found, [SSIM, WARP]) == [STRENGTH, WARP, SSIM]
    lines = to_latex(found).splitlines()
    head = next(line for line in lines if line.startswith("Method"))
    assert head == r"Method & Strength (Lab) & Warp error $\downarrow$ \\"
    body = lines[lines.index(r"\toprule") + 2 : lines.index(r"\bottomrule")]
    assert [line.split(" ")[0] for line in body] == [r"\midrule", "identity", r"\midrule", "one", "two"]
    with pytest.raises(ConfigError, match="metric 'warp' is not in these results"):
        table_metrics(found, ["warp"])


def cells(latex: str, method: str) -> list[str]:
    row = next(line for line in latex.splitlines() if line.startswith(method))
    return row.removesuffix(r" \\").split(" & ")[1:]


def test_the_best_is_bold_only_if_it_beats_every_other() -> None:
    clear = to_latex(results({"identity": of(0.0), "one": of(0.01), "two": of(0.02), "three": of(0.03)}))
    assert cells(clear, "one")[1].startswith(r"\textbf{0.01")
    assert clear.count(r"\textbf") == 1  # neither the sanity row, which is lower, nor the strength
    tied = to_latex(results({"one": of(0.01), "two": of(0.01), "three": of(0.03)}))
    assert r"\textbf" not in tied
    assert r"\textbf" not in to_latex(results({"one": of(0.01)}))  # there is nothing to beat
    assert r"\textbf" not in to_latex(
        results({"one": of(0.01), "two": of(0.02)}), types="style"
    )  # three edits say little


def test_cells_show_mean_and_interval_with_the_same_decimals() -> None:
    latex = to_latex(results({"one": of(0.01), "two": of(0.25)}))
    mean, low, high = re.findall(r"\d\.\d+", cells(latex, "one")[1])
    assert {len(number) for number in (mean, low, high)} == {len("0.010")}
    assert float(low) <= float(mean) <= float(high)
    assert cells(latex, "one")[0] == "10.0"  # all edits alike: an interval would say nothing


def test_the_caption_tells_what_was_counted() -> None:
    found = results({"one": of(0.01), "two": of(0.02)})
    failed = found.units[0].model_copy(update={"status": "failed", "figures": {}})
    partial = found.units[-1].model_copy(update={"frames": (0, 3, 24), "asked": (0, 1, 80)})
    latex = to_latex(found.model_copy(update={"units": (failed, *found.units[1:-1], partial)}))
    caption = next(line for line in latex.splitlines() if line.startswith(r"\caption"))
    for part in (r"\texttt{mini\_a}", "$n$ = 11--12", r"95\% bootstrap", r"\texttt{warp\_error@1/dis}", "Holm",
                 "Failed units, left out: one 1.", r"$^\dagger$Covers only part"):  # fmt: skip
        assert part in caption
    assert "one &" in latex and r"two$^\dagger$ &" in latex


def test_a_method_without_a_figure_has_a_dash() -> None:
    latex = to_latex(results({"one": of(0.01), "two": lambda i: {WARP: None, STRENGTH: 1.0}}))
    assert cells(latex, "two")[1] == "--"
