"""The report: one page, whole, safe for any text, silent on the network; and the pictures for people."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from videoedit.errors import InputError
from videoedit.media.video import write_video
from videoedit.pages import embed, videos
from videoedit.pages import run as report
from videoedit.pages.contact_sheet import contact_sheet
from videoedit.pages.plots import single_curve

sys.path.append(str(Path(__file__).parents[1] / "evaluation"))
from browser import CHROMIUM, Browser

NASTY = 'a <script>alert("1")</script> & a "café" с кошкой 猫 \'; </style><img src=//x.example/y>'


def clip(seed: int = 0, frames: int = 5, width: int = 32, height: int = 32) -> np.ndarray:
    ramp = np.linspace(0, 200, width, dtype=np.uint8)[None, :, None]
    return np.stack([np.broadcast_to(np.roll(ramp, 3 * i + seed, 1), (height, width, 3)) for i in range(frames)])


def make_run(folder: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(("source", "reconstruction", "1-edit", "truth-1")):
        write_video(folder / f"{name}.mp4", clip(number), 8)
    record = {
        "method": "tuneavideo",
        "title": "square.mp4: tuneavideo",
        "config": {"source_prompt": "a square", "tune": {"steps": 30, "rate": 3e-5}, "prompts": [NASTY], "x": None},
        "versions": {"python": "3.12", "torch": "2.14"},
        "seed": 33,
        "input": {
            "path": "square.mp4",
            "sha256": "ab",
            "frames": 5,
            "fps": "30000/1001",
            "size": "32x32",
            "audio": False,
        },
        "model": {"name": "mini", "fingerprint": "cd"},
        "stages": {
            "tune": {"seconds": 75.2, "cpu_seconds": 140.0, "peak_memory_mb": 1500, "reused": False, "files": []}
        },
        "videos": [
            {"label": "source", "role": "source", "prompt": "a square", "file": "source.mp4"},
            {"label": "reconstruction", "role": "reconstruction", "prompt": "", "file": "reconstruction.mp4"},
            {"label": NASTY, "role": "edit", "prompt": NASTY, "file": "1-edit.mp4"},
            {"label": "truth", "role": "truth", "prompt": NASTY, "file": "truth-1.mp4"},
        ],
        "metrics": {
            "reconstruction": {"psnr": 27.123},
            NASTY: {"psnr@1": float("inf"), "path_error@1": float("nan"), "made_up": 3, "clip_text@mini": 0.25},
        },
        "plots": {"loss": [1 / (i + 1) for i in range(30)], "tune_seconds": {"step": 1.0}},
        "notes": [NASTY],
        "status": "finished",
        **changes,
    }
    (folder / "run.json").write_text(json.dumps(record))
    return folder


class Page(HTMLParser):
    """Tags, addresses and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def addresses(self) -> list[str]:
        names = ("src", "href", "poster", "srcset", "action", "data")
        return [value for _, attributes in self.tags for name in names if (value := attributes.get(name))]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.write_report(make_run(tmp_path_factory.mktemp("run")))


def test_the_page_is_whole_and_asks_nothing_of_the_network(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    page = Page(text)
    assert written.name == "report.html"
    assert all(address.startswith("data:") for address in page.addresses())
    assert not page.all("link") and "@import" not in text and "url(" not in text
    assert len(page.all("video")) == 4
    assert all(video["src"].startswith("data:video/mp4;base64,") for video in page.all("video") if video["src"])
    assert len(page.all("img")) == 4  # a strip of each video
    assert all(image.get("alt") for image in page.all("img"))
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none'") and "http" not in policy


def test_the_policy_lets_the_pages_own_script_run(written: Path) -> None:
    """A wrong hash would leave a page that only looks whole."""
    text = written.read_text(encoding="utf-8")
    (script,) = re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL)
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert len(script) > 100 and re.findall(r"script-src ([^;]*);", text) == [f"'sha256-{hashed}'"]


def test_prompts_are_text_whatever_they_hold(written: Path) -> None:
    page = Page(written.read_text(encoding="utf-8"))
    assert len(page.all("script")) == 1
    assert NASTY in page.text
    assert not any("x.example" in address for address in page.addresses())
    assert any(NASTY in (video.get("aria-label") or "") for video in page.all("video"))


def test_edit_and_ground_truth_stand_side_by_side(written: Path) -> None:
    page = Page(written.read_text(encoding="utf-8"))
    roles = [f.get("class") for f in page.all("figure") if f.get("class") in videos.ROLES]
    assert roles == ["source", "edit", "truth", "reconstruction"]


def test_measures_have_names_and_meanings(written: Path) -> None:
    text = Page(written.read_text(encoding="utf-8")).text
    for expected in ("27.12 dB", "∞", "–", "Path error", "Made up", "Not for ranking: its text tower", "1 min 15 s"):
        assert expected in text, expected
    assert text.count("Closeness of the pixels") == 1  # psnr and psnr@1 are one row
    assert "29.97 frames per second" in text and "tune.steps" in text and "Fluent Emoji" in text


def test_the_data_beside_the_page_is_strict_json(written: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    data = json.loads(written.with_name("report.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert data["metrics"][NASTY]["psnr@1"] == "inf" and data["metrics"][NASTY]["path_error@1"] is None
    assert data["videos"][0]["frames"] == 5 and data["videos"][0]["size"] == [32, 32]
    assert "psnr" in data["measures"]


def test_gaps_are_said_not_hidden(tmp_path: Path) -> None:
    folder = make_run(tmp_path, status="running", stages=[{"name": "tune"}], metrics={}, plots={}, notes=[])
    (folder / "1-edit.mp4").unlink()
    (folder / "truth-1.mp4").write_bytes(b"not a video")
    page = Page(report.write_report(folder).read_text(encoding="utf-8"))
    assert len(page.all("video")) == 2
    assert "1-edit.mp4 is not in the run folder" in page.text
    assert "truth-1.mp4 cannot be read" in page.text
    assert "not finished (status: running)" in page.text


def test_a_record_with_little_in_it_still_makes_a_page(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    page = Page(report.write_report(tmp_path).read_text(encoding="utf-8"))
    assert not page.all("video") and "Video edit" in page.text


@pytest.mark.parametrize("content", [None, "{", "[1]"])
def test_a_folder_without_a_run_is_one_line(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError) as caught:
        report.write_report(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_large_videos_become_previews_or_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(tmp_path)
    big = np.random.default_rng(0).integers(0, 256, (4, 160, 200, 3), dtype=np.uint8)
    write_video(folder / "1-edit.mp4", big, 8)
    monkeypatch.setattr(videos, "PREVIEW_SIDE", 32)
    monkeypatch.setattr(embed, "LEAST_SHARE", 2**10)
    monkeypatch.setattr(embed, "EMBED_LIMIT", 4 * 12000)
    page = Page(report.write_report(folder).read_text(encoding="utf-8"))
    assert all((v["src"] or "").startswith("data:") for v in page.all("video"))
    assert "A smaller preview" in page.text
    assert [a["href"] for a in page.all("a")] == ["1-edit.mp4"]
    monkeypatch.setattr(embed, "EMBED_LIMIT", 4)
    page = Page(report.write_report(folder).read_text(encoding="utf-8"))
    assert "1-edit.mp4" in [v["src"] for v in page.all("video")]
    assert "keep it beside it" in page.text
    assert all(not re.match(r"\w+://", a) for a in page.addresses())


@pytest.mark.parametrize("values", [[1.0, 1.0], [0.0, 0.0, 0.0], [5.0, 1e9], list(np.linspace(3, 1, 500))])
def test_any_curve_can_be_drawn(values: list[float]) -> None:
    plot = single_curve("Loss while tuning", values, "steps")
    numbers = [float(n) for n in re.findall(r"-?[\d.]+", plot["raw"])]
    assert len(numbers) == 2 * len(values)
    assert all(0 <= y <= 195 for y in numbers[1::2]) and all(50 <= x <= 715 for x in numbers[::2])
    assert 2 <= len(plot["y_ticks"]) <= 7


def test_pictures_and_key_frames_are_shown(tmp_path: Path) -> None:
    keys = [
        {"title": "Key frames", "file": "keys.png", "caption": "0, 3"},
        {"title": "Lost", "file": "no.png", "caption": ""},
    ]
    folder = make_run(
        tmp_path, pictures=keys, keyframes=[0, 3], plots={"seam score": [1.0, 2.0, 1.5, 3.0], "loss": [2.0, 1.0]}
    )
    cv2.imwrite(str(folder / "keys.png"), np.full((8, 16, 3), 200, np.uint8))
    text = report.write_report(folder).read_text(encoding="utf-8")
    assert "Key frames: 0, 3" in text and "Lost" not in text
    assert text.count('class="mark"') == 2 and "4 frames; upright lines are key frames." in text and "2 steps." in text


def test_contact_sheet() -> None:
    videos = {"source": clip(), "une édition, 猫": clip(5, frames=3, width=48)}
    sheet = contact_sheet(videos, columns=4, side=64)
    assert sheet.dtype == np.uint8 and sheet.ndim == 3 and sheet.shape[1] >= 4 * 64
    with pytest.raises(InputError):
        contact_sheet({})


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_plays_the_page_from_a_file(written: Path, tmp_path: Path) -> None:
    """The script passes its own policy and shows the controls; nothing is logged as refused."""
    assert CHROMIUM
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--enable-logging=stderr",
        "--virtual-time-budget=4000",
        "--dump-dom",
    ]
    command = [CHROMIUM, *options, f"--user-data-dir={tmp_path}", written.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    controls = next(a for _, a in Page(done.stdout).tags if "controls" in (a.get("class") or ""))
    assert "hidden" not in controls
    assert re.search(r">\d / 5</output>", done.stdout)
    assert "Content Security Policy" not in done.stderr and "Uncaught" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize(("width", "phone"), [(1280, False), (390, True)])
@pytest.mark.parametrize("columns", [1, 4, 9, 14])
def test_no_table_is_cut(tmp_path: Path, width: int, phone: bool, columns: int) -> None:
    """The page is as wide as the window; of a table that is wider, the box scrolls to its last column."""
    prompts = [f"a blue car number {i}, {'very_' * 20}long, moving on grass" for i in range(columns)]
    figures = {"psnr@1": 23.4, "clip_text_gain@mini": 0.1234, "patch_error@1": 1234.5}
    page = report.write_report(make_run(tmp_path / "run", metrics=dict.fromkeys(prompts, figures)))
    with Browser(tmp_path / "profile") as browser:
        browser.open(page.as_uri(), size=(width, 900), phone=phone)
        assert browser.run("document.documentElement.scrollWidth") == width
        browser.run("document.querySelectorAll('.scroll').forEach(box => box.scrollLeft = 9999)")
        cut = """[...document.querySelectorAll('.scroll')].filter(box => {
            const cells = [...box.querySelectorAll('td')].filter(cell => cell.offsetWidth);
            return Math.max(...cells.map(cell => cell.getBoundingClientRect().right)) > box.getBoundingClientRect().right + 1;
        }).length"""
        assert browser.run(cut) == 0
        wide = browser.run("[...document.querySelectorAll('.scroll')].some(box => box.scrollWidth > box.clientWidth)")
        assert wide == (columns == 14 and not phone)


@pytest.mark.parametrize("way_out", ["../secret.mp4", "/etc/hostname", "link.mp4", "folder/../../secret.mp4", "a\0b"])
def test_files_outside_the_folder_stay_out_of_the_page(tmp_path: Path, way_out: str) -> None:
    write_video(tmp_path / "secret.mp4", clip(9), 8)
    cv2.imwrite(str(tmp_path / "secret.png"), np.full((8, 16, 3), 200, np.uint8))
    pictures = [{"title": "A picture", "file": way_out.replace(".mp4", ".png"), "caption": ""}]
    videos_of = [{"label": "source", "role": "source", "prompt": "", "file": way_out}]
    folder = make_run(tmp_path / "run", videos=videos_of, pictures=pictures)
    for kind in ("mp4", "png"):
        (folder / f"link.{kind}").symlink_to(tmp_path / f"secret.{kind}")
    page = Page(report.write_report(folder).read_text(encoding="utf-8"))
    assert not page.all("video") and not page.all("img")
    assert page.text.count("is not inside the run folder") == 2 and "A picture" in page.text


def test_a_run_in_a_linked_folder_is_whole(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    (tmp_path / "link").symlink_to(tmp_path / "run")
    page = Page(report.write_report(tmp_path / "link").read_text(encoding="utf-8"))
    assert len(page.all("video")) == 4


def test_a_method_says_its_own_licence_if_it_is_installed(tmp_path: Path, written: Path) -> None:
    assert "Own implementation of Tune-A-Video" in Page(written.read_text(encoding="utf-8")).text
    unknown = report.write_report(make_run(tmp_path, method="gone"))
    licences = json.loads(unknown.with_name("report.json").read_text(encoding="utf-8"))["licences"]
    assert set(licences) == {"videoedit", "model mini"}


def test_plots_are_called_what_the_catalogue_calls_them(tmp_path: Path) -> None:
    series = {"psnr, truth": [20.0, 21.0], "seams": [0.0, 0.1], "made_up": [1.0, 2.0], "loss": [2.0, 1.0]}
    page = Page(report.write_report(make_run(tmp_path, plots=series)).read_text(encoding="utf-8"))
    labels = [plot.get("aria-label") or "" for plot in page.all("svg")]
    titles = [
        "PSNR (dB), truth over 2 frames",
        "Seams within a frame over",
        "Made up over",
        "Loss while tuning over 2 steps",
    ]
    assert len(labels) == 4 and all(label.startswith(title) for label, title in zip(labels, titles, strict=True))
