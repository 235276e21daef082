"""Blind votes on pairs of edits: the pairs, who was preferred, how strong that makes each method, which metric agrees.

Bradley and Terry, "Rank Analysis of Incomplete Block Designs", Biometrika 1952: method a is preferred to b with
probability 1 / (1 + exp(s_b - s_a)), where s is a method's strength. A tie counts as half a vote for either.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ValidationError

from videoedit.config import Section
from videoedit.errors import InputError
from videoedit.evaluation.results import Results, UnitResult
from videoedit.evaluation.statistics import editing_methods
from videoedit.limits import read_text

FORMAT = "videoedit.votes/1"
PRIOR = 0.05  # precision of a weak normal prior on strengths: a method that wins always has a finite one
NORMAL_95 = 1.959964  # half the width of a 95 % interval, standard deviations


@dataclass(frozen=True)
class Pair:
    """Two methods' edits of one task, as a voter sees them."""

    id: str  # says nothing of the methods
    left: UnitResult
    right: UnitResult


class Vote(Section):
    """A voter's word on a pair."""

    pair: str
    choice: Literal["left", "right", "tie"]


class Ballot(Section):
    """The file that the voting page saves."""

    format: Literal["videoedit.votes/1"]
    suite_sha256: str
    """Of the results that were voted on."""
    seed: int
    """Of the pairs' order and sides."""
    votes: list[Vote]


@dataclass(frozen=True)
class Strength:
    """A method's strength, with a 95 % interval; the mean over the methods is 0."""

    method: str
    value: float
    low: float
    high: float
    votes: int  # that it took part in


@dataclass(frozen=True)
class Agreement:
    """How often a metric prefers what the voter preferred, with Wilson's 95 % interval."""

    metric: str
    agree: int
    n: int  # votes, but for ties, on pairs whose figures differ
    low: float
    high: float


def pairs_of(results: Results, seed: int) -> list[Pair]:
    """All pairs of two methods' edits of one clip, edit and seed; order and sides are drawn, by `seed` alone."""
    tasks: dict[tuple[str, str, int], list[UnitResult]] = defaultdict(list)
    for unit in results.units:
        if unit.status == "done" and unit.video and unit.method in editing_methods(results):
            tasks[unit.clip, unit.edit, unit.seed].append(unit)
    found: list[Pair] = []
    for task in sorted(tasks):
        for one, other in itertools.combinations(sorted(tasks[task], key=lambda unit: unit.method), 2):
            name = f"{results.suite_sha256} {seed} {task} {one.method} {other.method}"
            digest = hashlib.sha256(name.encode()).hexdigest()
            left, right = (one, other) if random.Random(name).random() < 0.5 else (other, one)
            found.append(Pair(digest[:16], left, right))
    random.Random(f"{seed} {results.suite_sha256}").shuffle(found)
    return found


def read_ballot(path: Path, results: Results) -> Ballot:
    """A file of votes; InputError, one line, if it is none or was cast on other results."""
    try:
        ballot = Ballot.model_validate_json(read_text(path))
    except (OSError, ValidationError, ValueError) as error:
        raise InputError(f"{path} holds no votes; expected what the page of `videoedit bench vote` saves") from error
    if ballot.suite_sha256 != results.suite_sha256:
        raise InputError(f"{path} has votes on another suite than these results; give the folder that was voted on")
    return ballot


def judged(results: Results, ballots: Iterable[Ballot]) -> list[tuple[Pair, str]]:
    """Each vote with its pair; of several on a pair in one ballot the last. InputError for a pair that is not there."""
    found: list[tuple[Pair, str]] = []
    for ballot in ballots:
        known = {pair.id: pair for pair in pairs_of(results, ballot.seed)}
        for name, choice in {vote.pair: vote.choice for vote in ballot.votes}.items():
            if name not in known:
                raise InputError(f"there is a vote on a pair {name[:40]!r} that these results do not have; "
                                 "were methods added or removed since?")  # fmt: skip
            found.append((known[name], choice))
    return found


def count_wins(votes: Iterable[tuple[Pair, str]]) -> dict[tuple[str, str], float]:
    """(winner, loser) -> votes; a tie is half a vote both ways."""
    wins: dict[tuple[str, str], float] = defaultdict(float)
    for pair, choice in votes:
        left, right = pair.left.method, pair.right.method
        if choice != "right":
            wins[left, right] += 1.0 if choice == "left" else 0.5
        if choice != "left":
            wins[right, left] += 1.0 if choice == "right" else 0.5
    return dict(wins)


def bradley_terry(wins: Mapping[tuple[str, str], float], methods: Sequence[str]) -> list[Strength]:
    """Strengths of the methods, the strongest first, by maximum likelihood; intervals from its curvature."""
    count = len(methods)
    won = np.zeros((count, count))
    for (winner, loser), votes in wins.items():
        won[methods.index(winner), methods.index(loser)] = votes
    played = won + won.T
    strength = np.zeros(count)
    for _ in range(100):  # Newton's method on a concave function
        expected = 1 / (1 + np.exp(strength[None] - strength[:, None]))  # of i against j
        gradient = (won - played * expected).sum(1) - PRIOR * strength
        weight = played * expected * (1 - expected)
        curvature = np.diag(weight.sum(1) + PRIOR) - weight
        step = np.linalg.solve(curvature, gradient)
        strength += np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-10:
            break
    center = np.eye(count) - 1 / count
    spread = NORMAL_95 * np.sqrt(np.diag(center @ np.linalg.inv(curvature) @ center))
    strength = strength - strength.mean()
    found = []
    for number, method in enumerate(methods):
        low, high = strength[number] - spread[number], strength[number] + spread[number]
        found.append(Strength(method, float(strength[number]), float(low), float(high), round(played[number].sum())))
    return sorted(found, key=lambda one: -one.value)


def agreements(results: Results, votes: Sequence[tuple[Pair, str]]) -> list[Agreement]:
    """For every metric that has a better direction, how often it prefers what voters did; the most agreeing first."""
    from scipy.stats import binomtest

    found = []
    for metric, info in results.metrics.items():
        if info.better == "none":
            continue
        agree = total = 0
        for pair, choice in votes:
            left, right = (_goodness(unit, metric, info.better) for unit in (pair.left, pair.right))
            if choice != "tie" and left is not None and right is not None and left != right:
                total += 1
                agree += (left > right) == (choice == "left")
        if total:
            low, high = binomtest(agree, total).proportion_ci(method="wilson")
            found.append(Agreement(metric, agree, total, float(low), float(high)))
    return sorted(found, key=lambda one: -one.agree / one.n)


def _goodness(unit: UnitResult, metric: str, better: str) -> float | None:
    """A figure turned so that more is better; None if there is none."""
    value = unit.figures.get(metric)
    if value is None or not math.isfinite(value):
        return None
    return {"higher": value, "lower": -value, "one": -abs(value - 1)}[better]
