"""Settings of Rerender-A-Video. Defaults are the paper's unless a line says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from videoedit.config import ONLY_HOW, ClipConfig, FilePath, RunConfig, Section, Strings, Window, as_tuple

Thresholds = Annotated[tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]], BeforeValidator(as_tuple)]
FreeU = Annotated[tuple[float, float, float, float], BeforeValidator(as_tuple)]


class TranslateConfig(Section):
    """Key frames by diffusion. Windows are fractions of the steps that run; null switches a constraint off."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"mini": {"strength": 0.85, "guidance_scale": 3.0}}

    steps: int = Field(default=20, ge=1)
    """DDIM steps."""
    guidance_scale: float = Field(default=7.5, ge=0)
    """Classifier-free guidance; 1: none."""
    strength: float | None = Field(default=0.75, gt=0, le=1)
    """Share of noise in the source at the start; null: start from pure noise, with nothing of its colours."""
    canny: Thresholds | None = None
    """Lower and upper threshold of the edge detector; null: 100 and 200, or what the embedded model learnt with."""
    attention_window: Window | None = (0.0, 1.0)
    """Steps in which the decoder's self-attention looks at the anchor and the previous key frame."""
    loose_attention: bool = False
    """Leave the coarsest layers to the frame itself: its large shapes are freer."""
    update_every: int = Field(default=1, ge=1)
    """Every n-th key frame becomes the previous one for attention."""
    shape_window: Window | None = (0.0, 0.1)
    """Steps in which the predicted latents take the anchor's, moved along the flow."""
    adain_window: Window | None = (0.8, 1.0)
    """Steps in which the predicted latents take the anchor's mean and contrast in each channel: its colours."""
    fusion_window: Window | None = (0.5, 0.8)
    """Steps in which a second pass is pulled to the warped anchor and previous result; null: one pass."""
    fusion_strength: float = Field(default=0.5, ge=0, le=1)
    """Strength of that pull; 1: nothing of the pass's own is left."""
    inner_strength: float = Field(default=0.9, ge=0, le=1)
    """Share of the noise lost by averaging that the fused region gets back; 1: all."""
    smooth_boundary: bool = True
    """Give nothing back along the region's edge."""
    fidelity: bool = True
    """Encode the warped results so that they survive the autoencoder."""
    inpaint: bool = True
    """Leave what neither the anchor nor the previous key frame shows to the model."""
    preserve_color: bool = True
    """Start from the source's colours; false: from the source in the colours of an anchor made from pure noise."""
    freeu: FreeU = (1.0, 1.0, 1.0, 1.0)
    """FreeU's b1, b2 (backbone) and s1, s2 (skips); ones: off. The authors use 1.1, 1.2, 1.0, 0.2."""
    store_device: Literal["cpu"] | None = None
    """Device that holds the features of the anchor and the previous key frame; `cpu` spares a GPU's memory."""
    store_dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Precision of these features; null: as the model makes them."""
    compat: Literal["official"] | None = None
    """Code to follow; `official`: both passes run whole, windows are fractions of all steps, encodings are draws."""


class KeyframesConfig(Section):
    """The frames that are translated. The first and the last of every shot always are."""

    interval: int | None = Field(default=10, ge=1)
    """Frames from one key frame to the next, with `adaptive` at most; null: the fewest that give `most` key frames."""
    most: int = Field(default=24, ge=2)
    """Key frames that there may be where `interval` is null."""
    adaptive: bool = False
    """More key frames where more happens: intervals of half of `interval` up to it."""
    indices: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(as_tuple)] | None = None
    """List of frames to take instead of every `interval`-th."""
    scene_cuts: bool = True
    """Find hard cuts; each shot then has an anchor of its own, and nothing is carried over a cut."""


class PropagateConfig(Section):
    """From key frames to every frame."""

    propagator: Literal["patchmatch", "flow"] = "patchmatch"
    """Redraw each frame with patches of the key frames, or move the key frames along the flow (fast, softer)."""
    preset: Literal["official", "default", "fast", "preview"] = "default"
    """Effort of the patch matching, from slow to fast."""
    blend: Literal["histogram", "select"] = "histogram"
    """Result of two frames made from either side: the better one with the contrast of both, or just the better one."""
    poisson: bool = False
    """Remove seams by solving for the gradients; the paper leaves it off, the official code has it on."""
    flow: str = "auto"
    """Estimator of motion: auto, raft-large, raft-small, raft-sintel, dis, or a folder of flow files."""
    workers: int | None = Field(default=None, ge=1, json_schema_extra=ONLY_HOW)
    """Processes; null: one for each core. They change no byte of the result."""


def _by_frame(value: Any) -> Any:
    """``["5=a.png"]`` -> ``{5: "a.png"}``."""
    if not isinstance(value, list | tuple):
        return value
    found: dict[int, str] = {}
    for text in value:
        frame, equals, file = str(text).partition("=")
        if not equals or not frame.strip().isdecimal() or int(frame) in found:
            raise ValueError(f"{text!r} is not FRAME=FILE, each frame once; write for example 5=painted/a.png")
        found[int(frame)] = file
    return found


class PropagateRunConfig(ClipConfig):
    """Everything that `videoedit propagate` depends on."""

    keyframes: Annotated[tuple[FilePath, ...], BeforeValidator(as_tuple)] = ()
    """Folders and files of edited key frames; the number at the end of a name is its frame's in the clip, from 0."""
    keyframe: Annotated[dict[int, FilePath], BeforeValidator(_by_frame)] = Field(default_factory=dict)
    """Key frames whose names do not say their frames, as FRAME=FILE; in YAML a mapping."""
    cuts: Annotated[Literal["auto"] | tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(as_tuple)] = "auto"
    """First frames of the shots after the first, over which no key frame serves; auto: found; []: none."""
    truth: FilePath | None = None
    """The clip that should come out, to measure against, of a filter that could be applied to every frame."""
    propagate: PropagateConfig = PropagateConfig()

    @property
    def label(self) -> str:
        """The name of the result."""
        p = self.propagate
        return f"propagated ({p.propagator}{f', {p.preset}' if p.propagator == 'patchmatch' else ''})"


class RerenderConfig(RunConfig):
    """Everything a Rerender-A-Video run depends on."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"mini": {"translate": TranslateConfig.presets["mini"]}}

    prompt: str = ""
    """Text that says what the edit should show."""
    prompt_suffix: str = ""
    """Text added to the prompt after a comma, such as `best quality`."""
    negative_prompt: str = ""
    """Text that guidance moves away from."""
    controls: Strings = ("canny",)
    """ControlNets that hold the frames' structure: KIND, KIND:SCALE or KIND=FOLDER:SCALE."""
    until: Literal["keyframes", "video"] = "video"
    """Stop after the key frames, or make the whole video."""
    truth: FilePath | None = None
    """Video of what the edit should look like, if the clip is rendered."""
    keyframes: KeyframesConfig = KeyframesConfig()
    translate: TranslateConfig = TranslateConfig()
    propagate: PropagateConfig = PropagateConfig()

    @property
    def full_prompt(self) -> str:
        return ", ".join(part for part in (self.prompt, self.prompt_suffix) if part)
