"""Videos and pictures inside a page: whole where the limit allows it, else as smaller copies, else as links."""

from __future__ import annotations

import base64
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import av
import cv2
import numpy as np

from videoedit.errors import InputError
from videoedit.files import relative
from videoedit.media.video import iter_frames, probe, stretch_frames, write_video

EMBED_LIMIT = 30 * 2**20  # bytes of video inside one page
LEAST_SHARE = 24 * 2**10  # bytes; where a video's share is below this, no preview is worth its while
SMALL = 192  # a video up to this wide is enlarged with hard pixels


@dataclass(frozen=True)
class Cut:
    """Some frames of a video file: every `stride`-th from `start` on, `count` of them; None: all of the file."""

    path: Path
    frames: tuple[int, int, int] | None = None  # start, stride, count


@dataclass
class ShownVideo:
    """A video as a page shows it: inside the page (`data`), or as a file beside it (`link`), or both."""

    width: int = 0
    height: int = 0
    data: str = ""  # base64 of an mp4
    link: str = ""  # the whole file, where the page holds a smaller copy or none
    remark: str = ""
    problem: str = ""

    @property
    def src(self) -> str:
        """The address that a browser plays; empty where there is nothing to show."""
        return f"data:video/mp4;base64,{self.data}" if self.data else self.link

    @property
    def is_linked(self) -> bool:
        """True where the page itself holds nothing of the video."""
        return bool(self.link and not self.data)

    @property
    def is_small(self) -> bool:
        return 0 < self.width <= SMALL


def embed(videos: Sequence[tuple[Cut, ShownVideo]], folder: Path, *, side: int) -> None:
    """Put videos, whose files can be read, into the page that lies in `folder`.

    Together they take EMBED_LIMIT bytes at most. If the files are larger, each has an equal share: one over it becomes
    a copy whose longer side is at most `side` pixels, or a link if even that is too large. What cannot be cut out of
    its file becomes a problem.
    """
    whole, total = [], 0
    for cut, _ in videos:
        whole.append(_is_whole(cut))
        total += cut.path.stat().st_size if whole[-1] else 0
    limit = EMBED_LIMIT if total <= EMBED_LIMIT else EMBED_LIMIT // len(videos)
    for (cut, video), fits in zip(videos, whole, strict=True):
        try:
            _embed(cut, video, folder, fits, limit, side)
        except InputError as error:
            video.problem = f"{cut.path.name}: {error}"


def _is_whole(cut: Cut) -> bool:
    """True if the cut is all of a file that browsers play as it is."""
    if cut.path.suffix.lower() not in (".mp4", ".m4v"):
        return False
    with av.open(str(cut.path)) as container:
        context = container.streams.video[0].codec_context
        plays = context.name == "h264" and context.pix_fmt == "yuv420p"
    return plays and (cut.frames is None or cut.frames == (0, 1, probe(cut.path).frames))


def _embed(cut: Cut, video: ShownVideo, folder: Path, whole: bool, limit: int, side: int) -> None:
    """Put one video into the page: the file, a smaller copy of the cut, or only a link."""
    size = cut.path.stat().st_size
    if whole and size <= limit:
        video.data = _base64(cut.path.read_bytes())
        return
    copy = None
    if limit >= LEAST_SHARE or not whole:
        copy = _preview(cut, limit if whole else math.inf, side)  # a cut has no file to link to
    if copy is not None:
        video.data = _base64(copy)
    if whole or copy is None:
        video.link = quote(relative(cut.path, folder))
        video.remark = (
            f"A smaller preview: the video has {size / 2**20:.1f} MiB."
            if copy is not None
            else f"Not inside this page ({size / 2**20:.1f} MiB): keep it beside it."
        )


def _preview(cut: Cut, limit: float, side: int) -> bytes | None:
    """A copy (mp4) of at most `limit` bytes with the longer side at most `side` pixels; None if that is not enough."""
    start, stride, count = cut.frames or (0, 1, None)
    info = probe(cut.path)
    scale = min(1.0, side / max(info.width, info.height))
    size = max(2, round(info.width * scale / 2) * 2), max(2, round(info.height * scale / 2) * 2)
    frames = iter_frames(cut.path, start=start, stride=stride, num_frames=count)
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary) / "preview.mp4"
        write_video(target, (stretch_frames(frame, size) for frame in frames), info.fps / stride)
        return target.read_bytes() if target.stat().st_size <= limit else None


# -------------------------------------------------------------------------------------------------- pictures


def thumbnail(frame: np.ndarray, side: int = 224) -> np.ndarray:
    """The frame, shrunk so that its longer side is at most `side`."""
    height, width = frame.shape[:2]
    if max(height, width) <= side:
        return frame
    scale = side / max(height, width)
    return stretch_frames(frame, (max(1, round(width * scale)), max(1, round(height * scale))))


def encoded_picture(image: np.ndarray, *, quality: int | None) -> str:
    """uint8 [H, W, 3] RGB, or 4 with opacity, as an address: webp of this quality (0 to 100), or png for None."""
    swapped = image[..., [2, 1, 0, *range(3, image.shape[2])]]
    if quality is None:
        return data_uri("image/png", cv2.imencode(".png", swapped)[1].tobytes())
    return data_uri("image/webp", cv2.imencode(".webp", swapped, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes())


def data_uri(kind: str, data: bytes) -> str:
    """`data` of the media type `kind` as an address that needs no network."""
    return f"data:{kind};base64,{_base64(data)}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
