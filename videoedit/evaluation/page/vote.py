"""The page on which people vote between two edits without knowing whose they are; one file, offline, by keyboard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from videoedit.errors import InputError
from videoedit.evaluation.page.comparison import TEMPLATES, given_cuts
from videoedit.evaluation.page.videos import ClipVideo, load_videos
from videoedit.evaluation.results import Results
from videoedit.evaluation.votes import FORMAT, Pair, pairs_of
from videoedit.files import write_text
from videoedit.pages.embed import Cut
from videoedit.pages.html import render

SOURCE = "Source"


def write_vote_page(results: Results, folder: Path, target: Path, *, seed: int, most: int | None = None) -> Path:
    """Write the voting page on the results in `folder`; the first `most` pairs of the order that `seed` draws.

    Nothing in it names a method: pairs go by hashes. Raises InputError if there is nothing to vote on, or a video that
    cannot be shown within the page (a link would say whose it is).
    """
    pairs = pairs_of(results, seed)[:most]
    if not pairs:
        raise InputError(f"{folder} has no edit that two methods made; there is nothing to vote on")
    cuts: list[Cut] = []
    for pair in pairs:
        cuts += _cuts(pair, folder).values()
    videos = load_videos(cuts, target.parent)
    for cut, video in videos.items():
        if not video.data:
            raise InputError(f"{video.problem or f'{cut.path.name} is too large for a page'}; vote on fewer (--pairs)")
    task = {"format": FORMAT, "suite_sha256": results.suite_sha256, "seed": seed}
    task["pairs"] = [_shown(pair, folder, videos) for pair in pairs]
    data = {video.id: video.data for video in videos.values()}
    context = {"task": json.dumps(task).replace("<", "\\u003c"), "data": data, "count": len(pairs)}
    styles = ("base.css", "vote.css")
    write_text(target, render("vote.html.j2", context, styles=styles, scripts=("vote.js",), folder=TEMPLATES))
    return target


def _cuts(pair: Pair, folder: Path) -> dict[str, Cut]:
    cuts = {"left": Cut(folder / str(pair.left.video)), "right": Cut(folder / str(pair.right.video))}
    source = given_cuts(pair.left, folder).get(SOURCE)
    return cuts | ({"source": source} if source and source.path.is_file() else {})


def _shown(pair: Pair, folder: Path, videos: dict[Cut, ClipVideo]) -> dict[str, Any]:
    """A pair for the page's script."""
    places = {side: videos[cut].id for side, cut in _cuts(pair, folder).items()}
    return {"id": pair.id, "prompt": pair.left.prompt, **places}
