"""The words of a model that knows few: its folder lists them in ``words.txt``, one a line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from videoedit.limits import read_text

FILE = "words.txt"


def split_words(text: str) -> list[str]:
    """The words and numbers of a text, in lower case, in order."""
    return re.findall(r"[^\W_]+", text.lower())


def known_words(folder: Path | None) -> frozenset[str]:
    """The words that the model in a folder knows; none for a model that does not list any, which knows all."""
    if folder is None or not (folder / FILE).is_file():
        return frozenset()
    return frozenset(split_words(read_text(folder / FILE)))


def unknown_words(texts: Iterable[str], known: frozenset[str]) -> str:
    """The words of `texts` that are not `known`, each with the nearest that are: ``'cars' (near: car, cat)``."""
    found = []
    for word in dict.fromkeys(word for text in texts for word in split_words(text)):
        if not known or word in known:
            continue
        near = ", ".join(difflib.get_close_matches(word, sorted(known), n=3))
        found.append(f"{word!r} (near: {near})" if near else repr(word))
    return ", ".join(found)
