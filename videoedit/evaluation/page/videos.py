"""The videos of a results page: each once, inside the page where the limit allows it, or as a link beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from videoedit.errors import InputError
from videoedit.media.video import iter_frames
from videoedit.pages.embed import Cut, ShownVideo, embed, encoded_picture, thumbnail

PREVIEW_SIDE = 384  # longer side, pixels, of a preview that stands in for a video over the limit
POSTER_SIDE = 256
MANY = 200  # videos; above, posters are smaller


@dataclass
class ClipVideo(ShownVideo):
    """A cut as the page shows it."""

    id: str = ""
    poster: str = ""

    @property
    def address(self) -> str:
        """For the page's script: the id of the data in the page, or the file beside it."""
        return f"#{self.id}" if self.data else self.link


def load_videos(cuts: Iterable[Cut], folder: Path) -> dict[Cut, ClipVideo]:
    """A video for each different cut; `folder` is the page's. A file that is missing or broken becomes a problem."""
    videos = {cut: ClipVideo() for cut in cuts}
    side = POSTER_SIDE if len(videos) <= MANY else POSTER_SIDE // 2
    sound = []
    for number, (cut, video) in enumerate(videos.items()):
        video.id = f"film-{number}"
        video.problem = _inspect(cut, video, side)
        if not video.problem:
            sound.append((cut, video))
    embed(sound, folder, side=PREVIEW_SIDE)
    known: dict[str, str] = {}
    for _, video in sound:
        if video.data:
            video.id = known.setdefault(video.data, video.id)
    return videos


def _inspect(cut: Cut, video: ClipVideo, side: int) -> str:
    """Fill in size and poster; returns the problem if there is nothing to show."""
    if not cut.path.is_file():
        return f"{cut.path.name} is missing."
    start = cut.frames[0] if cut.frames else 0
    try:
        frame = next(iter_frames(cut.path, start=start, num_frames=1))
    except InputError as error:
        return f"{cut.path.name} cannot be read: {error}"
    video.height, video.width = frame.shape[:2]
    video.poster = encoded_picture(thumbnail(frame, side), quality=90 if video.is_small else 75)
    return ""
