"""What the pages share: one file with its own style and script, figures as people read them, videos inside the page."""

from __future__ import annotations

import base64
import functools
import hashlib
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

TEMPLATES = Path(__file__).parent / "templates"
SMALL = 192  # a video up to this wide is enlarged with hard pixels
BETTER = {"higher": "higher is better", "lower": "lower is better", "one": "best near 1", "none": ""}


def render(
    template: str,
    context: Mapping[str, Any],
    *,
    styles: Sequence[str],
    scripts: Sequence[str],
    folder: Path = TEMPLATES,
) -> str:
    """A page of a template in `folder` (or among the shared ones), with styles and scripts inside it.

    The page's policy lets nothing run but these scripts: the template gets their hash as `script_hash`.
    """
    environment = _environment(folder)
    loader = environment.loader
    style, script = ("".join(loader.get_source(environment, name)[0] for name in names) for names in (styles, scripts))
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template(template)
    return page.render(**context, style=style, script=script, script_hash=f"sha256-{hashed}")


@functools.cache
def _environment(folder: Path) -> Any:
    """Compiles a template once."""
    import jinja2

    loader = jinja2.FileSystemLoader([folder, TEMPLATES])
    return jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )


def data_uri(kind: str, data: bytes) -> str:
    """`data` of the media type `kind` as an address that needs no network."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


# -------------------------------------------------------------------------------------------------- pictures


def thumbnail(frame: np.ndarray, side: int = 224) -> np.ndarray:
    """The frame, shrunk so that its longer side is at most `side`."""
    height, width = frame.shape[:2]
    if max(height, width) <= side:
        return frame
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def preview(
    path: Path, limit: float, side: int, *, start: int = 0, stride: int = 1, num_frames: int | None = None
) -> bytes | None:
    """A copy (mp4) of at most `limit` bytes with the longer side at most `side` pixels; None if that is not enough.

    With `start`, `stride` and `num_frames` a copy of these frames alone.
    """
    from videoedit.media.video import iter_frames, probe, write_video

    info = probe(path)
    scale = min(1.0, side / max(info.width, info.height))
    size = max(2, round(info.width * scale / 2) * 2), max(2, round(info.height * scale / 2) * 2)
    frames = (
        cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        for frame in iter_frames(path, start=start, stride=stride, num_frames=num_frames)
    )
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary) / "preview.mp4"
        write_video(target, frames, info.fps / stride)
        return target.read_bytes() if target.stat().st_size <= limit else None


# --------------------------------------------------------------------------------------------------- figures


def number(value: Any) -> str:
    """A figure in four digits; – for nan, ∞ for identical clips, empty for no value."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if isinstance(value, int):
        text = str(value)
    else:
        text = f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}" if abs(value) < 1000 else f"{value:.0f}"
        text = f"{value:.3g}" if value and abs(value) < 0.01 else text
    return text.replace("-", "−", 1) if value < 0 else text


def duration(seconds: float | None) -> str:
    """Seconds as people say them; empty for None."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def memory(megabytes: float | None) -> str:
    """MiB, or GiB where they are many; empty for None."""
    if megabytes is None:
        return ""
    return f"{megabytes / 1024:.1f} GiB" if megabytes >= 1024 else f"{megabytes:.0f} MiB"


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted keys and readable values."""
    rows: dict[str, str] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            rows |= flatten(item, f"{prefix}{key}.")
        else:
            rows[f"{prefix}{key}"] = _setting(item)
    return rows


def _setting(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_setting(item) for item in value) or "none"
    return str(value) if str(value) else "(empty)"


# ---------------------------------------------------------------------------------------------------- curves


def round_ticks(low: float, high: float) -> list[float]:
    """Three to six round values that cover [low, high]."""
    raw = (high - low) / 4
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    start = math.floor(low / step + 1e-9)
    return [round(index * step, 12) for index in range(start, math.ceil(high / step - 1e-9) + 1)]


def svg_path(points: Iterable[tuple[float, float]]) -> str:
    """A line through points, in SVG's wording."""
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
