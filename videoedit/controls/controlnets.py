"""ControlNets and the maps they follow: edges, soft edges or depth of the source frame.

A control is written KIND, KIND:SCALE or KIND=SOURCE:SCALE, where SOURCE is a ControlNet's folder or hub id. Without a
source it is the one that lies in the base model's folder (`controlnet-KIND`), else the usual one for Stable
Diffusion 1.5. Any number can be combined; their residuals are summed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import ControlNetModel
from torch import Tensor

from videoedit.controls.hed import Hed
from videoedit.diffusion.latents import spatial_factor
from videoedit.errors import ConfigError, ToolError, WeightsError
from videoedit.files import digest
from videoedit.models.assets import is_embedded
from videoedit.models.fetch import fetched
from videoedit.models.loading import HUB_ID, fetch_from_hub, load_network, quiet_libraries
from videoedit.models.shape import ModelShape
from videoedit.models.weights import check_part, fingerprint, first_line, read_json
from videoedit.types import Models

Detector = Callable[[np.ndarray], np.ndarray]  # uint8 [H, W, 3] RGB -> uint8 [H, W] or [H, W, 3]

CANNY = (100, 200)  # the official thresholds
MINI_CANNY = (60, 140)  # what the embedded ControlNet was trained with, on grey pictures
USUAL = {  # kind -> ControlNet for Stable Diffusion 1.5
    "canny": "lllyasviel/control_v11p_sd15_canny",
    "hed": "lllyasviel/sd-controlnet-hed",
    "softedge": "lllyasviel/control_v11p_sd15_softedge",
    "depth": "lllyasviel/control_v11f1p_sd15_depth",
}

INSTEAD = {"hed": "`videoedit models fetch hed`", "softedge": "--control canny"}  # of detectors of controlnet_aux


@dataclass(frozen=True)
class ControlSpec:
    """One wish of the user, read but not loaded."""

    kind: str  # a key of USUAL
    scale: float = 1.0  # weight of the residuals
    source: str | None = None  # folder or hub id; None: see the module

    @classmethod
    def parse(cls, text: str) -> ControlSpec:
        """Read "canny", "canny:0.7", "canny=FOLDER" or "canny=FOLDER:0.7"."""
        rest, colon, number = text.rpartition(":")
        try:
            scale = float(number) if colon else 1.0
        except ValueError:
            if "=" not in text:
                raise ConfigError(f"control {text!r}: {number!r} is not a scale; write for example canny:0.7") from None
            colon, scale = "", 1.0  # it belongs to the source
        kind, _, source = (rest if colon else text).partition("=")
        if kind not in USUAL:
            raise ConfigError(f"control {text!r}: unknown kind {kind!r}; expected one of {', '.join(USUAL)}")
        if not 0 <= scale <= 10:
            raise ConfigError(f"control {text!r}: the scale is {number}; expected a number from 0 to 10")
        return cls(kind, scale, source or None)


@dataclass(frozen=True)
class Control:
    """A loaded ControlNet and what makes its maps."""

    spec: ControlSpec
    net: ControlNetModel
    detect: Detector

    def map(self, frame: np.ndarray) -> np.ndarray:
        """The condition as a picture: uint8 [H, W, 3], the size of `frame`."""
        found = self.detect(frame)
        height, width = frame.shape[:2]
        if found.shape[:2] != (height, width):
            found = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR)
        return found if found.ndim == 3 else np.repeat(found[..., None], 3, axis=2)


@dataclass(frozen=True)
class Controls:
    """Every control of a run; may be none."""

    controls: tuple[Control, ...] = ()
    fingerprint: str = ""  # of the ControlNets' weights, for resuming

    def maps(self, frame: np.ndarray) -> tuple[np.ndarray, ...]:
        """One picture for each control: uint8 [H, W, 3]."""
        return tuple(control.map(frame) for control in self.controls)

    def residuals(self, latents: Tensor, t: int, embeds: Tensor, conditions: Sequence[Tensor]) -> dict[str, Any]:
        """Arguments for the UNet's forward: the weighted sum over the ControlNets of their residuals.

        `latents` [B, C, h, w], `embeds` [B, L, D]; `conditions` [N, 3, H, W] as `map_to_condition` makes them, one a
        control: if N is less than B, picture b of the batch follows map b modulo N.
        """
        total: list[Tensor] = []
        for control, condition in zip(self.controls, conditions, strict=True):
            net: Any = control.net
            down, middle = net(
                latents,
                t,
                encoder_hidden_states=embeds,
                controlnet_cond=condition.repeat(latents.shape[0] // condition.shape[0], 1, 1, 1),
                conditioning_scale=control.spec.scale,
                return_dict=False,
            )
            parts = [*down, middle]
            total = [a + b for a, b in zip(total, parts, strict=True)] if total else parts
        if not total:
            return {}
        return {"down_block_additional_residuals": tuple(total[:-1]), "mid_block_additional_residual": total[-1]}


def map_to_condition(picture: np.ndarray) -> Tensor:
    """uint8 [H, W, 3] -> float32 [1, 3, H, W] in [0, 1], what ControlNets read."""
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255


def load_controls(
    specs: Sequence[ControlSpec], models: Models, *, canny: tuple[int, int] | None = None, allow_pickle: bool = False
) -> Controls:
    """Load every control on the models' device in their dtype; WeightsError if one does not fit the base model.

    `canny` are the thresholds of the edge detector; None: the official ones, or what the embedded model learnt with.
    """
    folders = [_locate(spec, models, allow_pickle) for spec in specs]
    controls = []
    for spec, folder in zip(specs, folders, strict=True):
        assert folder is not None
        net = _load(folder, models, allow_pickle)
        controls.append(Control(spec, net, _detector(spec.kind, models, canny)))
    return Controls(tuple(controls), digest([fingerprint(folder, (".",)) for folder in folders if folder]))


def controls_identity(
    specs: Sequence[ControlSpec], models: Models, *, allow_pickle: bool = False, fetch: bool = True
) -> dict[str, str]:
    """All that decides the controls' maps and residuals: kinds, scales, fingerprints of the weights. Loads none.

    Refuses controls that `load_controls` would refuse for what is not here. Without `fetch` nothing is downloaded.
    """
    identity = {}
    for number, spec in enumerate(specs, 1):
        folder = _locate(spec, models, allow_pickle, fetch=fetch)
        if spec.kind in INSTEAD and not (spec.kind == "hed" and fetched("hed")):
            _require_annotators(INSTEAD[spec.kind])
        weights = fingerprint(folder, (".",)) if folder else "to fetch"
        identity[f"{spec.kind}:{spec.scale:g} ({number})"] = f"contents {weights}"
    return identity


def local_folder(spec: ControlSpec, base: Path | None) -> Path | None:
    """The folder on this disk that holds the ControlNet, if one does; `base` is that of the base model."""
    beside = [base / f"controlnet-{spec.kind}"] if base and spec.source is None else []
    places = [*beside, Path(spec.source or USUAL[spec.kind]).expanduser()]
    return next((place for place in places if place.is_dir()), None)


def _locate(spec: ControlSpec, models: Models, allow_pickle: bool, *, fetch: bool = True) -> Path | None:
    """The folder that holds the ControlNet; without `fetch` None for one that is not on this disk."""
    if folder := local_folder(spec, models.folder):
        return folder
    name = spec.source or USUAL[spec.kind]
    if spec.source is None and is_embedded(models.name):
        raise WeightsError(f"the embedded model has no ControlNet for {spec.kind!r}, only for canny; use canny")
    if Path(name).expanduser().exists() or not HUB_ID.fullmatch(name):
        raise WeightsError(
            f"there is no ControlNet {name!r}; expected a folder in diffusers' layout (config.json and weights), "
            "or a hub id like 'owner/model'"
        )
    if not fetch:
        return None
    return fetch_from_hub(name, ["config.json", "*.safetensors", *(["*.bin"] if allow_pickle else [])])


def _load(folder: Path, models: Models, allow_pickle: bool) -> ControlNetModel:
    config = read_json(folder / "config.json")
    if (found := config.get("_class_name")) != "ControlNetModel":
        raise WeightsError(f"{folder} holds a {found or 'model of an unknown kind'}, not a ControlNetModel")
    _check_fit(folder, config, models)
    options = check_part(folder, allow_pickle)
    with quiet_libraries():
        net = load_network(ControlNetModel.from_pretrained, folder, torch_dtype=models.dtype, **options)
    return net.eval().requires_grad_(False).to(models.device)


def _check_fit(folder: Path, config: dict[str, Any], models: Models) -> None:
    """WeightsError, naming the difference, if the ControlNet was made for another kind of base model."""
    unet: Any = models.unet.config  # type: ignore[attr-defined]
    embedding = config.get("conditioning_embedding_out_channels", (16, 32, 96, 256))
    facts = {  # what -> (the ControlNet's, the base model's)
        "text features of width": (config.get("cross_attention_dim", 1280), unet.cross_attention_dim),
        "latent channels": (config.get("in_channels", 4), unet.in_channels),
        "block widths": (config.get("block_out_channels", (320, 640, 1280, 1280)), unet.block_out_channels),
        "layers in a block": (config.get("layers_per_block", 2), unet.layers_per_block),
        "pixels a latent": (2 ** (len(embedding) - 1), spatial_factor(models.vae)),
    }
    for what, both in facts.items():
        theirs, ours = (list(value) if isinstance(value, (list, tuple)) else value for value in both)
        if theirs != ours:
            raise WeightsError(
                f"the ControlNet in {folder} does not fit the model {models.name}: it expects {what} {theirs}, the "
                f"model has {ours}; take one made for this kind of model"
            )


def count_operations(specs: Sequence[ControlSpec], base: Path | None, shape: ModelShape, latents: Any) -> float:
    """Floating point operations of the controls' networks on latents [B, C, h, w] of torch's meta device.

    Counts those that are on this disk; `base` is the folder of the base model, `shape` its shape.
    """
    from torch.utils.flop_counter import FlopCounterMode

    batch, _, height, width = latents.shape
    folders = [found for spec in specs if (found := local_folder(spec, base))]
    with torch.device("meta"):
        nets: list[Any] = [ControlNetModel.from_config(read_json(folder / "config.json")) for folder in folders]
        embeds = torch.empty(batch, shape.text_length, shape.unet["cross_attention_dim"])
        picture = torch.empty(batch, 3, height * shape.factor, width * shape.factor)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for net in nets:
            net(latents, 500, encoder_hidden_states=embeds, controlnet_cond=picture)
    return float(counter.get_total_flops())


# -- detectors -----------------------------------------------------------------------------------------


def canny_edges(frame: np.ndarray, thresholds: tuple[int, int], *, gray: bool = False) -> np.ndarray:
    """uint8 [H, W, 3] RGB -> uint8 [H, W], 255 on edges: of any channel, as officially, or of the grey picture."""
    frame = np.ascontiguousarray(frame)
    return cv2.Canny(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) if gray else frame, *thresholds)


def _detector(kind: str, models: Models, canny: tuple[int, int] | None) -> Detector:
    if kind == "canny":
        mini = is_embedded(models.name)
        return partial(canny_edges, thresholds=canny or (MINI_CANNY if mini else CANNY), gray=mini)
    if kind == "depth":
        return _depth(models)
    if kind == "hed" and (weights := fetched("hed")):
        return Hed.load(weights, models.device).detect
    return _annotator("HEDdetector" if kind == "hed" else "PidiNetDetector", models, INSTEAD[kind])


def _require_annotators(instead: str) -> Any:
    """The package of detectors; ToolError with what to do without it."""
    try:
        import controlnet_aux
    except ImportError as error:
        raise ToolError(
            f"this control needs controlnet_aux ({first_line(error)}); install it with "
            f"`pip install 'videoedit[controls]'`, or use {instead}"
        ) from error
    return controlnet_aux


def _annotator(name: str, models: Models, instead: str) -> Detector:
    """A detector of controlnet_aux, which by default would work and answer at 512 pixels."""
    controlnet_aux = _require_annotators(instead)
    try:
        detector = getattr(controlnet_aux, name).from_pretrained("lllyasviel/Annotators").to(models.device)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{name} could not be fetched from the hub ({first_line(error)}); use {instead}") from error

    def detect(frame: np.ndarray) -> np.ndarray:
        side = min(frame.shape[:2])
        return detector(frame, detect_resolution=side, image_resolution=side, output_type="np")

    return detect


def _depth(models: Models) -> Detector:
    """MiDaS through transformers; near is bright."""
    from PIL import Image
    from transformers import pipeline

    try:
        estimate: Any = pipeline("depth-estimation", model="Intel/dpt-hybrid-midas", device=models.device)
    except (OSError, ValueError) as error:
        raise WeightsError(f"Intel/dpt-hybrid-midas could not be fetched from the hub: {first_line(error)}") from error

    return lambda frame: np.asarray(estimate(Image.fromarray(frame))["depth"])
