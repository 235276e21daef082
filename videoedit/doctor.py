"""What is installed, what is missing, what to do about it. No check raises; none uses the network unasked."""

from __future__ import annotations

import importlib
import json
import os
import platform
import re
import shutil
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from videoedit.models.assets import MINI

SUPPORTED = {  # package -> (first version, first version that is too new or None)
    "torch": ((2, 6), None),
    "torchvision": ((0, 21), None),
    "diffusers": ((0, 36), None),
    "transformers": ((4, 51), (6,)),
    "safetensors": ((0, 5), None),
    "av": ((14,), (20,)),
    "numpy": ((1, 26), None),
}
PARTS = ("unet", "vae", "text_encoder", "controlnet-canny", "clip")  # folders of the embedded model with weights


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report."""

    name: str
    ok: bool | None  # None: not needed, or not known
    found: str
    advice: str = ""


def diagnose(*, hub: bool = False, folder: Path | None = None) -> list[Check]:
    """Check the installation; `hub` also asks whether the Hugging Face hub answers (the only use of the network).

    `folder` is where results will go (disk space); the present one by default.
    """
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("Python", check_python),
        ("torch and torchvision", check_torch),
        *((name, lambda name=name: check_version(name)) for name in SUPPORTED if "torch" not in name),  # type: ignore[misc]
        ("diffusers with transformers", check_pipeline),
        ("video encoders", check_encoders),
        ("embedded model", check_mini),
        ("optical flow", check_flow),
        ("GPU", check_gpu),
        ("CPU", check_cpu),
        ("memory", check_memory),
        ("disk", lambda: check_disk(folder or Path.cwd())),
        ("xformers (optional)", lambda: check_extra("xformers", "xformers")),
        ("controlnet_aux (optional)", lambda: check_extra("controlnet_aux", "controls")),
    ]
    if hub:
        checks.append(("Hugging Face hub", check_hub))
    return [_guarded(name, check) for name, check in checks]


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """Run a check; whatever it raises becomes its finding."""
    try:
        return check()
    except Exception as error:
        return Check(name, False, _one_line(error), "this check failed; reinstall the package it names")


def _one_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: "2.14.1+cpu" -> (2, 14, 1)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def check_python() -> Check:
    fine = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Check("Python", fine, platform.python_version(), "" if fine else "install Python 3.11, 3.12 or 3.13")


def check_version(name: str) -> Check:
    """Whether a package's version is in the supported range."""
    version = _version(name)
    low, high = SUPPORTED[name]
    wanted = f"{name}>={'.'.join(map(str, low))}" + (f",<{'.'.join(map(str, high))}" if high else "")
    if version is None:
        return Check(name, False, "not installed", f'pip install "{wanted}"')
    fine = _numbers(version) >= low and (high is None or _numbers(version) < high)
    return Check(name, fine, version, "" if fine else f'pip install "{wanted}"')


def check_torch() -> Check:
    """Versions, and whether torchvision's operators fit torch (builds from two indexes do not)."""
    name = "torch and torchvision"
    versions = [check_version("torch"), check_version("torchvision")]
    found = ", ".join(f"{check.name} {check.found}" for check in versions)
    for check in versions:
        if not check.ok:
            return Check(name, False, found, check.advice)
    try:
        importlib.import_module("torch")
    except Exception as error:
        return Check(name, False, f"{found}: {_one_line(error)}", "pip install --force-reinstall torch torchvision")
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        return Check(name, False, f"{found}: {_one_line(error)}", _matching_advice(_version("torch") or ""))
    return Check(name, True, found)


def _matching_advice(torch_version: str) -> str:
    """How to get both from one index: the part of torch's version after + names it."""
    build = torch_version.partition("+")[2]
    index = f" --index-url https://download.pytorch.org/whl/{build}" if build else ""
    return (
        'torchvision was built for another torch (diffusers would report "Could not import module '
        f"'PreTrainedModel'\"); install both from one place: pip install --force-reinstall torch torchvision{index}"
    )


def check_pipeline() -> Check:
    """Whether the classes the toolkit builds on can be imported together."""
    name = "diffusers with transformers"
    try:
        for module, part in (("diffusers", "UNet2DConditionModel"), ("transformers", "CLIPTextModel")):
            getattr(importlib.import_module(module), part)
    except Exception as error:
        return Check(name, False, _one_line(error), "see torch and torchvision above; else reinstall diffusers")
    return Check(name, True, "import together")


def check_encoders() -> Check:
    """H.264 and AAC in the FFmpeg that PyAV brings."""
    import av

    lacking = [name for name in ("libx264", "aac") if name not in av.codecs_available]
    found = f"PyAV {av.__version__}: " + (f"lacks {', '.join(lacking)}" if lacking else "libx264, aac")
    advice = "pip install --force-reinstall --only-binary av av (the wheels carry both)" if lacking else ""
    return Check("video encoders", not lacking, found, advice)


def check_mini() -> Check:
    """The embedded model: every part there, every weight file whole, its tensors readable."""
    advice = "reinstall videoedit; in a checkout: git checkout -- videoedit/assets/mini"
    lacking = [part for part in PARTS if not any((MINI / part).glob("*.safetensors"))]
    if lacking:
        return Check("embedded model", False, f"lacks {', '.join(lacking)}", advice)
    tensors = size = 0
    for file in sorted(MINI.rglob("*.safetensors")):
        try:
            tensors += _tensors(file)
        except (ValueError, OSError) as error:
            return Check("embedded model", False, f"{file.relative_to(MINI)}: {_one_line(error)}", advice)
        size += file.stat().st_size
    return Check("embedded model", True, f"{len(PARTS)} parts, {tensors} tensors, {size / 1e6:.1f} MB")


def _tensors(file: Path) -> int:
    """How many tensors a safetensors file holds; ValueError if its header or its length is wrong."""
    size = file.stat().st_size
    with file.open("rb") as handle:
        start = handle.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > size - 8:
            raise ValueError("not a safetensors file, or cut short")
        header = json.loads(handle.read(length))
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    if 8 + length + max(ends, default=0) != size:
        raise ValueError(f"cut short or damaged: {size} bytes, expected {8 + length + max(ends, default=0)}")
    return len(ends)


def check_flow() -> Check:
    """Whether RAFT's weights are here; without them OpenCV's DIS estimates motion."""
    from videoedit.models.fetch import fetched

    here = [name for name in ("raft-sintel", "raft-small") if fetched(name)]
    advice = "" if here else "videoedit models fetch raft-sintel, for better motion between distant key frames"
    return Check("optical flow", True if here else None, ", ".join(here) or "DIS only", advice)


def check_gpu() -> Check:
    import torch

    if torch.cuda.is_available():
        free, total = (amount / 2**30 for amount in torch.cuda.mem_get_info())
        return Check("GPU", True, f"{torch.cuda.get_device_name()}, {free:.1f} of {total:.1f} GiB free")
    if torch.backends.mps.is_available():
        return Check("GPU", True, "Apple GPU (mps)")
    return Check("GPU", None, "none", "the embedded model needs none; Stable Diffusion takes hours without one")


def check_cpu() -> Check:
    """Cores, and instructions that make bfloat16 fast."""
    flags = _cpu_flags()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    fast = [name for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX512")) if flag in flags]
    found = f"{cores} cores, " + (f"fast bfloat16 ({', '.join(fast)})" if fast else "no fast bfloat16")
    return Check("CPU", True if fast else None, found, "" if fast else "keep float32 on this CPU")


def _cpu_flags() -> set[str]:
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return set()
    line = next((line for line in info.read_text().splitlines() if line.startswith(("flags", "Features"))), "")
    return set(line.partition(":")[2].split())


def check_memory() -> Check:
    import psutil

    free = psutil.virtual_memory().available / 2**30
    advice = "" if free >= 2 else "the embedded model needs 2 GiB; close other programs"
    return Check("memory", free >= 2, f"{free:.1f} GiB free", advice)


def check_disk(folder: Path) -> Check:
    """Room for results where they will go."""
    place = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(place).free / 2**30
    fine = free >= 1 and os.access(place, os.W_OK)
    advice = "" if fine else "free 1 GiB, or write elsewhere with -o (the folder must be writable)"
    return Check("disk", fine, f"{free:.1f} GiB free in {place}", advice)


def check_extra(name: str, extra: str) -> Check:
    version = _version(name)
    advice = "" if version else f'pip install "videoedit[{extra}]" if you want it'
    return Check(f"{name} (optional)", True if version else None, version or "not installed", advice)


def check_hub() -> Check:
    """Whether the hub answers within five seconds; honours HF_ENDPOINT and HF_HUB_OFFLINE."""
    import urllib.request

    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return Check("Hugging Face hub", None, "HF_HUB_OFFLINE is set", "unset it to load models by hub id")
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=5):
            return Check("Hugging Face hub", True, f"{address} answers")
    except (OSError, ValueError) as error:
        advice = "not needed for the embedded model; give other models as local folders"
        return Check("Hugging Face hub", None, f"{address}: {_one_line(error)}", advice)
