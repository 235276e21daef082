"""Texts: records, results, suites, tables, settings."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from random import Random
from typing import Any

import yaml

from fuzz.base import RUN
from fuzz.inputs import OUTSIDE, Input, kind
from fuzz.mutate import NAMES, WORDS, as_json, chance_value, change_bytes, change_value
from fuzz.readers import command_line
from tuneavideo.config import TuneAVideoConfig
from videoedit.config import build_config
from videoedit.pipeline import plan_run

REPOSITORY = Path(__file__).parents[2]
METHODS = ("tuneavideo", "rerender", "hybrid", "framewise")


# ------------------------------------------------------------------------------------------ run records


def _record(rng: Random, base: Path) -> Input:
    """A run folder whose record was changed, its seals made anew now and then; links among its files."""
    from videoedit.runs.steps import seal

    record = change_value(rng, json.loads((base / "run/out/run.json").read_text()))
    if rng.random() < 0.7 and isinstance(record, dict) and isinstance(record.get("steps"), dict):
        for step in record["steps"].values():
            try:
                step["seal"] = seal(step)
            except (KeyError, TypeError, AttributeError, ValueError, RecursionError, IndexError):
                continue
    made = Input({"run/out/run.json": as_json(rng, record)}, tree="run")
    files = sorted(path.name for path in (base / "run/out").iterdir())
    if rng.random() < 0.15:
        name = rng.choice([*files, ".lock", "new", "report.json"])
        target = rng.choice((f"{OUTSIDE}/victim.txt", f"{OUTSIDE}/folder", "../../../outside/victim.txt", name, "gone"))
        made.links[f"run/out/{name}"] = target
        made.files.pop(f"run/out/{name}", None)
    if rng.random() < 0.2:
        name = rng.choice([name for name in files if name != "run.json"])
        made.files[f"run/out/{name}"] = change_bytes(rng, (base / "run/out" / name).read_bytes())
    made.arguments["way"] = rng.choice(("report", "report", "check", "dry", "fresh", "again"))
    made.arguments["model"] = str(base / "model")
    return made


@kind("run records", _record, confined=True)
def read_run(folder: Path, way: str, model: str) -> None:
    place = folder / "run"
    if way in ("report", "check"):
        command_line(way, place / "out")
        return
    if way == "again":
        command_line("run", "tuneavideo", place / "clip.mp4", *RUN, "--model", model, "-o", place / "out")
        return
    settings = {"tune": {"steps": 1}, "invert": {"steps": 2}, "sample": {"steps": 2}, "source_prompt": "a square"}
    given = {**settings, "prompts": ["a blue square"], "model": model, "device": "cpu", "clip": str(place / "clip.mp4")}
    config = build_config(TuneAVideoConfig, given)
    plan_run("tuneavideo", config, place / "out", fresh=way == "fresh")
    if way == "fresh":
        from videoedit.runs.folder import open_workspace

        with open_workspace(place / "out", method="tuneavideo", clip=place / "clip.mp4", fresh=True):
            pass


# --------------------------------------------------------------------------------- results, suites, tables


def _results(rng: Random, base: Path) -> Input:
    made = Input(tree="results")
    results = json.loads((base / "results/results.json").read_text())
    suite = yaml.safe_load((base / "results/suite.yaml").read_text())
    if rng.random() < 0.85:
        made.files["results/results.json"] = as_json(rng, change_value(rng, results))
    else:
        made.files["results/suite.yaml"] = as_json(rng, change_value(rng, suite))
    if rng.random() < 0.1:
        name = rng.choice(("results.csv", "results.tex", "index.html", "clip.mp4", "runs", "results.json"))
        made.links[f"results/{name}"] = rng.choice((f"{OUTSIDE}/victim.txt", f"{OUTSIDE}/folder", "gone"))
        made.files.pop(f"results/{name}", None)
    made.arguments["way"] = rng.choice(("report", "compare", "tgve", "v2vbench"))
    return made


@kind("results", _results)
def read_bench(folder: Path, way: str) -> None:
    place = folder / "results"
    if way == "report":
        command_line("bench", "report", place)
    elif way == "compare":
        command_line("bench", "compare", place, "psnr", "one", "two")
    else:
        command_line("bench", "export", place, way, folder / "target")


def _suite(rng: Random, base: Path) -> Input:
    suite = {
        "name": "s",
        "title": "t",
        "clips": {
            "wall": {
                "path": str(base / "clips/clip.mp4"),
                "prompt": "p",
                "start": 0,
                "stride": 1,
                "frames": 3,
                "mask": str(base / "pictures"),
                "boxes": [[0.1, 0.1, 0.5, 0.5]] * 4,
                "edits": {"snow": {"type": "style", "prompt": "q", "truth": str(base / "clips/clip.mp4")}},
            }
        },
        "settings": {"framewise": {"model": str(base / "model"), "sample": {"steps": 2}}},
        "seeds": [1, 2],
        "metrics": ["psnr"],
        "size": "48x32",
        "flow": "dis",
    }
    text = _yaml(rng, change_value(rng, suite))
    return Input({"suite.yaml": text}, arguments={"way": rng.choice(("read", "read", "dry"))})


def _yaml(rng: Random, values: Any) -> bytes:
    try:
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=rng.random() < 0.5).encode(
            "utf-8", "surrogatepass"
        )
    except RecursionError:  # JSON is YAML, too
        text = json.dumps(values).encode()
    return change_bytes(rng, text) if rng.random() < 0.3 else text


@kind("suites", _suite)
def read_suites(folder: Path, way: str) -> None:
    from videoedit.evaluation.suite import read_suite

    if way == "dry":
        command_line("bench", "run", folder / "suite.yaml", "--methods", "framewise", "--dry-run", "-o", folder / "out")
        return
    suite = read_suite(str(folder / "suite.yaml"))
    suite.sha256()
    list(suite.subset(["wall"]).pairs)


CLIPS_TABLE = "clip,prompt,edit,type,edit_prompt,frames\nclip.mp4,a wall,snow,style,a wall in snow,3\n"
TGVE_TABLE = (
    "Video name,Our GT caption,Style Change Caption,Object Change Caption,Background Change Caption,"
    "Multiple Changes Caption\nDAVIS Videos:,,,,,\nclip,a wall,a,b,c,d\n,,,,,\n"
)
V2V_TABLE = {"data": [{"video_id": "clip", "prompt": "p", "edit": [{"prompt": "q", "type": "style"}]}]}
TGVE_CONFIG = {
    "train_data": {"video_path": "x/clip.mp4", "prompt": "p", "frame_rate": 1, "num_frames": 3},
    "validation_data": {"prompts": {"style": "a", "object": "b", "background": "c", "multiple": "d"}},
}


def _table(rng: Random, base: Path) -> Input:
    layout = rng.choice(("clips", "tgve", "tgve configs", "v2vbench", "imported"))
    clip = (base / "clips/clip.mp4").read_bytes()
    made = Input({"in/clip.mp4": clip}, arguments={"layout": layout})
    if layout == "clips":
        made.files["in/prompts.csv"] = change_bytes(rng, CLIPS_TABLE.encode())
    elif layout == "tgve":
        made.files["in/DAVIS_480p/480p_videos/clip.mp4"] = clip
        made.files["in/table.csv"] = change_bytes(rng, TGVE_TABLE.encode())
    elif layout == "tgve configs":
        made.files["in/configs/DAVIS_480p/clip.yaml"] = _yaml(rng, change_value(rng, TGVE_CONFIG))
    elif layout == "v2vbench":
        made.files["in/config.yaml"] = _yaml(rng, change_value(rng, V2V_TABLE))
    else:
        picture = (base / "pictures/a.png").read_bytes()
        for number in range(rng.randrange(1, 5)):
            name = re.sub(r"[\0/]", "", rng.choice((f"{number:05d}.png", str(rng.choice(NAMES)), "3.jpg")))[:200]
            made.files[f"made/wall/snow/{name or 'x'}"] = rng.choice((picture, change_bytes(rng, picture), clip))
    return made


@kind("tables", _table)
def read_tables(folder: Path, layout: str) -> None:
    if layout == "imported":
        from videoedit.evaluation.layouts.imported import read_results_folder
        from videoedit.evaluation.suite import build_suite

        edits = {"snow": {"type": "style", "prompt": "q"}}
        suite = {"name": "s", "clips": {"wall": {"path": str(folder / "in/clip.mp4"), "edits": edits}}}
        read_results_folder(folder / "made", build_suite(suite, folder))
        return
    more = ["--table", folder / "in/configs"] if layout == "tgve configs" else []
    command_line("bench", "import", layout.partition(" ")[0], folder / "in", *more, "-o", folder / "suite.yaml")


# ---------------------------------------------------------------------------------------------- settings


def _config(rng: Random, base: Path) -> Input:
    method = rng.choice((*METHODS, "propagate"))
    found = sorted((REPOSITORY / "configs").glob(f"{method}/*.yaml")) + sorted((REPOSITORY / "configs/smoke").glob("*"))
    text = rng.choice(found).read_bytes()
    if rng.random() < 0.5:
        text = _yaml(rng, change_value(rng, yaml.safe_load(text)))
    else:
        text = change_bytes(rng, text, rng.choice((b"a: &a [*a, *a]\n", b"- x\n", b"? [a]\n: b\n", b"<<: {a: 1}\n")))
    return Input({"a.yaml": text}, arguments={"method": method})


@kind("configs", _config)
def read_config(folder: Path, method: str) -> None:
    resolve(method, folder / "a.yaml", [])


def resolve(method: str, file: Path | None, assignments: list[str]) -> Any:
    from videoedit.cli import _resolve
    from videoedit.config import annotated_yaml, parse_yaml
    from videoedit.plugins import COMMANDS, METHODS, all_methods

    specs = {spec.name: spec for group in (METHODS, COMMANDS) for spec in all_methods(group)}
    config = _resolve(specs[method], file, [], assignments)
    assert isinstance(parse_yaml(annotated_yaml(config)), dict)
    return config


def _assignment(rng: Random, base: Path) -> Input:
    from videoedit.config import setting_keys
    from videoedit.plugins import get_method

    method = rng.choice(METHODS)
    keys = list(setting_keys(get_method(method).load("config")))
    given = []
    for _ in range(rng.choice((1, 1, 2, 4))):
        key = rng.choice(keys) if rng.random() < 0.9 else str(rng.choice((*NAMES, *WORDS)))
        key = key if rng.random() < 0.9 else f"{key}.{rng.choice(WORDS)}"
        value = rng.choice((*WORDS, *NAMES)) if rng.random() < 0.5 else json.dumps(chance_value(rng))
        given.append(f"{key}={value}" if rng.random() < 0.97 else key)
    return Input(arguments={"method": method, "given": given})


@kind("--set values", _assignment)
def read_assignment(folder: Path, method: str, given: list[str]) -> None:
    resolve(method, None, given)


OFFICIAL_TUNE: dict[str, Any] = {
    "pretrained_model_path": "./checkpoints/stable-diffusion-v1-4",
    "output_dir": "./outputs/man-skiing",
    "train_data": {
        "video_path": "data/man-skiing.mp4", "prompt": "a man is skiing", "n_sample_frames": 24, "width": 512,
        "height": 512, "sample_start_idx": 0, "sample_frame_rate": 2,
    },
    "validation_data": {
        "prompts": ["mickey mouse is skiing on the snow"], "video_length": 24, "width": 512, "height": 512,
        "num_inference_steps": 50, "guidance_scale": 12.5, "use_inv_latent": True, "num_inv_steps": 50,
    },
    "learning_rate": 3e-5, "train_batch_size": 1, "max_train_steps": 500, "checkpointing_steps": 1000,
    "validation_steps": 100, "trainable_modules": ["attn1.to_q", "attn2.to_q", "attn_temp"], "seed": 33,
    "mixed_precision": "fp16", "use_8bit_adam": False, "gradient_checkpointing": True,
    "enable_xformers_memory_efficient_attention": True,
}  # fmt: skip
OFFICIAL_RERENDER: dict[str, Any] = {
    "input": "videos/pexels.mp4", "output": "videos/out.mp4", "work_dir": "videos/work", "key_subdir": "keys",
    "frame_count": 102, "interval": 10, "crop": [0, 0, 0, 0], "sd_model": "realistic", "a_prompt": "RAW photo",
    "prompt": "a man", "n_prompt": "bad", "x0_strength": 0.95, "control_type": "canny", "canny_low": 50,
    "canny_high": 100, "control_strength": 0.7, "seed": 0, "warp_period": [0, 0.1], "ada_period": [0.8, 1],
    "freeu_args": [1.1, 1.2, 1, 0.2], "mask_strength": 0.5, "color_preserve": True, "image_resolution": 512,
    "style_update_freq": 10, "ddim_steps": 20, "scale": 7.5, "loose_cfattn": True, "mask_period": [0.5, 0.8],
}  # fmt: skip


def _official(rng: Random, base: Path) -> Input:
    if rng.random() < 0.5:
        return Input({"a.yaml": _yaml(rng, change_value(rng, OFFICIAL_TUNE))}, arguments={"method": "tuneavideo"})
    config = OFFICIAL_RERENDER | ({"input": str(base / "clips/clip.mp4")} if rng.random() < 0.3 else {})
    return Input({"a.json": as_json(rng, change_value(rng, config))}, arguments={"method": "rerender"})


@kind("official configs", _official)
def read_official(folder: Path, method: str) -> None:
    resolve(method, folder / ("a.yaml" if method == "tuneavideo" else "a.json"), [])


# ----------------------------------------------------------------------------------- prompts and file names


def _names(rng: Random, base: Path) -> Input:
    texts = [str(rng.choice((*NAMES, *WORDS))) for _ in range(4)]
    texts[rng.randrange(4)] = "".join(chr(rng.choice((rng.randrange(128), rng.randrange(0x3000)))) for _ in range(20))
    stem = re.sub(r"[\0/]", "_", texts[0])[:120] or "x"
    name = os.fsdecode(stem.encode("utf-8", "surrogatepass")[:100])
    way = rng.choice(("dry", "dry", "set", "tokens"))
    files = {f"{name}.mp4": (base / "clips/clip.mp4").read_bytes(), "a.png": (base / "pictures/a.png").read_bytes()}
    arguments = {"clip": f"{name}.mp4", "texts": texts, "way": way, "model": str(base / "model")}
    return Input(files, arguments=arguments)


@kind("names and prompts", _names)
def read_names(folder: Path, clip: str, texts: list[str], way: str, model: str) -> None:
    prompt, negative, out, word = texts
    if way == "tokens":
        from videoedit.files import file_stem
        from videoedit.models.loading import _tokenizer

        assert re.fullmatch(r"[a-z0-9-]{1,80}", file_stem(prompt.encode("utf-8", "replace").decode()))
        _tokenizer(Path(model, "tokenizer"))(prompt.encode("utf-8", "replace").decode())
        return
    more = ["--out", out or "x"] if negative else []
    if way == "set":
        resolve("rerender", None, [f"prompt={word}", f"clip={out}", f"negative_prompt={negative}"])
        return
    keys = ["--propagator", "flow", "--keyframe", f"0={folder / 'a.png'}"]
    command_line("propagate", folder / clip, *keys, "--set", f"keyframes=[{word!r}]", *more, "--dry-run")
