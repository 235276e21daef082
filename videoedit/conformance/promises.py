"""Promises of every method, a function each: it yields a line for whatever is not kept."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from videoedit.config import ClipConfig, RunConfig, setting_keys
from videoedit.conformance.kills import TIMED
from videoedit.conformance.settings import leaves
from videoedit.conformance.trial import Status, Trial, changed, snapshot, tried
from videoedit.runs.steps import KEPT

FOLLOWS = "what follows"  # the end of a dry walk


def check_schema(trial: Trial) -> Iterator[str]:
    """Settings derive from the core's, each with a default and a docstring; flags name settings."""
    schema, base = trial.spec.load("config"), RunConfig if trial.spec.needs_model else ClipConfig
    if not issubclass(schema, base):
        yield f"{schema.__name__} does not derive from {base.__name__}"
    for key, field, _ in leaves(trial.config()):
        if field.is_required():
            yield f"setting {key} has no default"
        if not field.description:
            yield f"setting {key} has no docstring"
    for flag in trial.spec.flags:
        for key in sorted(set(flag.keys) - set(setting_keys(schema))):
            yield f"flag {flag.name} sets {key}, which is no setting"


def check_plan(trial: Trial, planned: Status, done: Status) -> Iterator[str]:
    """A dry run tells the steps that the run then makes, and each stage of the plan is the first word of one."""
    yield from _differences(planned, done)
    for stage in trial.plan().stages:
        if not any(name.startswith(stage.name.split()[0]) for name in done):
            yield f"stage {stage.name!r} of the plan is no step of the run; its first word begins none of their names"


def _differences(planned: Status, done: Status) -> Iterator[str]:
    steps = planned.keys() if FOLLOWS in planned else planned.keys() | done.keys()
    for name in sorted(steps - {FOLLOWS}):
        said, did = planned.get(name, "nothing"), done.get(name, "has no such step")
        if said != did:
            yield f"of step {name!r} a dry run says {said!r}, but the run {did!r}"


def check_refusals(trial: Trial) -> Iterator[str]:
    """A run that cannot be is refused by the plan too, in the same words, and leaves no folder."""
    wrong = {"video.num_frames": 1000, "prompt": "", "prompts": []}
    for key in wrong.keys() & set(setting_keys(trial.spec.load("config"))):
        change, folder = {key: wrong[key]}, trial.work / "runs" / f"without {key}"
        answers = [tried(trial.plan, change), tried(trial.run, change, folder)]
        planned, done = (answer if isinstance(answer, str) else "nothing against it" for answer in answers)
        if planned != done:
            yield f"with {key} = {wrong[key]!r} the plan says {planned!r}, but the run {done!r}"
        elif isinstance(answers[1], str) and folder.exists():
            yield f"with {key} = {wrong[key]!r} the run is refused, but leaves a folder"


def check_videos(trial: Trial) -> Iterator[str]:
    """Every video has the frames, rate, size and sound of the clip."""
    source, videos = _facts(trial.folder / "source.mp4"), trial.record["videos"]
    if not any(video["role"] == "edit" for video in videos):
        yield "no edit is handed over"
    for file in [video["file"] for video in videos]:
        for name, value in _facts(trial.folder / file).items():
            if value != source[name]:
                yield f"{file} has other {name} than the clip: {value}, not {source[name]}"


def _facts(path: Path) -> dict[str, Any]:
    import av

    from videoedit.media.video import probe

    info, sound = probe(path), hashlib.sha256()
    with av.open(str(path)) as container:
        tracks = container.streams.audio
        for packet in container.demux(*tracks) if tracks else ():
            sound.update(bytes(packet))
    size = f"{info.width}x{info.height}"
    return {"frames": info.frames, "rate": str(info.fps), "size": size, "sound": sound.hexdigest()[:8]}


def check_files(trial: Trial, before: Mapping[Path, Any]) -> Iterator[str]:
    """Nothing is written outside of the run folder, and all that the record names lies in it."""
    for path in changed(before, snapshot(trial.work, trial.folder)):
        yield f"a run touches {os.path.relpath(path, trial.folder)}, outside of its folder"
    for name, step in trial.record["steps"].items():
        for file in step["files"]:
            if not (trial.folder / file).resolve().is_relative_to(trial.folder):
                yield f"step {name!r} keeps {file}, outside of the run's folder"


def check_again(trial: Trial) -> Iterator[str]:
    """An unchanged second run makes nothing."""
    before = snapshot(trial.folder)
    for name, status in trial.run().items():
        if status != KEPT:
            yield f"an unchanged second run makes step {name!r} again ({status})"
    for path in changed(before, snapshot(trial.folder)):
        if path.name not in (*TIMED, "config.yaml"):
            yield f"an unchanged second run changes {path.relative_to(trial.folder)}"


def check_change(trial: Trial) -> Iterator[str]:
    """After a change a dry run tells what the run then does."""
    seed = {"seed": trial.config().seed + 1}
    folder = Path(shutil.copytree(trial.folder, trial.work / "runs/changed"))
    yield from _differences(trial.status(seed, folder), trial.run(seed, folder))
