"""Running a suite: each unit is made once, measured once, and fails alone.

Making a video and measuring it are two steps with a file each, ``made/CLIP/EDIT/METHOD-SEED.json`` and
``units/CLIP/EDIT/METHOD-SEED.json``: a new metric measures again and edits nothing. ``results.json`` is written after
every unit.
"""

from __future__ import annotations

import datetime
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from videoedit.errors import VideoEditError
from videoedit.evaluation.estimate import forecast_of
from videoedit.evaluation.measuring import figures_of, material_of
from videoedit.evaluation.request import Job, reason_of
from videoedit.evaluation.results import MethodInfo, MetricInfo, Results, UnitResult, read_unit, write_results
from videoedit.evaluation.suite import Edit, Suite, SuiteClip, describe_clip, describe_edit, dump_suite
from videoedit.evaluation.units import Contestant, Kept, Made, Unit, cost_of, made_key, numbers_of, read_kept, relative
from videoedit.metrics import Metric
from videoedit.runs.folder import digest, environment, explain_os_error, hardware, lock_folder, write_text
from videoedit.runs.progress import Progress

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
    job = Job(suite, contestants, folder, subset, seeds, weights_dir)
    runner = _Runner(job, progress or Progress(quiet=True))
    runner.progress.say(forecast_of(job).text())
    return runner.run()


@dataclass
class _Runner:
    """One call at work: what was asked, and what is known so far."""

    job: Job
    progress: Progress
    units: dict[tuple[str, str, str, int], UnitResult] = field(default_factory=dict)

    def run(self) -> Results:
        """Make, measure and write; see `run_suite`."""
        try:
            self.job.folder.mkdir(parents=True, exist_ok=True)
            lock = lock_folder(self.job.folder)
        except OSError as error:
            raise explain_os_error(error, self.job.folder) from error
        with lock:
            self.old = self.job.earlier()  # another run may have ended in between
            self.created = self.old.created if self.old else _now()
            self._take_over()
            self._save()
            write_text(self.job.folder / "suite.yaml", dump_suite(self.job.suite))
            total = sum(len(edits) for *_, edits in self.job.batches)
            count = 0
            for contestant, clip, seed, edits in self.job.batches:
                made = {}
                for edit in edits:
                    count += 1
                    made[edit.id] = self._make(contestant, clip, edit, seed, f"{count}/{total}")
                for edit, known in self._to_measure(contestant, clip, seed, made):
                    self._measure(contestant, self.job.unit(clip, edit, seed), known)
                    self._save()
            results = self._save()
        page = write_outputs(results, self.job.folder)
        self.progress.say(f"page: {page}")
        return results

    def _to_measure(
        self, contestant: Contestant, clip: SuiteClip, seed: int, made: Mapping[str, Made | None]
    ) -> Iterator[tuple[Edit, Made]]:
        """What was just made, and older edits out of the same run: their part of its cost has changed."""
        whole = next(one for one in self.job.suite.clips if one.id == clip.id)
        for edit in whole.edits:
            known = made.get(edit.id)
            if contestant.is_joint and edit.id not in made and self._is_done(clip, edit, contestant, seed):
                known = self.job.known(contestant, self.job.unit(clip, edit, seed))
            if known:
                yield edit, known

    def _is_done(self, clip: SuiteClip, edit: Edit, contestant: Contestant, seed: int) -> bool:
        unit = self.units.get((clip.id, edit.id, contestant.name, seed))
        return unit is not None and unit.status == "done"

    def _take_over(self) -> None:
        """Units of an earlier call that still hold: of the same task and, by a method that takes part, made alike.

        One that failed stands until it is tried again.
        """
        edits = {(clip.id, edit.id): (clip, edit) for clip in self.job.suite.clips for edit in clip.edits}
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
        contestant = next((one for one in self.job.contestants if one.name == unit.method), None)
        try:
            return contestant is None or made == made_key(contestant, self.job.unit(clip, edit, unit.seed))
        except Exception:
            return False

    def _save(self) -> Results:
        """Write ``results.json`` with what is known now."""
        order = {clip.id: i for i, clip in enumerate(self.job.suite.clips)}
        edits = {(clip.id, edit.id): i for clip in self.job.suite.clips for i, edit in enumerate(clip.edits)}
        infos = dict(self._infos)
        used = {unit.method for unit in self.units.values()}
        infos |= {name: info for name, info in (self.old.methods if self.old else {}).items()
                  if name in used and name not in infos}  # fmt: skip
        rows = {name: i for i, name in enumerate(infos)}
        units = sorted(
            self.units.values(), key=lambda u: (order[u.clip], edits[u.clip, u.edit], u.seed, rows[u.method])
        )
        metrics = {name: _describe(metric) for name, metric in self.job.metrics.items()}
        figures = {name for unit in units for name in unit.figures}
        metrics |= {name: info for name, info in (self.old.metrics if self.old else {}).items()
                    if name in figures and name not in metrics}  # fmt: skip
        results = Results(
            suite=self.job.suite.name,
            suite_sha256=self._suite_sha256,
            title=self.job.suite.title or self.job.suite.name,
            created=self.created,
            environment=self._environment,
            methods=infos,
            metrics=metrics,
            skipped=self.job.skipped,
            units=tuple(units),
            published=self.job.suite.published,
        )
        write_results(results, self.job.folder)
        return results

    @cached_property
    def _infos(self) -> dict[str, MethodInfo]:
        return {contestant.name: contestant.info for contestant in self.job.contestants}

    @cached_property
    def _suite_sha256(self) -> str:
        return self.job.suite.sha256()

    @cached_property
    def _environment(self) -> dict[str, Any]:
        return environment() | hardware()

    # -- step one: the video ---------------------------------------------------------------------------

    def _make(self, contestant: Contestant, clip: SuiteClip, edit: Edit, seed: int, count: str) -> Made | None:
        """The unit's video, made now or before; None, and a failed unit in the results, if that cannot be."""
        try:
            unit = self.job.unit(clip, edit, seed)
            made = self.job.known(contestant, unit)
            if made is None:
                self.progress.say(f"{count} {unit.name}, {contestant.name}")
                made = contestant.edit(unit, self.job.folder, self.progress)
                kept = Kept(key=made_key(contestant, unit), made=made)
                path = self.job.file("made", clip.id, edit.id, contestant.name, seed)
                write_text(path, kept.model_dump_json(indent=1))
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
            trace = self.job.file("units", clip.id, edit.id, contestant.name, seed).with_suffix(TRACE)
            write_text(trace, "".join(traceback.format_exception(error)))
        self.progress.say(f"{clip.id}/{edit.id}, {contestant.name}: failed: {reason}")
        self._add(contestant, clip, edit, seed, status="failed", reason=reason)
        self._save()

    def _add(self, contestant: Contestant, clip: SuiteClip, edit: Edit, seed: int, **found: Any) -> UnitResult:
        """Put a new unit into the results."""
        probed = self.job.probed[clip.id]
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
        readable = not isinstance(self.job.probed[clip.id], str)
        places = {
            "source": relative(clip.path, self.job.folder) if readable else None,
            "truth": relative(edit.truth, self.job.folder) if edit.truth and edit.truth.is_file() else None,
        }
        self.units[unit.name] = unit = unit.model_copy(update=places)
        return unit

    # -- step two: the figures -------------------------------------------------------------------------

    def _measure(self, contestant: Contestant, unit: Unit, made: Made) -> None:
        """Put the unit's figures into the results: those known from the same video and references, and new ones."""
        path = self.job.file("units", unit.clip.id, unit.edit.id, contestant.name, unit.seed)
        try:
            cost = self._cost(contestant, unit, made)
            task = f"{made_key(contestant, unit)}-{self._scene_key(unit.clip, unit.edit)}"
            key = f"{task}-{digest([list(self.job.metrics), cost])}"
            old = read_unit(path)
            if old and old.key == key:
                self._put(old, unit.clip, unit.edit)
                return
            known = old if old and old.key.startswith(f"{task}-") else None
            material = material_of(self.job.suite, unit, made, cost, self.job.folder, self.job.weights_dir)
            with self.progress.stage(f"measure {unit.name}, {contestant.name}", len(self.job.metrics)) as advance:
                found = figures_of(self.job.metrics, material, known, advance)
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
        own = self.job.file("made", unit.clip.id, unit.edit.id, contestant.name, unit.seed)
        files = own.parents[1].glob(f"*/{own.name}") if contestant.is_joint else ()
        return cost_of(made, [kept.made for file in files if file != own and (kept := read_kept(file))])

    def _scene_key(self, clip: SuiteClip, edit: Edit) -> str:
        """A hash of all that an edit is measured against."""
        return digest([describe_clip(clip), describe_edit(edit), self.job.suite.size, self.job.suite.flow])


# ------------------------------------------------------------------------------------------- small steps


def write_outputs(results: Results, folder: Path) -> Path:
    """The table as CSV and LaTeX, and the page; returns the page's path."""
    from videoedit.evaluation.page.comparison import write_page
    from videoedit.evaluation.tables import to_csv, to_latex

    write_text(folder / "results.csv", to_csv(results))
    write_text(folder / "results.tex", to_latex(results))
    return write_page(results, folder)


def _describe(metric: Metric) -> MetricInfo:
    return MetricInfo(**{name: getattr(metric, name) for name in MetricInfo.model_fields})


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
