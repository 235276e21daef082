"""The results page: whole, silent on the network, honest about gaps; and in a real browser, playing in step."""

from __future__ import annotations

import base64
import json
import re
import sys
from fractions import Fraction
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from videoedit.evaluation.page import videos
from videoedit.evaluation.page.comparison import write_page
from videoedit.evaluation.results import MethodInfo, MetricInfo, Results, UnitResult
from videoedit.evaluation.statistics import summarize
from videoedit.media.video import probe, write_video
from videoedit.pages import embed
from videoedit.pages.plots import Curve, Spot, over_frames, scatter
from videoedit.testing import moving_square, other_colors, panning

sys.path.append(str(Path(__file__).parent))
from browser import CHROMIUM, Browser

NASTY = 'a <script>alert("1")</script> & a "café" с кошкой 猫 \'; </style><img src=//x.example/y>'
FRAMES, RATE = 12, 8
METRICS = {
    "warp_error@1/dis": MetricInfo(
        title="Warp error",
        meaning="Change along the flow.",
        better="lower",
        unit="",
        group="consistency",
        headline=True,
    ),
    "flicker_ratio@1": MetricInfo(
        title="Flicker ratio", meaning="Change.", better="one", unit="x", group="consistency", headline=True
    ),
    "strength@1": MetricInfo(
        title="Edit strength", meaning="How much.", better="none", unit="", group="strength", headline=True
    ),
    "background_psnr@1": MetricInfo(
        title="Preservation", meaning="Elsewhere.", better="higher", unit="dB", group="fidelity", headline=True
    ),
    "peak_memory@1": MetricInfo(
        title="Peak memory", meaning="Most memory.", better="lower", unit="MB", group="cost", headline=False
    ),
}
# method -> strength, warp error; every edit adds a little of its own
LEVELS = {
    "identity": (0.0, 0.002),
    "vae": (3.0, 0.001),
    "still": (9.0, 0.0021),
    "lively": (30.0, 0.0300),
    "third": (20.0, 0.0104),
}
EDITS = ("subject", "background", "attribute", "style")


def make_results(folder: Path, *, clips: tuple[str, ...] = ("square", "wall"), **changes: Any) -> Results:
    """Results of three methods and the sanity rows over four edits a clip, with real small videos in `folder`."""
    moving = {"square": moving_square(FRAMES, (48, 32)), "wall": panning(FRAMES, (48, 32))}
    units = []
    for number, (clip, edit) in enumerate((clip, edit) for clip in clips for edit in EDITS):
        source = moving[clip]
        for name in ("source", "truth"):
            write_video(folder / f"{clip}-{name}.mp4", source if name == "source" else other_colors(source), RATE)
        for method, (strength, error) in LEVELS.items():
            task = {
                "clip": clip, "edit": edit, "type": edit, "method": method, "seed": 33, "asked": (0, 1, FRAMES),
                "prompt": NASTY if edit == "style" else f"a blue {clip}, {edit}",
                "source": f"{clip}-source.mp4", "truth": f"{clip}-truth.mp4",
            }  # fmt: skip
            if (clip, edit, method) == ("wall", "style", "third"):
                units.append(UnitResult(**task, status="failed", reason="it ran out of <patience>"))
                continue
            stride = 3 if method == "lively" else 1
            frames = (source if method == "identity" else other_colors(source))[::stride]
            name = f"{clip}-{edit}-{method}.mp4"
            write_video(folder / name, frames, Fraction(RATE, stride))
            figures = {
                "strength@1": strength + 0.1 * number,
                "warp_error@1/dis": error * (1 + 0.01 * number),
                "flicker_ratio@1": 1.0 + strength / 100,
                "background_psnr@1": None if edit == "style" else 20.0,
                "peak_memory@1": 2048.0,
            }
            units.append(UnitResult(
                **task, status="done", video=name, frames=(0, stride, len(frames)), fps=str(Fraction(RATE, stride)),
                keyframes=(0, 4, 8) if method == "third" else (), figures=figures,
                remarks={"background_psnr@1": "a style changes everything"} if edit == "style" else {},
                series={"warp_error@1/dis": [error * (1 + i % 3) for i in range(len(frames) - 1)],
                        "flicker_ratio@1": [0.0, *(1.0 for _ in frames[1:])],
                        "strength@1": [0.0, *(strength for _ in frames[1:])]},
                key="key",
            ))  # fmt: skip
    content: dict[str, Any] = {
        "suite": "tiny", "suite_sha256": "ab" * 32, "title": NASTY, "created": "2026-11-21T10:00:00Z",
        "environment": {"torch": "2.14", "cpu": "a small one"}, "metrics": METRICS, "units": tuple(units),
        "skipped": {"clip_frame@tgve": "needs CLIP ViT-L/14 (1.7 GB, MIT); videoedit models fetch clip"},
        "methods": {
            name: MethodInfo(label=name, settings={"tune": {"steps": 3}}, model="mini", licence="Apache-2.0",
                             imported=name == "still")
            for name in LEVELS
        },
    }  # fmt: skip
    return Results(**content | changes)


class Page(HTMLParser):
    """Tags with their attributes, and text, of a page; data blocks apart."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.data: dict[str, str] = {}
        self._block = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        self.words = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._block = dict(attrs).get("id") or "" if tag == "script" and dict(attrs).get("type") else ""

    def handle_endtag(self, tag: str) -> None:
        self._block = ""

    def handle_data(self, data: str) -> None:
        if self._block:
            self.data[self._block] = data
        else:
            self.text += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [found for name, found in self.tags if name == tag and attributes.items() <= found.items()]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    return write_page(make_results(folder), folder)


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page(written)


def rows_of(path: Path, section: str) -> list[list[str]]:
    """The cells' text of each row of the first table in a section."""
    text = path.read_text(encoding="utf-8")
    table = text[text.index(f'<section id="{section}"') :].split("<table", 1)[1].split("</table>", 1)[0]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in table.split("<tr")[1:]]
    return [[" ".join(unescape(re.sub(r"<[^>]*>", " ", cell)).split()) for cell in row] for row in cells]


# ------------------------------------------------------------------------------------------------ the file


def test_the_page_is_whole_and_asks_nothing_of_the_network(written: Path, page: Page) -> None:
    assert written.name == "index.html"
    sources = [value for _, found in page.tags for name in ("src", "poster", "srcset") if (value := found.get(name))]
    assert sources and all(address.startswith("data:") for address in sources)
    links = [found["href"] or "" for found in page.all("a")]
    assert all(
        link.startswith("#") or link in ("results.csv", "results.tex", "results.json", "suite.yaml") for link in links
    )
    anchors = {found.get("id") for _, found in page.tags}
    assert all(link[1:] in anchors for link in links if link.startswith("#"))
    text = written.read_text(encoding="utf-8")
    assert "@import" not in text and "url(" not in text and not page.all("link")
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none'") and "http" not in policy and "file:" not in policy


def test_each_video_is_in_the_page_once(page: Page) -> None:
    shown = [video["data-film"] or "" for video in page.all("video")]
    assert len(shown) == 8 * 7 - 1  # 8 rows of source, truth and five methods, of which one failed
    assert {film[1:] for film in shown} == set(page.data)
    # A clip's source and truth serve all of its rows; here the methods' videos are copies of these, but "lively"'s.
    assert len(page.data) == len(set(page.data.values())) == 2 * 3
    assert all(base64.b64decode(data)[4:8] == b"ftyp" for data in page.data.values())
    assert all(video["class"] == "small" for video in page.all("video"))  # hard pixels


def test_text_is_text_whatever_it_holds(page: Page) -> None:
    assert len([found for found in page.all("script") if not found.get("type")]) == 1
    assert page.text.count(NASTY) >= 3  # title and the two edits
    assert not any(
        "x.example" in (value or "")
        for _, found in page.tags
        for name, value in found.items()
        if name in ("src", "href")
    )
    assert "it ran out of <patience>" in page.text


# ------------------------------------------------------------------------------------------------ the answer


def test_the_answer_has_strength_first_and_sanity_apart(written: Path) -> None:
    groups, heads, *rows = rows_of(written, "answer")
    assert groups == ["", "How much changed", "Steadiness", "Fidelity"]
    assert heads[1].startswith("Edit strength") and "Warp error ↓" in heads[2] and "Flicker ratio → 1" in heads[3]
    assert [row[0].split()[0] for row in rows] == ["still", "lively", "third", "identity", "vae"]
    text = written.read_text(encoding="utf-8")
    assert text.index('id="answer"') < text.index('id="kinds"') < text.index('id="videos"')
    assert re.findall(r'<tr class="(identity|vae) sanity">', text)


def test_means_and_intervals_are_those_of_the_statistics(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    cells = {row[0].split()[0]: row for row in rows_of(write_page(results, tmp_path), "answer")[2:]}
    for row in summarize(results, types="all"):
        if row.metric == "strength@1" and row.method in ("still", "lively"):
            assert row.mean is not None and row.low is not None and row.high is not None
            assert cells[row.method][1] == f"{row.mean:.1f} {row.low:.1f} to {row.high:.1f}"
    assert cells["third"][1].endswith("n = 7 of 8") and "1 of 8 failed" in cells["third"][0]
    assert cells["still"][4] == "20.0 dB 20.0 to 20.0 n = 6 of 8"


def test_only_a_winner_of_every_paired_test_is_marked(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    leads = re.findall(r'<td class="number[^"]*leads[^"]*" data-of="([^"]*)">\s*<span class="mean">([^<]*)', text)
    # "still" wins each edit by these two, 8 against "lively" and 7 against "third": Holm over the three pairs of a figure
    # leaves p = 2 * 2 / 2**7. By PSNR it met the others in 6 edits only, and 3 * 2 / 2**6 is no proof.
    assert leads == [("Warp error", "0.0022"), ("Flicker ratio", "1.09×")] and "better than every other" in text
    told = re.sub(r"<[^>]*>", "", text[text.index("What can be told apart") : text.index('<section id="kinds"')])
    assert "not told apart" in told and "n = 7" in told and "Warp error" in told and "Edit strength" not in told


def test_a_method_that_always_wins_leads(tmp_path: Path) -> None:
    many = make_results(tmp_path)
    units = [
        unit.model_copy(update={"edit": f"{unit.edit}-{i}", "video": None})
        for unit in many.units if unit.method != "third" for i in range(3)
    ]  # fmt: skip
    methods = {name: info for name, info in many.methods.items() if name != "third"}
    text = write_page(many.model_copy(update={"units": tuple(units), "methods": methods}), tmp_path).read_text()
    leads = re.findall(r'<td class="number[^"]*leads[^"]*" data-of="([^"]*)">\s*<span class="mean">([^<]*)', text)
    assert leads == [("Warp error", "0.0022"), ("Flicker ratio", "1.09×")]
    assert "still is better" in text and "better than every other" in text


def test_what_is_missing_is_said(written: Path, page: Page) -> None:
    assert "33 % of the frames" in page.words and "4 of 12 frames, every 3rd" in page.words
    assert "8 cover only part of their clip" in page.words and "compare them with care" in page.words
    failed = rows_of(written, "failed")
    assert failed[1] == ["wall / style", "third", "33", "it ran out of <patience>"]
    assert "Failed: it ran out of <patience>" in page.text
    assert page.all("dd", title="a style changes everything")
    assert "needs CLIP ViT-L/14 (1.7 GB, MIT)" in page.words
    assert "Steadiness rewards doing nothing" in page.words
    assert "videoedit bench run suite.yaml --methods lively,third --results still=FOLDER -o OUT" in page.words
    assert "elsewhere; only measured here" in page.words and "a small one" in page.words and "2.0 GiB" in page.words


def test_each_kind_of_edit_has_its_table(written: Path) -> None:
    rows = rows_of(written, "kinds")
    kinds = [row[0] for row in rows if len(row) == 1]
    assert kinds == [f"{kind.capitalize()} 2 edits" for kind in EDITS]
    style = rows[[row[0].startswith("Style") for row in rows].index(True) + 1 :]
    assert style[0][4] == "–" and "1 of 2 failed" in style[2][0]


def test_published_numbers_stand_apart_with_what_hinders_comparison(tmp_path: Path) -> None:
    page = Page(write_page(make_results(tmp_path, published="tgve"), tmp_path))
    assert "not comparable with figures of this page unless the metric id is the same" in page.words
    assert "not measured here: it would be clip_text@tgve" in page.words and "27.12" in page.words
    assert "76 Creative Commons videos" in page.words
    assert not Page(write_page(make_results(tmp_path), tmp_path)).all("section", id="published")


# ------------------------------------------------------------------------------------------------ videos


def test_videos_over_the_limit_become_previews_or_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = make_results(tmp_path, clips=("square",))
    noise = np.random.default_rng(0).integers(0, 256, (FRAMES, 192, 256, 3), dtype=np.uint8)
    large = tmp_path / "square-subject-still.mp4"
    write_video(large, noise, RATE)
    assert not Page(write_page(results, tmp_path)).all("a", href=large.name)
    monkeypatch.setattr(embed, "EMBED_LIMIT", large.stat().st_size)
    monkeypatch.setattr(videos, "PREVIEW_SIDE", 32)
    monkeypatch.setattr(embed, "LEAST_SHARE", 2**10)
    page = Page(write_page(results, tmp_path))
    assert page.all("a", href="square-subject-still.mp4") and "A smaller preview" in page.words
    assert all((video["data-film"] or "").startswith("#") for video in page.all("video"))
    monkeypatch.setattr(embed, "EMBED_LIMIT", 4)
    page = Page(write_page(results, tmp_path))
    assert page.all("video", **{"data-film": "square-subject-still.mp4"}) and "keep it beside it" in page.words
    assert not page.data and all((video["poster"] or "").startswith("data:image/webp") for video in page.all("video"))


def test_the_source_is_cut_to_the_frames_asked_for(tmp_path: Path) -> None:
    results = make_results(tmp_path, clips=("square",))
    units = tuple(
        unit.model_copy(update={"asked": (2, 2, 4), "frames": (4, 2, 3), "fps": "4"}) for unit in results.units
    )
    page = Page(write_page(results.model_copy(update={"units": units}), tmp_path))
    source = next(video for video in page.all("video") if (video["aria-label"] or "").startswith("Source"))
    (tmp_path / "cut.mp4").write_bytes(base64.b64decode(page.data[(source["data-film"] or "")[1:]]))
    assert probe(tmp_path / "cut.mp4").frames == 4 and probe(tmp_path / "cut.mp4").fps == 4
    assert page.all("article")[0]["data-fps"] == "4.0"
    edited = next(video for video in page.all("video") if (video["aria-label"] or "").startswith("still"))
    assert edited["data-from"] == "0.25"  # one frame of four a second later than the source


def test_files_that_are_gone_or_broken_leave_a_gap_that_says_so(tmp_path: Path) -> None:
    results = make_results(tmp_path, clips=("square",))
    (tmp_path / "square-subject-still.mp4").unlink()
    (tmp_path / "square-style-still.mp4").write_bytes(b"no video")
    write_video(tmp_path / "square-truth.mp4", moving_square(3, (48, 32)), RATE)
    page = Page(write_page(results, tmp_path))
    assert "square-subject-still.mp4 is missing" in page.words
    assert "square-style-still.mp4 cannot be read" in page.words
    assert "which gives 3" in page.words


def test_a_method_with_one_seed_stands_in_the_rows_of_all(tmp_path: Path) -> None:
    results = make_results(tmp_path, clips=("square",))
    more = tuple(u.model_copy(update={"seed": 34}) for u in results.units if u.method not in ("identity", "vae"))
    page = Page(write_page(results.model_copy(update={"units": results.units + more}), tmp_path))
    assert len(page.all("article")) == 8 and "seed 34" in page.words
    assert len(page.all("figure", **{"data-method": "identity"})) == 8


@pytest.mark.parametrize("methods", [(), ("identity",), ("identity", "vae", "still")])
def test_results_with_little_in_them_still_make_a_page(tmp_path: Path, methods: tuple[str, ...]) -> None:
    results = make_results(tmp_path, clips=("square",))
    kept = {
        "units": tuple(unit for unit in results.units if unit.method in methods),
        "methods": {name: info for name, info in results.methods.items() if name in methods},
    }
    page = Page(write_page(results.model_copy(update=kept), tmp_path))
    assert len(page.all("figure", **{"data-method": "identity"})) == (4 if methods else 0)
    assert "What can be told apart" not in page.words
    failed = [unit.model_copy(update={"status": "failed", "reason": "no such clip", "source": None, "truth": None,
                                      "video": None, "figures": {}, "series": {}, "asked": (0, 1, 0)})
              for unit in kept["units"]]  # fmt: skip
    again = Page(write_page(results.model_copy(update={**kept, "units": tuple(failed)}), tmp_path))
    assert again.text.count("no such clip") == 2 * len(failed)


# ------------------------------------------------------------------------------------------------ plots


def test_curves_stand_at_their_frames_with_key_frames_below() -> None:
    curve = Curve("a", "c0", [1, 2, 3], [0.0, 5.0, 10.0], [0, 3])
    gaps = Curve("b", "c1", [0, 1, 2, 3], [1.0, float("nan"), 2.0, 3.0])
    plot = over_frames("Warp error", [curve, gaps, Curve("c", "c2", [0], [1.0])], 5)
    assert plot and [line["label"] for line in plot["lines"]] == ["a", "b"]
    left, right = 58, 550
    x = [left + (right - left) * frame / 4 for frame in (1, 2, 3)]
    points = [tuple(map(float, pair.split())) for pair in plot["lines"][0]["d"][1:].split("L")]
    assert [point[0] for point in points] == x
    assert points[0][1] > points[1][1] > points[2][1]  # larger is higher
    assert plot["lines"][1]["d"].count("M") == 2  # broken where there was nothing to measure
    assert plot["seams"] == [{"label": "a", "color": "c0", "y": plot["seams"][0]["y"], "at": [left, x[2]]}]
    assert plot["step"] == (right - left) / 4
    assert over_frames("x", [Curve("c", "c2", [0], [1.0])], 1) is None


def test_series_of_pairs_and_of_a_part_of_the_frames_are_placed(page: Page) -> None:
    warp, flicker, strength = (found["d"] or "" for found in page.all("path", **{"data-method": "lively"})[:3])
    for curve, frames in ((warp, (3, 6, 9)), (flicker, (3, 6, 9)), (strength, (0, 3, 6, 9))):
        xs = [float(pair.split()[0]) for pair in curve[1:].split("L")]
        assert np.allclose(xs, [58 + 492 * frame / 11 for frame in frames], atol=0.06)  # changes at the later frame
    assert len(page.all("path", **{"data-method": "third"})) == 3 * 7


@pytest.mark.parametrize("values", [[0.0, 0.0], [1e-7, 2e-7], [5.0, 1e9], [-3.0, 4.0]])
def test_any_figures_can_be_drawn(values: list[float]) -> None:
    plot = over_frames("t", [Curve("a", "c0", [0, 1], values)], 2)
    drawn = scatter(
        [Spot("a", "c0", 1, values[0]), Spot("b", "c1", 1, values[1], (0, 2), (values[0], values[1]))], "x", "y"
    )
    assert plot and drawn
    heights = [float(pair.split()[1]) for pair in plot["lines"][0]["d"][1:].split("L")]
    assert all(8 <= y <= 158 for y in heights) and all(8 <= point["y"] <= 262 for point in drawn["points"])
    assert len({(point["text_x"], point["text_y"]) for point in drawn["points"]}) == 2
    assert scatter([Spot("a", "c0", 1, 2)], "x", "y") is None


def test_labels_of_points_that_crowd_are_set_apart() -> None:
    spots = [Spot(f"method-{i}", f"c{i % 8}", 10 + i % 3, 0.010 + 0.0002 * i) for i in range(8)]
    drawn = scatter([Spot("identity", "identity", 0, 0.002), *spots, Spot("a-long-name", "c1", 30, 0.03)], "x", "y")
    assert drawn
    boxes = []
    for point in drawn["points"]:
        width = 7.2 * len(point["label"])
        left = point["text_x"] if point["anchor"] == "start" else point["text_x"] - width
        boxes.append((left, left + width, point["text_y"]))
    for number, (left, right, y) in enumerate(boxes):
        assert left >= 58 and right <= 550 and 8 <= y <= 270
        for other_left, other_right, other_y in boxes[:number]:
            assert right <= other_left or other_right <= left or abs(y - other_y) >= 12


# ------------------------------------------------------------------------------------------------ in a browser


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_plays_each_row_in_step_and_asks_for_nothing(written: Path, tmp_path: Path) -> None:
    row = "document.querySelectorAll('.player')[1]"
    with Browser(tmp_path) as browser:
        browser.open(written.as_uri())
        loaded = "[...document.querySelectorAll('video')].filter(v => v.src).length"
        assert browser.run(loaded) < 8 * 7 - 1  # only the rows near the window
        browser.run(f"{row}.scrollIntoView(); {row}.focus({{preventScroll: true}})")
        browser.wait_for(f"[...{row}.querySelectorAll('video')].every(v => v.readyState >= 2)")
        browser.press(" ")
        browser.run(f"""
            window.seen = 0; window.apart = 0;
            const videos = [...{row}.querySelectorAll('video')];
            window.timer = setInterval(() => {{
              const times = videos.filter(v => !v.ended && !v.seeking).map(v => v.currentTime);
              if (times.length < 2 || Math.max(...times) < 0.1) return;
              window.seen += 1;
              window.apart += Math.max(...times) - Math.min(...times) > {1 / RATE};
            }}, 20)""")
        times = f"[...{row}.querySelectorAll('video')].map(v => v.currentTime)"
        browser.wait_for(f"{times}.every(t => t > 0.5) && window.seen > 5")
        assert browser.run("window.apart / window.seen") < 0.2  # within a frame; a busy machine may start one late
        assert browser.run(f"{row}.querySelector('.play').getAttribute('aria-pressed')") == "true"
        # Another row takes over; its neighbour pauses.
        browser.run("document.querySelectorAll('.player')[0].querySelector('.play').click()")
        browser.wait_for(f"[...{row}.querySelectorAll('video')].every(v => v.paused)")
        browser.run("document.querySelectorAll('.player')[0].querySelector('.play').click()")
        # Step by keys: every video shows the same frame, and the plots' line moves with it.
        browser.run(f"{row}.focus(); {row}.querySelector('.scrub').value = 6; {row}.querySelector('.scrub').oninput()")
        browser.press("ArrowRight")
        browser.wait_for(f"{row}.querySelector('.frame').textContent === '8 / {FRAMES}'")
        browser.wait_for(f"[...{row}.querySelectorAll('video')].every(v => !v.seeking)")
        assert np.allclose(browser.run(times), 7.5 / RATE, atol=0.02)
        head = browser.run(f"{row}.querySelector('.head').getAttribute('transform')")
        assert float(head[10:].split()[0]) == pytest.approx(7 * 492 / 11)
        # Space on what opens by space does not play.
        browser.run(f"{row}.querySelector('summary').focus()")
        browser.press(" ")
        assert (
            browser.run(f"{row}.querySelector('details').open && {row}.querySelector('.play').ariaPressed") == "false"
        )
        # Far rows let their videos go, and find them again where they were.
        browser.run("scrollTo(0, document.body.scrollHeight)")
        browser.wait_for(f"[...{row}.querySelectorAll('video')].every(v => !v.src)")
        browser.run(f"{row}.scrollIntoView()")
        browser.wait_for(f"{times}.every(t => Math.abs(t - 7.5 / {RATE}) < 0.02)")
        # Filters.
        browser.run("document.getElementById('of-kind').value = 'style'; document.getElementById('of-kind').onchange()")
        assert browser.run("[...document.querySelectorAll('.player')].filter(p => p.offsetHeight).length") == 2
        browser.run("document.querySelector('.chip input[value=lively]').click()")
        assert browser.run("[...document.querySelectorAll('figure[data-method=lively]')].every(f => !f.offsetHeight)")
        assert browser.requests == [written.as_uri()] and browser.complaints == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_plays_videos_beside_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "EMBED_LIMIT", 4)
    page = write_page(make_results(tmp_path, clips=("square",)), tmp_path)
    row = "document.querySelector('.player')"
    with Browser(tmp_path / "profile") as browser:
        browser.open(page.as_uri())
        browser.run(f"{row}.scrollIntoView(); {row}.querySelector('.play').click()")
        browser.wait_for(f"[...{row}.querySelectorAll('video')].every(v => v.currentTime > 0.3)")
        folder = tmp_path.as_uri()
        assert len(browser.requests) > 5 and all(address.startswith(folder) for address in browser.requests)
        assert browser.complaints == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_two_videos_are_compared_by_a_slider(written: Path, tmp_path: Path) -> None:
    row = "document.querySelector('.player')"
    with Browser(tmp_path) as browser:
        browser.open(written.as_uri())
        shown = f"[...{row}.querySelectorAll('.stage figure')].filter(f => f.offsetHeight).map(f => f.className)"
        before = len(browser.run(shown))
        browser.run(f"{row}.querySelector('.ab .open').click()")
        first, second = browser.run(shown)
        assert before > 2 and first.split()[-1] == "left" and second.split()[-1] == "right"
        boxes = f"[...{row}.querySelectorAll('.left, .right')].map(f => JSON.stringify(f.getBoundingClientRect()))"
        assert len(set(browser.run(boxes))) == 1  # one over the other
        browser.run(f"{row}.querySelector('.cut').value = 30; {row}.querySelector('.cut').oninput()")
        cut = browser.run(f"getComputedStyle({row}.querySelector('.right video')).clipPath")
        assert cut == "inset(0px 0px 0px 30%)"
        browser.run(f"{row}.querySelector('.second').value = 'lively'; {row}.querySelector('.second').onchange()")
        assert browser.run(f"{row}.querySelector('.right').dataset.method") == "lively"
        browser.run(f"{row}.querySelector('.ab .open').click()")
        assert len(browser.run(shown)) == before and browser.complaints == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_shows_all_without_scrolling_sideways(written: Path, tmp_path: Path, dark: bool) -> None:
    with Browser(tmp_path) as browser:
        browser.open(written.as_uri(), size=(390, 844), phone=True, dark=dark)
        assert browser.run("document.documentElement.scrollWidth") == 390
        ground = json.loads(browser.run("JSON.stringify(getComputedStyle(document.body).backgroundColor)"))
        red = int(re.findall(r"\d+", ground)[0])
        assert red < 60 if dark else red > 200
        assert browser.complaints == []
