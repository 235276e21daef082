"""Plots as numbers for SVG: curves, figures against figures, and the scales that bars stand on. Templates draw them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from videoedit.pages.html import number

# -------------------------------------------------------------------------------------------------- scales


@dataclass(frozen=True)
class Scale:
    """Places of figures along one side of a plot: `low` stands at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = (self.high - self.low) or 1
        return round(self.start + (self.end - self.start) * (value - self.low) / span, 1)

    def ticks(self, values: Iterable[float]) -> list[dict[str, Any]]:
        """Ticks at these values: their places and their text."""
        return [{"at": self(value), "text": f"{value:g}"} for value in values]


def round_ticks(low: float, high: float) -> list[float]:
    """Three to six round values that cover [low, high]; where that is empty, a little above `low`."""
    high = high if high > low else low + max(abs(low), 1) * 0.1
    raw = (high - low) / 4
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = []
    for index in range(first, last + 1):
        ticks.append(round(index * step, 12))
    return ticks


def svg_path(points: Iterable[tuple[float, float]]) -> str:
    """A line through points, in SVG's wording; where a point is missing (y is nan), it starts anew."""
    parts: list[str] = []
    letter = "M"
    for x, y in points:
        if math.isfinite(y):
            parts.append(f"{letter}{x:g} {y:g}")
        letter = "L" if math.isfinite(y) else "M"
    return "".join(parts)


def _numbered(scale: Scale, last: int) -> list[dict[str, Any]]:
    """Ticks at the first, the middle and the last of things that people count from 1."""
    ticks = []
    for index in sorted({0, last // 2, last}):
        ticks.append({"at": scale(index), "text": str(index + 1)})
    return ticks


# ------------------------------------------------------------------------------------------------ one curve

_WIDE, _TALL = (56, 712), (190, 12)  # the field of a single curve: left and right, bottom and top
_MANY = 200  # values; of more, the highest few may leave the field


def single_curve(
    title: str,
    values: Sequence[float],  # finite, at least two
    unit: str = "frames",
    keyframes: Sequence[int] = (),
) -> dict[str, Any]:
    """Values in the order in which they came, and their running mean where they are many; `keyframes` are marked.

    `unit` says what there is one value of.
    """
    data = np.asarray(values, float)
    window = max(1, len(data) // 20)
    smooth = _running_mean(data, window)
    ticks = round_ticks(float(data.min()), float(np.quantile(data, 0.995) if len(data) > _MANY else data.max()))
    low, high = min(float(data.min()), ticks[0]), ticks[-1]
    x, y = Scale(0, len(data) - 1, *_WIDE), Scale(low, high, *_TALL)

    def line(heights: np.ndarray) -> str:
        return svg_path((x(index), y(min(height, high))) for index, height in enumerate(heights))

    marks = [x(frame) for frame in keyframes if frame < len(data)]
    caption = f"{len(data)} {unit}"
    caption += f"; the bold line averages {window} of them" if window > 1 else ""
    caption += "; upright lines are key frames." if marks else "."
    first, last = number(float(smooth[:window].mean())), number(float(smooth[-window:].mean()))
    return {
        "title": title,
        "raw": line(data),
        "smooth": line(smooth) if window > 1 else "",
        "marks": marks,
        "y_ticks": y.ticks(ticks),
        "x_ticks": _numbered(x, len(data) - 1),
        "alt": f"{title} over {len(data)} {unit}, from {first} to {last}",
        "caption": caption,
    }


def _running_mean(data: np.ndarray, window: int) -> np.ndarray:
    """Means of `window` neighbours; the first and the last value go on beyond the ends."""
    padded = np.pad(data, (window // 2, window - 1 - window // 2), "edge")
    return np.convolve(padded, np.ones(window) / window, "valid")


# --------------------------------------------------------------------------------------------- several curves

WIDTH, HEIGHT = 560, 190
LEFT, RIGHT, TOP, BOTTOM = 58, 550, 8, 158  # of the field inside the box
_SEAM_ROW = 7  # height of a row of key frames below the field


@dataclass(frozen=True)
class Curve:
    """One method's figure over the frames of a clip."""

    label: str
    color: str  # its class in the page
    frames: Sequence[int]  # where each value stands, counted in frames shown
    values: Sequence[float]  # nan: nothing to measure, a gap
    keyframes: Sequence[int] = ()  # frames

    @property
    def known(self) -> list[float]:
        """The values that could be measured."""
        return list(filter(math.isfinite, self.values))

    @property
    def summary(self) -> str:
        return f"{self.label} {number(sum(self.known) / len(self.known))} on average"


def over_frames(title: str, curves: Sequence[Curve], num_frames: int) -> dict[str, Any] | None:
    """Curves of one metric in one box, their key frames as ticks below it; None if no curve has two values."""
    drawn = []
    values = [0.0]
    for curve in curves:
        if len(curve.known) >= 2:
            drawn.append(curve)
            values += curve.known
    if not drawn:
        return None
    last = num_frames - 1
    ticks = round_ticks(min(values), max(values[1:]))
    x, y = Scale(0, max(1, last), LEFT, RIGHT), Scale(ticks[0], ticks[-1], BOTTOM, TOP)
    lines: list[dict[str, Any]] = []
    seams: list[dict[str, Any]] = []
    for curve in drawn:
        named = {"label": curve.label, "color": curve.color}
        points = zip(map(x, curve.frames), map(y, curve.values), strict=True)
        lines.append(named | {"d": svg_path(points)})
        if curve.keyframes:
            row = BOTTOM + _SEAM_ROW - 1 + _SEAM_ROW * len(seams)
            seams.append(named | {"y": row, "at": list(map(x, curve.keyframes))})
    return {
        "title": title,
        "height": HEIGHT + _SEAM_ROW * len(seams),
        "lines": lines,
        "seams": seams,
        "y_ticks": y.ticks(ticks),
        "x_ticks": _numbered(x, last),
        "text_y": BOTTOM + 22 + _SEAM_ROW * len(seams),
        "step": (RIGHT - LEFT) / max(1, last),
        "alt": f"{title} over {num_frames} frames: " + "; ".join(curve.summary for curve in drawn),
    }


# ------------------------------------------------------------------------------------ figures against figures

SCATTER_BOTTOM = 262
_LETTER, _LINE = 8.5, 17  # width of a letter of a label, and height of a label: what a phone shows, the larger one
_DOT = 8  # half the side of a square that holds a point, and room around it
_NUDGES = (-5, 12, -20, 27, -35, 42, -50, 57, -65, 72)  # of a label, down from its point


@dataclass(frozen=True)
class Spot:
    """One method's two figures with their intervals (low, high), None where there is none."""

    label: str
    color: str
    x: float
    y: float
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None


def scatter(spots: Sequence[Spot], x_title: str, y_title: str) -> dict[str, Any] | None:
    """Methods as points with crosses for their intervals; None for fewer than two points."""
    if len(spots) < 2:
        return None
    across, up, summaries = [0.0], [0.0], []
    for spot in spots:
        across += [spot.x, *(spot.x_range or ())]
        up += [spot.y, *(spot.y_range or ())]
        summaries.append(f"{spot.label} {number(spot.y)} at {number(spot.x)}")
    x_ticks, y_ticks = round_ticks(min(across), max(across[1:])), round_ticks(min(up), max(up[1:]))
    x, y = Scale(x_ticks[0], x_ticks[-1], LEFT, RIGHT), Scale(y_ticks[0], y_ticks[-1], SCATTER_BOTTOM, TOP)
    points: list[dict[str, Any]] = []
    for spot in spots:
        place = {"x": x(spot.x), "y": y(spot.y)}
        cross = {"across": list(map(x, spot.x_range or ())), "up": list(map(y, spot.y_range or ()))}
        points.append({"label": spot.label, "color": spot.color, **place, **cross})
    _place_labels(points)
    return {
        "x_title": x_title,
        "y_title": y_title,
        "points": points,
        "x_ticks": x.ticks(x_ticks),
        "y_ticks": y.ticks(y_ticks),
        "alt": f"{y_title} against {x_title}: " + "; ".join(summaries),
    }


@dataclass(frozen=True)
class _Area:
    """A rectangle in a plot."""

    left: float
    right: float
    top: float
    bottom: float

    def overlap(self, other: _Area) -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)

    def outside(self) -> float:
        """The part of its area, roughly, that lies outside the field of a scatter plot."""
        field = _Area(LEFT, RIGHT, TOP - 4, SCATTER_BOTTOM + 4)
        return (self.right - self.left) * (self.bottom - self.top) - self.overlap(field)


def _place_labels(points: Sequence[dict[str, Any]]) -> None:
    """Give each point's label a place beside it, right or left, where it covers neither a label nor a point."""
    taken = []
    for point in points:
        taken.append(_Area(point["x"] - _DOT, point["x"] + _DOT, point["y"] - _DOT, point["y"] + _DOT))

    def trouble(place: tuple[_Area, dict[str, Any]]) -> float:
        return 10 * place[0].outside() + sum(map(place[0].overlap, taken))

    for point in points:
        area, text = min(_places(point), key=trouble)
        point |= text
        taken.append(area)


def _places(point: dict[str, Any]) -> Iterator[tuple[_Area, dict[str, Any]]]:
    """Places for a point's label, the nearest first: the area, and where the text is set."""
    width = _LETTER * len(point["label"])
    for nudge in _NUDGES:
        middle = point["y"] + nudge
        for anchor, side in (("start", 1), ("end", -1)):
            near = point["x"] + 9 * side
            left, right = sorted((near, near + width * side))
            area = _Area(left, right, middle - _LINE / 2, middle + _LINE / 2)
            yield area, {"text_x": near, "text_y": round(middle + 4, 1), "anchor": anchor}
