"""Known answers: intervals that cover, tests that find a shift and find nothing in nothing, refusals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from scipy.stats import rankdata, wilcoxon

from videoedit.errors import ConfigError
from videoedit.evaluation.results import MethodInfo, MetricInfo, Results, UnitResult
from videoedit.evaluation.statistics import (
    bootstrap,
    compare,
    compare_all,
    find_metric,
    holm,
    signed_rank,
    summarize,
)

EDITS = [(clip, kind) for clip in ("fish", "car", "cube") for kind in ("subject", "background", "attribute", "style")]
WARP = "warp_error@1/dis"


def info(better: str = "higher", group: str = "consistency", headline: bool = True, title: str = "SSIM") -> MetricInfo:
    return MetricInfo(title=title, meaning="", better=better, unit="", group=group, headline=headline)


def unit(clip: str, kind: str, method: str, seed: int = 33, figures: dict[str, float | None] | None = None,
         **fields: object) -> UnitResult:  # fmt: skip
    values: dict[str, object] = {"clip": clip, "edit": kind, "type": kind, "prompt": "a red car", "method": method,
                                 "seed": seed, "status": "done", "figures": figures or {}, "key": "k"}  # fmt: skip
    return UnitResult(**(values | fields))


def results(
    figures: Mapping[str, Callable[[int], float | None]],
    *,
    metric: str = "ssim@1",
    better: str = "higher",
    seeds: tuple[int, ...] = (33,),
    **fields: object,
) -> Results:
    """Method -> its figure for each of the 12 edits, by number."""
    units = tuple(
        unit(clip, kind, method, seed, {metric: of(number)})
        for method, of in figures.items()
        for seed in seeds
        for number, (clip, kind) in enumerate(EDITS)
    )
    values: dict[str, object] = {
        "suite": "mini", "suite_sha256": "0" * 64, "title": "Mini", "created": "2026-11-21T12:00:00Z", "environment": {},
        "methods": {m: MethodInfo(label=m, settings={}, model="", licence="", imported=False) for m in figures},
        "metrics": {metric: info(better)}, "units": units,
    }  # fmt: skip
    return Results(**(values | fields))


NOISE = np.random.default_rng(0).normal(0, 0.02, 12)


# ----------------------------------------------------------------------------------------- intervals


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    samples = np.random.default_rng(1).normal(5, 2, (400, 30))
    intervals = [bootstrap(sample) for sample in samples]
    covered = np.mean([low <= 5 <= high for low, high in intervals if low is not None and high is not None])
    assert 0.91 < covered < 0.97


def test_the_interval_of_a_sample_is_near_the_normal_one_and_always_the_same() -> None:
    sample = np.random.default_rng(2).normal(0, 1, 200)
    low, high = bootstrap(sample)
    half = 1.96 * sample.std() / math.sqrt(200)
    assert (low, high) == pytest.approx((sample.mean() - half, sample.mean() + half), abs=0.02)
    assert bootstrap(sample) == (low, high)


def test_one_value_or_none_has_no_interval() -> None:
    assert bootstrap(np.array([1.0])) == bootstrap(np.array([])) == (None, None)
    assert bootstrap(np.array([2.0, 2.0])) == (2.0, 2.0)


def test_rows_pool_all_edits_and_then_each_type() -> None:
    rows = summarize(results({"one": lambda i: i / 10, "two": lambda i: 1.0}))
    assert [row.type for row in rows if row.method == "one"] == ["all", "subject", "background", "attribute", "style"]
    pooled, subject = rows[0], next(row for row in rows if row.type == "subject" and row.method == "one")
    assert (pooled.n, pooled.mean) == (12, pytest.approx(0.55))
    assert (subject.n, subject.mean) == (3, pytest.approx(0.4))  # edits 0, 4, 8
    assert pooled.low is not None and pooled.high is not None and 0 < pooled.low < 0.55 < pooled.high < 1.1
    assert summarize(results({"one": lambda i: 0.0}), types="style")[0].type == "style"
    with pytest.raises(ConfigError, match="no edit of these results is of type 'stlye'; did you mean 'style'"):
        summarize(results({"one": lambda i: 0.0}), types="stlye")


def test_what_failed_and_what_has_no_figure_is_counted_and_left_out() -> None:
    found = results({"one": lambda i: [None, math.nan, 1.0][min(i, 2)]})
    failed = found.units[-1].model_copy(update={"status": "failed", "figures": {}})
    row = summarize(found.model_copy(update={"units": (*found.units[:-1], failed)}), types="all")[0]
    assert (row.n, row.failed, row.missing, row.mean) == (9, 1, 2, 1.0)
    nothing = summarize(results({"one": lambda i: None}), types="all")[0]
    assert (nothing.n, nothing.missing, nothing.mean, nothing.low) == (0, 12, None, None)


def test_seeds_are_repeats_not_evidence() -> None:
    once = summarize(results({"one": lambda i: i * 1.0}), types="all")[0]
    often = summarize(results({"one": lambda i: i * 1.0}, seeds=tuple(range(8))), types="all")[0]
    assert (often.n, often.low, often.high) == (12, once.low, once.high)
    pair = compare(
        results({"one": lambda i: NOISE[i], "two": lambda i: NOISE[-i]}, seeds=(1, 2, 3)), "ssim@1", "one", "two"
    )
    alone = compare(results({"one": lambda i: NOISE[i], "two": lambda i: NOISE[-i]}), "ssim@1", "one", "two")
    assert (pair.n, pair.p, pair.low) == (12, alone.p, alone.low)


# ----------------------------------------------------------------------------------------- paired tests


def test_identical_methods_do_not_differ() -> None:
    pair = compare(results({"one": lambda i: NOISE[i], "two": lambda i: NOISE[i]}), "ssim@1", "one", "two")
    assert (pair.p, pair.difference, pair.low, pair.high, pair.winner) == (1.0, 0.0, 0.0, 0.0, "")


def test_a_constant_shift_is_found_with_twelve_edits() -> None:
    pair = compare(results({"one": lambda i: NOISE[i] + 0.01, "two": lambda i: NOISE[i]}), "ssim@1", "one", "two")
    assert pair.n == 12 and pair.difference == pytest.approx(0.01)
    assert pair.p == pair.p_alone == pytest.approx(2 / 2**12)  # all of 12 signs agree: exact
    assert pair.winner == "one"
    lower = results({"one": lambda i: NOISE[i] + 0.01, "two": lambda i: NOISE[i]}, better="lower")
    assert compare(lower, "ssim@1", "one", "two").winner == "two"
    described = results({"one": lambda i: NOISE[i] + 0.01, "two": lambda i: NOISE[i]}, better="none")
    assert compare(described, "ssim@1", "one", "two").winner == ""


def test_the_order_of_the_two_only_turns_the_sign() -> None:
    found = results({"one": lambda i: NOISE[i] + i / 100, "two": lambda i: NOISE[i] ** 2})
    a, b = compare(found, "ssim@1", "one", "two"), compare(found, "ssim@1", "two", "one")
    assert a.difference is not None and b.difference == -a.difference
    assert (a.first, a.second, a.p, a.winner) == (b.second, b.first, b.p, b.winner)
    assert a.low is not None and b.high == -a.low


def test_the_signed_rank_test_is_exact() -> None:
    random = np.random.default_rng(4)
    plain, tied = random.normal(0.3, 1, 20), np.array([0.5, -0.5, 1, 1, 2, -2, 3, 0, 1])
    assert signed_rank(plain) == pytest.approx(wilcoxon(plain, method="exact").pvalue)
    ranks, signs = rankdata(np.abs(tied[tied != 0])), np.array(list(itertools.product([0, 1], repeat=8)))
    sums, seen = signs @ ranks, ranks[tied[tied != 0] > 0].sum()
    assert signed_rank(tied) == pytest.approx(min(1.0, 2 * min((sums <= seen).mean(), (sums >= seen).mean())))
    assert signed_rank(np.zeros(5)) == 1.0
    assert signed_rank(np.array([1.0])) == 1.0


def test_noise_is_seldom_called_a_difference() -> None:
    random = np.random.default_rng(3)
    found = [signed_rank(random.normal(0, 1, 12)) < 0.05 for _ in range(400)]
    assert 0.02 < np.mean(found) < 0.08


def test_a_metric_that_is_best_at_one_compares_distances_from_one() -> None:
    ratios = results({"calm": lambda i: 0.9 + i / 1000, "wild": lambda i: 1.5 + i / 100}, better="one")
    assert compare(ratios, "ssim@1", "calm", "wild").winner == "calm"
    mirrored = compare(
        results({"under": lambda i: 0.75, "over": lambda i: 1.25}, better="one"), "ssim@1", "under", "over"
    )
    assert (mirrored.p, mirrored.difference) == (1.0, 0.0)


def test_edits_without_a_partner_are_left_out_and_counted() -> None:
    found = results(
        {"one": lambda i: None if i == 0 else 1.0 + NOISE[i], "two": lambda i: math.nan if i == 1 else NOISE[i]}
    )
    pair = compare(found, "ssim@1", "one", "two")
    assert (pair.n, pair.left_out) == (10, 4)
    none = compare_all(results({"one": lambda i: 1.0, "two": lambda i: None}), ["ssim@1"])[0]
    assert (none.n, none.difference, none.p, none.winner) == (0, None, None, "")


def test_infinite_figures_that_are_equal_do_not_differ() -> None:
    pair = compare(results({"one": lambda i: math.inf, "two": lambda i: math.inf}), "ssim@1", "one", "two")
    assert (pair.difference, pair.p) == (0.0, 1.0)


def test_holm_by_hand() -> None:
    # sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04, then never falling: .02 .03 .06 .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_p_is_corrected_over_the_pairs_of_the_column_without_sanity_rows() -> None:
    shifts = {"identity": 9.0, "one": 0.0, "two": 0.01, "three": 0.02}
    found = results({name: (lambda i, shift=shift: NOISE[i] + shift) for name, shift in shifts.items()})
    pair = compare(found, "ssim@1", "two", "one")
    assert pair.p_alone == pytest.approx(2 / 2**12) and pair.p == pytest.approx(3 * 2 / 2**12)
    assert compare(found, "ssim@1", "one", "identity").p == pytest.approx(6 * 2 / 2**12)
    pairs = compare_all(found, ["ssim@1"])
    assert [(p.first, p.second) for p in pairs] == list(itertools.combinations(["one", "two", "three"], 2))


def test_a_metric_beside_another_costs_it_nothing() -> None:
    found = results({"one": lambda i: NOISE[i], "two": lambda i: NOISE[i] + 0.01})
    units = tuple(u.model_copy(update={"figures": {**u.figures, WARP: u.figures["ssim@1"], "strength@1": i}})
                  for i, u in enumerate(found.units))  # fmt: skip
    both = found.model_copy(
        update={"units": units, "metrics": {"ssim@1": info(), WARP: info(), "strength@1": info("none")}}
    )
    ps = {pair.metric: pair.p for pair in compare_all(both, both.metrics)}
    assert ps == pytest.approx(dict.fromkeys(("ssim@1", WARP, "strength@1"), 2 / 2**12))
    assert ps == {metric: compare(both, metric, "one", "two").p for metric in both.metrics}


# ----------------------------------------------------------------------------------------- refusals


def test_a_metric_needs_its_version_only_if_there_are_several() -> None:
    found = results({"one": lambda i: 1.0}, metric=WARP)
    assert find_metric(found, "warp_error") == WARP
    with pytest.raises(ConfigError, match=r"'warp_error@2/dis': these results hold warp_error@1/dis;"):
        find_metric(found, "warp_error@2/dis")
    both = found.model_copy(update={"metrics": {WARP: info(), "warp_error@1/raft": info()}})
    with pytest.raises(ConfigError, match="warp_error@1/dis and warp_error@1/raft"):
        find_metric(both, "warp_error")
    with pytest.raises(ConfigError, match="'warp_eror' is not in these results; did you mean 'warp_error@1/dis'"):
        find_metric(found, "warp_eror")


def test_different_metric_ids_are_never_compared() -> None:
    one, two = results({"one": lambda i: 1.0}, metric=WARP), results({"two": lambda i: 2.0}, metric="warp_error@1/raft")
    mixed = one.model_copy(
        update={
            "methods": one.methods | two.methods,
            "metrics": one.metrics | two.metrics,
            "units": one.units + two.units,
        }
    )
    with pytest.raises(ConfigError, match="two has no figure warp_error@1/dis: it has warp_error@1/raft, which is not"):
        compare(mixed, WARP, "one", "two")


def test_unknown_and_equal_methods_are_refused() -> None:
    found = results({"one": lambda i: 1.0, "two": lambda i: 1.0})
    with pytest.raises(ConfigError, match="'onne' is not in these results; did you mean 'one'"):
        compare(found, "ssim@1", "onne", "two")
    with pytest.raises(ConfigError, match="compared with itself"):
        compare(found, "ssim@1", "one", "one")
