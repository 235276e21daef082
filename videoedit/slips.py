"""Slips of the command line: noticed where typer would not, and told in one line that says what to do."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup

from videoedit.errors import ConfigError, VideoEditError, printable
from videoedit.plugins import METHODS, discover

LONGEST_LINE = 1_200  # letters of an error; names in it may be of any length


class Commands(TyperGroup):
    """Commands that know where a misplaced word belongs."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            if ctx.parent is None and name in discover(METHODS):
                raise ConfigError(f"{name} is a method: videoedit run {name} CLIP ...")
            if ctx.info_name == "run" and (Path(name).suffix or Path(name).exists()):
                raise ConfigError(f"{name} stands where a method belongs: videoedit run METHOD CLIP ...; "
                                  "videoedit methods lists them")  # fmt: skip
        return super().resolve_command(ctx, args)


class Once(TyperCommand):
    """A command whose flags have one value, but for those that take several; the same one twice does no harm."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # completing a line that is being written
            return super().parse_args(ctx, args)
        values, _, seen = self.make_parser(ctx).parse_args(list(args))
        known = {name for flag in self.params for name in flag.opts}
        for flag in self.params:
            value: Any = values.get(flag.name, "")
            for text in value if isinstance(value, list) else [value]:
                if text in known:
                    raise ConfigError(f"{max(flag.opts, key=len)} is followed by {text}; give it a value first")
            once = not getattr(flag, "is_flag", True) and not getattr(flag, "multiple", True)
            if once and seen.count(flag) > 1 and not _is_the_same(flag.opts, args, seen.count(flag)):
                raise ConfigError(f"{max(flag.opts, key=len)} is given {seen.count(flag)} times; give it once")
        return super().parse_args(ctx, args)


def _is_the_same(names: Sequence[str], args: Sequence[str], times: int) -> bool:
    """Whether a flag that is given so often always has one value."""
    given = []
    for word, following in zip(args, (*args[1:], ""), strict=True):
        name, equals, value = word.partition("=")
        if name in names:
            given.append(value if equals else following)
    return len(given) == times and len(set(given)) == 1


def one_line(error: Exception) -> str:
    """The message of an expected error; empty for a defect of ours."""
    if isinstance(error, VideoEditError):
        return _shortened(" ".join(str(error).split()))
    if isinstance(error, MemoryError) or "not enough memory" in str(error):
        return "not enough memory for this; take fewer frames (--frames), a smaller --size, or another machine"
    if isinstance(error, OSError) and error.filename:
        return _shortened(f"{error.filename}: {error.strerror}; check the name and its permissions")
    if hasattr(error, "format_message"):  # wrong flags and arguments
        line = " ".join(error.format_message().split()).removesuffix(".")
        context: Any = getattr(error, "ctx", None)
        told = not context or "Did you mean" in line or "Possible options" in line
        return line if told else f"{line}; see {context.command_path} --help"
    return ""


def _shortened(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 300]} ... {line[-300:]}"


class Printable(logging.Formatter):
    """A line of the log without what no terminal should get."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))
