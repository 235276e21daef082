"""The request of one call: its suite, entries, seeds and metrics, checked at once, and the work in order."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from videoedit.errors import ConfigError, InputError, OutputError, VideoEditError
from videoedit.evaluation.entries import choose_entries
from videoedit.evaluation.measuring import choose_metrics
from videoedit.evaluation.results import RESULTS, Results, read_results
from videoedit.evaluation.suite import Edit, Suite, SuiteClip, SuiteError, missing, read_suite
from videoedit.evaluation.units import Entry, Output, Unit, output_key, probe_clip, read_kept


@dataclass
class Request:
    """All that one call was asked to do. Writes nothing."""

    given_suite: Suite | str | Path
    given_entries: Sequence[Entry] | Sequence[str] | None
    given_folder: str | Path | None
    subset: Iterable[str]
    given_seeds: Iterable[int] | None
    weights_dir: Path | None

    def __post_init__(self) -> None:
        """Find everything that is wrong with the request."""
        given = self.given_suite
        self.suite = given if isinstance(given, Suite) else read_suite(given)
        names: list[str] = []
        problems: list[str] = []
        self.entries: list[Entry] = []
        for one in self.given_entries or ():
            if isinstance(one, str):
                names.append(one)
            else:
                self.entries.append(one)
        if not self.entries:
            try:
                self.entries = choose_entries(self.suite, None if self.given_entries is None else names)
            except SuiteError as error:
                problems += error.problems
        self.wanted = self.suite.subset(subset) if (subset := tuple(self.subset)) else self.suite
        self.seeds = tuple(dict.fromkeys(self.suite.seeds if self.given_seeds is None else self.given_seeds))
        self.folder = Path(self.given_folder or Path("outputs") / f"bench-{self.suite.name}")
        self.metrics, self.skipped, wrong = choose_metrics(self.suite, self.weights_dir)
        problems += wrong
        problems += _published_problems(self.suite)
        if problems:
            raise SuiteError(problems)
        self.earlier()  # raises OutputError for a folder of something else

    def earlier(self) -> Results | None:
        """Read the results that the folder holds; raises OutputError if it holds others, or something else."""
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"{self.folder} is a file; -o names the folder to write to")
        if not (self.folder / RESULTS).is_file():
            if self.folder.is_dir() and any(not path.name.startswith(".") for path in self.folder.iterdir()):
                raise OutputError(f"{self.folder} is not empty and holds no benchmark; choose another folder with -o")
            return None
        old = read_results(self.folder)
        if old.suite != self.suite.name:
            raise OutputError(
                f"{self.folder} holds results of the suite {old.suite!r}, not {self.suite.name!r}; "
                "choose another folder with -o"
            )
        return old

    @cached_property
    def batches(self) -> list[tuple[Entry, SuiteClip, int, tuple[Edit, ...]]]:
        """The work in order: clip by clip, and of each the edits that one run makes."""
        batches: list[tuple[Entry, SuiteClip, int, tuple[Edit, ...]]] = []
        for clip, seed, entry in itertools.product(self.wanted.clips, self.seeds, self.entries):
            if seed != self.seeds[0] and not entry.is_seeded:
                continue
            if entry.is_joint:
                batches.append((entry, clip, seed, clip.edits))
            else:
                batches += [(entry, clip, seed, (edit,)) for edit in clip.edits]
        return batches

    @cached_property
    def probed(self) -> dict[str, tuple[Any, range] | str]:
        """By clip: facts of the file and the numbers of the frames asked for, or why it cannot be read."""
        return {clip.id: probe_clip(clip) for clip in self.suite.clips}

    def unit(self, clip: SuiteClip, edit: Edit, seed: int) -> Unit:
        """Raises InputError if the edit cannot even be tried."""
        found = self.probed[clip.id]
        if obstacle := missing(clip, edit):
            raise InputError(obstacle)
        if isinstance(found, str):
            raise InputError(found)
        return Unit(clip, edit, seed, *found)

    def file(self, kind: str, clip: str, edit: str, method: str, seed: int) -> Path:
        """Path of the file that keeps what is known of a unit; `kind` is "made" or "units"."""
        return self.folder / kind / clip / edit / f"{method}-{seed}.json"

    def known(self, entry: Entry, unit: Unit) -> Output | None:
        """The unit's output of an earlier call, if nothing that it depends on has changed since."""
        path = self.file("made", unit.clip.id, unit.edit.id, entry.name, unit.seed)
        kept = read_kept(path)
        if kept is None or kept.key != output_key(entry, unit) or not (self.folder / kept.made.video).is_file():
            return None
        return kept.made


def _published_problems(suite: Suite) -> list[str]:
    if suite.published is None:
        return []
    from videoedit.evaluation.published import read_published

    try:
        read_published(suite.published)
    except ConfigError as error:
        return [str(error)]
    return []


def reason_of(error: Exception) -> str:
    """An error in one line: an expected one as it says itself, any other with its type."""
    text = " ".join(str(error).split())
    if isinstance(error, VideoEditError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
