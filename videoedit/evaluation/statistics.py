"""Statistics of a benchmark's figures: means with intervals, and paired tests between methods.

The unit of evidence is one edit of one clip. Seeds are repeats of it: they are averaged before anything is counted,
so that running a method with ten seeds makes no figure ten times surer. Edits of one clip are taken as independent;
where they are alike, the true intervals are somewhat wider than those given here.

Figures that are None or nan ("nothing to measure") and units that failed are left out and counted, never replaced.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from videoedit.errors import ConfigError
from videoedit.evaluation.suite import nearest

if TYPE_CHECKING:
    from videoedit.evaluation.results import Results, UnitResult

FAKES = ("rectangle", "mosaic", "frozen")
"""Entries made of the ground truth that no one would take for an edit: where they win, a metric is fooled."""
SANITY = ("identity", "vae", *FAKES)
"""Entries that edit nothing: what a metric gives for nothing."""
DRAWS = 10_000
ALPHA = 0.05
ALL = "all"

Key = tuple[str, str]  # (clip, edit)


@dataclass(frozen=True)
class Row:
    """A method's mean of one metric over the edits of one type."""

    method: str
    type: str  # kind of edit, or "all"
    metric: str  # full id
    n: int  # edits with a figure
    failed: int  # units that failed
    missing: int  # units that were done and have no such figure
    mean: float | None  # None: n = 0
    low: float | None  # 95 % bootstrap interval; None: n < 2
    high: float | None


@dataclass(frozen=True)
class Paired:
    """Two methods on the same edits, by one metric.

    Where a metric is best at 1 (flicker ratio), what is compared is the distance from 1.
    """

    metric: str
    type: str
    first: str
    second: str
    n: int  # edits that both have
    left_out: int  # units of either that found no partner with a figure
    difference: float | None  # mean of first - second; None: n = 0
    low: float | None  # 95 % bootstrap interval of the difference; None: n < 2
    high: float | None
    p: float | None  # Wilcoxon signed-rank, two-sided, after Holm's correction; None: n = 0
    p_alone: float | None  # the same before the correction
    winner: str  # the better one if p < 0.05; "" if undecided, or if the metric only describes


def summarize(results: Results, *, types: str | None = None) -> list[Row]:
    """A row for each method, type and metric, in the order of the results.

    `types`: "all" pools all edits, a type takes its edits alone, None gives both: "all" and then each type.
    """
    wanted = [ALL, *_types(results)] if types is None else [types]
    rows = []
    for kind, method in itertools.product(wanted, results.methods):
        units = [unit for unit in _of_type(results, kind) if unit.method == method]
        for metric in results.metrics:
            rows.append(_row(method, kind, metric, units))
    return rows


def _row(method: str, kind: str, metric: str, units: Sequence[UnitResult]) -> Row:
    done = [unit for unit in units if unit.status == "done"]
    figures = _by_edit(done, metric)
    values = np.array(list(map(_mean_of_seeds, figures.values())))
    low, high = bootstrap(values)
    return Row(
        method,
        kind,
        metric,
        n=len(values),
        failed=len(units) - len(done),
        missing=len(done) - sum(map(len, figures.values())),
        mean=float(values.mean()) if len(values) else None,
        low=low,
        high=high,
    )


def bootstrap(values: np.ndarray) -> tuple[float | None, float | None]:
    """95 % percentile interval of the mean of `values` [n] (Efron 1979); the same values give the same interval.

    Fewer than about ten values give intervals that are too narrow; fewer than two give none.
    """
    if len(values) < 2:
        return None, None
    means = np.sort(values[_draws(len(values))].mean(axis=1))
    tail = (1 - 0.95) / 2
    return float(means[int(tail * DRAWS)]), float(means[math.ceil((1 - tail) * DRAWS) - 1])


@functools.lru_cache(maxsize=4)
def _draws(n: int) -> np.ndarray:
    """Indices of the values that each draw takes, int32 [DRAWS, n]: one seeded set for every metric and method."""
    return np.random.default_rng(33).integers(0, n, (DRAWS, n), dtype=np.int32)


def compare(results: Results, metric: str, first: str, second: str, type: str = ALL) -> Paired:
    """Two methods on the edits that both have (matched by clip, edit and seed).

    p is that of `compare_all`; a sanity row that is asked for joins the pairs. `metric` may leave out its version if
    only one is there.
    Raises ConfigError for unknown names, and where one of the two has no figure of this very metric id.
    """
    metric = find_metric(results, metric)
    for method in (first, second):
        _check_method(results, metric, method)
    if first == second:
        raise ConfigError(f"{first!r} is compared with itself; expected two methods")
    methods = {**dict.fromkeys(editing_methods(results)), first: None, second: None}
    pairs = compare_all(results, [metric], type, methods=tuple(methods))
    pair = next(p for p in pairs if {p.first, p.second} == {first, second})
    return pair if pair.first == first else _swapped(pair)


def compare_all(
    results: Results, metrics: Iterable[str], type: str = ALL, *, methods: Sequence[str] | None = None
) -> list[Paired]:
    """Every pair of methods by each metric; p is corrected over the pairs of one metric and type (Holm 1979).

    That is the family everywhere, because the best-looking pair of a column is usually the one that is asked about;
    so p does not depend on what other metrics are shown. `methods`: those of the results without the sanity rows.
    """
    methods = editing_methods(results) if methods is None else methods
    units = [unit for unit in _of_type(results, type) if unit.status == "done"]
    pairs: list[Paired] = []
    for metric in metrics:
        family = [_pair(results, metric, type, *two, units) for two in itertools.combinations(methods, 2)]
        pairs += _corrected(results, family)
    return pairs


def _corrected(results: Results, family: Sequence[Paired]) -> list[Paired]:
    """The same pairs with p over those that have one, and the winner by it."""
    corrected = iter(holm([pair.p_alone for pair in family if pair.p_alone is not None]))
    done = []
    for pair in family:
        p = None if pair.p_alone is None else next(corrected)
        done.append(pair if p is None else dataclasses.replace(pair, p=p, winner=_winner(results, pair, p)))
    return done


def _pair(results: Results, metric: str, kind: str, first: str, second: str, units: Sequence[UnitResult]) -> Paired:
    ours = [unit for unit in units if unit.method == first]
    theirs = [unit for unit in units if unit.method == second]
    a, b = _by_edit(ours, metric), _by_edit(theirs, metric)
    differences, matched = [], 0
    for edit, figures in a.items():
        by_seed: dict[int, float] = {}
        for seed, figure in figures.items():
            if edit in b and seed in b[edit]:
                by_seed[seed] = _difference(results, metric, figure, b[edit][seed])
        matched += len(by_seed)
        if by_seed:
            differences.append(_mean_of_seeds(by_seed))
    values = np.array(differences)
    low, high = bootstrap(values)
    return Paired(
        metric,
        kind,
        first,
        second,
        n=len(values),
        left_out=len(ours) + len(theirs) - 2 * matched,
        difference=float(values.mean()) if len(values) else None,
        low=low,
        high=high,
        p=None,
        p_alone=signed_rank(values) if len(values) else None,
        winner="",
    )


def _difference(results: Results, metric: str, a: float, b: float) -> float:
    if results.metrics[metric].better == "one":
        a, b = abs(a - 1), abs(b - 1)
    return 0.0 if a == b else a - b  # equal infinities (PSNR of the source itself) do not differ


def signed_rank(differences: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test that `differences` [n] lie around zero.

    Zeros say nothing and are dropped (without any difference p = 1). Exact, ties included: the distribution of the
    rank sum is built up rank by rank over all 2^n signs.
    """
    differences = differences[differences != 0]
    _, place, counts = np.unique(np.abs(differences), return_inverse=True, return_counts=True)
    doubled = (2 * np.cumsum(counts) - counts + 1)[place]  # ranks times two: those of ties are halves
    chance = np.ones(1)  # of each sum of the doubled ranks with a plus
    for rank in doubled:
        chance = (np.pad(chance, (0, rank)) + np.pad(chance, (rank, 0))) / 2
    positive = int(doubled[differences > 0].sum())
    return min(1.0, 2 * float(min(chance[: positive + 1].sum(), chance[positive:].sum())))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979), in the order given: the family-wise error stays below alpha."""
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def _winner(results: Results, pair: Paired, p: float) -> str:
    better = results.metrics[pair.metric].better
    if p >= ALPHA or better == "none" or not pair.difference:
        return ""
    return pair.first if (pair.difference > 0) == (better == "higher") else pair.second


def _swapped(pair: Paired) -> Paired:
    def negative(value: float | None) -> float | None:
        return None if value is None else -value

    return dataclasses.replace(
        pair,
        first=pair.second,
        second=pair.first,
        difference=negative(pair.difference),
        low=negative(pair.high),
        high=negative(pair.low),
    )


def editing_methods(results: Results) -> tuple[str, ...]:
    """The methods that edit: all but the sanity rows."""
    return tuple(method for method in results.methods if method not in SANITY)


def fooled(results: Results) -> dict[str, list[str]]:
    """Metric -> the rows of `FAKES` whose mean beats that of the methods' means; metrics without one are left out."""
    means: dict[str, dict[str, float]] = defaultdict(dict)
    for row in summarize(results, types=ALL):
        if row.mean is not None:
            means[row.metric][row.method] = row.mean
    found: dict[str, list[str]] = {}
    for metric, by_method in means.items():
        better = results.metrics[metric].better
        edited = [by_method[method] for method in editing_methods(results) if method in by_method]
        fakes = [name for name in FAKES if name in by_method]
        if better == "none" or results.metrics[metric].group == "cost" or not edited or not fakes:
            continue
        sign = -1 if better == "higher" else 1

        def badness(mean: float, near_one: bool = better == "one", sign: int = sign) -> float:
            return abs(mean - 1) if near_one else sign * mean

        winners = [name for name in fakes if badness(by_method[name]) < badness(float(np.mean(edited)))]
        if winners:
            found[metric] = winners
    return found


def find_metric(results: Results, name: str) -> str:
    """The full id of a metric of these results; its version may be left out if only one is there.

    Raises ConfigError, one line, naming the nearest.
    """
    if name in results.metrics:
        return name
    same = _other_versions(name, results.metrics)
    if len(same) == 1 and "@" not in name:
        return same[0]
    if same:
        raise ConfigError(
            f"metric {name!r}: these results hold {' and '.join(same)}; figures of different versions are not "
            "compared: give one of these, or measure again"
        )
    raise ConfigError(f"metric {name!r} is not in these results; {nearest(name, results.metrics, 'there are')}")


def _check_method(results: Results, metric: str, method: str) -> None:
    if method not in results.methods:
        raise ConfigError(f"method {method!r} is not in these results; {nearest(method, results.methods, 'there are')}")
    measured: set[str] = set()
    for unit in results.units:
        if unit.method == method:
            measured.update(unit.figures)
    if metric not in measured:
        other = sorted(_other_versions(metric, measured))
        has = f"it has {', '.join(other)}, which is not comparable" if other else "it was not measured"
        raise ConfigError(f"{method} has no figure {metric}: {has}; measure both with the same metric id")


def _other_versions(name: str, known: Iterable[str]) -> list[str]:
    """The known ids that differ from `name` in nothing but their version."""
    base, others = name.split("@")[0], []
    for metric in known:
        if metric.split("@")[0] == base:
            others.append(metric)
    return others


def _types(results: Results) -> list[str]:
    return list(dict.fromkeys(unit.type for unit in results.units))


def _of_type(results: Results, kind: str) -> list[UnitResult]:
    if kind != ALL and kind not in _types(results):
        raise ConfigError(
            f"no edit of these results is of type {kind!r}; {nearest(kind, _types(results), 'there are')}"
        )
    return [unit for unit in results.units if kind in (ALL, unit.type)]


def _by_edit(units: Iterable[UnitResult], metric: str) -> Mapping[Key, dict[int, float]]:
    """(clip, edit) -> seed -> figure, where there is one."""
    figures: dict[Key, dict[int, float]] = defaultdict(dict)
    for unit in units:
        value = unit.figures.get(metric)
        if value is not None and not math.isnan(value):
            figures[unit.clip, unit.edit][unit.seed] = value
    return figures


def _mean_of_seeds(values: Mapping[int, float]) -> float:
    return float(np.mean(list(values.values())))
