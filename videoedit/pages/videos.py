"""The videos and pictures that the record of a run names, as its page shows them. Only files of its folder are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from videoedit.errors import InputError, OutputError
from videoedit.files import inside
from videoedit.media.video import iter_frames, probe
from videoedit.pages.embed import Cut, ShownVideo, data_uri, embed, encoded_picture, thumbnail

PREVIEW_SIDE = 480  # longer side, pixels, of a preview that stands in for a video over the limit
STRIP_FRAMES = 8
ROLES = {"source": "Source", "reconstruction": "Reconstruction", "edit": "Edit", "truth": "Ground truth"}
MANY = 4  # videos; of more, some stand in pairs


@dataclass(eq=False)
class RunVideo(ShownVideo):
    """A video of a run, and what its record says of it."""

    label: str = ""
    prompt: str = ""
    role: str = ""
    name: str = ""  # of the file
    strip: np.ndarray | None = None  # up to STRIP_FRAMES frames, uint8 [N, H, W, 3]
    num_frames: int = 0
    fps: float = 0.0

    @property
    def role_name(self) -> str:
        return ROLES.get(self.role, self.role.capitalize() or "Video")


def load_videos(folder: Path, record: Mapping[str, Any]) -> list[RunVideo]:
    """The videos of a run; one that is missing, broken or outside the run's folder has a problem instead."""
    videos, readable = [], []
    for entry in record.get("videos") or []:
        label, prompt, role = (str(entry.get(key) or "") for key in ("label", "prompt", "role"))
        video = RunVideo(label=label, prompt=prompt, role=role)
        videos.append(video)
        try:
            path = _inside(folder, entry.get("file"))
            video.name = path.name
            _inspect(path, video)
        except InputError as error:
            video.problem = str(error)
        else:
            readable.append((Cut(path), video))
    embed(readable, folder, side=PREVIEW_SIDE)
    return videos


def _inside(folder: Path, name: Any) -> Path:
    """A file of the run's folder by the name in its record; InputError if it leads out of the folder."""
    try:
        return inside(folder, str(name or ""))
    except OutputError as error:
        raise InputError(f"{str(name)!r} is not inside the run folder, so it is not shown.") from error


def _inspect(path: Path, video: RunVideo) -> None:
    """Fill in sizes, rate and some frames."""
    if not path.is_file():
        raise InputError(f"{path.name or 'The video'} is not in the run folder.")
    strip, count = [], 0
    try:
        info = probe(path)
        wanted = set(np.linspace(0, max(0, info.frames - 1), STRIP_FRAMES).round().astype(int).tolist())
        for frame in iter_frames(path):
            if count in wanted:
                strip.append(thumbnail(frame))
            count += 1
    except InputError as error:
        raise InputError(f"{path.name} cannot be read: {error}") from error
    video.fps, video.width, video.height = float(info.fps), info.width, info.height
    video.num_frames, video.strip = count, np.stack(strip)


def group_videos(videos: Sequence[RunVideo]) -> list[list[RunVideo]]:
    """Source, then each edit with its ground truth beside it, then the rest; where there are many, in pairs."""
    sources: list[list[RunVideo]] = []
    edits: list[list[RunVideo]] = []
    others: list[RunVideo] = []
    for video in videos:
        if video.role == "source":
            sources.append([video])
        elif video.role == "edit":
            edits.append([video])
        else:
            others.append(video)
    for pair in edits:
        if truth := next((other for other in others if _is_truth_of(other, pair[0])), None):
            pair.append(truth)
            others.remove(truth)
    if len(videos) > MANY and len(sources) == 1 and others and others[0].role == "reconstruction":
        sources[0].append(others.pop(0))
    groups = [*sources, *edits]
    for other in others:
        groups.append([other])
    return groups


def _is_truth_of(video: RunVideo, edit: RunVideo) -> bool:
    return video.role == "truth" and bool(edit.prompt) and video.prompt == edit.prompt


def contact_strip(video: RunVideo) -> dict[str, Any] | None:
    """The contact strip of a video: frames side by side with a thin gap."""
    if video.strip is None:
        return None
    count, height, width = video.strip.shape[:3]
    gap = max(1, width // 48)
    image = np.zeros((height, STRIP_FRAMES * (width + gap) - gap, 4), np.uint8)
    for index, frame in enumerate(video.strip):
        left = index * (width + gap)
        image[:, left : left + width, :3], image[:, left : left + width, 3] = frame, 255
    caption = video.prompt or (video.label if video.label.lower() != video.role_name.lower() else "")
    return {
        "src": encoded_picture(image, quality=None if video.is_small else 80),
        "role_name": video.role_name,
        "caption": caption,
        "alt": f"{count} frames of {video.num_frames} of {video.role_name.lower()} {caption}".strip(),
        "width": image.shape[1],
        "height": height,
        "small": video.is_small,
    }


def load_picture(folder: Path, entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """A picture of the run: ``{"title": ..., "file": a png or webp in the folder, "caption": ...}``.

    None if there is no such picture; with a problem in its place if its file is outside the run's folder.
    """
    shown = {"title": str(entry.get("title") or ""), "caption": str(entry.get("caption") or ""), "problem": ""}
    try:
        path = _inside(folder, entry.get("file"))
    except InputError as error:
        return shown | {"problem": str(error)}
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    if image is None:
        return None
    source = data_uri(f"image/{path.suffix[1:]}", path.read_bytes())
    return shown | {"src": source, "width": image.shape[1], "height": image.shape[0]}
