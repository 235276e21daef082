"""The trial of a method: a tiny clip with sound, tiny models, and a folder in which all of it happens."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from videoedit.config import ClipConfig, build_config, set_value, setting_keys
from videoedit.pipeline import plan_run, run_method
from videoedit.plugins import MethodSpec
from videoedit.runs.folder import read_workspace
from videoedit.runs.planning import Plan

PROMPT = "a red car"

Status = Mapping[str, str]  # by step: kept, or "made: why"


@dataclass(frozen=True)
class Trial:
    """A method, its settings as plain values, and the folder in which all of the trial happens."""

    spec: MethodSpec
    settings: Mapping[str, Any]
    work: Path

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.work / "runs" / self.spec.name

    @property
    def record(self) -> dict[str, Any]:
        """The record of the run folder."""
        return read_workspace(self.folder) or {}

    def config(self, changes: Mapping[str, Any] | None = None) -> ClipConfig:
        """The settings with some changed, by dotted name."""
        data = deepcopy(dict(self.settings))
        for key, value in (changes or {}).items():
            set_value(data, key, value)
        config: ClipConfig = build_config(self.spec.load("config"), data)
        return config

    def plan(self, changes: Mapping[str, Any] | None = None) -> Plan:
        """The plan alone, without the steps."""
        return plan_run(self.spec.name, self.config(changes))

    def status(self, changes: Mapping[str, Any] | None = None, folder: Path | None = None) -> Status:
        """Answer of a dry run, step by step."""
        return plan_run(self.spec.name, self.config(changes), folder or self.folder).status

    def run(self, changes: Mapping[str, Any] | None = None, folder: Path | None = None) -> Status:
        """Do a run; returns what became of each step."""
        folder = folder or self.folder
        run_method(self.spec.name, self.config(changes), folder)
        return dict((read_workspace(folder) or {})["calls"][-1]["steps"])


def prepare(spec: MethodSpec, work: Path, settings: Mapping[str, Any]) -> Trial:
    """Write a clip of six frames with a tone and two models, and set what every method of the kind has."""
    from videoedit.media.video import write_video
    from videoedit.testing import moving_square, save_models, tiny_controlnet, tiny_models

    for name in ("here", "runs", "given"):
        (work / name).mkdir()
    clip, tone = work / "given/clip.mp4", work / "given/tone.wav"
    with wave.open(str(tone), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(b"".join((index % 80 * 200).to_bytes(2, "little") for index in range(3200)))
    write_video(clip, moving_square(6, (48, 32)), Fraction(30000, 1001), audio_from=tone)
    for seed, name in enumerate(("model", "other-model")):
        save_models(tiny_models(seed), work / "given" / name)
        control: Any = tiny_controlnet(seed)
        control.save_pretrained(work / "given" / name / "controlnet-canny")
    given = {"clip": str(clip), "model": str(work / "given/model"), "device": "cpu", "prompt": PROMPT,
             "prompts": [PROMPT], "source_prompt": "a car"}  # fmt: skip
    known = set(setting_keys(spec.load("config")))
    settings = {key: value for key, value in given.items() if key in known} | dict(settings)
    return Trial(spec, json.loads(json.dumps(settings, default=str)), work)  # no two sections are one object


def tried(do: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Give what a call gives, or its error as a line of text."""
    try:
        return do(*args, **kwargs)
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]


def snapshot(folder: Path, but: Path | None = None) -> dict[Path, tuple[int, int]]:
    """Size and time of every file in a folder, but for those in a part of it."""
    files = [path for path in folder.rglob("*") if path.is_file() and not (but and path.is_relative_to(but))]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def changed(before: Mapping[Path, Any], after: Mapping[Path, Any]) -> list[Path]:
    """The files that two snapshots of a folder do not have in common."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
