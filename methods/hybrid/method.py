"""The hybrid from a clip to edited clips: choose key frames, edit them jointly, carry each edit to every frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from hybrid.config import HybridConfig
from videoedit.deliver import Findings, Picture, StreamedEdit
from videoedit.files import file_stem
from videoedit.media.images import Pictures, contact_rows, write_image
from videoedit.plugins import get_stage
from videoedit.runs.clip import Clip
from videoedit.runs.steps import Step, Steps
from videoedit.types import Models

SHOWN = 8  # key frames in the report's picture


def edits(config: HybridConfig, models: Models, clip: Clip, steps: Steps) -> Iterator[StreamedEdit | Findings]:
    """Tune on key frames of the clip, edit them jointly by each prompt, and carry each edit to every frame.

    A folder takes further prompts, which share its tuning and inversion.
    """
    c = config
    chosen = get_stage("rerender", "choose_keyframes").load("run")(c.keyframes, clip, steps)
    loss, edited = get_stage("tuneavideo", "edit_frames").load("run")(
        c,
        models,
        clip.some(chosen.indices),
        steps,
        source_prompt=c.source_prompt,
        prompts=c.prompts,
        negative_prompt=c.negative_prompt,
        seed=c.seed,
    )
    written = {}
    for prompt, (latents, decode) in edited.items():
        written[prompt] = _write_keys(steps, chosen.indices, prompt, latents, decode)
    yield Findings(plots={"loss": loss})
    propagate = get_stage("rerender", "propagate").load("run")
    for prompt, keys in written.items():
        yield propagate(
            c.propagate,
            clip,
            steps,
            keyframes=dict(zip(chosen.indices, keys.paths.values(), strict=True)),
            contents=dict(zip(chosen.indices, keys.contents.values(), strict=True)),
            cuts=chosen.cuts,
            seed=c.seed,
            device=models.device,
            title=prompt,
            prompt=prompt,
            file=f"edit-{file_stem(prompt)}.mp4",
            name=f"propagate {prompt}",
            reference=c.truth_of(prompt),
        )
    yield Findings(pictures=[_key_picture(c, clip, chosen.indices, written)])


def _write_keys(
    steps: Steps, indices: Sequence[int], prompt: str, latents: Step, decode: Callable[[], np.ndarray]
) -> Step:
    """The key frames of one edit, to ``keys/PROMPT/NNNNNN.png``."""
    files = [f"keys/{file_stem(prompt)}/{index:06d}.png" for index in indices]

    def make() -> None:
        for file, frame in zip(files, decode(), strict=True):
            write_image(steps.path(file), frame)

    return steps.keep(f"key frames {prompt}", make, needs={"edit": latents}, files=files)


def _key_picture(config: HybridConfig, clip: Clip, indices: Sequence[int], written: dict[str, Step]) -> Picture:
    """Some key frames of the clip, and of every edit below them."""
    shown = indices[:: max(1, -(-len(indices) // SHOWN))]
    prompts = "; ".join(config.prompts)
    caption = f"Key frames {', '.join(map(str, shown))}: of the clip, and edited jointly: {prompts}."
    files = {prompt: dict(zip(indices, keys.paths.values(), strict=True)) for prompt, keys in written.items()}
    draw = partial(_key_sheet, clip, shown, files)
    return Picture("Key frames", caption, "keys.png", draw, {"clip": clip, "shown": shown, "edits": written})


def _key_sheet(clip: Clip, shown: Sequence[int], files: dict[str, dict[int, Path]]) -> np.ndarray:
    rows = [list(dict(clip.pick(shown)).values())]
    for paths in files.values():
        rows.append(list(map(Pictures(paths).__getitem__, shown)))
    return contact_rows(*rows)
