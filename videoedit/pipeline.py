"""One run of one method, from a validated config to a finished run folder. CLI and Python call the same."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from videoedit.config import ClipConfig, RunConfig, deciding, dump_yaml
from videoedit.errors import ConfigError
from videoedit.plugins import MethodSpec, get_method
from videoedit.runs.folder import Run, digest, environment, file_sha256, open_run, refuse_foreign, write_text
from videoedit.runs.planning import Plan
from videoedit.runs.progress import Progress
from videoedit.types import EditResult, Models, Video

logger = logging.getLogger(__name__)


def plan_run(method: str, config: ClipConfig, *, estimate: bool = False) -> Plan:
    """Check clip and config against each other and say what would be done. Writes nothing, loads no weights."""
    from videoedit.media.video import probe

    plan: Plan = get_method(method).load("plan")(config, probe(_clip(config)), estimate=estimate)
    return plan


def default_folder(method: str, config: ClipConfig) -> Path:
    """``outputs/CLIP-METHOD-HASH``: the same command finds its own folder again."""
    return Path("outputs") / f"{_clip(config).stem}-{method}-{digest(deciding(config))[:8]}"


def run_method(
    method: str,
    config: ClipConfig,
    folder: Path | None = None,
    *,
    fresh: bool = False,
    progress: Progress | None = None,
) -> EditResult:
    """Edit a clip and write videos, ``run.json`` and ``report.html`` into `folder`.

    Interrupted or killed, the same call goes on where it stopped. Raises the errors of `videoedit.errors`.
    """
    from videoedit.pages.run import write_report

    spec = get_method(method)
    progress = progress or Progress(quiet=True)
    folder = folder or default_folder(method, config)
    plan_run(method, config)
    clip = _clip(config)
    identity = _identity(method, config, clip)
    refuse_foreign(folder, identity, fresh=fresh)
    video = _read(spec, config, clip)
    models = _load(spec, config)
    record: dict[str, Any] = {
        "method": method,
        "title": f"{clip.name}: {method}",
        "config": config.model_dump(mode="json"),
        "versions": environment(),
        "seed": config.seed,
        "input": {
            "path": str(clip),
            "sha256": identity["input"],
            "frames": video.num_frames,
            "fps": str(video.fps),
            "size": f"{video.width}x{video.height}",
            "audio": video.has_audio,
        },
        "model": {"name": models.name, "fingerprint": models.fingerprint} if models else {},
        "videos": [],
        "metrics": {},
        "plots": {},
    }
    with open_run(folder, identity=identity, record=record, fresh=fresh) as run:
        run.progress = progress
        with run.collect_warnings():
            write_text(run.path("config.yaml"), dump_yaml(config))
            for note in video.notes:
                run.note(note)
            result: EditResult = spec.load("edit")(config, models, video, run)
        run.finish()
        report = write_report(folder)
        progress.say(f"report: {report}")
    return result


def _clip(config: ClipConfig) -> Path:
    if config.clip is None:
        raise ConfigError("no clip was given; name a video: videoedit run METHOD CLIP, or `clip:` in the config")
    return config.clip


def _read(spec: MethodSpec, config: ClipConfig, clip: Path) -> Video:
    from videoedit.media.video import open_video, probe, read_video
    from videoedit.runs.planning import choose_frames

    available, start, stride = probe(clip).frames, config.video.start, config.video.stride
    if spec.streams:
        return open_video(clip, start=start, stride=stride, num_frames=choose_frames(available, config, most=None))
    return read_video(clip, start=start, stride=stride, num_frames=choose_frames(available, config))


def _load(spec: MethodSpec, config: ClipConfig) -> Models | None:
    if not isinstance(config, RunConfig) or not spec.needs_model:
        return None
    from videoedit.models.loading import load_models

    return load_models(config.model, device=config.device, dtype=config.dtype, allow_pickle=config.allow_pickle)


def _identity(method: str, config: ClipConfig, clip: Path) -> dict[str, Any]:
    """All that decides the results: a folder made from other values holds another run.

    Settings that only add results are left out, so that a folder takes further prompts.
    """
    settings = {name: value for name, value in deciding(config, added=False).items() if name != "clip"}
    return {"method": method, "config": settings, "input": file_sha256(clip)}


__all__ = ["Run", "default_folder", "plan_run", "run_method"]
