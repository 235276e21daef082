"""Rerender-A-Video: key frames by diffusion, then every frame (Yang et al., SIGGRAPH Asia 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rerender.config import RerenderConfig, TranslateConfig
from rerender.keyframes import uniform
from rerender.pictures import flow_sheet, key_picture, shown_of
from rerender.stream import Chosen, choose_keyframes, flow_of, propagate
from rerender.translation.keyframe import Translator
from videoedit.controls.controlnets import Controls, ControlSpec, controls_identity, load_controls
from videoedit.deliver import Findings, Picture, StreamedEdit
from videoedit.media.images import Pictures, read_image, write_image
from videoedit.motion.estimators import flow_name, load_flow
from videoedit.runs.clip import Clip
from videoedit.runs.steps import Step, Steps, temporary_steps
from videoedit.types import Models

EDIT = "edit.mp4"


class Rerender(ExitStack):
    """Translates key frames: ``Rerender(models).keyframes(frames, "an elephant in the desert", interval=10)``.

    Without `config` the settings are those that suit the model. `controls` are texts like those of ``--control``. What
    is made is kept by `steps`, without them in a temporary folder until `close`, or the end of a ``with`` block.
    """

    def __init__(
        self,
        models: Models,
        controls: Sequence[str] = ("canny",),
        config: TranslateConfig | None = None,
        *,
        flow: str = "auto",
        allow_pickle: bool = False,
        seed: int = 33,
        steps: Steps | None = None,
    ) -> None:
        self.models = models
        self.specs = [ControlSpec.parse(text) for text in controls]
        self.config = config or TranslateConfig.model_validate(TranslateConfig.presets.get(models.name, {}))
        self.flow, self.allow_pickle, self.seed = flow, allow_pickle, seed
        super().__init__()
        self.steps = steps or self.enter_context(temporary_steps("rerender"))

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that decides what the controls and the flow say."""
        fetch = not self.steps.dry
        controls = controls_identity(self.specs, self.models, allow_pickle=self.allow_pickle, fetch=fetch)
        return {"flow": flow_name(self.flow), "controls": controls}

    @cached_property
    def controls(self) -> Controls:
        """The ControlNets and their detectors, loaded."""
        canny = self.config.canny
        return load_controls(self.specs, self.models, canny=canny, allow_pickle=self.allow_pickle)

    @cached_property
    def motion(self) -> Any:
        """Flow between two frames by their numbers, kept beside the steps."""
        return flow_of(self.steps, load_flow(self.flow, self.models.device))

    def keyframes(
        self,
        frames: np.ndarray,
        prompt: str,
        *,
        negative_prompt: str = "",
        interval: int = 10,
        indices: Sequence[int] | None = None,
    ) -> dict[int, np.ndarray]:
        """Edited key frames by index, uint8 [H, W, 3], of a clip uint8 [F, H, W, 3] RGB whose sides fit the model.

        Every `interval`-th frame and the last, or those of `indices`.
        """
        chosen = tuple(indices) if indices is not None else uniform(len(frames), interval)
        step = self.translate(Clip.of(frames), Chosen(chosen, ()), prompt, negative_prompt)
        return {index: read_image(path) for index, path in key_paths(step).items()}

    def translate(self, clip: Clip, chosen: Chosen, prompt: str, negative_prompt: str = "") -> Step:
        """Translate the chosen key frames, to ``keys/NNNNNN.png``; each shot has its own anchor."""

        return self.steps.keep(
            "translate",
            lambda: self._translate(clip, chosen, prompt, negative_prompt),
            needs={"clip": clip, "keyframes": chosen, "prompt": prompt, "negative_prompt": negative_prompt,
                   "translate": self.config, "seed": self.seed, "model": self.models, **self.identity},
            files=[_key_file(index) for index in chosen.indices],
        )  # fmt: skip

    def _translate(self, clip: Clip, chosen: Chosen, prompt: str, negative_prompt: str) -> None:
        """Go through the key frames in order; after each, what the next one depends on is saved."""
        translator = Translator(self.models, self.controls, self.config, self.motion,
                                prompt=prompt, negative_prompt=negative_prompt, seed=self.seed)  # fmt: skip
        state = self.steps.scratch(".state.safetensors")
        if state.is_file():
            translator.load(state)
        previous = translator.memory.previous
        last = previous.index if previous else -1
        todo = [index for index in chosen.indices if index > last]
        with self.steps.progress.stage("key frames", len(chosen.indices), len(chosen.indices) - len(todo)) as advance:
            for index, frame in clip.pick(todo):
                if index in (0, *chosen.cuts):
                    translator.start_shot()
                edited = translator.translate(frame, index)
                write_image(self.steps.path(_key_file(index)), edited)
                self.steps.preview.add(edited)
                translator.save(state)
                advance()


def _key_file(index: int) -> str:
    return f"keys/{index:06d}.png"


def key_paths(step: Step) -> dict[int, Path]:
    """The files of translated key frames by index."""
    return {int(path.stem): path for path in step.paths.values()}


def edits(config: RerenderConfig, models: Models, clip: Clip, steps: Steps) -> Iterator[StreamedEdit | Findings]:
    """Choose key frames, translate them by the prompt, and unless `until` says keyframes carry them to every frame."""
    c = config
    method = Rerender(models, c.controls, c.translate, flow=c.propagate.flow, allow_pickle=c.allow_pickle,
                      seed=c.seed, steps=steps)  # fmt: skip
    _ = method.identity  # refuses controls and flow that are not here, before anything is made
    chosen = choose_keyframes(c.keyframes, clip, steps)
    translated = method.translate(clip, chosen, c.full_prompt, c.negative_prompt)
    if c.until == "video":
        yield propagate(
            c.propagate,
            clip,
            steps,
            keyframes=key_paths(translated),
            contents={int(Path(name).stem): sha256 for name, sha256 in translated.contents.items()},
            cuts=chosen.cuts,
            seed=c.seed,
            device=models.device,
            title=c.prompt,
            prompt=c.prompt,
            file=EDIT,
            reference=c.truth,
        )
    pictures = list(_pictures(method, clip, chosen, translated))
    yield Findings(pictures=pictures, keyframes=chosen.indices)


def _pictures(method: Rerender, clip: Clip, chosen: Chosen, translated: Step) -> Iterator[Picture]:
    """Some key frames: of the clip, what the ControlNets follow, translated; and the motion between the first two."""
    shown = shown_of(chosen.indices)
    needs = {"translate": translated, "shown": shown}

    def edited() -> Pictures:
        return Pictures(key_paths(translated))

    def control(frame: np.ndarray) -> np.ndarray:
        return method.controls.maps(frame)[0]

    def draw_flow() -> np.ndarray:
        before, after = dict(clip.pick(shown[:2])).values()
        pair = method.motion(before, after, indices=shown[:2])
        return flow_sheet(before, after, edited()[shown[0]], pair)

    rows = "source, what the ControlNet follows, translated"
    yield key_picture(clip, shown, edited, rows, needs, control if method.specs else None)
    if len(shown) > 1:
        first, second = shown[:2]
        caption = (
            f"From key frame {first} to {second}: the flow back to frame {first} (hue = direction, strength = "
            f"length), where frame {first} shows nothing of it (white), the edited key frame {first} warped."
        )
        yield Picture("Flow and occlusion", caption, "flow.png", draw_flow, needs)
