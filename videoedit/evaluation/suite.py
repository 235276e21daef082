"""A suite: clips, the edits asked of each, and how methods are set and measured; read from a YAML file.

`read_suite` finds all that is wrong with a file at once. A missing clip is no fault of the suite: its units fail
when they run, the others do not (see `missing`).
"""

from __future__ import annotations

import copy
import difflib
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BeforeValidator, Field

from videoedit.config import FilePath, Section, Size, as_tuple, build_config, parse_assignments, read_yaml, set_value
from videoedit.errors import ConfigError, InputError, VideoEditError
from videoedit.files import digest, file_sha256

SUITES = Path(__file__).parent / "suites"

EditType = Literal["subject", "background", "attribute", "style", "several"]
Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=100)]
Box = tuple[float, float, float, float]


class SuiteError(ConfigError):
    """A suite cannot be used; every reason is a line of `problems`."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


def _boxes(value: Any) -> Any:
    return tuple(map(as_tuple, value)) if isinstance(value, list) else value


class Edit(Section):
    """One edit of a clip."""

    id: Id
    type: EditType
    """The part that it changes: the subject, the background, an attribute, the style, or several of these."""
    prompt: str = Field(min_length=1)
    """A description of the clip after the edit."""
    truth: FilePath | None = None
    """The ground truth, for rendered clips: a video of what the edit should look like."""


class SuiteClip(Section):
    """A clip and the edits asked of it."""

    id: Id
    path: FilePath
    """The video."""
    prompt: str = ""
    """A description of the clip as it is."""
    start: int = Field(default=0, ge=0)
    """First frame."""
    stride: int = Field(default=1, ge=1)
    """Take every n-th frame."""
    frames: int | None = Field(default=None, ge=1)
    """Number of frames; empty: all there are."""
    edits: Annotated[tuple[Edit, ...], BeforeValidator(as_tuple)]
    mask: FilePath | None = None
    """A video or a folder of pictures, one for each frame of the clip: white where the subject is."""
    boxes: Annotated[tuple[Box, ...], BeforeValidator(_boxes)] | None = None
    """The subject's place in each frame of the clip: x0, y0, x1, y1 as shares of width and height."""


class Suite(Section):
    """Clips and edits to compare methods on, and how to run and measure them."""

    name: Id
    title: str = ""
    """For people."""
    clips: Annotated[tuple[SuiteClip, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Method -> its settings, as in its config file. The clip, its frames and the prompts come from the suite."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(as_tuple), Field(min_length=1)] = (33,)
    metrics: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] | None = None
    """Names of metrics; empty: all that can be computed."""
    size: Size | None = None
    """WIDTHxHEIGHT at which all is measured; empty: each clip's own."""
    flow: str = "dis"
    """The flow estimator of the metrics that need one; its name becomes part of theirs."""
    published: str | None = None
    """A table of published numbers to show beside these."""
    folder: FilePath = Path()
    """The folder at which relative paths in `settings` start."""

    @property
    def pairs(self) -> Iterator[tuple[SuiteClip, Edit]]:
        """Every edit with its clip, in order."""
        for clip in self.clips:
            for edit in clip.edits:
                yield clip, edit

    def subset(self, texts: Iterable[str]) -> Suite:
        """The clips and edits that `texts` name: ``CLIP``, ``CLIP/EDIT``, ``type=style``.

        Several names are added up, several types too; names and types together mean edits that fit both. Raises
        ConfigError, naming the nearest, for what is not there, and when nothing is left.
        """
        wanted = [text.strip() for text in texts]
        types: set[str] = set()
        names: set[str] = set()
        for text in wanted:
            if text.startswith("type="):
                types.add(text.removeprefix("type="))
            else:
                names.add(text)
        self._check_subset(types, names)
        kept = []
        for clip in self.clips:
            edits = []
            for edit in clip.edits:
                is_named = not names or not names.isdisjoint({clip.id, f"{clip.id}/{edit.id}"})
                if is_named and (not types or edit.type in types):
                    edits.append(edit)
            if edits:
                kept.append(clip.model_copy(update={"edits": tuple(edits)}))
        if not kept:
            raise ConfigError(f"--subset {' --subset '.join(wanted)}: no edit of the suite {self.name!r} fits")
        return self.model_copy(update={"clips": tuple(kept)})

    def _check_subset(self, types: set[str], names: set[str]) -> None:
        """Raise ConfigError for a type of edit, a clip or an edit that is not there."""
        for kind in sorted(types - set(get_args(EditType))):
            raise ConfigError(f"--subset type={kind}: {nearest(kind, get_args(EditType), 'types')}")
        known: set[str] = set()
        for clip, edit in self.pairs:
            known |= {clip.id, f"{clip.id}/{edit.id}"}
        for name in sorted(names - known):
            raise ConfigError(f"--subset {name}: the suite {self.name!r} has no such clip or edit; "
                              f"{nearest(name, known, 'there are')}")  # fmt: skip

    def with_settings(self, assignments: Iterable[str]) -> Suite:
        """With ``METHOD.key=value`` set over the suite's own settings."""
        settings = copy.deepcopy(self.settings)
        for dotted, value in parse_assignments(assignments):
            if "." not in dotted:
                raise ConfigError(f"--set {dotted}: expected METHOD.KEY=VALUE, for example tuneavideo.tune.steps=50")
            set_value(settings, dotted, value)
        return self.model_copy(update={"settings": settings})

    def sha256(self) -> str:
        """A hash of the task: clips' contents, frames, prompts, ground truths, masks and boxes, wherever they lie."""
        task = []
        for clip in self.clips:
            task.append(describe_clip(clip) | {"edits": list(map(describe_edit, clip.edits))})
        return hashlib.sha256(json.dumps(task, sort_keys=True).encode()).hexdigest()


def describe_clip(clip: SuiteClip) -> dict[str, Any]:
    """The values of a clip that its units depend on: contents instead of places."""
    values = clip.model_dump(mode="json", exclude={"edits"})
    return values | {"path": content(clip.path), "mask": clip.mask and content(clip.mask)}


def describe_edit(edit: Edit) -> dict[str, Any]:
    """The values of an edit that its units depend on."""
    return edit.model_dump(mode="json") | {"truth": edit.truth and content(edit.truth)}


def content(path: Path) -> str | None:
    """A hash of a file or of all files of a folder; None if there is nothing."""
    if path.is_dir():
        hashes = []
        for file in sorted(filter(Path.is_file, path.iterdir())):
            hashes.append((file.name, content(file)))
        return digest(hashes)
    if not path.is_file():
        return None
    stat = path.stat()
    return _content(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _content(path: Path, _size: int, _modified: int) -> str:
    return file_sha256(path)


def missing(clip: SuiteClip, edit: Edit) -> str | None:
    """The reason, one line, if this edit of this clip cannot be done at all; None if its files are there."""
    for what, path in (("the clip", clip.path), ("its mask", clip.mask), ("its ground truth", edit.truth)):
        if path is not None and not path.exists():
            return f"{what} is missing: no file {path}"
    return None


def nearest(name: str, known: Iterable[str], listed: str) -> str:
    """``did you mean 'x'?``, or all that there is."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"{listed}: {', '.join(known) or 'none'}"


# ------------------------------------------------------------------------------------------------- files


def read_suite(name: str | Path) -> Suite:
    """A bundled suite by name (`mini`), or one from a YAML file; relative paths start at the file.

    In the file `clips:` and `edits:` are mappings, id -> fields; `clips:` may also name the listing of rendered clips
    (``demo.json``). Raises SuiteError with a line for each problem.
    """
    path = _locate(str(name))
    data = read_yaml(path)
    if repeated := _repeated_keys(path):
        raise SuiteError(repeated)
    folder = path.absolute().parent
    try:
        return build_suite(data, folder)
    except SuiteError as error:
        raise SuiteError(f"suite {path}: {problem}" for problem in error.problems) from error


def _locate(name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_file():
        return path
    bundled = {file.stem: file for file in SUITES.glob("*.yaml")}
    if name in bundled:
        return bundled[name]
    if path.is_dir():
        raise ConfigError(f"{path} is a folder, expected a suite's YAML file; `videoedit bench import` writes one")
    hint = nearest(name, bundled, "bundled")
    raise ConfigError(f"there is no suite {name!r}: neither a YAML file nor bundled; {hint}")


def build_suite(data: Mapping[str, Any], folder: Path) -> Suite:
    """A suite from the values of its file; raises SuiteError with every problem, not only the first."""
    data = dict(data)
    problems: list[str] = []
    if isinstance(data.get("clips"), str):
        try:
            data["clips"] = _rendered(Path(os.path.normpath(folder / data["clips"])))
        except VideoEditError as error:
            raise SuiteError([str(error)]) from error
    given = _fields_by_id(data.get("clips"), "clips", problems)
    clips = []
    for clip_id, fields in given.items():
        if clip := _build_clip(clip_id, fields, folder, problems):
            clips.append(clip)
    if not given and problems:  # nothing to check the rest with
        raise SuiteError(problems)
    suite: Suite | None = _validated(Suite, {"folder": "", **data, "clips": tuple(clips)}, folder, "", problems)
    if problems or suite is None:
        raise SuiteError(problems)
    return suite


def _build_clip(clip_id: str, fields: dict[str, Any], folder: Path, problems: list[str]) -> SuiteClip | None:
    where = f"clip {clip_id!r}"
    edits = []
    for edit_id, edit in _fields_by_id(fields.get("edits"), f"{where}: edits", problems).items():
        edits.append(_validated(Edit, {"id": edit_id, **edit}, folder, f"{where}, edit {edit_id!r}", problems))
    clip: SuiteClip | None = _validated(SuiteClip, {**fields, "id": clip_id, "edits": ()}, folder, where, problems)
    return clip.model_copy(update={"edits": tuple(edits)}) if clip and all(edits) else clip


def _fields_by_id(value: Any, what: str, problems: list[str]) -> dict[str, dict[str, Any]]:
    """A mapping id -> fields without what is wrong in it, which becomes problems."""
    if not isinstance(value, dict) or not value:
        problems.append(f"{what}: expected a mapping, an id and its fields for each")
        return {}
    found: dict[str, dict[str, Any]] = {}
    for key, fields in value.items():
        if not isinstance(key, str):
            problems.append(f"{what}: the id {key!r} is read as a {type(key).__name__}; put it in quotes")
        if not isinstance(fields, dict):
            problems.append(f"{what}: {key!r} holds a {type(fields).__name__}, expected its fields")
        elif isinstance(key, str):
            found[key] = fields
    return found


def _validated(schema: Any, data: dict[str, Any], folder: Path, where: str, problems: list[str]) -> Any:
    try:
        return build_config(schema, data, base=folder)
    except ConfigError as error:
        problems.append(f"{where}: {error}" if where else str(error))
        return None


def _repeated_keys(path: Path) -> list[str]:
    """A line for each key that stands twice in one mapping of a YAML file, upper and lower case taken as one."""
    found: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                if (name := str(key.value).lower()) in seen:
                    found.append(f"suite {path}, line {line}: {key.value!r} stands there twice, "
                                 f"first in line {seen[name]}; ids and keys are unique")  # fmt: skip
                seen.setdefault(name, line)
                walk(value)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                walk(item)

    walk(yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader))
    return found


def _rendered(listing: Path) -> dict[str, Any]:
    """Clips, edits, ground truth and boxes from the listing that is written with rendered clips."""
    found: dict[str, Any] = {}
    try:
        for name, clip in json.loads(listing.read_text(encoding="utf-8"))["clips"].items():
            path, edits = str(listing.parent / clip["clip"]), dict[str, Any]()
            found[name] = {"path": path, "prompt": clip["prompt"], "boxes": clip["boxes"], "edits": edits}
            for kind, edit in clip["edits"].items():
                truth = str(listing.parent / edit["ground_truth"])
                edits[kind] = {"type": kind, "prompt": edit["prompt"], "truth": truth}
        return found
    except OSError as error:
        raise InputError(f"clips: {listing} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"clips: {listing} is no listing of rendered clips ({error!r}); name a mapping") from error


def dump_suite(suite: Suite) -> str:
    """The suite as YAML that `read_suite` reads back to an equal one, paths absolute."""
    values = suite.model_dump(mode="json", exclude_defaults=True)
    clips: dict[str, Any] = {}
    for clip in values["clips"]:
        name, edits = clip.pop("id"), {edit.pop("id"): edit for edit in clip["edits"]}
        clips[name] = clip | {"edits": edits}
    values["clips"] = clips
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
