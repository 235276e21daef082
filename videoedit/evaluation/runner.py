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
from videoedit.evaluation.measuring import figures_of, sample_of
from videoedit.evaluation.request import Request, reason_of
from videoedit.evaluation.results import MethodInfo, MetricInfo, Results, UnitResult, read_unit, write_results
from videoedit.evaluation.suite import Edit, Suite, SuiteClip, describe_clip, describe_edit, dump_suite
from videoedit.evaluation.units import Entry, Kept, Output, Unit, cost_of, numbers_of, output_key, read_kept
from videoedit.files import digest, explain_os_error, refuse_links, relative, write_text
from videoedit.runs.folder import lock_folder, sweep_parts
from videoedit.runs.machine import environment, hardware
from videoedit.runs.progress import Progress

TRACE = ".traceback.txt"


def run_suite(
    suite: Suite | str | Path,
    entries: Sequence[Entry] | Sequence[str] | None = None,
    folder: str | Path | None = None,
    *,
    subset: Iterable[str] = (),
    seeds: Iterable[int] | None = None,
    weights_dir: Path | None = None,
    progress: Progress | None = None,
) -> Results:
    """Let entries edit the clips of a suite, and measure what they made; the same call goes on where it stopped.

    `suite`: a suite, or what `read_suite` takes. `entries`: those of `choose_entries`, or names of methods
    (None: all that are installed); the sanity rows always take part. Writes ``results.json``, ``results.csv``,
    ``results.tex`` and ``index.html`` into `folder` (``outputs/bench-SUITE``); what an earlier call found about other
    units, methods and seeds of the suite stays in it. A unit that fails has its reason in the results and stops
    nothing. Raises ConfigError for a request that makes no sense, OutputError for a folder of something else.
    """
    request = Request(suite, entries, folder, subset, seeds, weights_dir)
    runner = _Runner(request, progress or Progress(quiet=True))
    runner.progress.say(forecast_of(request).text())
    return runner.run()


@dataclass
class _Runner:
    """One call at work: its request, and the units known so far."""

    request: Request
    progress: Progress
    units: dict[tuple[str, str, str, int], UnitResult] = field(default_factory=dict)

    def run(self) -> Results:
        """Make, measure and write; see `run_suite`."""
        try:
            self.request.folder.mkdir(parents=True, exist_ok=True)
            lock = lock_folder(self.request.folder)
        except OSError as error:
            raise explain_os_error(error, self.request.folder) from error
        with lock:
            refuse_links(self.request.folder)
            sweep_parts(self.request.folder)
            self.old = self.request.earlier()  # another run may have ended in between
            self.created = self.old.created if self.old else _now()
            self._take_over()
            self._save()
            write_text(self.request.folder / "suite.yaml", dump_suite(self.request.suite))
            self._run_batches()
            results = self._save()
        page = write_outputs(results, self.request.folder)
        self.progress.say(f"page: {page}")
        return results

    def _run_batches(self) -> None:
        total = sum(len(edits) for *_, edits in self.request.batches)
        count = 0
        for entry, clip, seed, edits in self.request.batches:
            outputs = {}
            for edit in edits:
                count += 1
                outputs[edit.id] = self._make(entry, clip, edit, seed, f"{count}/{total}")
            for edit, output in self._to_measure(entry, clip, seed, outputs):
                self._measure(entry, self.request.unit(clip, edit, seed), output)
                self._save()

    def _to_measure(
        self, entry: Entry, clip: SuiteClip, seed: int, outputs: Mapping[str, Output | None]
    ) -> Iterator[tuple[Edit, Output]]:
        """Yield these `outputs`, and older ones of the same run: their part of its cost has changed."""
        whole = next(one for one in self.request.suite.clips if one.id == clip.id)
        for edit in whole.edits:
            output = outputs.get(edit.id)
            if entry.is_joint and edit.id not in outputs and self._is_done(clip, edit, entry, seed):
                output = self.request.known(entry, self.request.unit(clip, edit, seed))
            if output:
                yield edit, output

    def _is_done(self, clip: SuiteClip, edit: Edit, entry: Entry, seed: int) -> bool:
        unit = self.units.get((clip.id, edit.id, entry.name, seed))
        return unit is not None and unit.status == "done"

    def _take_over(self) -> None:
        """Keep units of an earlier call that still hold: of the same task and, if their method takes part, made alike.

        One that failed stands until it is tried again.
        """
        edits = {(clip.id, edit.id): (clip, edit) for clip, edit in self.request.suite.pairs}
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
        for entry in self.request.entries:
            if entry.name == unit.method:
                try:
                    return made == output_key(entry, self.request.unit(clip, edit, unit.seed))
                except Exception:
                    return False
        return True

    def _save(self) -> Results:
        """Write ``results.json`` with what is known now."""
        methods, metrics, figures = dict(self._infos), dict(self._metric_infos), set[str]()
        used = {unit.method for unit in self.units.values()}
        for unit in self.units.values():
            figures.update(unit.figures)
        if self.old:
            for method, about in self.old.methods.items():
                if method in used:
                    methods.setdefault(method, about)
            for name, info in self.old.metrics.items():
                if name in figures:
                    metrics.setdefault(name, info)
        results = Results(
            suite=self.request.suite.name,
            suite_sha256=self._suite_sha256,
            title=self.request.suite.title or self.request.suite.name,
            created=self.created,
            environment=self._environment,
            methods=methods,
            metrics=metrics,
            skipped=self.request.skipped,
            units=tuple(self._in_order(list(methods))),
            published=self.request.suite.published,
        )
        write_results(results, self.request.folder)
        return results

    def _in_order(self, methods: Sequence[str]) -> list[UnitResult]:
        """Sort the units as the suite has its clips and edits, then by seed and method."""
        places: dict[tuple[str, str], int] = {}
        for clip, edit in self.request.suite.pairs:
            places[clip.id, edit.id] = len(places)
        return sorted(self.units.values(), key=lambda u: (places[u.clip, u.edit], u.seed, methods.index(u.method)))

    @cached_property
    def _infos(self) -> dict[str, MethodInfo]:
        return {entry.name: entry.info for entry in self.request.entries}

    @cached_property
    def _metric_infos(self) -> dict[str, MetricInfo]:
        infos: dict[str, MetricInfo] = {}
        for name, metric in self.request.metrics.items():
            infos[name] = MetricInfo(**{field: getattr(metric, field) for field in MetricInfo.model_fields})
        return infos

    @cached_property
    def _suite_sha256(self) -> str:
        return self.request.suite.sha256()

    @cached_property
    def _environment(self) -> dict[str, Any]:
        return environment() | hardware()

    # -- step one: the video ---------------------------------------------------------------------------

    def _make(self, entry: Entry, clip: SuiteClip, edit: Edit, seed: int, count: str) -> Output | None:
        """The unit's video, made now or before; None, and a failed unit in the results, if that cannot be."""
        try:
            unit = self.request.unit(clip, edit, seed)
            output = self.request.known(entry, unit)
            if output is None:
                self.progress.say(f"{count} {unit.name}, {entry.name}")
                output = entry.edit(unit, self.request.folder, self.progress)
                kept = Kept(key=output_key(entry, unit), made=output)
                path = self.request.file("made", clip.id, edit.id, entry.name, seed)
                write_text(path, kept.model_dump_json(indent=1))
            return output
        except Exception as error:
            self._failed(entry, clip, edit, seed, error)
        except SystemExit as error:  # a method is no program: it may fail, not end this one
            self._failed(entry, clip, edit, seed, RuntimeError(f"it tried to exit ({error.code})"))
        return None

    def _failed(self, entry: Entry, clip: SuiteClip, edit: Edit, seed: int, error: Exception) -> None:
        """Put the unit's failure into the results; what nobody expected also leaves its traceback beside."""
        reason = reason_of(error)
        if not isinstance(error, VideoEditError):
            trace = self.request.file("units", clip.id, edit.id, entry.name, seed).with_suffix(TRACE)
            write_text(trace, "".join(traceback.format_exception(error)))
        self.progress.say(f"{clip.id}/{edit.id}, {entry.name}: failed: {reason}")
        self._add(entry, clip, edit, seed, status="failed", reason=reason)
        self._save()

    def _add(self, entry: Entry, clip: SuiteClip, edit: Edit, seed: int, **found: Any) -> UnitResult:
        """Put a new unit into the results."""
        probed = self.request.probed[clip.id]
        unit = UnitResult(
            clip=clip.id,
            edit=edit.id,
            type=edit.type,
            prompt=edit.prompt,
            method=entry.name,
            seed=seed,
            asked=(0, 1, 0) if isinstance(probed, str) else numbers_of(probed[1]),
            **found,
        )
        return self._put(unit, clip, edit)

    def _put(self, unit: UnitResult, clip: SuiteClip, edit: Edit) -> UnitResult:
        """Put a unit into the results, with the places where source and ground truth lie now."""
        readable = not isinstance(self.request.probed[clip.id], str)
        places = {
            "source": relative(clip.path, self.request.folder) if readable else None,
            "truth": relative(edit.truth, self.request.folder) if edit.truth and edit.truth.is_file() else None,
        }
        self.units[unit.name] = unit = unit.model_copy(update=places)
        return unit

    # -- step two: the figures -------------------------------------------------------------------------

    def _measure(self, entry: Entry, unit: Unit, output: Output) -> None:
        """Put the unit's figures into the results: those known from the same video and references, and new ones."""
        path = self.request.file("units", unit.clip.id, unit.edit.id, entry.name, unit.seed)
        try:
            cost = self._cost(entry, unit, output)
            task = f"{output_key(entry, unit)}-{self._scene_key(unit.clip, unit.edit)}"
            key = f"{task}-{digest([list(self.request.metrics), cost])}"
            old = read_unit(path)
            if old and old.key == key:
                self._put(old, unit.clip, unit.edit)
                return
            known = old if old and old.key.startswith(f"{task}-") else None
            sample = sample_of(self.request.suite, unit, output, cost, self.request.folder, self.request.weights_dir)
            with self.progress.stage(f"measure {unit.name}, {entry.name}", len(self.request.metrics)) as advance:
                found = figures_of(self.request.metrics, sample, known, advance)
        except Exception as error:
            self._failed(entry, unit.clip, unit.edit, unit.seed, error)
            return
        start, stride, _ = output.frames
        result = self._add(
            entry,
            unit.clip,
            unit.edit,
            unit.seed,
            status="done",
            video=output.video,
            frames=(start, stride, len(sample.frames)),
            fps=str(unit.info.fps / stride),
            keyframes=sample.keyframes,
            notes=output.notes,
            key=key,
            **found,
        )
        write_text(path, result.model_dump_json(indent=1))
        path.with_suffix(TRACE).unlink(missing_ok=True)

    def _cost(self, entry: Entry, unit: Unit, output: Output) -> dict[str, float]:
        """Cost of the unit, its part of what other edits out of the same run share with it included."""
        own = self.request.file("made", unit.clip.id, unit.edit.id, entry.name, unit.seed)
        others: list[Output] = []
        for file in own.parents[1].glob(f"*/{own.name}") if entry.is_joint else ():
            if file != own and (kept := read_kept(file)):
                others.append(kept.made)
        return cost_of(output, others)

    def _scene_key(self, clip: SuiteClip, edit: Edit) -> str:
        """A hash of all that an edit is measured against."""
        return digest([describe_clip(clip), describe_edit(edit), self.request.suite.size, self.request.suite.flow])


# ------------------------------------------------------------------------------------------- small steps


def write_outputs(results: Results, folder: Path) -> Path:
    """The table as CSV and LaTeX, and the page; returns the page's path."""
    from videoedit.evaluation.page.comparison import write_page
    from videoedit.evaluation.tables import to_csv, to_latex

    write_text(folder / "results.csv", to_csv(results))
    write_text(folder / "results.tex", to_latex(results))
    return write_page(results, folder)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
