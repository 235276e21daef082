"""Results of a run in the layouts of other benchmarks, so that their scripts can score them.

For each method: ``tgve`` (LOVEU-TGVE 2023) is ``SUBSET/CLIP/TYPE/00000.jpg``, as it is submitted; ``v2vbench`` is
``CLIP/NUMBER/00000.png``. `videoedit.evaluation.layouts` reads both again.

Scores after a round trip: PNG keeps every pixel that was measured, so that an import scores exactly the same. TGVE's
own script reads ``*.jpg`` and nothing else, so JPEG is that layout's default (quality 95, no chroma subsampling). It is
off by 0.5 to 1.2 grey levels on filmed clips (44 to 49 dB): little for CLIP, but enough to raise the flicker of a calm
clip by 13 %. Whoever scores with this toolkit exports PNG. V2VBench reads PNG, its default.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from PIL import Image

from videoedit.errors import ConfigError, InputError, OutputError
from videoedit.evaluation.layouts.imported import TGVE_TYPES, edit_names
from videoedit.evaluation.layouts.tgve import TGVE_NAME, TGVE_PROMPTS, TGVE_SOURCE, TGVE_SUBSETS, tgve_part
from videoedit.evaluation.results import UnitResult, read_results
from videoedit.evaluation.suite import Suite, SuiteClip, nearest, read_suite
from videoedit.files import atomic_path, inside, write_text

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)


def export_results(results_folder: Path, layout: str, target: Path, *, pictures: str | None = None) -> Path:
    """Write the edited clips of a finished run as frames, in `target`/METHOD (METHOD-SEED if there are several seeds).

    `pictures`: by default what the layout's own script reads, jpg for ``tgve``, png for ``v2vbench``; png keeps scores
    exactly. Beside the methods stand the captions (``tgve``: prompts.csv) or the index (``v2vbench``: config.yaml).
    Units that failed are left out with a warning. Returns `target`.
    Raises InputError (no results), ConfigError (no such layout), OutputError (`target` holds something already).
    """
    if layout not in ("tgve", "v2vbench"):
        raise ConfigError(f"layout {layout!r} cannot be exported; {nearest(layout, ('tgve', 'v2vbench'), 'there are')}")
    if pictures not in (None, "png", "jpg"):
        raise ConfigError(f"pictures are written as png or jpg, not {pictures!r}")
    results, suite = read_results(results_folder), read_suite(results_folder / "suite.yaml")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OutputError(f"{target} is there already and not empty; choose a new folder")
    _check_units(results.units, suite)
    several = len({unit.seed for unit in results.units}) > 1
    for unit in results.units:
        if unit.status != "done" or unit.video is None:
            logger.warning("left out: %s/%s of %s failed: %s", unit.clip, unit.edit, unit.method, unit.reason)
            continue
        home = target / (f"{unit.method}-{unit.seed}" if several else unit.method)
        place = home / (_tgve_place if layout == "tgve" else _v2vbench_place)(suite, unit)
        _write_frames(inside(results_folder, unit.video), place, pictures or ("jpg" if layout == "tgve" else "png"))
        if unit.is_partial:
            logger.warning("%s covers %d of %d frames: it cannot be imported as the whole clip", place, unit.frames[2],
                           unit.asked[2])  # fmt: skip
    if layout == "tgve":
        write_text(target / "prompts.csv", _tgve_table(suite))
    else:
        write_text(target / "config.yaml", _v2vbench_index(suite))
    return target


def _check_units(units: Iterable[UnitResult], suite: Suite) -> None:
    """InputError if a unit is of a clip or an edit that the suite does not have."""
    known = {(clip.id, edit.id) for clip in suite.clips for edit in clip.edits}
    for unit in units:
        if (unit.clip, unit.edit) not in known:
            raise InputError(f"results name {unit.clip}/{unit.edit}, which suite.yaml lacks; run the benchmark again")


def _clip_of(suite: Suite, unit: UnitResult) -> SuiteClip:
    return next(clip for clip in suite.clips if clip.id == unit.clip)


def _tgve_subset(suite: Suite, clip: SuiteClip) -> str:
    return tgve_part(clip.path) or suite.name


def _tgve_kind(clip: SuiteClip, edit: str) -> str:
    """TGVE's name for an edit, if it has one; else the edit's id."""
    for name in edit_names(clip)[edit]:
        if name in TGVE_TYPES:
            return name
    return edit


def _tgve_place(suite: Suite, unit: UnitResult) -> str:
    clip = _clip_of(suite, unit)
    return f"{_tgve_subset(suite, clip)}/{clip.id}/{_tgve_kind(clip, unit.edit)}"


def _tgve_table(suite: Suite) -> str:
    """The captions of a suite in the form of TGVE's table; edits that it has no column for are not in it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([TGVE_NAME, TGVE_SOURCE, *TGVE_PROMPTS.values()])
    parts: dict[str, list[SuiteClip]] = {}
    for clip in suite.clips:
        parts.setdefault(_tgve_subset(suite, clip), []).append(clip)
    words = dict(zip(TGVE_SUBSETS.values(), TGVE_SUBSETS, strict=True))
    for subset, clips in parts.items():
        writer.writerow([f"{words.get(subset, subset)} Videos:"])
        for clip in clips:
            prompts = dict.fromkeys(TGVE_PROMPTS, "")
            for edit in clip.edits:
                if (kind := _tgve_kind(clip, edit.id)) in prompts:
                    prompts[kind] = edit.prompt
            writer.writerow([clip.id, clip.prompt, *prompts.values()])
        writer.writerow([])
    return text.getvalue()


def _v2vbench_place(suite: Suite, unit: UnitResult) -> str:
    edits = [edit.id for edit in _clip_of(suite, unit).edits]
    return f"{unit.clip}/{edits.index(unit.edit)}"


def _v2vbench_index(suite: Suite) -> str:
    entries = []
    for clip in suite.clips:
        edits = []
        for edit in clip.edits:
            edits.append({"prompt": edit.prompt, "type": edit.type})
        entries.append({"video_id": clip.id, "prompt": clip.prompt, "edit": edits})
    return yaml.safe_dump({"data": entries}, sort_keys=False, allow_unicode=True, width=120)


def _write_frames(video: Path, place: Path, kind: str) -> None:
    """All frames of a video as ``00000.png`` (every pixel kept) or ``00000.jpg`` (quality 95, full colour)."""
    from videoedit.media.video import iter_frames

    for number, frame in enumerate(iter_frames(video)):
        _write_picture(place / f"{number:05d}.{kind}", frame)


def _write_picture(path: Path, frame: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(frame).save(temporary, quality=95, subsampling=0, compress_level=4)
