"""One run of one method, from a validated config to a finished run folder. CLI and Python call the same."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeGuard, cast

from videoedit.config import ClipConfig, RunConfig, build_config, dump_yaml, read_yaml
from videoedit.errors import ConfigError, InputError, MethodError, OutputError
from videoedit.files import contents_sha256, digest, file_states, write_text
from videoedit.models.assets import is_embedded
from videoedit.models.shape import ModelShape, local_folder, size_for, working_size
from videoedit.models.words import known_words, unknown_words
from videoedit.plugins import METHODS, MethodSpec, discover, get_method
from videoedit.runs import history
from videoedit.runs.folder import Workspace, check_folder, open_workspace
from videoedit.runs.machine import Stopwatch, environment
from videoedit.runs.planning import DEFAULT_FRAMES, Plan, Scene, choose_frames
from videoedit.runs.progress import Progress
from videoedit.runs.steps import KEPT, Steps
from videoedit.types import EditResult, Models

REPORT = "report.html"
TEXTS = ("source_prompt", "prompt", "prompts", "prompt_suffix", "negative_prompt")


def edit(method: str, clip: Path | str, *, out: Path | str | None = None, **settings: Any) -> EditResult:
    """Edit a clip with a method, as ``videoedit run`` does: ``edit("tuneavideo", "clip.mp4", prompts=["..."])``.

    `settings` are those of the method's config, sections as mappings (``tune={"steps": 80}``); ``prompt="..."`` does
    for a method of several prompts too. Raises the errors of `videoedit.errors`.
    """
    return run_method(method, _build(method, clip, settings), Path(out) if out else None)


def plan(method: str, clip: Path | str, *, out: Path | str | None = None, **settings: Any) -> Plan:
    """Say what `edit` with the same arguments would do, as ``--dry-run`` does; see `plan_run`."""
    return plan_run(method, _build(method, clip, settings), Path(out) if out else None, estimate=True)


def _build(method: str, clip: Path | str, settings: dict[str, Any]) -> ClipConfig:
    schema = get_method(method).load("config")
    if "prompt" in settings and "prompts" in schema.model_fields:
        settings = {**settings, "prompts": [settings["prompt"]]}
        del settings["prompt"]
    config: ClipConfig = build_config(schema, {"clip": str(clip), **settings})
    return config


def demo_config(method: str) -> ClipConfig:
    """The settings of a method's demo, ``demo.yaml`` in its package; MethodError for a method that brings none."""
    spec = get_method(method)
    if method not in discover(METHODS):
        raise MethodError(f"{method} works on key frames of yours, so it has no demo; demos: videoedit methods")
    package = find_spec(spec.config.partition(":")[0].partition(".")[0])
    path = Path((package and package.origin) or "").parent / "demo.yaml"
    if not path.is_file():
        raise MethodError(f"method {method!r} brings no demo; give a clip: videoedit run {method} CLIP --prompt ...")
    config: ClipConfig = build_config(spec.load("config"), read_yaml(path), base=path.parent)
    return config


def plan_run(
    method: str, config: ClipConfig, folder: Path | None = None, *, fresh: bool = False, estimate: bool = False
) -> Plan:
    """Say what a run would do: sizes, costs, and step by step what `folder` keeps and what would be made, and why.

    Refuses what the run would refuse. Writes nothing, loads no weights.
    """
    spec = get_method(method)
    scene, _ = _plan(spec, config)
    status = _walk_dry(_Call(spec, config, scene), folder, fresh=fresh)[1] if folder else {}
    _, costs = _plan(spec, config, estimate=estimate)  # counting takes seconds, so it comes last
    costs = replace(costs, status=status)
    return replace(costs, known=history.estimate(_kind(spec, config), costs, _prompts(config)))


def _walk_dry(call: _Call, folder: Path, *, fresh: bool) -> tuple[bool, dict[str, str]]:
    """True if the folder holds a run of this clip and method, and what a call would keep and make, by step.

    Refuses whatever a run would refuse before its first step.
    """
    record = check_folder(folder, method=call.spec.name, clip=call.path, sha256=call.sha256, fresh=fresh)
    kept = record if record and not fresh else {"steps": {}, "calls": []}
    steps = Steps(Workspace(folder, kept), dry=True)
    call.walk(steps)
    return bool(record), steps.status


def default_folder(method: str, config: ClipConfig) -> Path:
    """``outputs/CLIP-METHOD``: the workspace of a clip and a method, whatever the settings."""
    return Path("outputs") / f"{_clip(config).stem}-{method}"


def run_method(
    method: str,
    config: ClipConfig,
    folder: Path | None = None,
    *,
    fresh: bool = False,
    progress: Progress | None = None,
) -> EditResult:
    """Edit a clip and write videos, ``run.json`` and ``report.html`` into `folder`.

    Interrupted or killed, the same call goes on where it stopped; after a change of settings only what depends on them
    is made again. Raises the errors of `videoedit.errors`.
    """
    spec = get_method(method)
    progress = progress or Progress(quiet=True)
    folder = folder or default_folder(method, config)
    watch = Stopwatch()
    scene, costs = _plan(spec, config)
    call = _Call(spec, config, scene)
    known, _ = _walk_dry(call, folder, fresh=fresh)
    if fresh or not known:
        call.load()  # so that what cannot be used is refused before anything is written or removed
    size = "x".join(map(str, costs.size))
    progress.say(f"{method}: {costs.frames}, working at {size}, into {folder}")
    with open_workspace(folder, method=method, clip=call.path, sha256=call.sha256, fresh=fresh) as workspace:
        steps = Steps(workspace, progress)
        steps.check_inputs = call.check_clip
        before = _signature(workspace)
        settings = config.model_dump(mode="json")
        workspace.record["calls"].append({"config": settings, "versions": environment(), "steps": steps.status})
        workspace.record["notes"] = steps.notes
        workspace.save()
        with steps.collect_warnings():
            write_text(workspace.path("config.yaml"), dump_yaml(config))
            result = call.walk(steps)
        call.check_clip()
        steps.sweep()
        steps.preview.finish()
        _finish(workspace, call, before)
        if fresh or not known:
            took = watch.seconds, watch.cpu_seconds
            history.remember(_kind(spec, config), costs, workspace.steps, steps.status, *took, _prompts(config))
        progress.say(f"report: {workspace.path(REPORT)}")
    return result


class _Call:
    """One call: what was asked, of which clip, by which models."""

    def __init__(self, spec: MethodSpec, config: ClipConfig, scene: Scene) -> None:
        from videoedit.models.lazy import LazyModels
        from videoedit.runs.clip import Clip

        self.spec, self.config, self.info = spec, config, scene.info
        self.path = _clip(config)
        self._seen = file_states(self.path)
        self.sha256 = contents_sha256(self.path)
        self.models = cast(Models, LazyModels(config)) if _has_model(config, spec) else None
        size = scene.size
        if self.models is not None and scene.folder is None:
            size = size_for(self.models, self.info, config.video.size)  # only the weights tell this model's shape
        source = (self.info.width, self.info.height)
        video = config.video
        numbers = range(video.start, video.start + scene.frames * video.stride, video.stride)
        output_size = source if video.output_size == "source" else size
        rate = self.info.fps / video.stride
        self.clip = Clip(
            self._open, self.sha256, numbers, rate, size, output_size, video.fps, video.audio_track, video.format
        )

    def _open(self) -> Any:
        from videoedit.media.video import open_video, read_video

        video = self.config.video
        read = open_video if self.spec.streams else read_video
        return read(
            self.path,
            start=video.start,
            stride=video.stride,
            num_frames=self.clip.num_frames,
            fps=video.fps,
            audio_track=video.audio_track,
        )

    def check_clip(self) -> None:
        """InputError if the clip's file is another than when the call began."""
        if (state := file_states(self.path)) == self._seen:
            return
        if not self.path.exists() or contents_sha256(self.path) != self.sha256:
            raise InputError(f"{self.path} was changed while it was being edited; give the command again")
        self._seen = state

    def load(self) -> None:
        """Load the models, and open the clip."""
        _ = self.models and self.models.unet
        _ = self.clip.video

    def walk(self, steps: Steps) -> EditResult:
        """Go through the method's steps, and deliver its edits.

        OutputError if what the folder keeps of a step is not what the method wrote there: seals can be forged.
        """
        from videoedit.deliver import deliver

        handed: Any = self.spec.load("edits")(self.config, self.models, self.clip, steps)
        source_prompt = getattr(self.config, "source_prompt", "")
        with_clip = self.models is not None and is_embedded(self.models.name)
        try:
            with contextlib.closing(handed):
                return deliver(handed, self.clip, steps, source_prompt=source_prompt, with_clip=with_clip)
        except (TypeError, KeyError, IndexError, AttributeError) as error:
            if KEPT not in steps.status.values():
                raise
            raise OutputError(
                f"{steps.workspace.folder} keeps values that do not fit the method ({type(error).__name__}: {error}); "
                "choose another folder with -o, or start over with --fresh (--debug tells where)"
            ) from error


def _finish(workspace: Workspace, call: _Call, before: str) -> None:
    """Complete the record, and write the report if it would show anything new."""
    from videoedit.pages.run import write_report

    clip, models = call.clip, call.models
    workspace.record |= {
        "title": f"{call.path.name}: {call.spec.name}",
        "seed": call.config.seed,
        "input": {
            "path": str(call.path),
            "sha256": call.sha256,
            "frames": clip.num_frames,
            "fps": str(clip.fps),
            "size": f"{call.info.width}x{call.info.height}",
            "audio": call.info.has_audio,
        },
        "model": {"name": models.name, "fingerprint": models.fingerprint} if models else {},
        "status": "finished",
    }
    workspace.save()
    if _signature(workspace) != before or not workspace.path(REPORT).is_file():
        write_report(workspace.folder)


def _signature(workspace: Workspace) -> str:
    """A hash of all that the report shows, besides how the latest call came to it."""
    shown = {name: value for name, value in workspace.record.items() if name not in ("calls", "status", "clip")}
    configs = [call["config"] for call in workspace.record["calls"][-1:]]
    return digest([shown, configs])


# -- before anything is done ---------------------------------------------------------------------------


def _plan(spec: MethodSpec, config: ClipConfig, *, estimate: bool = False) -> tuple[Scene, Plan]:
    """The scene that a method plans for, and its plan in a frame."""
    from videoedit.media.frame_files import check_format
    from videoedit.media.video import choose_track, probe

    for name in {"prompt", "prompts"} & set(type(config).model_fields):
        prompts = _texts(config, name)
        if not prompts or not all(text.strip() for text in prompts):
            raise InputError('no edit was asked for; say what the edit should show with --prompt "..."')
    info = probe(_clip(config), config.video.fps)
    choose_track(_clip(config), info, config.video.audio_track)
    check_format(config.video.format)
    frames = choose_frames(info.frames, config, most=None if spec.streams else DEFAULT_FRAMES)
    source, video = (info.width, info.height), config.video
    notes: list[str] = []
    folder, shape, size = None, ModelShape.unknown(), video.size or source
    if _has_model(config, spec):
        folder = local_folder(config.model)
        shape = ModelShape.read(folder) if folder else shape
        size = working_size(source, video.size, factor=shape.factor, native=shape.native)
        notes += [] if folder else ["The model is not on this disk yet: sizes are guessed, costs unknown."]
        notes += _check_words(config, folder)
    scene = Scene(info, frames, size, shape, folder, estimate)
    stages, more = spec.load("plan")(config, scene)
    rate = f"{float(info.fps / video.stride):g} fps" + (" on average" if info.is_variable_rate else "")
    costs = Plan(
        num_frames=frames,
        frames=f"{frames} of {info.frames} frames, {rate}{', with sound' if info.has_audio else ''}",
        size=size,
        output_size=source if video.output_size == "source" else size,
        stages=tuple(stages),
        weights_mb=shape.weights_mb,
        notes=(*notes, *info.notes, *more),
    )
    return scene, costs


def _kind(spec: MethodSpec, config: ClipConfig) -> str:
    return history.kind_of(config, spec.name, getattr(config, "device", None) or "auto")


def _prompts(config: ClipConfig) -> list[str]:
    """The prompts of a run's edits; one for `propagate`, whose edit has none."""
    return _texts(config, "prompt", "prompts") or [getattr(config, "label", "")]


def _texts(config: ClipConfig, *names: str) -> list[str]:
    """The texts that a config has under these names, of one or of several each."""
    texts: list[str] = []
    for name in names:
        value = getattr(config, name, ())
        texts += [value] if isinstance(value, str) else value
    return texts


def _check_words(config: RunConfig, folder: Path | None) -> list[str]:
    """Refuse prompts with words that the model does not know; with ``anyway``, a note that names them."""
    known = known_words(folder)
    if not (unknown := unknown_words(_texts(config, *TEXTS), known)):
        return []
    what = f"the model {config.model!r} knows {len(known)} words, among them not: {unknown}"
    if not config.anyway:
        raise InputError(f"{what}; use others (videoedit models words lists them), or go on with --anyway")
    return [f"{what[:1].upper()}{what[1:]}."]


def _clip(config: ClipConfig) -> Path:
    if config.clip is None:
        raise ConfigError("no clip was given; name a video: videoedit run METHOD CLIP, or `clip:` in the config")
    return config.clip


def _has_model(config: ClipConfig, spec: MethodSpec) -> TypeGuard[RunConfig]:
    return spec.needs_model and isinstance(config, RunConfig)
