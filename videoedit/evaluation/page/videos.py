"""The videos of a results page: each once, inside the page where the limit allows it, or as a link beside it."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import cv2

from videoedit.errors import InputError
from videoedit.pages.html import SMALL, data_uri, preview, thumbnail

EMBED_LIMIT = 30 * 2**20  # bytes of video inside one page
PREVIEW_SIDE = 384  # longer side, pixels, of a preview that stands in for a video over the limit
POSTER_SIDE = 256
LEAST_SHARE = 24 * 2**10  # bytes; where a video's share is below this, no preview is worth its while
MANY = 200  # videos; above, posters are smaller


@dataclass(frozen=True)
class Cut:
    """Some frames of a video file: every `stride`-th from `start` on, `count` of them; None: all of the file."""

    path: Path
    frames: tuple[int, int, int] | None = None  # start, stride, count


@dataclass
class Film:
    """A cut as the page shows it."""

    id: str
    width: int = 0
    height: int = 0
    poster: str = ""
    data: str = ""  # base64 of an mp4 inside the page
    link: str = ""  # the file beside the page
    remark: str = ""
    problem: str = ""

    @property
    def address(self) -> str:
        """What the page's script plays: the id of the data in the page, or the file beside it."""
        return f"#{self.id}" if self.data else self.link

    @property
    def small(self) -> bool:
        return 0 < self.width <= SMALL


def load_films(cuts: Iterable[Cut], folder: Path) -> dict[Cut, Film]:
    """A film for each different cut; `folder` is the page's. A file that is missing or broken becomes a problem."""
    films = {cut: Film(f"film-{number}") for number, cut in enumerate(dict.fromkeys(cuts))}
    side = POSTER_SIDE if len(films) <= MANY else POSTER_SIDE // 2
    sound = {cut: film for cut, film in films.items() if _inspect(cut, film, side)}
    whole = {cut: _is_whole(cut) for cut in sound}
    total = sum(cut.path.stat().st_size for cut in sound if whole[cut])
    limit = EMBED_LIMIT if total <= EMBED_LIMIT else EMBED_LIMIT // len(sound)
    known: dict[str, str] = {}
    for cut, film in sound.items():
        film.link = quote(os.path.relpath(cut.path, folder))
        try:
            _embed(cut, film, whole[cut], limit)
        except InputError as error:
            film.problem = f"{cut.path.name}: {error}"
        film.id = known.setdefault(film.data, film.id) if film.data else film.id
    return films


def _inspect(cut: Cut, film: Film, side: int) -> bool:
    """Fill in size and poster; False, with the problem, if there is nothing to show."""
    from videoedit.media.video import iter_frames

    if not cut.path.is_file():
        film.problem = f"{cut.path.name} is missing."
        return False
    start = cut.frames[0] if cut.frames else 0
    try:
        frame = next(iter_frames(cut.path, start=start, stride=1, num_frames=1))
    except InputError as error:
        film.problem = f"{cut.path.name} cannot be read: {error}"
        return False
    film.height, film.width = frame.shape[:2]
    image = cv2.cvtColor(thumbnail(frame, side), cv2.COLOR_RGB2BGR)
    quality = [cv2.IMWRITE_WEBP_QUALITY, 90 if film.small else 75]
    film.poster = data_uri("image/webp", cv2.imencode(".webp", image, quality)[1].tobytes())
    return True


def _is_whole(cut: Cut) -> bool:
    """Whether the cut is all of a file that browsers play as it is."""
    import av

    from videoedit.media.video import probe

    if cut.path.suffix.lower() not in (".mp4", ".m4v"):
        return False
    with av.open(str(cut.path)) as container:
        context = container.streams.video[0].codec_context
        plays = context.name == "h264" and context.pix_fmt == "yuv420p"
    return plays and (cut.frames is None or cut.frames == (0, 1, probe(cut.path).frames))


def _embed(cut: Cut, film: Film, whole: bool, limit: float) -> None:
    """Put a film into the page: the file, a smaller copy of the cut, or only a link."""
    size = cut.path.stat().st_size
    if whole and size <= limit:
        film.data, film.link = base64.b64encode(cut.path.read_bytes()).decode(), ""
        return
    start, stride, count = cut.frames or (0, 1, None)
    data = None
    if limit >= LEAST_SHARE or not whole:
        most = limit if whole else math.inf  # a cut has no file to link to
        data = preview(cut.path, most, PREVIEW_SIDE, start=start, stride=stride, num_frames=count)
    if data is not None:
        film.data = base64.b64encode(data).decode()
        film.remark = f"A smaller preview: the video has {size / 2**20:.1f} MiB." if whole else ""
        film.link = film.link if whole else ""
    else:
        film.remark = f"Not inside this page ({size / 2**20:.1f} MiB): keep it beside it."
