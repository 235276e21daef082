"""The command line. Heavy imports stay inside the commands, so that ``--help`` answers at once."""

from __future__ import annotations

import inspect
import io
import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videoedit import __version__
from videoedit.errors import printable
from videoedit.evaluation.commands import app as bench_app
from videoedit.plugins import COMMANDS, METHODS, Flag, MethodSpec
from videoedit.runs.interrupt import interrupt_on_sigterm
from videoedit.slips import Commands, Once, Printable, one_line

if TYPE_CHECKING:
    from videoedit.config import ClipConfig

EXIT_CODES = """Exit codes: 0 done; 1 done, but something failed or is wrong, and is named; 2 refused, nothing was begun
or what was begun is kept; 130 stopped, the same command goes on."""


app = typer.Typer(
    name="videoedit",
    cls=Commands,
    help="Text-guided video editing with diffusion models.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
run_help = "Edit a clip with a method: videoedit run METHOD CLIP ..."
run_app = typer.Typer(cls=Commands, help=run_help, no_args_is_help=True)
app.add_typer(run_app, name="run", rich_help_panel=None)
models_app = typer.Typer()
app.add_typer(models_app, name="models", rich_help_panel=None)
app.add_typer(bench_app, name="bench", rich_help_panel=None)

FLAGS_OF_CLIPS = (
    Flag("--frames", ("video.num_frames",), "Number of frames to edit.", kind=int),
    Flag("--stride", ("video.stride",), "Take every n-th frame.", kind=int),
    Flag("--fps", ("video.fps",), "Constant frame rate; without it the clip's own timing is kept."),
    Flag("--audio-track", ("video.audio_track",), "Sound track to keep, from 0.", kind=int),
    Flag("--size", ("video.size",), "Size to work at, WIDTHxHEIGHT."),
    Flag("--format", ("video.format",), "mp4; png or exr: write the frames as pictures too."),
    Flag("--seed", ("seed",), "Seed of all random numbers.", kind=int),
)
FLAGS_OF_MODELS = (
    Flag("--model", ("model",), "Model: mini, a diffusers folder, a .safetensors file, or a hub id."),
    Flag("--device", ("device",), "Device to compute on: auto, cpu, cuda, mps, ..."),
    Flag("--anyway", ("anyway",), "Go on though the model does not know words of the prompts.", kind=bool),
)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: every expected failure is one line on stderr and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    talkative = debug or bool({"-v", "--verbose"} & set(arguments))
    handler = logging.StreamHandler()
    handler.setFormatter(Printable("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if talkative else logging.WARNING, handlers=[handler])
    logging.addLevelName(logging.WARNING, "warning")
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8")  # on every system, as all text that is written
    completing = "_VIDEOEDIT_COMPLETE" in os.environ
    if completing or arguments[:1] == ["run"]:
        _add_commands(run_app, METHODS)
    if completing or arguments[:1] != ["run"]:
        _add_commands(app, COMMANDS)
    interrupt_on_sigterm()
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # torch says what it then does on the CPU
    try:
        code = app(arguments, prog_name="videoedit", standalone_mode=False) or 0
        if code == 130:  # how typer hands on a KeyboardInterrupt
            raise KeyboardInterrupt
        sys.exit(code)
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("stopped; the same command goes on from here\n")
        sys.exit(130)
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            sys.stderr.write(f"{error}\n")
            sys.exit(2)
        if debug or not (line := one_line(error)):
            raise
        if "--json" in arguments:
            from videoedit.runs.progress import Events

            Events().send("error", text=line, exit_code=2)
        sys.stderr.write(f"error: {printable(line)}\n")
        sys.exit(2)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        print(f"videoedit {__version__}")  # noqa: T201
        raise typer.Exit


@app.command()
def methods() -> None:
    """List the installed methods."""
    from videoedit.plugins import all_methods

    for spec in all_methods():
        typer.echo(f"{spec.name:<14} {spec.summary}")


@app.command()
def demo(
    method: Annotated[str, typer.Argument(help="A method that brings a demo.")] = "tuneavideo",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder to write to.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change any setting.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, write nothing.")] = False,
) -> None:
    """Edit a bundled clip on the embedded model, without any download; takes about two minutes."""
    from videoedit.config import build_config, parse_assignments, set_value
    from videoedit.pipeline import demo_config
    from videoedit.plugins import get_method

    spec, data = get_method(method), demo_config(method).model_dump(mode="json")
    for key, value in parse_assignments(set_ or []):
        set_value(data, key, value)
    config: ClipConfig = build_config(spec.load("config"), data)
    _go(spec, config, out or Path("outputs") / f"demo-{method}", dry_run=dry_run)


@app.command("show-config")
def show_config(
    method: str,
    config: Annotated[Path | None, typer.Option(help="YAML file to resolve; without it: the defaults.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE")] = None,
) -> None:
    """Print a method's settings as YAML: the defaults, or a file and --set resolved."""
    from videoedit.config import annotated_yaml
    from videoedit.plugins import get_method

    typer.echo(annotated_yaml(_resolve(get_method(method), config, [], set_ or [])))


@app.command()
def doctor() -> None:
    """Check the installation and say what to do about what is wrong."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    from videoedit.doctor import diagnose

    checks = diagnose()
    columns = [Column(name, overflow="fold") for name in ("", "check", "found", "advice")]
    table = Table(*columns, box=None, pad_edge=False)
    marks = {True: "[green]ok[/]", False: "[red]bad[/]", None: "[yellow]-[/]"}
    for check in checks:
        table.add_row(marks[check.ok], *map(escape, (check.name, check.found, check.advice)))
    Console().print(table)
    if any(check.ok is False for check in checks):
        raise typer.Exit(1)


@app.command()
def env(json: Annotated[bool, typer.Option("--json", help="Write JSON instead of YAML.")] = False) -> None:
    """Show what a report of a defect should state: versions, machine, device, cache folder, weights, plug-ins."""
    from json import dumps

    import yaml

    from videoedit.doctor import installation

    facts = installation()
    typer.echo(dumps(facts, indent=2) if json else yaml.safe_dump(facts, sort_keys=False).rstrip())


@app.command()
def report(folder: Path) -> None:
    """Write the report page of a run folder again."""
    from videoedit.pages.run import write_report

    typer.echo(printable(str(write_report(folder))))


@app.command()
def check(folder: Path) -> None:
    """Hash the files of a run folder and name those that were damaged or changed; the next run makes them again."""
    from videoedit.runs.folder import check_files

    problems = check_files(folder)
    for problem in problems:
        typer.echo(printable(problem))
    if problems:
        raise typer.Exit(1)
    typer.echo("every file is as it was written")


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List the models and weights that are here; with fetch NAME: get those of optical flow, edges or LPIPS."""
    if context.invoked_subcommand:
        return
    from videoedit.metrics.weights import available_weights
    from videoedit.models.fetch import FETCHABLE, fetched
    from videoedit.models.loading import available_models

    for line in available_models():
        typer.echo(line)
    for item in FETCHABLE.values():
        path = fetched(item.name)
        typer.echo(f"{item.name}  {item.what} ({path or f'not here; videoedit models fetch {item.name}'})")
    for line in available_weights():
        typer.echo(line)


@models_app.command()
def fetch(name: str) -> None:
    """Get weights of optical flow (raft-small, raft-sintel), soft edges (hed) or perceptual distance (lpips).

    They are kept in the folder that VIDEOEDIT_CACHE names, else in the system's for caches: videoedit env shows it.
    """
    from videoedit.models.fetch import describe
    from videoedit.models.fetch import fetch as fetch_weights

    typer.echo(describe(name))
    typer.echo(str(fetch_weights(name)))


@models_app.command()
def words(model: Annotated[str, typer.Argument(help="A model whose folder lists its words.")] = "mini") -> None:
    """List the words that a small model knows; prompts of other words draw nothing that they mean."""
    from videoedit.models.shape import local_folder
    from videoedit.models.words import known_words

    known = known_words(local_folder(model))
    typer.echo(" ".join(sorted(known)) or f"{model} does not list its words: any may be tried")


def _add_commands(app: typer.Typer, group: str) -> None:
    """One subcommand for each method or command that is installed, its flags taken from its MethodSpec."""
    from videoedit.plugins import all_methods

    for spec in all_methods(group):
        app.registered_commands = [known for known in app.registered_commands if known.name != spec.name]
        app.command(spec.name, cls=Once, help=f"{spec.summary[:1].upper()}{spec.summary[1:]}.")(_command(spec))


def _command(spec: MethodSpec) -> Any:
    """A function with the signature that typer needs, built from the method's flags."""

    def command(**given: Any) -> None:
        _run(spec, given)

    parameters = [_parameter("clip", str | None, typer.Argument(help="The video to edit."))]
    parameters += [
        _parameter(flag.parameter, _flag_type(flag), typer.Option(flag.name, help=flag.help)) for flag in _flags(spec)
    ]
    parameters += [
        _parameter("out", Path | None, typer.Option("-o", "--out", help="Folder to write to.")),
        _parameter("config", Path | None, typer.Option("--config", help="YAML file with settings.")),
        _parameter("set_", list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change any setting.")),
        _parameter("dry_run", bool, typer.Option("--dry-run", help="Say what would be done, write nothing."), False),
        _parameter("fresh", bool, typer.Option("--fresh", help="Start over, forgetting earlier work."), False),
        _parameter("json_", bool, typer.Option("--json", help="Tell a program: one JSON object a line."), False),
        _parameter("quiet", bool, typer.Option("--quiet", help="Say no more than where the videos are."), False),
        _parameter("verbose", bool, typer.Option("-v", "--verbose", help="Say what the libraries say, too."), False),
        _parameter("debug", bool, typer.Option("--debug", help="Show tracebacks."), False),
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _parameter(name: str, kind: Any, option: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[kind, option], default=default)


def _flag_type(flag: Flag) -> Any:
    return list[flag.kind] | None if flag.multiple else flag.kind | None  # type: ignore[name-defined]


def _flags(spec: MethodSpec) -> tuple[Flag, ...]:
    """The flags of a method, with those that all have."""
    return (*spec.flags, *(FLAGS_OF_MODELS if spec.needs_model else ()), *FLAGS_OF_CLIPS)


def _resolve(spec: MethodSpec, file: Path | None, flags: list[tuple[str, Any]], assignments: list[str]) -> ClipConfig:
    """defaults < file < --set < flags, validated."""
    from videoedit.config import build_config, parse_assignments, read_yaml, set_value

    read = spec.load("import_config") if spec.import_config else read_yaml
    data: dict[str, Any] = read(file) if file else {}
    for key, value in [*parse_assignments(assignments), *flags]:
        set_value(data, key, value)
    config: ClipConfig = build_config(spec.load("config"), data, base=file.parent if file else None)
    return config


def _run(spec: MethodSpec, given: dict[str, Any]) -> None:
    from videoedit.config import BUNDLED
    from videoedit.pipeline import default_folder

    clip = given["clip"]
    flags: list[tuple[str, Any]] = (
        [("clip", clip if clip.startswith(BUNDLED) else Path(clip).absolute())] if clip else []
    )
    for flag in _flags(spec):
        value = given[flag.parameter]
        if value not in (None, []):
            flags += [(key, value) for key in flag.keys]
    config = _resolve(spec, given["config"], flags, given["set_"] or [])
    ways = {name: given[name] for name in ("dry_run", "fresh", "json_", "quiet")}
    _go(spec, config, given["out"] or default_folder(spec.name, config), **ways)


def _go(
    spec: MethodSpec,
    config: ClipConfig,
    folder: Path,
    *,
    dry_run: bool = False,
    fresh: bool = False,
    json_: bool = False,
    quiet: bool = False,
) -> None:
    """Run, or with `dry_run` say what that would do."""
    from videoedit.pipeline import plan_run, run_method
    from videoedit.runs.planning import describe
    from videoedit.runs.progress import Events, Progress

    if dry_run:
        plan = plan_run(spec.name, config, folder, fresh=fresh, estimate=True)
        if json_:
            Events().send("plan", **asdict(plan))
        else:
            typer.echo(printable(describe(plan, folder, getattr(config, "device", None))))
        return
    progress = Events() if json_ else Progress(quiet=quiet)
    result = run_method(spec.name, config, folder, fresh=fresh, progress=progress)
    for label, path in result.videos.items():
        progress.result(label, path)
        if quiet:
            typer.echo(printable(str(path)))
