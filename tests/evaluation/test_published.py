"""Published numbers load, say where they come from, and are set against ours only where nothing differs."""

from __future__ import annotations

import pytest

from videoedit.config import read_yaml
from videoedit.errors import ConfigError
from videoedit.evaluation.published import PUBLISHED, Number, Table, obstacle, read_published
from videoedit.evaluation.results import MetricInfo, Results, UnitResult
from videoedit.metrics import METRICS

NAMES = tuple(read_yaml(PUBLISHED))  # of the tables


def results(edits: int, published: str | None, *metrics: str) -> Results:
    info = MetricInfo(title="", meaning="", better="higher", unit="", group="alignment", headline=True)
    units = tuple(
        UnitResult(clip=f"c{i}", edit="e", type="style", prompt="p", method=method, seed=33, status="done")
        for i in range(edits)
        for method in ("one", "two")
    )
    return Results(suite="mine", suite_sha256="0", title="", created="", environment={}, units=units,
                   metrics=dict.fromkeys(metrics, info), published=published)  # fmt: skip


def number(table: Table, method: str, metric: str, read: str) -> Number:
    return next(n for n in table.numbers if (n.method, n.metric.name, n.source.read) == (method, metric, read))


def test_every_number_has_a_source_a_protocol_and_one_of_metric_or_reason() -> None:
    assert {"tgve", "tgve-plus", "v2vbench", "rerender", "tokenflow"} <= set(NAMES)
    for table in map(read_published, NAMES):
        assert table.protocol and table.numbers
        for one in table.numbers:
            assert one.source.title and one.source.read in ("paper", "leaderboard", "second hand")
            assert bool(one.metric.ours) != bool(one.metric.reason)
            assert one.metric.name in table.metrics
        keys = [(n.method, n.metric.name, n.source.name, n.note) for n in table.numbers]
        assert len(keys) == len(set(keys)), "a number stands twice"
        assert {n.metric.name for n in table.numbers} == set(table.metrics), "a metric without numbers"


def test_numbers_are_those_that_were_printed() -> None:
    tgve, board = read_published("tgve"), read_published("v2vbench")
    assert number(tgve, "Tune-A-Video", "PickScore", "leaderboard").value == 20.36
    assert number(tgve, "Rerender-A-Video", "CLIPFrame", "second hand").value == 0.909
    assert number(board, "Rerender-A-Video", "Video quality", "leaderboard").value == 0.724
    assert number(board, "Tune-A-Video", "Motion alignment", "leaderboard").value == -5.599
    assert len(board.numbers) == 16 * 8
    assert number(read_published("rerender"), "Rerender-A-Video", "Pixel-MSE", "paper").value == 0.069
    best = min(n.value for n in read_published("tokenflow").numbers if n.metric.name.startswith("Warp"))
    assert number(read_published("tokenflow"), "Rerender-A-Video", "Warp error (x1000)", "second hand").value == best


def test_percentages_become_the_unit_of_our_metric() -> None:
    def in_our_unit(one: Number) -> float:
        return one.value * one.metric.factor

    tgve = read_published("tgve")
    as_share = number(tgve, "Tune-A-Video", "CLIPFrame", "paper")
    as_percentage = number(tgve, "Tune-A-Video", "CLIPFrame (%)", "leaderboard")
    assert in_our_unit(as_percentage) == pytest.approx(in_our_unit(as_share))
    assert all(0 < in_our_unit(n) < 1 for n in tgve.numbers if n.metric.ours == "clip_frame@tgve")


def test_numbers_that_may_be_compared_name_metrics_that_we_have() -> None:
    for table in map(read_published, NAMES):
        for metric in table.metrics.values():
            if metric.ours:
                assert metric.ours in METRICS and METRICS[metric.ours].better == metric.better, metric


def test_what_stands_between_a_number_and_ours() -> None:
    tgve, board = read_published("tgve"), read_published("v2vbench")
    frame = number(tgve, "Tune-A-Video", "CLIPFrame", "paper")
    assert obstacle(frame, tgve, results(304, "tgve", "clip_frame@tgve")) is None
    assert obstacle(frame, tgve, results(16, "tgve", "clip_frame@tgve")) == "only 16 of its 304 edits were run here"
    assert (
        obstacle(frame, tgve, results(304, None, "clip_frame@tgve"))
        == "other clips and edits: ours are of suite 'mine'"
    )
    assert obstacle(frame, tgve, results(304, "tgve", "psnr@1")) == "not measured here: it would be clip_frame@tgve"
    quality = number(board, "Rerender-A-Video", "Video quality", "leaderboard")
    assert "DOVER" in str(obstacle(quality, board, results(150, "v2vbench", "psnr@1")))


def test_an_unknown_table_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'v2v-bench'; did you mean 'v2vbench'"):
        read_published("v2v-bench")
