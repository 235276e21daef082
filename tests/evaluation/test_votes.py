"""Blind votes: pages that give nothing away, strengths that come back, metrics that agree or do not."""

from __future__ import annotations

import json
import math
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from videoedit.cli import main
from videoedit.errors import InputError
from videoedit.evaluation.page.vote import write_vote_page
from videoedit.evaluation.results import Results, write_results
from videoedit.evaluation.votes import (
    FORMAT,
    agreements,
    bradley_terry,
    count_wins,
    judged,
    pairs_of,
    read_ballot,
)

sys.path.append(str(Path(__file__).parent))
from browser import CHROMIUM, Browser
from test_page import make_results

METHODS = ("poor", "fair", "good", "best")
TRUE = dict(zip(METHODS, (-0.9, -0.3, 0.3, 0.9), strict=True))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    folder = tmp_path_factory.mktemp("votes")
    results = make_results(folder)
    write_results(results, folder)
    return folder, results


def cast(folder: Path, results: Results, seed: int, choose, name: str = "votes.json") -> Path:
    """The file of a voter who chooses as `choose` (pair -> left, right or tie) says."""
    votes = [{"pair": pair.id, "choice": choose(pair)} for pair in pairs_of(results, seed)]
    ballot = {"format": FORMAT, "suite_sha256": results.suite_sha256, "seed": seed, "votes": votes}
    (folder / name).write_text(json.dumps(ballot))
    return folder / name


def simulated(seed: int, votes: int) -> dict[tuple[str, str], float]:
    """Wins among methods whose strengths are known, in votes on pairs that are drawn."""
    rng = random.Random(seed)
    wins: dict[tuple[str, str], float] = {}
    for _ in range(votes):
        one, other = rng.sample(METHODS, 2)
        prefers = rng.random() < 1 / (1 + math.exp(TRUE[other] - TRUE[one]))
        pair = (one, other) if prefers else (other, one)
        wins[pair] = wins.get(pair, 0) + 1
    return wins


def test_a_known_order_comes_back_and_intervals_cover_it() -> None:
    """200 votes on four methods, twenty times (a wider gap, so that 200 votes can tell), then coverage over 100."""
    in_order = covered = 0
    for seed in range(100):
        found = bradley_terry(simulated(seed, 200), METHODS)
        if seed < 20:
            in_order += [one.method for one in found] == list(reversed(METHODS))
        covered += sum(one.low <= TRUE[one.method] <= one.high for one in found)
    assert in_order >= 19
    assert covered >= 0.9 * 400


def test_two_methods_have_the_logarithm_of_the_odds() -> None:
    first, second = bradley_terry({("a", "b"): 300.0, ("b", "a"): 100.0}, ("a", "b"))
    assert first.method == "a" and first.votes == 400
    assert first.value - second.value == pytest.approx(math.log(3), abs=0.01)
    assert first.high - first.low == pytest.approx(2 * 1.96 / math.sqrt(400 * 0.75 * 0.25) / 2, rel=0.02)


def test_who_always_wins_is_strong_and_not_endless() -> None:
    first, second = bradley_terry({("a", "b"): 50.0}, ("a", "b"))
    assert (first.method, second.method) == ("a", "b") and 1 < first.value < 10 and first.low > 0


def test_pairs_are_drawn_by_the_seed_alone_and_have_no_sanity_rows(made) -> None:
    _, results = made
    pairs = pairs_of(results, 1)
    assert len(pairs) == 8 * 3 - 2  # one unit failed
    assert pairs == pairs_of(results, 1)
    assert [pair.id for pair in pairs] != [pair.id for pair in pairs_of(results, 2)]
    assert {pair.left.method for pair in pairs} == {"still", "lively", "third"} == {pair.right.method for pair in pairs}
    for pair in pairs:
        assert (pair.left.clip, pair.left.edit) == (pair.right.clip, pair.right.edit)
        assert pair.left.method != pair.right.method
    swapped = sum(pair.left.method > pair.right.method for pair in pairs)
    assert 4 <= swapped <= 18


def test_ties_are_half_a_vote_both_ways(made, tmp_path: Path) -> None:
    _, results = made
    ballot = read_ballot(cast(tmp_path, results, 3, lambda pair: "tie"), results)
    wins = count_wins(judged(results, [ballot]))
    assert all(votes == wins[loser, winner] for (winner, loser), votes in wins.items())
    assert sum(wins.values()) == len(ballot.votes)


def test_metrics_agree_with_voters_who_go_by_them(made, tmp_path: Path) -> None:
    """A voter who always takes the lower warp error; of flicker, whose best is 1, the nearer one is the same here."""
    _, results = made

    def calmer(pair) -> str:
        left, right = (unit.figures["warp_error@1/dis"] for unit in (pair.left, pair.right))
        return "left" if left < right else "right"

    votes = judged(results, [read_ballot(cast(tmp_path, results, 4, calmer), results)])
    found = {one.metric: one for one in agreements(results, votes)}
    assert found["warp_error@1/dis"].agree == found["warp_error@1/dis"].n == len(votes)
    assert found["flicker_ratio@1"].agree == len(votes)
    assert "strength@1" not in found and "background_psnr@1" not in found  # no direction; no difference
    assert found["warp_error@1/dis"].low > 0.8 and found["warp_error@1/dis"].high == pytest.approx(1)
    contrary = [(pair, "left" if choice == "right" else "right") for pair, choice in votes]
    assert {one.metric: one for one in agreements(results, contrary)}["warp_error@1/dis"].agree == 0


def test_from_the_command_line(made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, results = made
    order = ("lively", "third", "still")
    first = cast(
        tmp_path, results, 5, lambda p: min(("left", "right"), key=lambda s: order.index(getattr(p, s).method))
    )
    second = cast(tmp_path, results, 6, lambda p: "tie", "more.json")
    for arguments in (
        ["vote", str(folder), "-o", str(tmp_path / "v.html")],
        ["votes", str(folder), str(first), str(second)],
    ):
        with pytest.raises(SystemExit) as ended:
            main(["bench", *arguments])
        assert not ended.value.code
    lines = capsys.readouterr().out.splitlines()
    assert (tmp_path / "v.html").is_file()
    assert lines[1] == "44 votes in 2 files, 22 of them ties"
    assert [line.split()[0] for line in lines[2:5]] == list(order)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda ballot: ballot | {"suite_sha256": "0" * 64}, "votes on another suite"),
        (lambda ballot: ballot | {"format": "x"}, "holds no votes"),
        (lambda ballot: ballot | {"votes": [{"pair": "a", "choice": "up"}]}, "holds no votes"),
        (
            lambda ballot: ballot | {"votes": [{"pair": "a", "choice": "left"}]},
            "a vote on a pair 'a' that these results do",
        ),
        (lambda ballot: [], "holds no votes"),
    ],
)
def test_files_that_are_no_votes_are_refused(change, line: str, made, tmp_path: Path) -> None:
    _, results = made
    path = cast(tmp_path, results, 7, lambda pair: "left")
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(InputError, match=line):
        judged(results, [read_ballot(path, results)])


def test_nothing_to_vote_on_and_videos_that_do_not_fit_are_said(made, tmp_path: Path, monkeypatch) -> None:
    folder, results = made
    alone = results.model_copy(update={"units": results.units[:3]})
    with pytest.raises(InputError, match="nothing to vote on"):
        write_vote_page(alone, folder, tmp_path / "v.html", seed=0)
    monkeypatch.setattr("videoedit.pages.embed.EMBED_LIMIT", 100)
    with pytest.raises(InputError, match=r"too large for a page; vote on fewer \(--pairs\)"):
        write_vote_page(results, folder, tmp_path / "v.html", seed=0)
    assert not (tmp_path / "v.html").exists()


def test_the_page_names_no_method(made, tmp_path: Path) -> None:
    folder, results = made
    text = write_vote_page(results, folder, tmp_path / "v.html", seed=0, most=5).read_text()
    assert text.count('"id":') == 5
    task = text.partition('id="task">')[2].partition("</script>")[0]
    assert not any(method in task for method in ("still", "lively", "third"))
    assert "http" not in task and "</style><img" not in task


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_votes_by_keyboard_in_a_browser(made, tmp_path: Path) -> None:
    folder, results = made
    page = write_vote_page(results, folder, tmp_path / "v.html", seed=8, most=4)
    pairs = pairs_of(results, 8)
    with Browser(tmp_path / "profile") as browser:
        browser.open(page.as_uri())
        browser.wait_for("document.getElementById('left').readyState > 1")
        assert browser.run("document.getElementById('prompt').textContent") == pairs[0].left.prompt
        keys = ["ArrowLeft", "ArrowDown", "Backspace", "ArrowRight", "ArrowLeft", "ArrowRight", "ArrowLeft"]
        for key in keys:  # the second is taken back, the last one too many
            browser.run(f"document.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}'}}))")
        assert browser.run("!document.getElementById('done').hidden")
        browser.open("about:blank")
        browser.open(page.as_uri())  # a closed page loses nothing
        browser.wait_for("!document.getElementById('done').hidden")
        (tmp_path / "votes.json").write_text(browser.run("document.getElementById('vote').ballot()"))
        assert not browser.complaints and set(browser.requests) <= {page.as_uri(), "about:blank"}
    votes = judged(results, [read_ballot(tmp_path / "votes.json", results)])
    assert [(pair.id, choice) for pair, choice in votes] == [
        (pair.id, choice) for pair, choice in zip(pairs, ("left", "right", "left", "right"), strict=False)
    ]
    assert np.isfinite([one.value for one in bradley_terry(count_wins(votes), ("still", "lively", "third"))]).all()
