"""Settings decide results: another value of each makes some step again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from videoedit.config import ONLY_HOW, Section, setting_keys
from videoedit.conformance.trial import Trial, changed, snapshot, tried
from videoedit.runs.steps import KEPT

OTHER_PROMPT = "a blue car"
OF_THE_CORE = ("clip", "video", "device", "allow_pickle")  # settings that no method has to answer for


def check_settings(trial: Trial, changes: Mapping[str, Any]) -> Iterator[str]:
    """Another value of a setting makes a step again, unless it is marked `ONLY_HOW`: then of none. Dry runs say so."""
    given = trial.work / "given"
    known: dict[str, list[Any]]
    known = {"model": [str(given / "other-model")], "dtype": ["bfloat16"],
             "prompts": [[OTHER_PROMPT]], "truth": [str(given / "clip.mp4"), [str(given / "clip.mp4")]]}  # fmt: skip
    known |= {key: [value] for key, value in changes.items()}
    before = snapshot(trial.work)
    for key in sorted(changes.keys() - set(setting_keys(trial.spec.load("config")))):
        yield f"`changes` gives a value of {key}, which is no setting"
    for key, field, value in leaves(trial.config()):
        others = known.get(key) or other_values(field.annotation, value)
        if key.split(".")[0] not in OF_THE_CORE and others:
            yield from _check_setting(trial, key, others, only_how=field.json_schema_extra == ONLY_HOW)
    for path in changed(before, snapshot(trial.work)):
        yield f"a dry run touches {path.relative_to(trial.work)}"


def _check_setting(trial: Trial, key: str, others: list[Any], *, only_how: bool) -> Iterator[str]:
    """The first of the other values that is accepted decides."""
    for other in others:
        status = tried(trial.status, {key: other})
        if not isinstance(status, str):
            break
    else:
        yield f"setting {key} takes no value that could be derived; give one in `changes` ({status})"
        return
    made = [name for name, why in status.items() if why != KEPT and name != "source"]
    left_out = trial.status().keys() - status.keys()
    if only_how and made:
        yield f"setting {key} is marked ONLY_HOW, but {other!r} makes {made[0]!r} again"
    if not only_how and not made and not left_out:
        yield f"setting {key} decides nothing: with {other!r} all steps are kept; let a step need it, or drop it"


def leaves(config: Section, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted name, field and value of every setting."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Section):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, field, value


def other_values(annotation: Any, value: Any) -> list[Any]:
    """Values of a setting's type besides its own, to be tried in turn; none of tuples and paths."""
    kinds = list(_kinds(annotation))
    if choices := [kind for kind in kinds if isinstance(kind, str) and kind != value]:
        return choices
    if isinstance(value, str):
        return [] if any(isinstance(kind, str) for kind in kinds) else [f"{value} more".strip()]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int) or (value is None and int in kinds):
        return [(value or 0) + 1, (value or 0) + 2, (value or 0) - 1]
    if isinstance(value, float) or (value is None and float in kinds):
        return [other for other in ((value or 1.0) / 2, (value or 0.0) + 0.5) if other != value]
    return []


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types in a union, and the choices of a literal as they are."""
    if get_origin(annotation) is tuple or not get_args(annotation):
        yield annotation
        return
    for part in get_args(annotation):
        if get_origin(annotation) is Literal:
            yield part
        else:
            yield from _kinds(part)
