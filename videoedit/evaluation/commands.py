"""``videoedit bench ...``. Heavy imports stay inside the commands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from videoedit.errors import printable

app = typer.Typer(help="Compare methods over a suite of clips and edits.", no_args_is_help=True, rich_markup_mode=None)

Folder = Annotated[Path, typer.Argument(help="Folder that `bench run` wrote to.")]


@app.command()
def run(
    suite: Annotated[str, typer.Argument(help="A suite's YAML file, or mini: rendered clips, runs offline.")],
    methods: Annotated[
        str | None, typer.Option("--methods", metavar="A,B,...", help="Which methods; by default all installed ones.")
    ] = None,
    results: Annotated[
        list[str] | None,
        typer.Option("--results", metavar="NAME=FOLDER", help="Results made elsewhere, measured too; repeat."),
    ] = None,
    subset: Annotated[
        list[str] | None,
        typer.Option("--subset", metavar="WHAT", help="CLIP, CLIP/EDIT or type=TYPE; repeat."),
    ] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", metavar="1,2,...", help="Instead of the suite's.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="METHOD.KEY=VALUE", help="Any setting of a method; repeat.")
    ] = None,
    weights_dir: Annotated[
        Path | None, typer.Option("--weights-dir", help="Folder with weights of metrics, such as CLIP's.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done and what it costs.")] = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder to write to.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Run methods over a suite and compare them; stopped, the same command goes on.

    The exit code is 1 if any unit failed.
    """
    from videoedit.evaluation.entries import choose_entries
    from videoedit.evaluation.estimate import forecast
    from videoedit.evaluation.runner import run_suite
    from videoedit.evaluation.suite import read_suite
    from videoedit.runs.progress import Progress

    with one_line_each():
        chosen = read_suite(suite).with_settings(set_ or [])
        entries = choose_entries(chosen, _names(methods), results or ())
        options: dict[str, Any] = {"subset": subset or (), "seeds": _seeds(seeds), "weights_dir": weights_dir}
        if dry_run:
            typer.echo(printable(forecast(chosen, entries, out, **options).text()))
            return
        progress = Progress()
        found = run_suite(chosen, entries, out, **options, progress=progress)
    failed = [unit for unit in found.units if unit.status == "failed"]
    for unit in failed:
        progress.say(f"failed: {unit.clip}/{unit.edit}, {unit.method}: {unit.reason}")
    if failed:
        raise typer.Exit(1)


@app.command()
def report(folder: Folder) -> None:
    """Write the page, the CSV and the LaTeX table of a results' folder again."""
    from videoedit.evaluation.results import read_results
    from videoedit.evaluation.runner import write_outputs

    typer.echo(printable(str(write_outputs(read_results(folder), folder))))


@app.command()
def metrics(
    weights_dir: Annotated[Path | None, typer.Option("--weights-dir", help="Folder with weights of metrics.")] = None,
) -> None:
    """List the metrics: what each says, and what the missing ones need."""
    from videoedit.metrics import all_metrics, why_skipped

    known = [metric for metric in all_metrics().values() if metric.measure]
    width = max(len(metric.id) for metric in known)
    for metric in known:
        typer.echo(f"{metric.id:<{width}}  {metric.meaning}")
        if reason := why_skipped(metric, weights_dir):
            typer.echo(f"{'':<{width}}  not here: {reason}")


@app.command("import")
def import_(
    layout: Annotated[str, typer.Argument(help="clips (videos and a table of prompts), tgve or v2vbench.")],
    folder: Annotated[Path, typer.Argument(help="Where the clips are.")],
    table: Annotated[Path | None, typer.Option("--table", help="CSV or YAML file with the prompts.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="The suite's file.")] = Path("suite.yaml"),
) -> None:
    """Write a suite's YAML file for clips in another benchmark's layout."""
    from videoedit.evaluation.layouts.suites import import_layout

    with one_line_each():
        suite = import_layout(layout, folder, table, out)
    edits = len(list(suite.pairs))
    place = printable(str(out))
    typer.echo(f"{place}: {len(suite.clips)} clips, {edits} edits; run it with: videoedit bench run {place}")


@app.command()
def export(
    folder: Folder,
    layout: Annotated[str, typer.Argument(help="tgve or v2vbench.")],
    target: Annotated[Path, typer.Argument(help="Folder to write to.")],
    pictures: Annotated[
        str | None, typer.Option("--pictures", help="png (keeps scores exactly) or jpg; tgve: jpg, v2vbench: png.")
    ] = None,
) -> None:
    """Write the videos of a results' folder as another benchmark expects them."""
    from videoedit.evaluation.layouts.export import export_results

    typer.echo(printable(str(export_results(folder, layout, target, pictures=pictures))))


@app.command()
def compare(
    folder: Folder,
    metric: Annotated[str, typer.Argument(help="Its id, or its name where that is enough.")],
    first: Annotated[str, typer.Argument(help="A method.")],
    second: Annotated[str, typer.Argument(help="Another one.")],
    type_: Annotated[str, typer.Option("--type", help="Only edits of this type.")] = "all",
) -> None:
    """Compare two methods by one metric on the edits that both made."""
    from videoedit.evaluation.results import read_results
    from videoedit.evaluation.statistics import compare as compare_methods

    pair = compare_methods(read_results(folder), metric, first, second, type_)
    typer.echo(printable(f"{pair.metric}, {pair.first} minus {pair.second}, {pair.n} edits ({pair.type})"))
    if pair.difference is None:
        typer.echo("no edit has this figure from both")
        return
    interval = "" if pair.low is None else f" [{pair.low:+.4g}, {pair.high:+.4g}]"
    typer.echo(f"mean difference {pair.difference:+.4g}{interval}, p = {pair.p:.3g}")
    typer.echo(printable(f"better: {pair.winner}") if pair.winner else "undecided")


@app.command()
def vote(
    folder: Folder,
    pairs: Annotated[int | None, typer.Option("--pairs", min=1, help="At most so many pairs; by default all.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Draws order and sides: another one for each voter.")] = 0,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The page; by default vote.html there.")] = None,
) -> None:
    """Write a page on which people choose between two edits without knowing whose they are, and save their votes."""
    from videoedit.evaluation.page.vote import write_vote_page
    from videoedit.evaluation.results import read_results

    target = out or folder / "vote.html"
    typer.echo(printable(str(write_vote_page(read_results(folder), folder, target, seed=seed, most=pairs))))


@app.command()
def votes(
    folder: Folder,
    files: Annotated[list[Path], typer.Argument(help="Files of votes that the page saved.")],
) -> None:
    """Count votes: how strong each method is (Bradley-Terry), and which metrics agree with the voters."""
    from videoedit.evaluation.results import read_results
    from videoedit.evaluation.votes import agreements, bradley_terry, count_wins, judged, read_ballot

    results = read_results(folder)
    cast = judged(results, [read_ballot(path, results) for path in files])
    wins = count_wins(cast)
    methods = sorted({method for pair in wins for method in pair})
    ties = sum(choice == "tie" for _, choice in cast)
    typer.echo(f"{len(cast)} votes in {len(files)} file{'s' if len(files) > 1 else ''}, {ties} of them ties")
    width = max(map(len, methods), default=0)
    for one in bradley_terry(wins, methods) if methods else ():
        typer.echo(
            printable(f"{one.method:<{width}}  {one.value:+.2f} [{one.low:+.2f}, {one.high:+.2f}], {one.votes} votes")
        )
    for metric in agreements(results, cast):
        share = f"{metric.agree / metric.n:.0%} [{metric.low:.0%}, {metric.high:.0%}] of {metric.n} votes"
        typer.echo(printable(f"{metric.metric} agrees with {share}"))


@contextmanager
def one_line_each() -> Iterator[None]:
    """Print a suite's problems, a line each on stderr; exit code 2."""
    from videoedit.evaluation.suite import SuiteError

    try:
        yield
    except SuiteError as error:
        for problem in error.problems:
            sys.stderr.write(f"error: {printable(' '.join(problem.split()))}\n")
        raise typer.Exit(2) from None


def _names(text: str | None) -> list[str] | None:
    return None if text is None else list(filter(None, map(str.strip, text.split(","))))


def _seeds(text: str | None) -> list[int] | None:
    from videoedit.errors import ConfigError

    if text is None:
        return None
    seeds: list[int] = []
    for name in text.split(","):
        if not name.strip().isdecimal():
            raise ConfigError(f"--seeds {text}: expected whole numbers separated by commas, such as 1,2,3")
        seeds.append(int(name))
    return seeds
