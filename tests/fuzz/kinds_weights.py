"""Weights and what lies beside them: safetensors, adapters, models' folders, archives, flow, caches."""

from __future__ import annotations

import functools
import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from fuzz.inputs import OUTSIDE, Input, kind
from fuzz.mutate import NAMES, NUMBERS, as_json, chance_value, change_bytes, change_value
from videoedit.errors import VideoEditError

# ------------------------------------------------------------------------------------------- safetensors


def pack(header: Any, data: bytes, rng: Random) -> bytes:
    """A safetensors file of a header, which need not be one."""
    text = header if isinstance(header, bytes) else as_json(rng, header)
    length = len(text) if rng.random() < 0.9 else rng.choice(NUMBERS[1:]) % 2**63
    return length.to_bytes(8, "little") + text + data


def change_tensors(rng: Random, content: bytes) -> bytes:
    """A safetensors file with its header, its bytes or both changed."""
    choice = rng.random()
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length], content[8 + length :]
    if choice < 0.35:
        return pack(change_value(rng, json.loads(header)), data, rng)
    if choice < 0.6:
        return pack(change_bytes(rng, header), data, rng)
    if choice < 0.8:
        return change_bytes(rng, content)
    values = json.loads(header)
    if "__metadata__" in values:
        values["__metadata__"] = {
            name: as_json(rng, change_value(rng, _parsed(text))).decode("utf-8", "replace")
            for name, text in values["__metadata__"].items()
        }
    return pack(values, data, rng)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@functools.cache
def _small(base: Path) -> dict[str, bytes]:
    """Small files of each sort that is read."""
    run = base / "run/out"
    found = {"adapter.safetensors": (run / "adapter.safetensors").read_bytes()}
    latents = torch.zeros(1, 2, 4, 4, 4)
    found["latents.safetensors"] = save({"latents": latents})
    stream = io.BytesIO()
    torch.save(latents.transpose(1, 2), stream)
    found["latents.pt"] = stream.getvalue()
    found["hed.safetensors"] = save({"norm": torch.zeros(1, 3, 1, 1), "block1.convs.0.weight": torch.zeros(2, 3, 3, 3)})
    found["lpips.safetensors"] = save({"heads.0.weight": torch.zeros(1, 64, 1, 1)})
    return found


def _tensors(rng: Random, base: Path) -> Input:
    name = rng.choice(sorted(_small(base)))
    content = _small(base)[name]
    if name.endswith(".pt"):
        content = change_bytes(rng, content)
    elif rng.random() < 0.1:
        shape = [rng.choice(NUMBERS) for _ in range(rng.choice((0, 1, 2, 5, 9)))]
        entry = {"dtype": rng.choice(("F32", "F16", "BF16", "I64", "BOOL", "F8_E4M3", "X")), "shape": shape}
        content = pack({"latents": {**entry, "data_offsets": [0, rng.choice(NUMBERS)]}}, rng.randbytes(64), rng)
    else:
        content = change_tensors(rng, content)
    return Input({name: content}, arguments={"name": name})


@kind("safetensors", _tensors)
def read_tensors(folder: Path, name: str) -> None:
    from tuneavideo.adapter import load_adapter
    from tuneavideo.unet_folder import load_inv_latents
    from videoedit.controls.hed import Hed
    from videoedit.metrics.lpips import load_lpips
    from videoedit.models.loading import load_models

    path = folder / name
    if name.startswith("adapter"):
        load_adapter(path, _network(), allow_pickle=False)
    elif name.startswith("latents"):
        load_inv_latents(path, allow_pickle=True)
    elif name.startswith("hed"):
        Hed.load(path, torch.device("cpu"))
    else:
        for read in (lambda: load_models(path, device="cpu"), lambda: load_lpips(path)):
            try:
                read()
            except VideoEditError as error:
                last = error
        raise last


@functools.cache
def _network() -> Any:
    from tuneavideo.video_unet import VideoUNet
    from videoedit.testing import tiny_models

    return VideoUNet(tiny_models().unet)


# ---------------------------------------------------------------------------------------- models' folders


def _model(rng: Random, base: Path) -> Input:
    made = Input(tree="model")
    configs = [path for path in sorted((base / "model").rglob("*")) if path.suffix in (".json", ".txt")]
    weights = sorted((base / "model").rglob("*.safetensors"))
    if rng.random() < 0.8:
        path = rng.choice([path for path in configs if path.stat().st_size < 20_000])
        name, content = path.relative_to(base).as_posix(), path.read_bytes()
        made.files[name] = as_json(rng, change_value(rng, json.loads(content)))
    elif rng.random() < 0.5:
        path = rng.choice(weights)
        made.files[path.relative_to(base).as_posix()] = change_tensors(rng, path.read_bytes())
    else:
        index = {"weight_map": {"a": rng.choice((*NAMES, "model.safetensors"))}, "metadata": chance_value(rng)}
        made.files["model/unet/diffusion_pytorch_model.safetensors.index.json"] = as_json(rng, index)
    made.arguments["way"] = rng.choice(("shape", "load", "load", "unet"))
    return made


@kind("model folders", _model)
def read_model(folder: Path, way: str) -> None:
    from tuneavideo.unet_folder import load_unet
    from videoedit.models.loading import load_models
    from videoedit.models.shape import ModelShape, working_size

    if way == "load":
        models = load_models(folder / "model", device="cpu")
        models.tokenizer(["a red car"], padding="max_length", truncation=True, max_length=77)
    elif way == "unet":
        load_unet(folder / "model")
    else:
        shape = ModelShape.read(folder / "model")
        shape.operations(working_size((48, 32), None, factor=shape.factor, native=shape.native), 1)


# ----------------------------------------------------------------------------------------------- archives


def _archive(rng: Random, base: Path) -> Input:
    member = "a/weights.bin"
    choice = rng.random()
    if choice < 0.35:
        name = "a-1-py3-none-any.whl"
        content = change_bytes(rng, (base / "archives" / name).read_bytes())
    elif choice < 0.6:
        name, member = "a-1.tar.gz", "a-1/a/weights.bin"
        content = gzip.compress(change_bytes(rng, (base / "archives/a-1.tar").read_bytes()))
    elif choice < 0.75:
        name, member = "a-1.tar.gz", "a-1/a/weights.bin"
        content = change_bytes(rng, (base / "archives" / name).read_bytes())
    else:
        name, member, content = _strange(rng)
    return Input({name: content}, arguments={"name": name, "member": member})


def _strange(rng: Random) -> tuple[str, str, bytes]:
    """A whole archive whose member is a link, a device, a bomb, or called by another name."""
    stream = io.BytesIO()
    if rng.random() < 0.3:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as wheel:
            name = str(rng.choice((*NAMES, "a/weights.bin"))).encode("utf-8", "replace").decode() or "x"
            wheel.writestr(zipfile.ZipInfo(name), b"\0" * rng.choice((10, 10**6)))
        return "a-1-py3-none-any.whl", "a/weights.bin", stream.getvalue()
    with tarfile.open(fileobj=stream, mode="w:gz", format=rng.choice((0, 1, 2))) as tar:
        info = tarfile.TarInfo("a-1/a/weights.bin")
        info.type = rng.choice((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE,
                                tarfile.REGTYPE))  # fmt: skip
        if info.type in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            info.linkname = rng.choice((f"{OUTSIDE}/victim.txt"[:90], "a-1/a/weights.bin", "../x", "/etc/passwd"))
        if info.type == tarfile.REGTYPE:
            info.size = rng.choice((0, 5, 2**20))
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    return "a-1.tar.gz", "a-1/a/weights.bin", stream.getvalue()


@kind("archives", _archive)
def read_archive(folder: Path, name: str, member: str) -> None:
    from videoedit.models.download import unpack

    (folder / "in").mkdir()
    unpack(folder / name, member, folder / "in")


# ------------------------------------------------------------------------------------------ flow, caches


def _flow(rng: Random, base: Path) -> Input:
    names = sorted(path.name for path in (base / "flow").iterdir())
    made = Input(tree="flow")
    name = rng.choice(names)
    content = (base / "flow" / name).read_bytes()
    if rng.random() < 0.3:
        array = np.zeros([rng.choice((0, 1, 2, 32, 48)) for _ in range(rng.choice((0, 1, 2, 3, 4)))],
                         rng.choice(("f4", "f2", "i8", "?", "c8", "S3", "M8[s]", "f4,f4", "O")))  # fmt: skip
        stream = io.BytesIO()
        np.save(stream, array)
        content = stream.getvalue()
        name = name.replace(".flo", ".npy")
    content = change_bytes(rng, content) if rng.random() < 0.8 else content
    made.files[f"flow/{name}"] = content
    if rng.random() < 0.1:
        odd = str(rng.choice(NAMES)).replace("/", "_").replace("\0", "_").encode("utf-8", "replace").decode()[:80]
        made.files[f"flow/{odd}_{rng.choice(NUMBERS)}.{rng.choice(('npy', 'flo'))}"] = content
    return made


@kind("flow files", _flow)
def read_flows(folder: Path) -> None:
    from videoedit.motion.estimators import FlowFiles

    frame = np.zeros((32, 48, 3), np.uint8)
    flows = FlowFiles(folder / "flow")
    for start, stop in ((0, 1), (1, 0), (1, 2), (0, 2)):
        flows(frame, frame, (start, stop))


def _cache(rng: Random, base: Path) -> Input:
    which = rng.choice(("timeline", "flow", "weights", "units", "kept"))
    made = Input(arguments={"which": which, "clip": str(base / "clips/clip.mp4")})
    if which == "timeline":
        known = {
            "frames": 4, "fps": "8", "width": 48, "height": 32, "has_audio": True, "duration": "1/2",
            "is_variable_rate": False, "notes": [], "times": [], "origin": "0", "tracks": ["aac"], "track": 0,
            "has_rate": True,
        }  # fmt: skip
        made.files["kept.json"] = as_json(rng, change_value(rng, known))
    elif which == "flow":
        flow = torch.zeros(1, 2, 32, 48, dtype=torch.float16)
        made.files["flow.safetensors"] = change_tensors(
            rng, save({"fwd": flow, "bwd": flow.clone()}, {"crc32": "00000000"})
        )
    elif which == "weights":
        content = save({"x": torch.zeros(2)}, {"source_sha256": rng.choice(_pinned()), "source": "s"})
        made.files["cache/lpips.safetensors"] = change_tensors(rng, content) if rng.random() < 0.8 else content
    else:
        unit = json.loads((base / "results/results.json").read_text())["units"][0]
        made.files["unit.json"] = as_json(rng, change_value(rng, unit))
    return made


@functools.cache
def _pinned() -> tuple[str, ...]:
    from videoedit.models.fetch import FETCHABLE

    return tuple(sorted(FETCHABLE["lpips"].pinned()))


@kind("caches", _cache)
def read_cache(folder: Path, which: str, clip: str) -> None:
    from videoedit.evaluation.results import read_unit
    from videoedit.evaluation.units import read_kept
    from videoedit.files import contents_sha256
    from videoedit.media.timeline import _VERSION, _known, probe
    from videoedit.media.video import read_video
    from videoedit.metrics.lpips import load_lpips
    from videoedit.models.fetch import fetched
    from videoedit.motion.cache import FlowCache

    frames = np.arange(2 * 32 * 48 * 3, dtype=np.uint8).reshape(2, 32, 48, 3)
    if which == "timeline":
        place = folder / "cache" / "timelines" / f"{contents_sha256(Path(clip))}-{_VERSION}.json"
        place.parent.mkdir(parents=True)
        (folder / "kept.json").rename(place)
        _known.cache_clear()
        probe(clip)
        read_video(Path(clip))
    elif which == "flow":
        cache = FlowCache(folder, "x")
        (folder / "flow.safetensors").rename(cache.path(*frames))
        cache.load(*frames)
    elif which == "weights":
        if path := fetched("lpips"):
            load_lpips(path)
    else:
        (read_unit if which == "units" else read_kept)(folder / "unit.json")
