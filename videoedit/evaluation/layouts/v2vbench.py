"""V2VBench: ``CLIP.mp4`` and the index, a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from videoedit.config import read_yaml
from videoedit.errors import ConfigError
from videoedit.evaluation.layouts.common import Draft, known_type, one_line, report_lost, slug, usual_table
from videoedit.evaluation.layouts.imported import find_clip, subfolders


def import_v2vbench(folder: Path, table: Path | None = None) -> Draft:
    """Source videos named after `video_id` and the index, ``config.yaml``: ``data: [{video_id, edit: [{prompt}]}]``.

    Edits are called by their number, as the layout does. Its index tells no types: an edit without a `type` that we
    know is taken as "several", of which nothing is expected to stay as it was.
    """
    table = table or usual_table(folder, ("config.yaml", "*.yaml", "*.yml"))
    entries = read_yaml(table).get("data")
    if not isinstance(entries, list):
        raise ConfigError(f"{table} is no index of V2VBench: expected `data:` with a list of entries")
    clips: dict[str, Any] = {}
    lost = []
    for number, entry in enumerate(entries):
        try:
            name = str(entry["video_id"])
            edits: dict[str, Any] = {}
            for index, edit in enumerate(entry["edit"]):
                kind = known_type(edit.get("type")) or "several"
                edits[str(index)] = {"type": kind, "prompt": one_line(edit["prompt"])}
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{table}, entry {number}: expected video_id and edit, a list of prompts ({error!r})"
            ) from error
        if slug(name) in clips:
            raise ConfigError(f"{table}, entry {number}: {name!r} stands there twice")
        if (path := find_clip((folder, *subfolders(folder)), name)) is None:
            lost.append(name)
        else:
            clips[slug(name)] = {"path": path, "prompt": one_line(entry.get("prompt") or ""), "edits": edits}
    report_lost(lost, clips, folder, "NAME.mp4, NAME.gif or NAME/00000.jpg")
    return {"name": "v2vbench", "title": "V2VBench", "published": "v2vbench", "clips": clips}
