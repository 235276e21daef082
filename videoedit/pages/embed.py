"""The videos and pictures of a run as its page shows them: each inside the page where the limit allows it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np

from videoedit.errors import InputError
from videoedit.pages.html import SMALL, data_uri, preview, thumbnail

EMBED_LIMIT = 30 * 2**20  # bytes of video inside one page
PREVIEW_SIDE = 480  # longer side, pixels, of a preview that stands in for a video over the limit
STRIP_FRAMES = 8
ROLES = {"source": "Source", "reconstruction": "Reconstruction", "edit": "Edit", "truth": "Ground truth"}


@dataclass
class ShownVideo:
    """A video of the run as the page shows it."""

    label: str
    prompt: str
    role: str
    path: Path
    frames: np.ndarray | None = None  # up to STRIP_FRAMES of them, uint8 [N, H, W, 3]
    num_frames: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    src: str = ""
    linked: bool = False  # src is a file beside the page
    link: str = ""  # the full video, where the page holds a preview
    remark: str = ""
    problem: str = ""

    @property
    def role_name(self) -> str:
        return ROLES.get(self.role, self.role.capitalize() or "Video")

    @property
    def small(self) -> bool:
        return 0 < self.width <= SMALL


def load_videos(folder: Path, record: Mapping[str, Any]) -> list[ShownVideo]:
    """The videos that the record of a run names; one that is missing or broken has a problem instead."""
    videos = [
        ShownVideo(
            str(v.get("label", "")),
            str(v.get("prompt") or ""),
            str(v.get("role", "")),
            folder / str(v.get("file", "")),
        )
        for v in record.get("videos", [])
    ]
    there = [video for video in videos if video.path.is_file()]
    for video in videos:
        if video not in there:
            video.problem = f"{video.path.name or 'The video'} is not in the run folder."
    total = sum(video.path.stat().st_size for video in there)
    share = EMBED_LIMIT if total <= EMBED_LIMIT else EMBED_LIMIT // max(1, len(there))
    for video in there:
        try:
            _inspect(video)
        except InputError as error:
            video.problem = f"{video.path.name} cannot be read: {error}"
            continue
        _embed(video, folder, share)
    return videos


def _inspect(video: ShownVideo) -> None:
    """Fill in sizes, rate and some frames."""
    from videoedit.media.video import iter_frames, probe

    info = probe(video.path)
    video.fps, video.width, video.height = float(info.fps), info.width, info.height
    wanted = set(np.linspace(0, max(0, info.frames - 1), STRIP_FRAMES).round().astype(int).tolist())
    kept, count = [], 0
    for index, frame in enumerate(iter_frames(video.path, start=0, stride=1, num_frames=None)):
        count = index + 1
        if index in wanted:
            kept.append(thumbnail(frame))
    video.num_frames, video.frames = count, np.stack(kept) if kept else None


def _embed(video: ShownVideo, folder: Path, share: int) -> None:
    """Put a video into the page, or a smaller copy of it, or a link if even that is over its share of bytes."""
    size = video.path.stat().st_size
    name = os.path.relpath(video.path, folder)
    if size <= share:
        video.src = data_uri("video/mp4", video.path.read_bytes())
        return
    smaller = preview(video.path, share, PREVIEW_SIDE)
    video.link = quote(name)
    if smaller is not None:
        video.src = data_uri("video/mp4", smaller)
        video.remark = f"A smaller preview: the video has {size / 2**20:.0f} MiB."
    else:
        video.src, video.linked = quote(name), True
        video.remark = f"Not inside this page ({size / 2**20:.0f} MiB): keep it beside it."


def group_videos(videos: Sequence[ShownVideo]) -> list[list[ShownVideo]]:
    """Source, then each edit with its ground truth beside it, then the rest; where there are many, in pairs."""
    sources = [video for video in videos if video.role == "source"]
    edits = [video for video in videos if video.role == "edit"]
    others = [video for video in videos if video.role not in ("source", "edit")]
    groups = [[source] for source in sources]
    for edit in edits:
        mates = [v for v in others if v.role == "truth" and edit.prompt and v.prompt == edit.prompt]
        others = [v for v in others if v not in mates[:1]]
        groups.append([edit, *mates[:1]])
    if len(videos) > 4 and len(sources) == 1 and others and others[0].role == "reconstruction":
        groups[0].append(others.pop(0))
    return groups + [[video] for video in others]


def contact_strip(video: ShownVideo) -> dict[str, Any] | None:
    """The contact strip of a video: frames side by side with a thin gap."""
    if video.frames is None:
        return None
    count, height, width = video.frames.shape[:3]
    gap = max(1, width // 48)
    strip = np.zeros((height, STRIP_FRAMES * (width + gap) - gap, 4), np.uint8)
    for index, frame in enumerate(video.frames):
        left = index * (width + gap)
        strip[:, left : left + width, :3], strip[:, left : left + width, 3] = frame[..., ::-1], 255
    way = ".png" if video.small else ".webp"
    options = [] if video.small else [cv2.IMWRITE_WEBP_QUALITY, 80]
    data = cv2.imencode(way, strip, options)[1].tobytes()
    caption = video.prompt or (video.label if video.label.lower() != video.role_name.lower() else "")
    return {
        "src": data_uri(f"image/{way[1:]}", data), "role_name": video.role_name, "caption": caption,
        "alt": f"{count} frames of {video.num_frames} of {video.role_name.lower()} {caption}".strip(),
        "width": strip.shape[1], "height": height, "small": video.small,
    }  # fmt: skip


def load_picture(folder: Path, entry: Mapping[str, str]) -> dict[str, Any] | None:
    """A picture of the run: ``{"title": ..., "file": a png or webp in the folder, "caption": ...}``."""
    path = folder / entry["file"]
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        return None
    source = data_uri(f"image/{path.suffix[1:]}", path.read_bytes())
    return {**entry, "src": source, "width": image.shape[1], "height": image.shape[0]}
