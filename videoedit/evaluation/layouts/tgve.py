"""LOVEU-TGVE 2023: ``SUBSET/480p_videos/CLIP.mp4`` (or ``480p_frames/CLIP/``), with its table or its configs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from videoedit.config import read_yaml
from videoedit.errors import ConfigError
from videoedit.evaluation.layouts.common import Draft, csv_rows, one_line, report_lost, slug, usual_table
from videoedit.evaluation.layouts.imported import TGVE_TYPES, find_clip

TGVE_SUBSETS = {"davis": "DAVIS_480p", "youtube": "youtube_480p", "videvo": "videvo_480p"}
TGVE_NAME, TGVE_SOURCE = "Video name", "Our GT caption"
TGVE_PROMPTS = {
    "style": "Style Change Caption",
    "object": "Object Change Caption",
    "background": "Background Change Caption",
    "multiple": "Multiple Changes Caption",
}
TGVE_SETTINGS = {
    "tune": {"steps": 500, "learning_rate": 3e-5},
    "invert": {"steps": 50},
    "sample": {"steps": 50, "guidance_scale": 12.5},
}
"""Of the benchmark's Tune-A-Video baseline; its model is Stable Diffusion 1.4."""


def import_tgve(folder: Path, table: Path | None = None) -> Draft:
    """The unpacked benchmark. `table`: its ``LOVEU-TGVE-2023_Dataset.csv`` or its folder of per-video YAML configs."""
    table = table or usual_table(folder, ("LOVEU-TGVE-2023_Dataset.csv", "LOVEU-TGVE-2023*.csv", "*.csv", "configs"))
    if table.suffix.lower() in (".xlsx", ".xls"):
        raise ConfigError(f"{table} is a spreadsheet; save it as CSV (with its heading) and give that")
    captions = _tgve_captions(table) if table.is_file() and table.suffix.lower() == ".csv" else _tgve_configs(table)
    clips: dict[str, Any] = {}
    lost = []
    for subset, name, clip in captions:
        places = (folder / subset / "480p_videos", folder / subset, folder / subset / "480p_frames")
        if (path := find_clip(places, name)) is None:
            lost.append(name)
        else:
            clips[slug(name)] = {"path": path, **clip}
    report_lost(lost, clips, folder, "DAVIS_480p/480p_videos/NAME.mp4 or DAVIS_480p/480p_frames/NAME/00000.jpg")
    return {
        "name": "tgve",
        "title": "LOVEU-TGVE 2023",
        "size": "480x480",
        "published": "tgve",
        "settings": {"tuneavideo": TGVE_SETTINGS},
        "clips": clips,
    }


def tgve_part(path: Path) -> str | None:
    """The part of TGVE that a clip comes from, which its path tells; None if it comes from elsewhere."""
    for part in path.parts:
        if part in TGVE_SUBSETS.values():
            return part
    return None


def _tgve_captions(table: Path) -> Iterator[tuple[str, str, Draft]]:
    """Yield (subset, video, clip without its path) from the official table.

    It is three tables below each other, each under a row such as "Youtube Videos:", with empty rows between them; the
    official code cuts it by row numbers, of which the last cut has one row more than there are videos.
    """
    subset = ""
    seen: dict[str, Draft] = {}
    for line, row in csv_rows(table, required=(TGVE_NAME, TGVE_SOURCE, *TGVE_PROMPTS.values())):
        name = row[TGVE_NAME]
        if name.endswith("Videos:"):
            word = name.removesuffix("Videos:").strip()
            subset = TGVE_SUBSETS.get(word.lower(), word)
            continue
        edits: dict[str, Any] = {}
        for kind, column in TGVE_PROMPTS.items():
            if row[column]:
                edits[kind] = {"type": TGVE_TYPES[kind], "prompt": row[column]}
        if not name or not edits:  # between the parts, and after the last
            continue
        if not subset:
            raise ConfigError(f"{table}, line {line}: {name!r} stands above the first part; expected a row like "
                              "'DAVIS Videos:' before it")  # fmt: skip
        clip = {"prompt": row[TGVE_SOURCE], "edits": edits}
        if seen.setdefault(slug(name), clip) is not clip:
            if seen[slug(name)] != clip:
                raise ConfigError(f"{table}, line {line}: {name!r} stands there twice, with different captions")
            continue
        yield subset, name, clip


def _tgve_configs(folder: Path) -> Iterator[tuple[str, str, Draft]]:
    """Yield the same from the baseline's configs, ``SUBSET/VIDEO.yaml``."""
    files = sorted(folder.rglob("*.yaml")) if folder.is_dir() else [folder]
    if not files or not all(map(Path.is_file, files)):
        raise ConfigError(f"{folder} holds no configs; expected SUBSET/VIDEO.yaml, or give the table as CSV")
    for file in files:
        data = read_yaml(file)
        try:
            train, prompts = data["train_data"], data["validation_data"]["prompts"]
            edits: dict[str, Any] = {}
            for kind, text in prompts.items():
                edits[kind] = {"type": TGVE_TYPES[kind], "prompt": one_line(text)}
            clip = {
                "prompt": one_line(train["prompt"]),
                "stride": train.get("frame_rate", 1),
                "frames": train.get("num_frames"),
                "edits": edits,
            }
            yield file.parent.name, Path(train["video_path"]).name, clip
        except (KeyError, TypeError, AttributeError) as error:
            if len(files) > 1 and "validation_data" not in data:
                continue  # a template
            raise ConfigError(
                f"{file} is no config of the baseline ({error!r}); expected train_data.prompt, train_data.video_path "
                f"and validation_data.prompts with {', '.join(TGVE_TYPES)}"
            ) from error
