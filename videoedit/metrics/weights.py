"""Weights that measures need: what they are, where they are found, and what to say where they are not.

Looked for in this order: a folder that the user names (``--weights-dir``), the cache of the Hugging Face hub, the
cache of ``videoedit models fetch``. Nothing is ever downloaded here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from videoedit.errors import WeightsError
from videoedit.models.assets import JUDGE, MINI_CLIP

Part = Literal["model", "processor"]


@dataclass(frozen=True)
class Weights:
    """A network, or what prepares its input, as a folder of the Hugging Face hub has it."""

    repository: str
    what: str  # in words
    size: str  # of what has to be downloaded
    license: str
    parts: tuple[Part, ...] = ("model", "processor")
    revisions: tuple[str, ...] = ("main",)  # those that hold safetensors, the first one first

    @property
    def name(self) -> str:
        """As measures and folders call them: the repository without its owner."""
        return self.repository.rpartition("/")[2]


CLIP_L14, CLIP_B32, CLIP_H14 = "clip-vit-large-patch14", "clip-vit-base-patch32", "CLIP-ViT-H-14-laion2B-s32B-b79K"
PICKSCORE, LPIPS, MINI, EYES = "PickScore_v1", "lpips", "mini-clip", "judge"

HUB: dict[str, Weights] = {
    weights.name: weights
    for weights in (
        Weights("openai/clip-vit-large-patch14", "CLIP ViT-L/14", "1.7 GB", "MIT; by its model card for research"),
        Weights(
            "openai/clip-vit-base-patch32",
            "CLIP ViT-B/32",
            "0.6 GB",
            "MIT; by its model card for research",
            revisions=("refs/pr/15", "main"),  # main had pickles only
        ),
        Weights(
            "yuvalkirstain/PickScore_v1",
            "PickScore: which picture people prefer",
            "3.9 GB",
            "none stated on its model card",
            parts=("model",),
        ),
        Weights(
            "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
            "how PickScore wants its pictures and words",
            "4 MB",
            "MIT",
            parts=("processor",),
        ),
    )
}
WEIGHTS = (*HUB, LPIPS, MINI, EYES)


def find_weights(name: str, weights_dir: Path | None = None) -> Path:
    """The folder (of LPIPS: the file) of the weights called `name`, complete.

    WeightsError, in one line: what is needed, its size and licence, and how to get it.
    """
    if name == MINI:
        if not (MINI_CLIP / "config.json").is_file():
            raise WeightsError("needs the embedded CLIP, which is not in this installation; reinstall videoedit")
        return MINI_CLIP
    if name == EYES:
        if not (JUDGE / "judge.safetensors").is_file():
            raise WeightsError("needs the bundled judge, which is not in this installation; reinstall videoedit")
        return JUDGE
    if name == LPIPS:
        return _find_lpips(weights_dir)
    if name not in HUB:
        raise WeightsError(f"needs weights called {name!r}, which nobody knows; expected one of {', '.join(WEIGHTS)}")
    weights, wrong = HUB[name], ""
    for folder in _places(weights, weights_dir):
        problem = _problem(weights, folder)
        if not problem:
            return folder
        wrong = wrong or f"{problem}; "
    raise WeightsError(f"needs {name} ({weights.size}, licence: {weights.license}): {wrong}{_how(weights)}")


def missing_weights(name: str, weights_dir: Path | None = None) -> str | None:
    """One line on weights that are not here: size, licence, how to get them; None if they are here."""
    try:
        find_weights(name, weights_dir)
    except WeightsError as error:
        return str(error)
    return None


def available_weights(weights_dir: Path | None = None) -> list[str]:
    """A line for each network of the hub that a measure uses: what it is, and where, or how to get it."""
    lines = []
    for name, weights in HUB.items():
        try:
            where = str(find_weights(name, weights_dir))
        except WeightsError:
            where = f"not here; {weights.size}, licence: {weights.license}; {_how(weights)}"
        lines.append(f"{name}  {weights.what} ({where})")
    return lines


def _find_lpips(weights_dir: Path | None) -> Path:
    from videoedit.models.fetch import FETCHABLE, fetched

    given = weights_dir / f"{LPIPS}.safetensors" if weights_dir else None
    path = given if given and given.is_file() else fetched(LPIPS)
    if path:
        return path
    item = FETCHABLE[LPIPS]
    sizes = []
    for sources in itertools.product(*item.parts):
        sizes.append(sum(source.megabytes for source in sources))
    raise WeightsError(
        f"needs LPIPS ({min(sizes)} to {max(sizes)} MB, licence: {item.licence}): `videoedit models fetch {LPIPS}`, "
        f"or its file {LPIPS}.safetensors in --weights-dir"
    )


def _places(weights: Weights, weights_dir: Path | None) -> Iterator[Path]:
    """Folders that are there and should hold the weights."""
    if weights_dir and (folder := weights_dir / weights.name).is_dir():
        yield folder
    from huggingface_hub import try_to_load_from_cache

    mark = "config.json" if "model" in weights.parts else "preprocessor_config.json"
    for revision in weights.revisions:
        file = try_to_load_from_cache(weights.repository, mark, revision=revision)
        if isinstance(file, str):
            yield Path(file).parent


def _problem(weights: Weights, folder: Path) -> str:
    """One line on what a folder lacks, or what is wrong with it; empty if it can be used."""
    from videoedit.models.weights import tensor_names

    wanted = {"model": ["config.json", "model.safetensors"], "processor": ["preprocessor_config.json"]}
    for part in weights.parts:
        for name in wanted[part]:
            if not (folder / name).is_file():
                return f"{folder} lacks {name}"
    if "processor" in weights.parts and not any((folder / n).is_file() for n in ("tokenizer.json", "vocab.json")):
        return f"{folder} lacks tokenizer.json"
    try:
        if "model" in weights.parts:
            tensor_names(folder / "model.safetensors")
    except WeightsError as error:
        return str(error)
    return ""


def _how(weights: Weights) -> str:
    """The command that downloads them, and what does without."""
    revision = f" --revision {weights.revisions[0]}" if weights.revisions[0] != "main" else ""
    files = ["*.json", "*.txt", *(["model.safetensors"] if "model" in weights.parts else [])]
    include = ' --include "' + '" --include "'.join(files) + '"'
    return f"`hf download {weights.repository}{revision}{include}`, or its folder {weights.name} in --weights-dir"
