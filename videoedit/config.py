"""One strict schema: YAML file < ``--set a.b=c`` < flags; unknown keys are errors that name the nearest one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from videoedit.errors import ConfigError, is_printable
from videoedit.limits import LimitedLoader, read_text

CLIPS = Path(__file__).parent / "assets/clips"
BUNDLED = "bundled:"


class Section(BaseModel):
    """Base of every group of settings: frozen, strict types, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


def _size(value: Any) -> Any:
    """``"WxH"`` or a list of two integers -> (width, height)."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+)\s*[xX×]\s*(\d+)\s*", value)
        if not match:
            raise ValueError(f"{value!r} is not a size; write WIDTHxHEIGHT, for example 512x512")
        return int(match[1]), int(match[2])
    return tuple(value) if isinstance(value, list) else value


def _rate(value: Any) -> Any:
    """A number or text such as ``30000/1001`` -> Fraction."""
    try:
        rate = Fraction(str(value)).limit_denominator(1001)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise ValueError(f"{value!r} is not a frame rate; write a number such as 24 or 30000/1001, at most 1000")
    return rate


def _path(value: Any, info: ValidationInfo) -> Any:
    """Text -> Path; a relative one in a config file starts at that file's folder, ``bundled:NAME`` in the package's."""
    base = (info.context or {}).get("base", Path())
    if isinstance(value, str) and value.startswith(BUNDLED):
        return CLIPS / value.removeprefix(BUNDLED)
    if isinstance(value, str | Path) and not is_printable(str(value)):
        raise ValueError("the name has characters that cannot be shown, or is not UTF-8; rename the file")
    return base / Path(value).expanduser() if isinstance(value, str) else value


def as_tuple(value: Any) -> Any:
    """A YAML list as the tuple that a frozen, strict schema expects."""
    return tuple(value) if isinstance(value, list) else value


Size = Annotated[
    tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]],
    BeforeValidator(_size),
    PlainSerializer(lambda size: f"{size[0]}x{size[1]}", return_type=str),
]
Rate = Annotated[Fraction, BeforeValidator(_rate), PlainSerializer(str, return_type=str)]
FilePath = Annotated[Path, BeforeValidator(_path), PlainSerializer(str, return_type=str)]
Strings = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]


def _ordered(window: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= window[0] <= window[1] <= 1:
        raise ValueError(f"{list(window)} is no part of a run; expected 0 <= first <= last <= 1, or null")
    return window


Window = Annotated[tuple[float, float], BeforeValidator(as_tuple), AfterValidator(_ordered)]
"""Fractions of the sampling steps, 0 = the first (noisiest)."""


ONLY_HOW: Any = {"decides_result": False}
"""``json_schema_extra`` of a setting that changes how the work is done, and no byte of what comes out."""


def deciding(config: Section) -> dict[str, Any]:
    """The settings that decide the result, as plain values: all but those marked `ONLY_HOW`."""
    values = config.model_dump(mode="json")
    for name, field in type(config).model_fields.items():
        inner = getattr(config, name)
        if isinstance(inner, Section):
            values[name] = deciding(inner)
        elif field.json_schema_extra == ONLY_HOW:
            del values[name]
    return values


class VideoConfig(Section):
    """The frames of the clip that are edited, and the size at which the model sees them."""

    start: int = Field(default=0, ge=0)
    """First frame."""
    stride: int = Field(default=1, ge=1)
    """Take every n-th frame; the output's rate is the source's divided by it."""
    num_frames: int | None = Field(default=None, ge=1)
    """Number of frames; empty: all there are, but at most 24 for a method that edits all frames at once."""
    fps: Rate | None = None
    """Constant frame rate: of a clip that has none of its own; others are resampled to it, with their sound in step."""
    audio_track: int | None = Field(default=None, ge=0)
    """Sound track to keep, from 0; empty: the one that players take."""
    size: Size | None = None
    """Width x height that the model works at; empty: the model's own size at the clip's aspect."""
    output_size: Literal["source", "model"] = "source"
    """Size of the written video: the source's, or the one the model worked at."""
    format: Literal["mp4", "png", "exr"] = "mp4"
    """Write the frames of each edit as pictures beside the mp4: png, or exr (linear light, half floats)."""


class ClipConfig(Section):
    """Settings of every run: a clip, the frames of it, a seed."""

    clip: FilePath | None = None
    """The video to edit."""
    seed: int = Field(default=33, ge=0)
    """Seed of all random numbers."""
    video: VideoConfig = VideoConfig()


class RunConfig(ClipConfig):
    """Settings of every method with a model; a method adds its own sections."""

    model: str = "mini"
    """Model: `mini`, a diffusers folder, a `.safetensors` file, or a hub id."""
    device: str | None = None
    """Device to compute on: `cpu`, `cuda`, `mps`, ...; empty or `auto`: a GPU if there is one."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Precision of the frozen model; empty: float32 on a CPU, float16 on a GPU."""
    allow_pickle: bool = False
    """Read pickled weights too, through torch's restricted unpickler."""
    anyway: bool = Field(default=False, json_schema_extra=ONLY_HOW)
    """Go on though the model does not know words of the prompts."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Settings that suit a model better than the paper's, by its name: they hold where nothing else is given."""

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        model = given.get("model", cls.model_fields["model"].default)
        return _filled(given, cls.presets.get(model, {})) if isinstance(model, str) else given


def _filled(given: Mapping[str, Any], preset: Mapping[str, Any]) -> dict[str, Any]:
    """`given`, and what only `preset` has, section by section."""
    filled = {**preset, **given}
    for name, inner in preset.items():
        if isinstance(inner, Mapping) and isinstance(filled[name], Mapping):
            filled[name] = _filled(filled[name], inner)
    return filled


class EditsConfig(RunConfig):
    """Settings of a method that makes several edits of a clip."""

    prompts: Strings = ()
    """Texts that describe the edits, one video each."""
    negative_prompt: str = ""
    """Text that guidance moves away from."""
    truth: Annotated[tuple[FilePath, ...], BeforeValidator(as_tuple)] = ()
    """Videos of what each edit should look like, one for each prompt, if clips are rendered."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.truth and len(self.truth) != len(self.prompts):
            raise ValueError(f"truth names {len(self.truth)} videos for {len(self.prompts)} prompts; give one each")
        if twice := [prompt for prompt in self.prompts if self.prompts.count(prompt) > 1]:
            raise ValueError(f"the prompt {twice[0]!r} is given twice; give each edit once")
        return self

    def truth_of(self, prompt: str) -> Path | None:
        """The video of what the edit by `prompt` should look like, if one is known."""
        return self.truth[self.prompts.index(prompt)] if self.truth else None


class PromptsConfig(EditsConfig):
    """Settings of a method that learns one clip and then makes several edits of it."""

    source_prompt: str = ""
    """Text that describes the clip; the network is tuned on it."""


AnyConfig = TypeVar("AnyConfig", bound=Section)


class _Loader(LimitedLoader):
    """A loader that reads ``3e-5`` as a number, as YAML 1.2 does and people expect."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.\d*|\.\d+|\d+)([eE][-+]?\d+)$"),
    list("-+0123456789."),
)


def parse_yaml(text: str) -> Any:
    """Plain YAML values only; no objects are built. Raises yaml.YAMLError for all that is none."""
    try:
        return yaml.load(text, Loader=_Loader)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:  # such as 2001-99-99, !!int x
        raise yaml.YAMLError(f"a value that cannot be read ({str(error)[:80]})") from error


class FileData(dict[str, Any]):
    """The mapping in a config file, which knows the lines that its keys stand in."""

    def __init__(self, values: Mapping[str, Any], path: Path, lines: Mapping[str, int]) -> None:
        super().__init__(values)
        self.path, self.lines = path, dict(lines)

    def place(self, dotted: str) -> str:
        """``FILE:LINE: `` of a key, or of the nearest one above it; empty for one that is not from the file."""
        while dotted and dotted not in self.lines:
            dotted = dotted.rpartition(".")[0]
        return f"{self.path}:{self.lines[dotted]}: " if dotted else ""


def _lines(node: Any, prefix: str = "") -> dict[str, int]:
    """The line of each dotted key below a node of YAML, from 1."""
    found: dict[str, int] = {}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        dotted = f"{prefix}{key.value}"
        found[dotted] = key.start_mark.line + 1
        found |= _lines(value, f"{dotted}.")
    return found


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; ConfigError with line number if it is none."""
    try:
        text = read_text(path)
        data = parse_yaml(text)
    except OSError as error:
        raise ConfigError(f"config file {path} cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"config file {path} is not YAML{where}: {getattr(error, 'problem', error)}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"config file {path} holds a {type(data).__name__}, expected `key: value` lines")
    return FileData(data, path, _lines(yaml.compose(text, Loader=_Loader)))


def near_file(config: Path, name: str) -> str:
    """`name` as an absolute path if it exists beside a config file or in a folder above."""
    for folder in config.resolve().parents:
        if (folder / name).exists():
            return str(folder / name)
    return name


def set_value(data: dict[str, Any], dotted: str, value: Any) -> None:
    """Put `value` at the key ``a.b.c`` of nested mappings, in place."""
    *parents, last = dotted.split(".")
    if isinstance(data, FileData):
        data.lines.pop(dotted, None)
    for parent in parents:
        inner = data.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {dotted}: {parent!r} is a single value, it has no keys below it")
        data = inner
    data[last] = value


def parse_assignments(assignments: Iterable[str]) -> list[tuple[str, Any]]:
    """``a.b=c`` texts -> (key, value); values are read as YAML."""
    pairs = []
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {text!r}: expected KEY=VALUE, for example --set sample.steps=20")
        try:
            pairs.append((key.strip(), parse_yaml(value)))
        except yaml.YAMLError as error:
            problem = getattr(error, "problem", None) or error
            raise ConfigError(f"--set {text[:80]!r}: the value is not YAML: {problem}") from error
    return pairs


def build_config(schema: type[AnyConfig], data: Mapping[str, Any], base: Path | None = None) -> AnyConfig:
    """Validate; relative paths start at `base`.

    Raises ConfigError in one line with the nearest key for an unknown one.
    """
    try:
        return schema.model_validate(data, context={"base": base or Path()})
    except ValidationError as error:
        place = data.place if isinstance(data, FileData) else lambda key: ""
        raise ConfigError("; ".join(_explain(schema, one, place) for one in error.errors()[:3])) from error


def dump_yaml(config: Section) -> str:
    """The resolved config as YAML that `read_yaml` reads back to an equal one."""
    data = config.model_dump(mode="json")
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)


def annotated_yaml(config: Section, indent: int = 0) -> str:
    """Like `dump_yaml`, with each setting's docstring as a comment above it."""
    lines = []
    values = config.model_dump(mode="json")
    for name, field in type(config).model_fields.items():
        inner = getattr(config, name)
        if field.description:
            lines.append(f"# {field.description}")
        if isinstance(inner, Section):
            lines += [f"{name}:", annotated_yaml(inner, indent + 2)]
        else:
            lines.append(yaml.safe_dump({name: values[name]}, allow_unicode=True, width=100).strip())
    pad = " " * 2 if indent else ""
    return "\n".join(pad + line for text in lines for line in text.splitlines())


def _explain(schema: type[BaseModel], error: Any, place: Callable[[str], str]) -> str:
    location = [str(part) for part in error["loc"] if not str(part).startswith("function-")]
    key = ".".join(location)
    if error["type"] == "extra_forbidden":
        return f"{place(key)}unknown setting {key!r}; {_nearest(schema, key)}"
    if error["type"] in ("model_type", "model_attributes_type"):
        inside = next((name for name in setting_keys(schema) if name.startswith(f"{key}.")), f"{key}.NAME")
        return f"{place(key)}setting {key!r} is a group, it takes no value; set one of its settings, such as {inside}"
    message = error["msg"].removeprefix("Value error, ")
    given = repr(error["input"])
    given = given if len(given) < 100 else f"{given[:80]}..."
    shown = "" if isinstance(error["input"], dict) else f" (given: {given})"
    where = f"setting {key!r}: " if key else ""
    return f"{place(key)}{where}{message[:1].lower()}{message[1:]}{shown}"


def _nearest(schema: type[BaseModel], key: str) -> str:
    keys = list(setting_keys(schema))
    if close := difflib.get_close_matches(key, keys, n=1, cutoff=0.75):
        return f"did you mean {close[0]!r}?"
    by_last = {known.rsplit(".", 1)[-1]: known for known in reversed(keys)}
    if close := difflib.get_close_matches(key.rsplit(".", 1)[-1], by_last, n=1, cutoff=0.5):
        return f"did you mean {by_last[close[0]]!r}?"
    return "`videoedit show-config METHOD` lists all settings"


def setting_keys(schema: type[BaseModel], prefix: str = "") -> Iterable[str]:
    """All dotted keys of a schema, leaves and sections."""
    for name, field in schema.model_fields.items():
        yield prefix + name
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from setting_keys(inner, f"{prefix}{name}.")
