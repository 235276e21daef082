"""A check of the installation: what is there, what is missing, what to do. None raises or uses the network."""

from __future__ import annotations

import os
import pkgutil
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videoedit.files import existing_parent
from videoedit.models.assets import MINI
from videoedit.plugins import COMMANDS, METHODS
from videoedit.runs.machine import cores, cpu_info, environment, hardware

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PARTS = ("unet", "vae", "text_encoder", "controlnet-canny", "clip")  # folders of the embedded model with weights


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report; advice is for those that are not ok."""

    name: str
    ok: bool | None  # None: not needed, or not known
    found: str
    advice: str = ""

    def __post_init__(self) -> None:
        if self.ok:
            object.__setattr__(self, "advice", "")


def diagnose(*, folder: Path | None = None) -> list[Check]:
    """Check the installation; `folder` is where results will go (disk space), the present one by default."""
    versions = {n: partial(check_version, needed) for n, needed in requirements().items() if "torch" not in n}
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("Python", check_python),
        ("torch and torchvision", check_torch),
        *versions.items(),
        ("diffusers with transformers", check_pipeline),
        ("video encoders", check_encoders),
        ("embedded model", check_mini),
        ("optical flow", check_flow),
        ("GPU", check_gpu),
        ("CPU", check_cpu),
        ("memory", check_memory),
        ("cache", check_cache),
        ("disk", partial(check_disk, folder or Path.cwd())),
        ("xformers (optional)", partial(check_extra, "xformers", "xformers")),
        ("controlnet_aux (optional)", partial(check_extra, "controlnet_aux", "controls")),
    ]
    return list(starmap(_guarded, checks))


def installation() -> dict[str, Any]:
    """Facts that a report of a defect should state, as plain values; what cannot be found out says why."""
    facts: dict[str, Callable[[], Any]] = {
        "versions": environment,
        "machine": hardware,
        "device": _device,
        "cache": _cache,
        "plugins": _plugins,
    }
    found = {}
    for name, fact in facts.items():
        try:
            found[name] = fact()
        except Exception as error:
            found[name] = f"not known: {_one_line(error)}"
    return found


def _device() -> str:
    from videoedit.models.device import choose_device

    return str(choose_device(None))


def _cache() -> dict[str, Any]:
    from videoedit.files import cache_folder
    from videoedit.models.fetch import FETCHABLE, fetched

    return {"folder": str(cache_folder()), "weights": list(filter(fetched, FETCHABLE))}


def _plugins() -> dict[str, dict[str, str]]:
    """The packages that methods, commands and metrics come from, by name."""
    from videoedit.metrics.catalogue import ENTRY_POINTS

    found: dict[str, dict[str, str]] = {}
    for group in (METHODS, COMMANDS, ENTRY_POINTS):
        for point in metadata.entry_points(group=group):
            found.setdefault(group, {})[point.name] = f"{point.dist.name} {point.dist.version}" if point.dist else "?"
    return found


def requirements() -> dict[str, Requirement]:
    """The packages that this one needs, with the versions that it takes, by name."""
    from packaging.requirements import Requirement

    needed = map(Requirement, metadata.requires("videoedit") or [])
    return {requirement.name: requirement for requirement in needed if requirement.marker is None}


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


def check_python() -> Check:
    fine = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Check("Python", fine, platform.python_version(), "install Python 3.11, 3.12 or 3.13")


def check_version(requirement: Requirement) -> Check:
    """The version of a package, against the supported range."""
    version = _version(requirement.name)
    fine = version is not None and requirement.specifier.contains(version, prereleases=True)
    return Check(requirement.name, fine, version or "not installed", f'pip install "{requirement}"')


def check_torch() -> Check:
    """Versions, and torchvision's operators, which must fit torch (those of builds from two indexes do not)."""
    checks = [check_version(requirements()[name]) for name in ("torch", "torchvision")]
    found = ", ".join(f"{check.name} {check.found}" for check in checks)
    for check in checks:
        if not check.ok:
            return Check("torch and torchvision", False, found, check.advice)
    both = "pip install --force-reinstall torch torchvision"
    for check, advice in zip(checks, (both, _matching_advice(checks[0].found)), strict=True):
        if error := _import_error(check.name):
            return Check("torch and torchvision", False, f"{found}: {error}", advice)
    return Check("torch and torchvision", True, found)


def _import_error(*names: str) -> str:
    """One line on the first of these modules, or of their parts ("module:part"), that cannot be imported."""
    for name in names:
        try:
            pkgutil.resolve_name(name)
        except Exception as error:
            return _one_line(error)
    return ""


def _matching_advice(torch_version: str) -> str:
    """The command that gets both from one index: the part of torch's version after + names it."""
    build = torch_version.partition("+")[2]
    index = f" --index-url https://download.pytorch.org/whl/{build}" if build else ""
    return (
        'torchvision was built for another torch (diffusers would report "Could not import module '
        f"'PreTrainedModel'\"); install both from one place: pip install --force-reinstall torch torchvision{index}"
    )


def check_pipeline() -> Check:
    """The classes the toolkit builds on, imported together."""
    error = _import_error("diffusers:UNet2DConditionModel", "transformers:CLIPTextModel")
    advice = "see torch and torchvision above; else reinstall diffusers"
    return Check("diffusers with transformers", not error, error or "import together", advice)


def check_encoders() -> Check:
    """H.264 and AAC in the FFmpeg that PyAV brings."""
    import av

    lacking = [name for name in ("libx264", "aac") if name not in av.codecs_available]
    found = f"PyAV {av.__version__}: " + (f"lacks {', '.join(lacking)}" if lacking else "libx264, aac")
    advice = "pip install --force-reinstall --only-binary av av (the wheels carry both)"
    return Check("video encoders", not lacking, found, advice)


def check_mini() -> Check:
    """The embedded model: every part there, every weight file whole, its tensors readable."""
    from safetensors import SafetensorError, safe_open

    advice = "reinstall videoedit; in a checkout: git checkout -- videoedit/assets/mini"
    lacking = [part for part in PARTS if not any((MINI / part).glob("*.safetensors"))]
    if lacking:
        return Check("embedded model", False, f"lacks {', '.join(lacking)}", advice)
    tensors = size = 0
    for path in sorted(MINI.rglob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as file:
                tensors += len(file.keys())
        except (SafetensorError, OSError) as error:
            return Check("embedded model", False, f"{path.relative_to(MINI).as_posix()}: {_one_line(error)}", advice)
        size += path.stat().st_size
    return Check("embedded model", True, f"{len(PARTS)} parts, {tensors} tensors, {size / 1e6:.1f} MB")


def check_flow() -> Check:
    """RAFT's weights, if they are here; without them OpenCV's DIS estimates motion."""
    from videoedit.models.fetch import fetched

    here = list(filter(fetched, ("raft-sintel", "raft-small")))
    advice = "videoedit models fetch raft-sintel, for better motion between distant key frames"
    return Check("optical flow", bool(here) or None, ", ".join(here) or "DIS only", advice)


def check_gpu() -> Check:
    import torch

    from videoedit.models.device import choose_device, device_name

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return Check("GPU", True, f"{torch.cuda.get_device_name()}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
    if (place := choose_device(None)).type != "cpu":
        return Check("GPU", True, device_name(place))
    return Check("GPU", None, "none", "the embedded model needs none; Stable Diffusion takes hours without one")


def check_cpu() -> Check:
    """Cores, and instructions that make bfloat16 fast."""
    about = cpu_info()
    fast = [name for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX512")) if flag in about]
    found = f"{cores()} cores, " + (f"fast bfloat16 ({', '.join(fast)})" if fast else "no fast bfloat16")
    return Check("CPU", bool(fast) or None, found, "keep float32 on this CPU")


def check_cache() -> Check:
    """Place of fetched weights."""
    from videoedit.files import cache_folder

    folder = cache_folder()
    writable = os.access(existing_parent(folder), os.W_OK)
    return Check("cache", writable, str(folder), "set VIDEOEDIT_CACHE to a folder that can be written to")


def check_memory() -> Check:
    import psutil

    free = psutil.virtual_memory().available / 2**30
    return Check("memory", free >= 2, f"{free:.1f} GiB free", "the embedded model needs 2 GiB; close other programs")


def check_disk(folder: Path) -> Check:
    """Room for results where they will go."""
    place = existing_parent(folder)
    free = shutil.disk_usage(place).free / 2**30
    advice = "free 1 GiB, or write elsewhere with -o (the folder must be writable)"
    return Check("disk", free >= 1 and os.access(place, os.W_OK), f"{free:.1f} GiB free in {place}", advice)


def check_extra(name: str, extra: str) -> Check:
    version = _version(name)
    advice = f'pip install "videoedit[{extra}]" if you want it'
    return Check(f"{name} (optional)", bool(version) or None, version or "not installed", advice)
