"""Make docs/demo.png from a finished demo run: python docs/make_pictures.py outputs/demo."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2

from videoedit.report import contact_sheet
from videoedit.video import read_video

folder = Path(sys.argv[1])
rows = {}
for video in json.loads((folder / "run.json").read_text())["videos"]:
    if video["role"] in ("source", "edit"):
        rows[f"{video['role']}: {video['prompt']}"] = read_video(folder / video["file"], stride=3).frames
cv2.imwrite(str(Path(__file__).with_name("demo.png")), contact_sheet(rows, columns=8)[..., ::-1])
