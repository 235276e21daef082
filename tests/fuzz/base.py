"""Whole inputs, which the changed ones are made from: small real clips, pictures, runs, models, results."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (48, 32)
CONTAINERS = {"mp4": "libx264", "mkv": "libx264", "ts": "libx264", "webm": "libvpx", "avi": "mpeg4", "mov": "mpeg4"}
RUN = (
    "--steps",
    "2",
    "--tune-steps",
    "1",
    "--device",
    "cpu",
    "--prompt",
    "a blue square",
    "--source-prompt",
    "a square",
)


def build(folder: Path, *, models: bool = True) -> None:
    """Everything, in a folder that is then only read; without `models` in no time."""
    folder.mkdir(parents=True)
    build_clips(folder / "clips")
    build_pictures(folder / "pictures")
    if models:
        _build_models(folder / "model")
        _build_run(folder)
    _build_flow(folder / "flow")
    _build_archives(folder / "archives")
    _build_results(folder / "results", folder / "clips" / "clip.mp4")


def build_outside(folder: Path) -> None:
    """What nothing may touch, nor show in a page of its own."""
    folder.mkdir(parents=True)
    (folder / "victim.txt").write_text("do not touch\n")
    (folder / "folder").mkdir()
    (folder / "folder" / "run.json").write_text('{"format": 2, "method": "x"}\n')
    Image.new("RGB", SIZE, "red").save(folder / "picture.png")


def build_clips(folder: Path) -> None:
    """A clip of four frames in many containers; the first with sound."""
    folder.mkdir()
    from videoedit.testing import panning

    frames = panning(4, SIZE)
    for ending, codec in CONTAINERS.items():
        _write_clip(folder / f"clip.{ending}", frames, codec, sound=ending in ("mp4", "ts"))
    pictures = [Image.fromarray(frame) for frame in frames]
    for ending in ("gif", "webp", "png"):
        pictures[0].save(folder / f"clip-{ending}.{ending}", save_all=True, append_images=pictures[1:], duration=100)


def _write_clip(path: Path, frames: np.ndarray, codec: str, *, sound: bool) -> None:
    import av

    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=8)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        track: Any = out.add_stream("aac", rate=8000) if sound else None
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode(None))
        if track is not None:
            layout = track.codec_context.layout.name
            channels = track.codec_context.layout.nb_channels
            for number in range(3):
                tone = av.AudioFrame.from_ndarray(np.full((channels, 1024), 0.2, np.float32), "fltp", layout)
                tone.sample_rate, tone.time_base, tone.pts = 8000, Fraction(1, 8000), number * 1024
                out.mux(track.encode(tone))
            out.mux(track.encode(None))


def build_pictures(folder: Path) -> None:
    """One picture in many formats and modes."""
    folder.mkdir()
    from videoedit.testing import panning

    picture = Image.fromarray(panning(1, SIZE)[0])
    clear = picture.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(SIZE))
    exif = Image.Exif()
    exif[0x0112] = 6
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture.save(folder / "a.png", icc_profile=profile)
    clear.save(folder / "clear.png")
    picture.convert("P").save(folder / "palette.png")
    picture.convert("I;16").save(folder / "deep.png")
    picture.save(folder / "a.jpg", exif=exif, icc_profile=profile)
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    picture.save(folder / "a.webp", lossless=True)
    clear.save(folder / "clear.webp")
    picture.save(folder / "a.gif")
    picture.save(folder / "a.bmp")
    picture.save(folder / "a.tif")


def _build_models(folder: Path) -> None:
    from videoedit.testing import save_models, tiny_models

    save_models(tiny_models(), folder)


def _build_run(folder: Path) -> None:
    """A finished run of Tune-A-Video, its clip beside it, and what `read_run` gives it."""
    import shutil

    from fuzz.readers import command_line

    place = folder / "run"
    place.mkdir()
    shutil.copy(folder / "clips" / "clip.mp4", place / "clip.mp4")
    command_line("run", "tuneavideo", place / "clip.mp4", *RUN, "--model", folder / "model", "-o", place / "out")


def _build_flow(folder: Path) -> None:
    folder.mkdir()
    flow = np.linspace(-2, 2, 2 * 48 * 32, dtype=np.float32).reshape(32, 48, 2)
    np.save(folder / "0000_0001.npy", flow)
    np.save(folder / "0001_0000.npy", flow.transpose(2, 0, 1).astype(np.float64))
    header = b"PIEH" + np.array(SIZE, "<i4").tobytes()
    (folder / "0001_0002.flo").write_bytes(header + flow.tobytes())


def _build_archives(folder: Path) -> None:
    """A wheel and a source archive, with the same member."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "a-1-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("a/weights.bin", bytes(range(256)) * 40)
        wheel.writestr("a/other.txt", "other")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        info = tarfile.TarInfo("a-1/a/weights.bin")
        info.size = 10_240
        tar.addfile(info, io.BytesIO(bytes(range(256)) * 40))
    (folder / "a-1.tar").write_bytes(stream.getvalue())
    (folder / "a-1.tar.gz").write_bytes(gzip.compress(stream.getvalue(), mtime=0))


def _build_results(folder: Path, clip: Path) -> None:
    """The folder of a comparison: two methods, one clip, two edits."""
    import shutil

    import yaml

    from videoedit.evaluation.results import MethodInfo, MetricInfo, Results, UnitResult, write_results

    (folder / "runs").mkdir(parents=True)
    units = []
    for method in ("one", "two"):
        for edit, kind in (("style", "style"), ("snow", "background")):
            name = f"runs/{method}-{edit}.mp4"
            shutil.copy(clip, folder / name)
            figures: dict[str, float | None] = {"psnr@1": 30.0 + len(units), "cpu_seconds": 2.0}
            given: dict[str, Any] = {"clip": "wall", "edit": edit, "type": kind, "prompt": f"a wall, {edit}"}
            place = {"video": name, "source": "clip.mp4", "frames": (0, 1, 4), "asked": (0, 1, 4), "fps": "8"}
            series = {"psnr@1": [30.0, 31.0, 29.0, 30.0]}
            units.append(UnitResult(**given, method=method, seed=33, status="done", **place, figures=figures,
                                    series=series, key="k", notes=("a note",)))  # fmt: skip
    shutil.copy(clip, folder / "clip.mp4")
    info = MethodInfo(label="One", settings={"steps": 2}, model="tiny", licence="none", imported=False)
    metric = MetricInfo(title="PSNR", meaning="m", better="higher", unit="dB", group="truth", headline=True)
    results = Results(
        suite="tiny", suite_sha256="0" * 64, title="Tiny", created="2026-01-01T00:00:00+00:00",
        environment={"python": "3.11", "hardware": {"cpu": "c", "cores": 2}}, methods={"one": info, "two": info},
        metrics={"psnr@1": metric}, skipped={"lpips@1": "no weights"}, units=tuple(units),
    )  # fmt: skip
    write_results(results, folder)
    edits = {"style": {"type": "style", "prompt": "a wall, style"}, "snow": {"type": "background", "prompt": "snow"}}
    suite = {"name": "tiny", "clips": {"wall": {"path": "clip.mp4", "prompt": "a wall", "edits": edits}}}
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite))
