"""A reader that does, when asked, what no reader may: the harness must notice."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path
from random import Random

from fuzz.inputs import Input, kind


def _nothing(rng: Random, base: Path) -> Input:
    return Input({"a": b"x"})


@kind("bad", _nothing, confined=True)
def misbehave(folder: Path, way: str = "") -> None:
    if way == "raise":
        _ = 1 / 0
    elif way == "write":
        (folder / "b").write_text("through a link")
    elif way == "native":  # where Python hears nothing
        library = ctypes.CDLL(None)
        library.unlink(os.fsencode((folder / "b").resolve()))
    elif way == "memory":
        bytearray(2**31)
    elif way == "die":
        os._exit(3)
    elif way == "read":
        (folder / "b").read_text()
    elif way == "program":
        subprocess.run(["true"], check=False)
