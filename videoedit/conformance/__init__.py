"""Conformance: the promises of every method, checked on a tiny clip with a tiny model; see docs/new-method.md."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from videoedit.conformance import promises
from videoedit.conformance.kills import kill_in_process
from videoedit.conformance.settings import check_settings
from videoedit.conformance.trial import Trial, prepare, snapshot, tried
from videoedit.plugins import MethodSpec, discover, get_method


def check_method(
    spec: MethodSpec,
    settings: Mapping[str, Any] | None = None,
    *,
    changes: Mapping[str, Any] | None = None,
    kills: int = 3,
) -> list[str]:
    """Run an installed method on a tiny clip, and say in a line each what it promises and does not keep.

    An empty list is a pass: ``assert check_method(METHOD) == []``. A clip with sound, a prompt and a model of random
    weights are given; `settings` are further ones, or others, as plain values with whole paths. `changes` gives another
    value of settings for which none can be derived (tuples, paths), by dotted name. `kills` is how often runs are
    killed.
    """
    with tempfile.TemporaryDirectory(prefix="videoedit-") as folder:
        trial = prepare(spec, Path(folder).resolve(), settings or {})
        with contextlib.chdir(trial.work / "here"):
            return list(_failures(trial, changes or {}, kills))


def _failures(trial: Trial, changes: Mapping[str, Any], kills: int) -> Iterator[str]:
    """All that is wrong, in the order in which a method is written."""
    spec = trial.spec
    if spec.name not in discover() or get_method(spec.name) != spec:
        yield f"there is no entry point {spec.name} = ... that gives this MethodSpec; add it and install the package"
        return
    before = snapshot(trial.work, trial.folder)
    planned, done = tried(trial.status), tried(trial.run)
    for what, answer in (("a dry run", planned), ("the run", done)):
        if isinstance(answer, str):
            yield f"{what} fails: {answer}"
            return
    yield from promises.check_schema(trial)
    yield from promises.check_files(trial, before)
    yield from promises.check_plan(trial, planned, done)
    yield from promises.check_videos(trial)
    yield from promises.check_again(trial)
    yield from check_settings(trial, changes)
    yield from promises.check_change(trial)
    yield from promises.check_refusals(trial)
    (trial.work / "runs/killed").mkdir()
    if kills and (failure := kill_in_process(spec.name, trial.settings, trial.work / "runs/killed", kills)):
        yield f"killed and called again, {failure}"
