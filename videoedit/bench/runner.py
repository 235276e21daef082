"""Running a suite: each unit is made once, measured once, and fails alone.

Making a video and measuring it are two steps with a file each, ``made/CLIP/EDIT/METHOD-SEED.json`` and
``units/CLIP/EDIT/METHOD-SEED.json``: a new metric measures again and edits nothing. ``results.json`` is written after
every unit.
"""

from __future__ import annotations

import datetime
import os
import platform
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from videoedit.bench.contestants import InstalledMethod, choose_contestants
from videoedit.bench.estimate import Forecast, Share, plural
from videoedit.bench.measuring import choose_metrics, figures_of, material_of
from videoedit.bench.results import (
    RESULTS,
    MethodInfo,
    MetricInfo,
    Results,
    UnitResult,
    read_results,
    read_unit,
    write_results,
)
from videoedit.bench.suite import (
    Edit,
    Suite,
    SuiteClip,
    SuiteError,
    content,
    describe_clip,
    describe_edit,
    dump_suite,
    missing,
    read_suite,
)
from videoedit.bench.units import Contestant, Made, Unit, cost_of, numbers_of, probe_clip, relative
from videoedit.config import Section
from videoedit.errors import ConfigError, InputError, OutputError, VideoEditError
from videoedit.metrics import Metric
from videoedit.planning import EFFICIENCY, Plan, measure_throughput
from videoedit.progress import Progress
from videoedit.run import digest, environment, explain_os_error, lock_folder, write_text

TRACE = ".traceback.txt"


def run_suite(
    suite: Suite | str | Path,
    contestants: Sequence[Contestant] | Sequence[str] | None = None,
    folder: str | Path | None = None,
    *,
    subset: Iterable[str] = (),
    seeds: Iterable[int] | None = None,
    weights_dir: Path | None = None,
    progress: Progress | None = None,
) -> Results:
    """Let contestants edit the clips of a suite, and measure what they made; the same call goes on where it stopped.

    `suite`: a suite, or what `read_suite` takes. `contestants`: those of `choose_contestants`, or names of methods
    (None: all that are installed); the sanity rows always take part. Writes ``results.json``, ``results.csv``,
    ``results.tex`` and ``index.html`` into `folder` (``outputs/bench-SUITE``); what an earlier call found about other
    units, methods and seeds of the suite stays in it. A unit that fails has its reason in the results and stops
    nothing. Raises ConfigError for a request that makes no sense, OutputError for a folder of something else.
    """
    job = _Job(suite, contestants, folder, subset, seeds, weights_dir, progress or Progress(quiet=True))
    job.progress.say(job.forecast().text())
    return job.run()


def forecast(
    suite: Suite | str | Path,
    contestants: Sequence[Contestant] | Sequence[str] | None = None,
    folder: str | Path | None = None,
    *,
    subset: Iterable[str] = (),
    seeds: Iterable[int] | None = None,
    weights_dir: Path | None = None,
) -> Forecast:
    """What `run_suite` would do and about how long it would take; writes nothing."""
    return _Job(suite, contestants, folder, subset, seeds, weights_dir, Progress(quiet=True)).forecast()


# ------------------------------------------------------------------------------------------------ the work


@dataclass
class _Job:
    """One call: what was asked, and what is known so far."""

    given_suite: Suite | str | Path
    given_contestants: Sequence[Contestant] | Sequence[str] | None
    given_folder: str | Path | None
    subset: Iterable[str]
    given_seeds: Iterable[int] | None
    weights_dir: Path | None
    progress: Progress
    units: dict[tuple[str, str, str, int], UnitResult] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Find everything that is wrong with the request; writes nothing."""
        given = self.given_suite
        self.suite = given if isinstance(given, Suite) else read_suite(given)
        chosen = self.given_contestants
        names = None if chosen is None else [one for one in chosen if isinstance(one, str)]
        problems: list[str] = []
        self.contestants: list[Contestant] = [one for one in chosen or () if not isinstance(one, str)]
        if not self.contestants:
            try:
                self.contestants = choose_contestants(self.suite, names)
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
        self.old = self._earlier()

    # -- checks ----------------------------------------------------------------------------------------

    def _earlier(self) -> Results | None:
        """What the folder holds already; raises OutputError if that is something else, or of another suite."""
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

    # -- units -----------------------------------------------------------------------------------------

    def _seeds_of(self, contestant: Contestant) -> tuple[int, ...]:
        return self.seeds if contestant.is_seeded else self.seeds[:1]

    @cached_property
    def _probed(self) -> dict[str, tuple[Any, range] | str]:
        """By clip: facts of the file and the numbers of the frames asked for, or why it cannot be read."""
        return {clip.id: probe_clip(clip) for clip in self.suite.clips}

    def _unit(self, clip: SuiteClip, edit: Edit, seed: int) -> Unit:
        """Raises InputError if the edit cannot even be tried."""
        found = self._probed[clip.id]
        if obstacle := missing(clip, edit):
            raise InputError(obstacle)
        if isinstance(found, str):
            raise InputError(found)
        return Unit(clip, edit, seed, *found)

    @cached_property
    def _batches(self) -> list[tuple[Contestant, SuiteClip, int, tuple[Edit, ...]]]:
        """The work in order: clip by clip, and of each the edits that one run makes."""
        return [
            (contestant, clip, seed, edits)
            for clip in self.wanted.clips
            for seed in self.seeds
            for contestant in self.contestants
            if seed in self._seeds_of(contestant)
            for edits in ([clip.edits] if contestant.is_joint else [(edit,) for edit in clip.edits])
        ]

    def _file(self, kind: str, clip: str, edit: str, method: str, seed: int) -> Path:
        return self.folder / kind / clip / edit / f"{method}-{seed}.json"

    # -- cost first ------------------------------------------------------------------------------------

    def forecast(self) -> Forecast:
        """What is to be done. Work of the same kind is planned once."""
        shares = {contestant.name: Share(contestant.name) for contestant in self.contestants}
        problems: Counter[str] = Counter()
        notes: dict[str, None] = {}
        for contestant, clip, seed, edits in self._batches:
            share = shares[contestant.name]
            share.units += len(edits)
            todo: list[Unit] = []
            for edit in edits:
                try:
                    unit = self._unit(clip, edit, seed)
                    if self._known(contestant, unit):
                        share.reused += 1
                    else:
                        todo.append(unit)
                except Exception as error:
                    problems[reason_of(error)] += 1
                    share.failing += 1
            try:
                plan = self._plan(contestant, todo) if todo else None
            except Exception as error:
                problems[reason_of(error)] += len(todo)
                share.failing += len(todo)
                continue
            if plan:
                notes |= {f"{contestant.name}: {note}": None for note in plan.notes}
                speed = self._speed(contestant)
                share.seconds = (share.seconds or 0.0) + sum(s.flops / speed + s.seconds for s in plan.stages)
                share.memory_mb = max(share.memory_mb, plan.memory_mb)
        edits_in_all = sum(len(clip.edits) for clip in self.wanted.clips)
        counts = ((len(self.wanted.clips), "clip"), (edits_in_all, "edit"), (len(self.seeds), "seed"))
        title = f"{self.suite.name}: {', '.join(plural(*count) for count in counts)}"
        return Forecast(
            title=title,
            folder=self.folder,
            shares=list(shares.values()),
            problems=dict(problems),
            notes=tuple(notes),
            metrics=tuple(self.metrics),
            skipped=self.skipped,
        )

    def _plan(self, contestant: Contestant, units: Sequence[Unit]) -> Plan | None:
        """The plan of these units, or of as many others on a clip of the same measures."""
        info = units[0].info
        kind = (contestant.name, info.width, info.height, len(units[0].frames), len(units))
        if kind not in self._plans:
            self._plans[kind] = contestant.plan(units)
        return self._plans[kind]

    @cached_property
    def _plans(self) -> dict[tuple[Any, ...], Plan | None]:
        return {}

    def _speed(self, contestant: Contestant) -> float:
        device = getattr(contestant.settings, "device", None) if isinstance(contestant, InstalledMethod) else None
        if device not in self._speeds:
            self._speeds[device] = EFFICIENCY * measure_throughput(device)
        return self._speeds[device]

    @cached_property
    def _speeds(self) -> dict[str | None, float]:
        return {}

    # -- the run ---------------------------------------------------------------------------------------

    def run(self) -> Results:
        """Make, measure and write; see `run_suite`."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = lock_folder(self.folder)
        except OSError as error:
            raise explain_os_error(error, self.folder) from error
        with lock:
            self.old = self._earlier()  # another run may have ended in between
            self.created = self.old.created if self.old else _now()
            self._take_over()
            self._save()
            write_text(self.folder / "suite.yaml", dump_suite(self.suite))
            total = sum(len(edits) for *_, edits in self._batches)
            count = 0
            for contestant, clip, seed, edits in self._batches:
                made = {}
                for edit in edits:
                    count += 1
                    made[edit.id] = self._make(contestant, clip, edit, seed, f"{count}/{total}")
                for edit, known in self._to_measure(contestant, clip, seed, made):
                    self._measure(contestant, self._unit(clip, edit, seed), known)
                    self._save()
            results = self._save()
        page = write_outputs(results, self.folder)
        self.progress.say(f"page: {page}")
        return results

    def _to_measure(
        self, contestant: Contestant, clip: SuiteClip, seed: int, made: Mapping[str, Made | None]
    ) -> Iterator[tuple[Edit, Made]]:
        """What was just made, and older edits out of the same run: their part of its cost has changed."""
        whole = next(one for one in self.suite.clips if one.id == clip.id)
        for edit in whole.edits:
            known = made.get(edit.id)
            if contestant.is_joint and edit.id not in made and self._is_done(clip, edit, contestant, seed):
                known = self._known(contestant, self._unit(clip, edit, seed))
            if known:
                yield edit, known

    def _is_done(self, clip: SuiteClip, edit: Edit, contestant: Contestant, seed: int) -> bool:
        unit = self.units.get((clip.id, edit.id, contestant.name, seed))
        return unit is not None and unit.status == "done"

    def _take_over(self) -> None:
        """Units of an earlier call that still hold: of the same task and, by a method that takes part, made alike.

        One that failed stands until it is tried again.
        """
        edits = {(clip.id, edit.id): (clip, edit) for clip in self.suite.clips for edit in clip.edits}
        for unit in self.old.units if self.old else ():
            clip, edit = edits.get((unit.clip, unit.edit), (None, None))
            if clip and edit and edit.prompt == unit.prompt and self._still_holds(unit, clip, edit):
                self._put(unit, clip, edit)

    def _still_holds(self, unit: UnitResult, clip: SuiteClip, edit: Edit) -> bool:
        if unit.status == "failed":
            return True
        made, _, rest = unit.key.partition("-")
        if not rest.startswith(f"{self._scene_key(clip, edit)}-"):
            return False
        contestant = next((one for one in self.contestants if one.name == unit.method), None)
        try:
            return contestant is None or made == _made_key(contestant, self._unit(clip, edit, unit.seed))
        except Exception:
            return False

    def _save(self) -> Results:
        """Write ``results.json`` with what is known now."""
        order = {clip.id: i for i, clip in enumerate(self.suite.clips)}
        edits = {(clip.id, edit.id): i for clip in self.suite.clips for i, edit in enumerate(clip.edits)}
        infos = dict(self._infos)
        used = {unit.method for unit in self.units.values()}
        infos |= {name: info for name, info in (self.old.methods if self.old else {}).items()
                  if name in used and name not in infos}  # fmt: skip
        rows = {name: i for i, name in enumerate(infos)}
        units = sorted(
            self.units.values(), key=lambda u: (order[u.clip], edits[u.clip, u.edit], u.seed, rows[u.method])
        )
        metrics = {name: _describe(metric) for name, metric in self.metrics.items()}
        figures = {name for unit in units for name in unit.figures}
        metrics |= {name: info for name, info in (self.old.metrics if self.old else {}).items()
                    if name in figures and name not in metrics}  # fmt: skip
        results = Results(
            suite=self.suite.name,
            suite_sha256=self._suite_sha256,
            title=self.suite.title or self.suite.name,
            created=self.created,
            environment=self._environment,
            methods=infos,
            metrics=metrics,
            skipped=self.skipped,
            units=tuple(units),
            published=self.suite.published,
        )
        write_results(results, self.folder)
        return results

    @cached_property
    def _infos(self) -> dict[str, MethodInfo]:
        return {contestant.name: contestant.info for contestant in self.contestants}

    @cached_property
    def _suite_sha256(self) -> str:
        return self.suite.sha256()

    @cached_property
    def _environment(self) -> dict[str, Any]:
        return environment() | hardware()

    # -- step one: the video ---------------------------------------------------------------------------

    def _known(self, contestant: Contestant, unit: Unit) -> Made | None:
        """What was made of the unit before, if nothing that it depends on has changed since."""
        path = self._file("made", unit.clip.id, unit.edit.id, contestant.name, unit.seed)
        kept = _read_kept(path)
        if kept is None or kept.key != _made_key(contestant, unit) or not (self.folder / kept.made.video).is_file():
            return None
        return kept.made

    def _make(self, contestant: Contestant, clip: SuiteClip, edit: Edit, seed: int, count: str) -> Made | None:
        """The unit's video, made now or before; None, and a failed unit in the results, if that cannot be."""
        try:
            unit = self._unit(clip, edit, seed)
            made = self._known(contestant, unit)
            if made is None:
                self.progress.say(f"{count} {unit.name}, {contestant.name}")
                made = contestant.edit(unit, self.folder, self.progress)
                kept = _Kept(key=_made_key(contestant, unit), made=made)
                write_text(self._file("made", clip.id, edit.id, contestant.name, seed), kept.model_dump_json(indent=1))
            return made
        except Exception as error:
            self._failed(contestant, clip, edit, seed, error)
        except SystemExit as error:  # a method is no program: it may fail, not end this one
            self._failed(contestant, clip, edit, seed, RuntimeError(f"it tried to exit ({error.code})"))
        return None

    def _failed(self, contestant: Contestant, clip: SuiteClip, edit: Edit, seed: int, error: Exception) -> None:
        """Put the unit's failure into the results; what nobody expected also leaves its traceback beside."""
        reason = reason_of(error)
        if not isinstance(error, VideoEditError):
            trace = self._file("units", clip.id, edit.id, contestant.name, seed).with_suffix(TRACE)
            write_text(trace, "".join(traceback.format_exception(error)))
        self.progress.say(f"{clip.id}/{edit.id}, {contestant.name}: failed: {reason}")
        self._add(contestant, clip, edit, seed, status="failed", reason=reason)
        self._save()

    def _add(self, contestant: Contestant, clip: SuiteClip, edit: Edit, seed: int, **found: Any) -> UnitResult:
        """Put a new unit into the results."""
        probed = self._probed[clip.id]
        unit = UnitResult(
            clip=clip.id,
            edit=edit.id,
            type=edit.type,
            prompt=edit.prompt,
            method=contestant.name,
            seed=seed,
            asked=(0, 1, 0) if isinstance(probed, str) else numbers_of(probed[1]),
            **found,
        )
        return self._put(unit, clip, edit)

    def _put(self, unit: UnitResult, clip: SuiteClip, edit: Edit) -> UnitResult:
        """Put a unit into the results, with the places where source and truth lie now."""
        readable = not isinstance(self._probed[clip.id], str)
        places = {
            "source": relative(clip.path, self.folder) if readable else None,
            "truth": relative(edit.truth, self.folder) if edit.truth and edit.truth.is_file() else None,
        }
        self.units[unit.name] = unit = unit.model_copy(update=places)
        return unit

    # -- step two: the figures -------------------------------------------------------------------------

    def _measure(self, contestant: Contestant, unit: Unit, made: Made) -> None:
        """Put the unit's figures into the results: those known from the same video and references, and new ones."""
        path = self._file("units", unit.clip.id, unit.edit.id, contestant.name, unit.seed)
        try:
            cost = self._cost(contestant, unit, made)
            task = f"{_made_key(contestant, unit)}-{self._scene_key(unit.clip, unit.edit)}"
            key = f"{task}-{digest([list(self.metrics), cost])}"
            old = read_unit(path)
            if old and old.key == key:
                self._put(old, unit.clip, unit.edit)
                return
            known = old if old and old.key.startswith(f"{task}-") else None
            material = material_of(self.suite, unit, made, cost, self.folder, self.weights_dir)
            with self.progress.stage(f"measure {unit.name}, {contestant.name}", len(self.metrics)) as advance:
                found = figures_of(self.metrics, material, known, advance)
        except Exception as error:
            self._failed(contestant, unit.clip, unit.edit, unit.seed, error)
            return
        start, stride, _ = made.frames
        result = self._add(
            contestant,
            unit.clip,
            unit.edit,
            unit.seed,
            status="done",
            video=made.video,
            frames=(start, stride, len(material.frames)),
            fps=str(unit.info.fps / stride),
            keyframes=material.keyframes,
            notes=made.notes,
            key=key,
            **found,
        )
        write_text(path, result.model_dump_json(indent=1))
        path.with_suffix(TRACE).unlink(missing_ok=True)

    def _cost(self, contestant: Contestant, unit: Unit, made: Made) -> dict[str, float]:
        """What the unit took, its part of what other edits out of the same run share with it included."""
        own = self._file("made", unit.clip.id, unit.edit.id, contestant.name, unit.seed)
        files = own.parents[1].glob(f"*/{own.name}") if contestant.is_joint else ()
        return cost_of(made, [kept.made for file in files if file != own and (kept := _read_kept(file))])

    def _scene_key(self, clip: SuiteClip, edit: Edit) -> str:
        """A hash of all that an edit is measured against."""
        return digest([describe_clip(clip), describe_edit(edit), self.suite.size, self.suite.flow])


class _Kept(Section):
    """The file of a unit's video: what was made, and a hash of all that it depends on."""

    key: str
    made: Made


def _read_kept(path: Path) -> _Kept | None:
    try:
        return _Kept.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def _made_key(contestant: Contestant, unit: Unit) -> str:
    return digest([content(unit.clip.path), contestant.identity(unit)])


# ------------------------------------------------------------------------------------------- small steps


def _published_problems(suite: Suite) -> list[str]:
    if suite.published is None:
        return []
    from videoedit.bench.published import read_published

    try:
        read_published(suite.published)
    except ConfigError as error:
        return [str(error)]
    return []


def write_outputs(results: Results, folder: Path) -> Path:
    """The table as CSV and LaTeX, and the page; returns the page's path."""
    from videoedit.bench.page import write_page
    from videoedit.bench.tables import to_csv, to_latex

    write_text(folder / "results.csv", to_csv(results))
    write_text(folder / "results.tex", to_latex(results))
    return write_page(results, folder)


def reason_of(error: Exception) -> str:
    """An error in one line: an expected one as it says itself, any other with its type."""
    text = " ".join(str(error).split())
    if isinstance(error, VideoEditError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def hardware() -> dict[str, Any]:
    """The machine, for who compares times."""
    import psutil
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = {"gpu": torch.cuda.get_device_name(0)} if torch.cuda.is_available() else {}
    return {"cpu": cpu, "cores": cores, "memory_gb": round(psutil.virtual_memory().total / 2**30, 1), **gpu}


def _describe(metric: Metric) -> MetricInfo:
    return MetricInfo(**{name: getattr(metric, name) for name in MetricInfo.model_fields})


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
