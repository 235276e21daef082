"""Documents say what the result files say, and nothing measured stands in them that is bound to none."""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))  # scripts, no package

from documents import DOCUMENTS, MINI, SPAN, mini, rendered, verdict  # noqa: E402

from videoedit.evaluation.statistics import compare  # noqa: E402
from videoedit.evaluation.tables import to_latex  # noqa: E402

DIGIT = re.compile(r"(?<![\w@.])\d*\.?\d+(?![\w@])")
MEASURED = re.compile(r"\d[\d.,]* ?(?:dB|CPU-s|GiB|MiB|GB|MB|ms|%)(?!\w)|\bp [=<] ?[\d.]+")
SETTINGS = {"README.md": {"95 %"}}  # of intervals


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def unbound(name: str, text: str) -> set[str]:
    """Numbers with a unit of measurement outside the spans that are no setting."""
    return set(MEASURED.findall(SPAN.sub("", text))) - SETTINGS[name]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_make_docs_would_change_nothing(name: str):
    assert rendered(read(name)) == read(name)
    assert (MINI / "results.tex").read_text(encoding="utf-8") == to_latex(mini())


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_measurement_is_bound(name: str):
    assert unbound(name, read(name)) == set()
    assert unbound(name, "It takes 3.1 CPU-s (p = 0.02), a 95 % interval") == {"3.1 CPU-s", "p = 0.02"}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_ten_falsified_figures_are_caught(name: str):
    text, draw = read(name), random.Random(13)
    places = [
        (span.start(3) + found.start(), span.start(3) + found.end())
        for span in SPAN.finditer(text)
        for found in DIGIT.finditer(span[3])
    ]
    assert len(places) > 100
    for start, end in draw.sample(places, 8):
        at = draw.choice([i for i in range(start, end) if text[i].isdigit()])
        falsified = text[:at] + str((int(text[at]) + draw.randint(1, 9)) % 10) + text[at + 1 :]
        assert rendered(falsified) == text != falsified
    tables = [re.findall(r"^\| .*\n", span[3], re.M)[1:] for span in SPAN.finditer(text)]
    for rows in draw.sample([rows for rows in tables if len(rows) > 1], 2):
        falsified = text.replace(rows[0] + rows[1], rows[1] + rows[0])
        assert rendered(falsified) == text != falsified


def test_verdicts_are_those_of_bench_compare():
    pair = compare(mini(), "lpips", "tuneavideo", "hybrid")
    assert pair.winner == "tuneavideo" and f"p = {pair.p:.2g}" in verdict("lpips", "tuneavideo", "hybrid")
    apart = verdict("lpips", "tuneavideo", "rerender")
    assert "not told apart" in apart and " to " in apart
