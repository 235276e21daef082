"""Errors by who can mend them. Every message says what was given, what was expected, what to do."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable


class VideoEditError(Exception):
    """Base of every error that the command line shows as one line; `str(error)` is that line."""


class ConfigError(VideoEditError):
    """A setting is unknown, mistyped, out of range, or contradicts another."""


class InputError(VideoEditError):
    """A video, image or prompt cannot be used: missing, unreadable, too short, of the wrong size."""


class ShapeError(VideoEditError):
    """A tensor handed to a public function has the wrong shape."""


class MethodError(VideoEditError):
    """A method was used wrongly, or found its network in a state that it cannot work with."""


class WeightsError(VideoEditError):
    """A model or checkpoint is missing, of the wrong kind, damaged, or in a format that is not allowed."""


class OutputError(VideoEditError):
    """A result cannot be written: no space, no permission, or the folder holds another run."""


class ToolError(VideoEditError):
    """An external program failed; carries its last words."""


def is_printable(text: str) -> bool:
    """True of a text that any terminal may get: letters and spaces of all scripts, no control characters."""
    return all(letter.isprintable() or unicodedata.category(letter) == "Zs" for letter in text)


def printable(text: str) -> str:
    """A text with what no terminal should get, such as escape codes and broken UTF-8, written out."""
    shown = ""
    for letter in text:
        shown += letter if is_printable(letter) or letter == "\n" else ascii(letter)[1:-1]
    return shown


def hint(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """The end of a message about an unknown name: ``; did you mean 'x'?``, or what to say if none is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else otherwise
