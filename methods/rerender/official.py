"""Reading JSON configs of the official Rerender-A-Video code (williamyang1991/Rerender_A_Video)."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from videoedit.config import near_file, read_yaml, set_value
from videoedit.errors import ConfigError, InputError, hint
from videoedit.limits import parse_json, read_text

logger = logging.getLogger(__name__)

SAME = {  # official key -> ours of the same value, and the official default
    "input": ("clip", None),
    "prompt": ("prompt", None),
    "a_prompt": ("prompt_suffix", ""),
    "n_prompt": ("negative_prompt", ""),
    "frame_count": ("video.num_frames", None),
    "interval": ("keyframes.interval", 10),
    "ddim_steps": ("translate.steps", 20),
    "scale": ("translate.guidance_scale", 7.5),
    "cross_period": ("translate.attention_window", [0, 1]),
    "warp_period": ("translate.shape_window", [0, 0.1]),
    "mask_period": ("translate.fusion_window", [0.5, 0.8]),
    "ada_period": ("translate.adain_window", [1.0, 1.0]),
    "mask_strength": ("translate.fusion_strength", 0.5),
    "inner_strength": ("translate.inner_strength", 0.9),
    "smooth_boundary": ("translate.smooth_boundary", True),
    "color_preserve": ("translate.preserve_color", True),
    "loose_cfattn": ("translate.loose_attention", False),
    "freeu_args": ("translate.freeu", [1, 1, 1, 1]),
}
OTHER: dict[str, Any] = {  # the defaults of those that are translated
    "crop": [0, 0, 0, 0],
    "image_resolution": 512,
    "sd_model": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "control_type": "HED",
    "canny_low": 100,
    "canny_high": 200,
    "control_strength": 1,
    "seed": -1,
    "x0_strength": -1,
    "style_update_freq": 10,
}
REQUIRED = ("input", "prompt")
COUNTS = {  # whole numbers, and the least that each can be
    "frame_count": 1,
    "interval": 1,
    "ddim_steps": 1,
    "image_resolution": 64,
    "seed": -1,
    "style_update_freq": 1,
}
MISSPELT = {"color_perserve": "color_preserve"}  # so in the official code, which thereby never reads the right word
# Named on the command line, depending on the machine, or of old versions and no longer read:
WITHOUT_EFFECT = ("output", "work_dir", "key_subdir", "use_limit_device_resolution", "warp_step", "ada_step")


def import_config(path: Path) -> dict[str, Any]:
    """A config file as nested settings: ours as it is, a JSON of the official code (it has an `input`) translated."""
    if path.suffix.lower() != ".json":
        return read_yaml(path)
    try:
        data = parse_json(read_text(path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"config file {path} cannot be read as JSON: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"config file {path} holds a {type(data).__name__}, expected an object")
    return translate_official(path, data) if "input" in data else data


def translate_official(path: Path, given: dict[str, Any]) -> dict[str, Any]:
    """An official config as nested settings of `RerenderConfig`, with the official defaults and behaviour.

    `ddim_steps` and `scale` count, though the official command line ignores them, and so does `color_perserve`.
    ConfigError for an unknown key, naming the nearest. Paths that exist near the file are made absolute.
    """
    given = {MISSPELT.get(key, key): value for key, value in given.items()}
    _check_keys(path, given)
    values = {key: default for key, (_, default) in SAME.items()} | OTHER | given
    settings: dict[str, Any] = {"translate": {"compat": "official"}, "keyframes": {"scene_cuts": False}}
    settings["propagate"] = {"preset": "official", "poisson": True}
    for key, (ours, _) in SAME.items():
        if values[key] is not None:
            set_value(settings, ours, _as_floats(values[key]))
    settings["clip"] = near_file(path, values["input"])
    settings["model"] = near_file(path, values["sd_model"] or OTHER["sd_model"])
    settings["controls"] = [f"{values['control_type'].lower()}:{values['control_strength']:g}"]
    strength = float(values["x0_strength"])
    settings["translate"] |= {
        "canny": [values["canny_low"], values["canny_high"]],
        "strength": strength if 0 < strength <= 1 else None,  # officially the source is then never put in
        "update_every": update_every(values["style_update_freq"], values["interval"]),
    }
    if values["seed"] >= 0:
        settings["seed"] = values["seed"]
    if size := _size(Path(settings["clip"]), values["image_resolution"]):
        set_value(settings, "video.size", size)
    return settings


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


def _check_keys(path: Path, given: dict[str, Any]) -> None:
    known = (*SAME, *OTHER, *WITHOUT_EFFECT)
    for key in given:
        if key not in known:
            raise ConfigError(f"{path}: unknown key {key!r} for a Rerender-A-Video config{hint(key, known)}")
    if missing := [key for key in REQUIRED if key not in given]:
        raise ConfigError(f"{path}: a Rerender-A-Video config needs {missing[0]!r}")
    for key, value in given.items():
        _check_value(path, key, value)
    if any(given.get("crop", ())):
        logger.warning("%s: crop %s is not applied; crop the clip before", path, given["crop"])


def _check_value(path: Path, key: str, value: Any) -> None:
    """ConfigError for a value of another type than the official code can use."""
    default = OTHER[key] if key in OTHER else SAME.get(key, ("", None))[1]
    if key in WITHOUT_EFFECT or (value is None and (key in SAME or key == "sd_model") and key not in REQUIRED):
        return
    if key in COUNTS:
        right, expected = type(value) is int and COUNTS[key] <= value < 2**31, f"a whole number, {COUNTS[key]} or more"
    elif isinstance(default, bool):
        right, expected = isinstance(value, bool), "true or false"
    elif isinstance(default, list):
        right, expected = isinstance(value, list) and all(map(_is_number, value)), "a list of numbers"
    elif isinstance(default, int | float):
        right, expected = _is_number(value), "a number"
    else:
        right, expected = isinstance(value, str), "a text"
    if not right:
        raise ConfigError(f"{path}: {key} is {repr(value)[:80]}; expected {expected}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**31  # not nan either


def _as_floats(value: Any) -> Any:
    """A list as floats, but a window whose first step comes after its last, which means never, as None."""
    if not isinstance(value, list):
        return value
    return None if len(value) == 2 and value[0] > value[1] else [float(x) for x in value]


def _size(clip: Path, resolution: int) -> list[int] | None:
    """The official working size of the (cropped) clip, if the clip is there to be looked at."""
    from videoedit.media.video import probe

    try:
        info = probe(clip)
    except InputError:
        return None  # whoever opens the clip says what is wrong with it
    return list(official_size(info.width, info.height, resolution))
