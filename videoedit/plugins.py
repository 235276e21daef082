"""Methods are found by entry points, described without being imported, and loaded only when they run.

Two groups: what `videoedit.methods` holds runs as ``videoedit run NAME``, what `videoedit.commands` holds as
``videoedit NAME``. Both are described by a `MethodSpec`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pkgutil import resolve_name
from typing import Any

from videoedit.errors import MethodError, hint

METHODS = "videoedit.methods"
COMMANDS = "videoedit.commands"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Flag:
    """A command-line flag: shorthand for one key of the config (or several that go together)."""

    name: str  # "--source-prompt"
    keys: tuple[str, ...]  # ("source_prompt",) or, nested, ("invert.steps", "sample.steps")
    help: str
    kind: type = str  # str, int or float
    multiple: bool = False

    @property
    def parameter(self) -> str:
        """The flag as a Python name: ``source_prompt``."""
        return self.name.lstrip("-").replace("-", "_")


@dataclass(frozen=True)
class StageSpec:
    """A part of a method that others may run too: they reach it by `get_stage`, never by importing the method.

    - `config`: a `videoedit.config.Section` with the part's settings;
    - `run(config, ..., steps, ...)`: does the work in the `videoedit.runs.steps.Steps` that it is given; what else it
      takes and gives, its docstring says;
    - `plan(config, ...)`: what that will come to and cost, as `videoedit.runs.planning.StagePlan`s.
    """

    summary: str
    config: str
    run: str
    plan: str

    def load(self, part: str) -> Any:
        """Import one of `config`, `run`, `plan`; raises MethodError naming what is broken."""
        return _load(f"stage {self.run!r}", part, getattr(self, part))


@dataclass(frozen=True)
class MethodSpec:
    """All that the core knows of a method; the strings ``"module:object"`` are imported only when it runs.

    - `config`: a pydantic model derived from `videoedit.config.RunConfig`;
    - `edits(config, models, clip, steps)`: the method itself, a generator of `videoedit.deliver.Edit`s; `clip` is a
      `videoedit.runs.clip.Clip`, and what is made on the way is kept by `steps`;
    - `plan(config, scene) -> (stages, notes)`: costs as `videoedit.runs.planning.StagePlan`s for a `Scene`; refuses
      settings that do not fit, loads no weights and writes nothing;
    - `import_config(path) -> dict`: optional; reads a config file, the method's official format too.

    A method that `streams` takes clips of any length: its video's frames are a `videoedit.media.video.FrameStream`.
    One that needs no model gets None for `models`, and its config derives from `videoedit.config.ClipConfig`.
    `stages` are its parts that other methods may build on. `licence` says, for its users, what they may do with what it
    makes and whose work it follows; reports show it.
    """

    name: str
    summary: str
    config: str
    edits: str
    plan: str
    flags: tuple[Flag, ...] = ()
    import_config: str | None = None
    streams: bool = False
    needs_model: bool = True
    licence: str = ""
    stages: Mapping[str, StageSpec] = field(default_factory=dict, hash=False)

    def load(self, part: str) -> Any:
        """Import one of `config`, `edits`, `plan`; raises MethodError naming the broken plug-in."""
        return _load(f"method {self.name!r}", part, getattr(self, part))


def _load(owner: str, part: str, name: str) -> Any:
    try:
        return resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise MethodError(f"{owner} is installed but its {part} ({name}) cannot be loaded: {error}") from error


def discover(*groups: str) -> dict[str, EntryPoint]:
    """Entry points of these groups (without any: of both) by name, nothing imported."""
    points = [point for group in groups or (METHODS, COMMANDS) for point in entry_points(group=group)]
    return {point.name: point for point in sorted(points, key=lambda p: p.name)}


def get_method(name: str) -> MethodSpec:
    """The description of one method or command; raises MethodError with the nearest name if there is none."""
    found = discover()
    if name not in found:
        installed = f"; installed: {', '.join(found) or 'none'}"
        raise MethodError(f"there is no method {name!r}{hint(name, found, installed)}")
    spec = found[name].load()
    if not isinstance(spec, MethodSpec):
        raise MethodError(
            f"entry point {name!r} gives a {type(spec).__name__}, expected a videoedit.plugins.MethodSpec"
        )
    return spec


def get_stage(method: str, stage: str) -> StageSpec:
    """A named part of another method; raises MethodError if the method is not installed or has no such part."""
    if method not in discover():
        raise MethodError(
            f"this needs stage {stage!r} of method {method!r}, which is not installed; install {method!r}"
        )
    stages = get_method(method).stages
    if stage not in stages:
        there = f"; it has: {', '.join(stages) or 'none'}"
        raise MethodError(f"method {method!r} has no stage {stage!r}{hint(stage, stages, there)}")
    return stages[stage]


def all_methods(group: str = METHODS) -> list[MethodSpec]:
    """Every method of a group that loads; one that does not is named in a warning and left out."""
    specs = []
    for name in discover(group):
        try:
            specs.append(get_method(name))
        except Exception as error:
            logger.warning("method %r cannot be used: %s", name, error)
    return specs
