"""Pictures of a results page as numbers for SVG: curves frame by frame, and figures against edit strength."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from videoedit.pages.html import number, round_ticks, svg_path

WIDTH, HEIGHT = 560, 190
LEFT, RIGHT, TOP, BOTTOM = 58, 550, 8, 158  # of the field inside the box
CLOUD_BOTTOM = 262
LABEL_HEIGHT = 15


@dataclass(frozen=True)
class Curve:
    """One method's figure over the frames of a clip."""

    label: str
    colour: str  # its class in the page
    frames: Sequence[int]  # where each value stands, counted in frames shown
    values: Sequence[float]  # nan: nothing to measure, a gap
    keyframes: Sequence[int] = ()  # frames


def over_frames(title: str, curves: Sequence[Curve], num_frames: int) -> dict[str, Any] | None:
    """Curves of one metric in one box, their key frames as ticks below it; None if no curve has two values."""
    curves = [curve for curve in curves if sum(map(math.isfinite, curve.values)) >= 2]
    if not curves:
        return None
    values = [value for curve in curves for value in curve.values if math.isfinite(value)]
    ticks = _ticks_over(min(0.0, *values), max(values))

    def x(frame: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * frame / max(1, num_frames - 1), 1)

    def y(value: float) -> float:
        return _place(value, ticks, BOTTOM, TOP)

    seams = [curve for curve in curves if curve.keyframes]
    last = num_frames - 1
    return {
        "title": title,
        "height": HEIGHT + 7 * len(seams),
        "lines": [
            {
                "label": c.label,
                "colour": c.colour,
                "d": _broken((x(f), y(v)) for f, v in zip(c.frames, c.values, strict=True)),
            }
            for c in curves
        ],
        "seams": [
            {"label": c.label, "colour": c.colour, "y": BOTTOM + 6 + 7 * row, "at": [x(frame) for frame in c.keyframes]}
            for row, c in enumerate(seams)
        ],
        "y_ticks": [{"at": y(tick), "text": f"{tick:g}"} for tick in ticks],
        "x_ticks": [{"at": x(i), "text": str(i + 1)} for i in sorted({0, last // 2, last})],
        "text_y": BOTTOM + 22 + 7 * len(seams),
        "step": (RIGHT - LEFT) / max(1, last),
        "alt": f"{title} over {num_frames} frames: "
        + "; ".join(f"{c.label} {number(_mean(c.values))} on average" for c in curves),
    }


@dataclass(frozen=True)
class Spot:
    """One method's two figures with their intervals (low, high), None where there is none."""

    label: str
    colour: str
    x: float
    y: float
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None


def cloud(spots: Sequence[Spot], x_title: str, y_title: str) -> dict[str, Any] | None:
    """Methods as points with crosses for their intervals; None for fewer than two points."""
    if len(spots) < 2:
        return None
    across, up = _ticks_over(*_span(spots, "x")), _ticks_over(*_span(spots, "y"))

    def x(value: float) -> float:
        return _place(value, across, LEFT, RIGHT)

    def y(value: float) -> float:
        return _place(value, up, CLOUD_BOTTOM, TOP)

    points: list[dict[str, Any]] = [
        {
            "label": spot.label, "colour": spot.colour, "x": x(spot.x), "y": y(spot.y),
            "across": [x(end) for end in spot.x_range] if spot.x_range else [],
            "up": [y(end) for end in spot.y_range] if spot.y_range else [],
        }
        for spot in spots
    ]  # fmt: skip
    for point, (text_x, text_y, anchor) in zip(points, _label_places(points), strict=True):
        point |= {"text_x": text_x, "text_y": text_y, "anchor": anchor}
    return {
        "x_title": x_title,
        "y_title": y_title,
        "points": points,
        "x_ticks": [{"at": x(tick), "text": f"{tick:g}"} for tick in across],
        "y_ticks": [{"at": y(tick), "text": f"{tick:g}"} for tick in up],
        "alt": f"{y_title} against {x_title}: "
        + "; ".join(f"{spot.label} {number(spot.y)} at {number(spot.x)}" for spot in spots),
    }


def _span(spots: Sequence[Spot], axis: str) -> tuple[float, float]:
    values = [getattr(spot, axis) for spot in spots]
    values += [end for spot in spots for end in getattr(spot, f"{axis}_range") or ()]
    return min(0.0, *values), max(values)


def _label_places(points: Sequence[Mapping[str, Any]]) -> list[tuple[float, float, str]]:
    """A free place for each label: right of its point or left, moved down or up past labels that stand there."""
    taken: list[tuple[float, float, float]] = []  # left, right, middle
    places = []
    for point in points:
        width = 7.2 * len(point["label"])
        right = point["x"] + 9 + width <= RIGHT
        start = point["x"] + 9 if right else point["x"] - 9 - width
        for nudge in (-5, 12, -20, 27, -35, 42, 0):
            middle = point["y"] + nudge
            free = all(start > e or start + width < s or abs(middle - m) >= LABEL_HEIGHT for s, e, m in taken)
            if free and TOP <= middle <= CLOUD_BOTTOM:
                break
        taken.append((start, start + width, middle))
        places.append((point["x"] + 9 if right else point["x"] - 9, round(middle + 4, 1), "start" if right else "end"))
    return places


def _ticks_over(low: float, high: float) -> list[float]:
    return round_ticks(low, high if high > low else low + max(abs(low), 1) * 0.1)


def _place(value: float, ticks: Sequence[float], start: float, end: float) -> float:
    return round(start + (end - start) * (value - ticks[0]) / (ticks[-1] - ticks[0]), 1)


def _broken(points: Iterable[tuple[float, float]]) -> str:
    """A line through points; where there is none (nan), it starts anew."""
    parts: list[list[tuple[float, float]]] = [[]]
    for point in points:
        parts[-1].append(point) if math.isfinite(point[1]) else parts.append([])
    return "".join(svg_path(part) for part in parts if part)


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite)
