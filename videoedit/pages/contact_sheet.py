"""Contact sheets: videos one below the other, each a row of frames under its label."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from videoedit.errors import InputError


def contact_sheet(
    videos: Mapping[str, np.ndarray], columns: int = 8, *, side: int = 128, dark: bool = False
) -> np.ndarray:
    """One labelled row of evenly spaced frames per video; uint8 [H, W, 3], RGB.

    `videos` maps a label to frames uint8 [F, H, W, 3]; `columns` is the most frames in a row, `side` the longer
    side of a frame in the sheet. Small frames are enlarged with hard pixels.
    """
    if not videos or columns < 1:
        raise InputError("a contact sheet needs at least one video and one column")
    rows = []
    for label, frames in videos.items():
        chosen = np.linspace(0, len(frames) - 1, min(columns, len(frames))).round().astype(int)
        cells = []
        for index in chosen:
            cell = _fit(frames[index], side)
            cells += [np.full((cell.shape[0], 4, 3), _paper(dark), np.uint8), cell]
        rows.append((label, np.concatenate(cells[1:], axis=1)))
    margin = max(8, side // 12)
    width = max(row.shape[1] for _, row in rows)
    parts = [np.full((margin, width, 3), _paper(dark), np.uint8)]
    for label, row in rows:
        padding = np.full((row.shape[0], width - row.shape[1], 3), _paper(dark), np.uint8)
        parts += [_caption(label, width, dark), np.concatenate([row, padding], axis=1)]
        parts.append(np.full((margin, width, 3), _paper(dark), np.uint8))
    sheet = np.concatenate(parts)
    return np.pad(sheet, ((0, 0), (margin, margin), (0, 0)), constant_values=_paper(dark))


def _paper(dark: bool) -> int:
    return 24 if dark else 255


def _fit(frame: np.ndarray, side: int) -> np.ndarray:
    """The frame with its longer side at `side`; whole multiples of small frames keep hard pixels."""
    height, width = frame.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    way = cv2.INTER_NEAREST if scale >= 1.5 else cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(frame, size, interpolation=way))


def _caption(text: str, width: int, dark: bool, *, size: int = 14) -> np.ndarray:
    """Text on paper, uint8 [H, width, 3], wrapped at words to the width."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size)
    lines: list[str] = []
    line = ""
    for word in text.split() or [""]:
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > width:
            lines, line = [*lines, line], word
        else:
            line = longer
    lines.append(line)
    step = round(size * 1.3)
    image = Image.new("RGB", (width, step * len(lines) + 6), (_paper(dark),) * 3)
    ImageDraw.Draw(image).multiline_text(
        (0, 1), "\n".join(lines), fill=(225,) * 3 if dark else (40,) * 3, font=font, spacing=step - size
    )
    return np.asarray(image)
