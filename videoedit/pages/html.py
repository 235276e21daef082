"""Pages of one file each, with their own style and script; and figures as people read them."""

from __future__ import annotations

import base64
import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"
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
    style, script = _joined(environment, styles), _joined(environment, scripts)
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template(template)
    return page.render(**context, style=style, script=script, script_hash=f"sha256-{hashed}")


def _joined(environment: Any, names: Sequence[str]) -> str:
    return "".join(environment.loader.get_source(environment, name)[0] for name in names)


@functools.cache
def _environment(folder: Path) -> Any:
    """Compiles a template once."""
    import jinja2

    loader = jinja2.FileSystemLoader([folder, TEMPLATES])
    return jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )


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
        return ", ".join(map(_setting, value)) or "none"
    return str(value) if str(value) else "(empty)"
