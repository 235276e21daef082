"""Reading JSON configs of the official Rerender-A-Video code (williamyang1991/Rerender_A_Video)."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

from videoedit.config import near_file, read_yaml, set_value
from videoedit.errors import ConfigError, InputError, hint

logger = logging.getLogger(__name__)

DEFAULTS: dict[str, Any] = {  # of the official `RerenderConfig.create_from_parameters`
    "frame_count": None,
    "interval": 10,
    "crop": [0, 0, 0, 0],
    "image_resolution": 512,
    "sd_model": None,
    "a_prompt": "",
    "n_prompt": "",
    "ddim_steps": 20,
    "scale": 7.5,
    "control_type": "HED",
    "canny_low": 100,
    "canny_high": 200,
    "control_strength": 1,
    "seed": -1,
    "x0_strength": -1,
    "style_update_freq": 10,
    "cross_period": [0, 1],
    "warp_period": [0, 0.1],
    "mask_period": [0.5, 0.8],
    "ada_period": [1.0, 1.0],
    "mask_strength": 0.5,
    "inner_strength": 0.9,
    "smooth_boundary": True,
    "color_preserve": True,
    "loose_cfattn": False,
    "freeu_args": [1, 1, 1, 1],
}
REQUIRED = ("input", "prompt")
MISSPELT = {"color_perserve": "color_preserve"}  # so in the official code, which thereby never reads the right word
WITHOUT_EFFECT = (  # named on the command line, depending on the machine, or of old versions and no longer read
    "output",
    "work_dir",
    "key_subdir",
    "use_limit_device_resolution",
    "warp_step",
    "ada_step",
)
FIELDS = {  # official key -> ours, the same value
    "input": "clip",
    "prompt": "prompt",
    "a_prompt": "prompt_suffix",
    "n_prompt": "negative_prompt",
    "frame_count": "video.num_frames",
    "interval": "keyframes.interval",
    "ddim_steps": "translate.steps",
    "scale": "translate.guidance_scale",
    "mask_strength": "translate.fusion_strength",
    "inner_strength": "translate.inner_strength",
    "smooth_boundary": "translate.smooth_boundary",
    "color_preserve": "translate.preserve_color",
    "loose_cfattn": "translate.loose_attention",
    "freeu_args": "translate.freeu",
}
WINDOWS = {
    "cross_period": "translate.attention_window",
    "warp_period": "translate.shape_window",
    "mask_period": "translate.fusion_window",
    "ada_period": "translate.adain_window",
}
STABLE_DIFFUSION = "stable-diffusion-v1-5/stable-diffusion-v1-5"


def import_config(path: Path) -> dict[str, Any]:
    """A config file as nested settings: ours as it is, an official JSON translated."""
    if path.suffix.lower() != ".json":
        return read_yaml(path)
    data = _read_json(path)
    return translate_official(path, data) if is_official(data) else data


def is_official(data: dict[str, Any]) -> bool:
    """Tell whether a parsed file is a config of the official code."""
    return "input" in data


def translate_official(path: Path, given: dict[str, Any]) -> dict[str, Any]:
    """An official config as nested settings of `RerenderConfig`, with the official defaults and behaviour.

    `ddim_steps` and `scale` count, though the official command line ignores them, and so does `color_perserve`.
    ConfigError for an unknown key, naming the nearest. Paths that exist near the file are made absolute.
    """
    given = {MISSPELT.get(key, key): value for key, value in given.items()}
    _check_keys(path, given)
    values = DEFAULTS | given
    settings: dict[str, Any] = {"translate": {"compat": "official"}, "keyframes": {"scene_cuts": False}}
    settings["propagate"] = {"preset": "official", "poisson": True}
    for key, ours in FIELDS.items():
        if values[key] is not None:
            set_value(settings, ours, _as_floats(values[key]))
    for key, ours in WINDOWS.items():
        set_value(settings, ours, _window(values[key]))
    settings["clip"] = near_file(path, values["input"])
    settings["model"] = near_file(path, values["sd_model"]) if values["sd_model"] else STABLE_DIFFUSION
    settings["controls"] = [f"{values['control_type'].lower()}:{values['control_strength']:g}"]
    settings["translate"]["canny"] = [values["canny_low"], values["canny_high"]]
    settings["translate"]["strength"] = official_strength(values["x0_strength"])
    settings["translate"]["update_every"] = update_every(values["style_update_freq"], values["interval"])
    if values["seed"] >= 0:
        settings["seed"] = values["seed"]
    if size := _size(Path(settings["clip"]), values):
        set_value(settings, "video.size", size)
    return settings


def official_strength(x0_strength: float) -> float | None:
    """Ours for an `x0_strength`; above 1, at 0 and below the official code never puts the source in: pure noise."""
    return float(x0_strength) if 0 < x0_strength <= 1 else None


def update_every(frequency: int, interval: int) -> int:
    """Key frames between updates of the previous one: officially every frame *number* divisible by `frequency`."""
    return frequency // math.gcd(frequency, interval)


def official_size(width: int, height: int, resolution: int = 512) -> tuple[int, int]:
    """(width, height) of the official code since its pull request 89: the long side becomes `resolution`.

    Both sides are then rounded to multiples of 64, half to even, which changes the aspect.
    """
    if height < width:
        height, width = int(resolution * height / width), resolution
    else:
        width, height = int(resolution * width / height), resolution
    return round(width / 64) * 64, round(height / 64) * 64


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"config file {path} cannot be read as JSON: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"config file {path} holds a {type(data).__name__}, expected an object")
    return data


def _check_keys(path: Path, given: dict[str, Any]) -> None:
    known = (*REQUIRED, *DEFAULTS, *WITHOUT_EFFECT)
    for key in given:
        if key not in known:
            raise ConfigError(f"{path}: unknown key {key!r} for a Rerender-A-Video config{hint(key, known)}")
    if missing := [key for key in REQUIRED if key not in given]:
        raise ConfigError(f"{path}: a Rerender-A-Video config needs {missing[0]!r}")
    if any(given.get("crop", ())):
        logger.warning("%s: crop %s is not applied; crop the clip before", path, given["crop"])


def _window(period: list[float]) -> list[float] | None:
    """A first step after the last one means never."""
    return [float(edge) for edge in period] if period[0] <= period[1] else None


def _as_floats(value: Any) -> Any:
    return [float(x) for x in value] if isinstance(value, list) else value


def _size(clip: Path, values: dict[str, Any]) -> list[int] | None:
    """The official working size of the (cropped) clip, if the clip is there to be looked at."""
    from videoedit.media.video import probe

    if not clip.is_file():
        return None
    try:
        info = probe(clip)
    except InputError:
        return None  # whoever opens the clip says what is wrong with it
    return list(official_size(info.width, info.height, values["image_resolution"]))
