"""Make a document's picture from a finished run: python docs/make_pictures.py outputs/demo-tuneavideo docs/demo.png."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2

from videoedit.media.video import read_video
from videoedit.pages.contact_sheet import contact_sheet

folder, target = map(Path, sys.argv[1:])
rows = {}
for video in json.loads((folder / "run.json").read_text())["videos"]:
    if video["role"] in ("source", "edit"):
        label = f"{video['role']}: {video['prompt']}".removesuffix(": ")
        rows[label] = read_video(folder / video["file"], stride=3).frames
cv2.imwrite(str(target), contact_sheet(rows, columns=8)[..., ::-1])
