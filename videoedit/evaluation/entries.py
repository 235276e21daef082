"""The entries of a comparison: the sanity rows that always take part, installed methods, and imported results.

An entry makes one video for a `Unit` and says what that took. It writes below ``runs/NAME/`` of the results'
folder, so that whatever is finished there need not be made again.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from videoedit.config import ClipConfig, RunConfig, build_config, deciding, setting_keys
from videoedit.errors import ConfigError, InputError, MethodError, VideoEditError
from videoedit.evaluation.results import MethodInfo
from videoedit.evaluation.runs import claim, output_of, weights_of
from videoedit.evaluation.sanity import Fake, Identity, RoundTrip
from videoedit.evaluation.statistics import FAKES, SANITY
from videoedit.evaluation.suite import Suite, SuiteError, content, nearest
from videoedit.evaluation.units import Entry, Output, Unit, numbers_of
from videoedit.files import relative
from videoedit.media.images import read_image
from videoedit.media.video import iter_frames, probe, stretch_frames, write_video
from videoedit.pipeline import plan_run
from videoedit.plugins import METHODS, MethodSpec, all_methods, discover, get_method
from videoedit.runs.planning import DEFAULT_FRAMES, Plan
from videoedit.runs.progress import Progress

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # of folders
FROM_SUITE = frozenset({"clip", "seed", "prompt", "prompts", "source_prompt", "truth"})
"""Settings of a method that come from the suite."""


def choose_entries(suite: Suite, methods: Iterable[str] | None = None, results: Iterable[str] = ()) -> list[Entry]:
    """The sanity rows, then `methods` (None: all that are installed), then ``NAME=FOLDER`` results made elsewhere.

    Raises SuiteError with a line for each name or setting that is wrong.
    """
    installed = discover(METHODS)
    names = _usable() if methods is None else [name for name in methods if name not in SANITY]
    problems = _unknown_names(names, suite, installed)
    chosen: list[Entry] = [Identity()]
    makers: list[Callable[[], Entry]] = []
    for name in dict.fromkeys(names):
        if name in installed:
            makers.append(partial(InstalledMethod, name, suite.settings.get(name, {}), suite.folder))
    for text in results:
        makers.append(partial(_imported, text, [*installed, *SANITY], suite))
    for make in makers:
        try:
            chosen.append(make())
        except VideoEditError as error:
            problems.append(str(error))
    try:
        chosen.insert(1, _round_trip(suite, chosen))
    except VideoEditError as error:
        problems.append(f"settings of 'vae': {error}")
    if all(clip.boxes and edit.truth for clip, edit in suite.pairs):
        chosen += [Fake(name) for name in FAKES]
    for name, times in Counter(entry.name for entry in chosen).items():
        if times > 1:
            problems.append(f"the name {name!r} stands for two sets of results; give each a name of its own")
    if problems:
        raise SuiteError(dict.fromkeys(problems))
    return chosen


def _usable() -> list[str]:
    """The installed methods that load and take a prompt; `all_methods` warns of those that do not load."""
    names = []
    for spec in all_methods():
        if {"prompt", "prompts"} & set(setting_keys(spec.load("config"))):
            names.append(spec.name)
    return names


def _unknown_names(names: Iterable[str], suite: Suite, installed: Iterable[str]) -> list[str]:
    """A line for each method, asked for by name or set in the suite, that is not installed."""
    problems = []
    for name in names:
        if name not in installed:
            problems.append(f"there is no method {name!r}; {nearest(name, [*installed, *SANITY], 'installed')}")
    for name in suite.settings:
        if name not in installed and name != "vae":
            hint = nearest(name, installed, "installed")
            problems.append(f"settings of {name!r}: there is no such method; {hint}")
    return problems


def _round_trip(suite: Suite, chosen: Iterable[Entry]) -> RoundTrip:
    """The sanity row of the autoencoder, by default that of the first method with a model."""
    settings = suite.settings.get("vae", {})
    for entry in chosen:
        if isinstance(entry, InstalledMethod) and entry.has_model:
            settings = {"model": entry.info.model} | settings
            break
    return RoundTrip(build_config(RunConfig, settings, suite.folder))


# ------------------------------------------------------------------------------------- installed methods


@dataclass
class InstalledMethod:
    """A method that is installed as a plug-in, with the suite's settings."""

    name: str
    given: dict[str, Any]
    """Settings as in its config file."""
    base: Path
    """The folder at which relative paths in them start."""
    is_seeded: bool = True

    def __post_init__(self) -> None:
        """Check the settings; raises MethodError or ConfigError."""
        if not NAME.fullmatch(self.name):
            raise ConfigError(f"method {self.name!r} cannot be compared: its name does not do for a folder's")
        own = set(FROM_SUITE.intersection(self.given))
        video = self.given.get("video") or {}
        for key in ("start", "stride"):
            if isinstance(video, dict) and key in video:
                own.add(f"video.{key}")
        if own:
            raise ConfigError(
                f"settings of {self.name!r}: {', '.join(sorted(own))} cannot be set here; the suite's clips and edits "
                "say what is edited, its seeds under which"
            )
        if not {"prompt", "prompts"} & self.keys:
            raise ConfigError(f"method {self.name!r} takes no prompt, so it cannot be compared on a suite of edits")
        self.settings = self._build({})

    @cached_property
    def spec(self) -> MethodSpec:
        try:
            return get_method(self.name)
        except VideoEditError:
            raise
        except Exception as error:  # whatever its package does when it is imported
            raise MethodError(f"method {self.name!r} is installed but cannot be loaded: {error}") from error

    @cached_property
    def _distribution(self) -> Any:
        """The package that brings the method; None if it is not known."""
        return discover(METHODS)[self.name].dist

    @cached_property
    def _version(self) -> str:
        return f"{self._distribution.name} {self._distribution.version}" if self._distribution else ""

    @cached_property
    def _license(self) -> str:
        facts: Any = self._distribution.metadata if self._distribution else {}
        return self.spec.licence or facts.get("License-Expression") or facts.get("License") or "unknown"

    @cached_property
    def keys(self) -> set[str]:
        return set(setting_keys(self.spec.load("config")))

    @property
    def has_model(self) -> bool:
        return self.spec.needs_model and isinstance(self.settings, RunConfig)

    @property
    def is_joint(self) -> bool:
        return "prompts" in self.keys

    @property
    def info(self) -> MethodInfo:
        values = self.settings.model_dump(mode="json")
        for name in FROM_SUITE:
            values.pop(name, None)
        values["video"] = {name: values["video"][name] for name in ("num_frames", "size", "output_size")}
        model = str(values.pop("model", "")) if self.has_model else ""
        return MethodInfo(label=self.name, settings=values, model=model, licence=self._license, imported=False)

    def covers(self, unit: Unit) -> range:
        """The frames of the clip that the method takes: all, or evenly so many as it can."""
        most = self.settings.video.num_frames or (None if self.spec.streams else DEFAULT_FRAMES)
        return unit.frames if most is None else unit.frames[:: max(1, math.ceil(len(unit.frames) / most))]

    def config(self, unit: Unit, prompts: Sequence[str]) -> ClipConfig:
        """The config of a run on the unit's clip."""
        frames = self.covers(unit)
        changes: dict[str, Any] = {"clip": unit.clip.path.absolute(), "seed": unit.seed}
        changes |= {"prompts": list(prompts)} if self.is_joint else {"prompt": prompts[0]}
        if "source_prompt" in self.keys:
            changes["source_prompt"] = unit.clip.prompt
        changes["video"] = {"start": frames.start, "stride": frames.step, "num_frames": len(frames)}
        return self._build(changes)

    def _build(self, changes: dict[str, Any]) -> ClipConfig:
        data = copy.deepcopy(self.given)
        if isinstance(data.get("video") or {}, dict):
            data["video"] = {**(data.get("video") or {}), **changes.pop("video", {})}
        try:
            config: ClipConfig = build_config(self.spec.load("config"), data | changes, base=self.base)
        except ConfigError as error:
            raise ConfigError(f"settings of {self.name!r}: {error}") from error
        return config

    def identity(self, unit: Unit) -> dict[str, Any]:
        return self._shared(unit) | {"prompt": unit.edit.prompt}

    def _shared(self, unit: Unit) -> dict[str, Any]:
        """The part of the identity that all edits of a clip have in common."""
        config = self.config(unit, [unit.edit.prompt])
        values = deciding(config)
        for name in ("clip", "prompt", "prompts"):
            values.pop(name, None)
        weights = weights_of(config) if self.has_model else ""
        return {"method": self.name, "version": self._version, "weights": weights, "settings": values}

    def plan(self, units: Sequence[Unit]) -> Plan | None:
        config = self.config(units[0], list(dict.fromkeys(unit.edit.prompt for unit in units)))
        return plan_run(self.name, config, estimate=True)

    def edit(self, unit: Unit, folder: Path, progress: Progress) -> Output:
        from videoedit.pipeline import run_method

        place = folder / "runs" / self.name / unit.clip.id
        place = place / str(unit.seed) if self.is_joint else place / unit.edit.id / str(unit.seed)
        claim(place, (self._shared if self.is_joint else self.identity)(unit) | {"clip": content(unit.clip.path)})
        with _noticing_interruption(place) as notes:
            result = run_method(self.name, self.config(unit, [unit.edit.prompt]), place, progress=progress)
        videos = result.videos
        video = videos.get(unit.edit.prompt) or (next(iter(videos.values())) if len(videos) == 1 else None)
        if video is None or not video.is_file():
            raise MethodError(f"method {self.name!r} finished, but gave no video for {unit.edit.prompt!r}")
        record = json.loads((place / "run.json").read_text(encoding="utf-8"))
        return output_of(video, folder, self.covers(unit), record, notes)


# --------------------------------------------------------------------------------------- imported results


@dataclass
class Imported:
    """Videos, or folders of frames, that another program made of the suite's clips."""

    name: str
    folder: Path
    found: dict[tuple[str, str], Any]
    """(clip, edit) -> a video, a list of pictures, or a line on what is wrong with it."""
    is_seeded: bool = False
    is_joint: bool = False

    @property
    def info(self) -> MethodInfo:
        license = "That of its makers."
        return MethodInfo(label=self.name, settings={}, model="", licence=license, imported=True)

    def files(self, unit: Unit) -> list[Path]:
        """A video, or one picture for each frame."""
        found = self.found.get((unit.clip.id, unit.edit.id))
        if found is None:
            raise InputError(f"{self.folder} holds nothing for {unit.name}")
        if isinstance(found, str):
            raise InputError(found)
        return [found] if isinstance(found, Path) else list(found)

    def identity(self, unit: Unit) -> dict[str, Any]:
        facts = []
        for file in self.files(unit):
            stat = file.stat()
            facts.append((str(file), stat.st_size, stat.st_mtime_ns))
        return {"files": facts, "frames": numbers_of(unit.frames)}

    def plan(self, units: Sequence[Unit]) -> Plan | None:
        return None

    def edit(self, unit: Unit, folder: Path, progress: Progress) -> Output:
        """A copy that browsers play; what is measured are the files themselves."""
        files = self.files(unit)
        target = folder / "runs" / self.name / unit.clip.id / f"{unit.edit.id}.mp4"
        video = probe(files[0]) if len(files) == 1 else None
        count, rate = (video.frames, video.fps) if video else (len(files), unit.info.fps / unit.frames.step)
        frames = read_frames(files)
        first = next(frames)
        size = first.shape[1], first.shape[0]
        alike = map(partial(stretch_frames, size=size), itertools.chain([first], frames))
        write_video(target, alike, rate, audio_from=files[0] if video and video.has_audio else None)
        return Output(
            video=relative(target, folder),
            files=tuple(str(file.absolute()) for file in files),
            frames=numbers_of(unit.frames[:count]),
        )


def read_frames(files: Sequence[Path]) -> Iterator[np.ndarray]:
    """Frames uint8 [H, W, 3] of a video, or of one picture for each frame; pictures may differ in size."""
    return iter_frames(files[0]) if len(files) == 1 else map(read_image, files)


def _imported(text: str, taken: Iterable[str], suite: Suite) -> Imported:
    from videoedit.evaluation.layouts.imported import read_results_folder

    name, equals, folder = text.partition("=")
    if not equals or not NAME.fullmatch(name) or not folder:
        raise ConfigError(f"--results {text}: expected NAME=FOLDER, the name of letters, digits, dots and dashes")
    if name in taken:
        raise ConfigError(f"--results {text}: {name!r} is the name of a method here; choose another")
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise InputError(f"--results {text}: there is no folder {place}")
    return Imported(name, place, dict(read_results_folder(place, suite)))


# ------------------------------------------------------------------------------------------- small steps


@contextmanager
def _noticing_interruption(place: Path) -> Iterator[tuple[str, ...]]:
    """Yield the notes on work in this folder that was stopped or killed earlier and now goes on."""
    mark = place / ".unfinished"
    note = "It was interrupted: of the stage it stopped in, the cost counts only what came after."
    notes = (note,) if mark.exists() else ()
    mark.touch()
    try:
        yield notes
    except (Exception, SystemExit):  # it failed; that is no interruption
        mark.unlink(missing_ok=True)
        raise
    mark.unlink(missing_ok=True)
