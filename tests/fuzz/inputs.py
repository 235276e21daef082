"""Inputs as values: files, links and arguments that a reader is given; kinds of them by name."""

from __future__ import annotations

import base64
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

OUTSIDE = "@OUTSIDE@"  # in names, contents and arguments: the folder that nothing may touch
SHARED_FROM = 20_000  # bytes; larger files of a tree are hard links, which no reader writes to


@dataclass
class Input:
    """Files by name, over a copy of a folder of the base (`tree`); links by name; arguments of the reader."""

    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    tree: str = ""

    def write(self, folder: Path, base: Path, outside: Path) -> dict[str, Any]:
        """Put everything in its place below `folder`; returns the arguments with the place outside in them."""
        if self.tree:
            shutil.copytree(base / self.tree, folder / self.tree, copy_function=_copy)
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.write_bytes(content.replace(OUTSIDE.encode(), str(outside).encode()))
        for name, target in self.links.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            path.symlink_to(target.replace(OUTSIDE, str(outside)))
        return {name: _placed(value, str(outside)) for name, value in self.arguments.items()}

    def dump(self) -> dict[str, Any]:
        """As plain JSON values."""
        files = {}
        for name, content in self.files.items():
            try:
                files[name] = content.decode("ascii")
            except UnicodeDecodeError:
                files[name] = {"zlib": base64.b64encode(zlib.compress(content, 9)).decode()}
        return {"tree": self.tree, "files": files, "links": self.links, "arguments": self.arguments}

    @staticmethod
    def load(values: dict[str, Any]) -> Input:
        """What `dump` gave."""
        files = {}
        for name, content in values["files"].items():
            packed = content if isinstance(content, str) else zlib.decompress(base64.b64decode(content["zlib"]))
            files[name] = packed.encode() if isinstance(packed, str) else packed
        return Input(files, values["links"], values["arguments"], values["tree"])


def _copy(source: str, target: str) -> None:
    if Path(source).stat().st_size >= SHARED_FROM:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _placed(value: Any, outside: str) -> Any:
    if isinstance(value, str):
        return value.replace(OUTSIDE, outside)
    return [_placed(one, outside) for one in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Kind:
    """Inputs of one kind: `make` gives one by chance, `read` lets the toolkit read it, in its folder."""

    name: str
    make: Callable[[Random, Path], Input]
    read: Callable[..., Any]
    confined: bool = False  # nothing outside of the folder may be read either


KINDS: dict[str, Kind] = {}


def kind(name: str, make: Callable[[Random, Path], Input], *, confined: bool = False) -> Callable[..., Any]:
    """Register the decorated reader, called with a folder and the input's arguments, as that of a kind."""

    def register(read: Callable[..., Any]) -> Callable[..., Any]:
        KINDS[name] = Kind(name, make, read, confined)
        return read

    return register
