"""The model card: the text of ``card.md`` around the measured figures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from training.clips import EDITS
from training.vocabulary import BACKGROUND_LIST, COLOURS, STYLES, SUBJECT_LIST


def percents(values: dict[str, float]) -> str:
    return " | ".join(f"{100 * values[name]:.1f} %" for name in ("subject", "background", "colour", "style"))


def edit_tables(edits: dict[str, dict]) -> Iterator[tuple[str, str, dict]]:
    """(method, guidance, one table of the results of ``training.edits``)."""
    for method, result in edits.items():
        for name, part in result.items():
            if name.startswith("guidance"):
                yield method, name.removeprefix("guidance "), part


def seen_in_source(edits: dict[str, dict]) -> float:
    """The largest share of a source's frames in which the judge sees what its edit asks for."""
    return max((row["seen"]["source"] for *_, part in edit_tables(edits) for row in part["edits"]), default=0.0)


def edit_rows(edits: dict[str, dict]) -> Iterator[str]:
    for method, guidance, part in edit_tables(edits):
        found = part["summary"]
        every, kinds = found["all"], [found.get(kind) for kind in EDITS]
        shares = ", ".join(f"{100 * kind['seen in edit']:.0f}" if kind else "-" for kind in kinds)
        cells = [
            f"{100 * every['seen in edit']:.0f} %",
            shares,
            f"{every['path error']:.3f}",
            f"{every['edge F1']:.2f}",
        ]
        yield "| " + " | ".join([method, guidance, str(every["clips"]), *cells]) + " |"


def model_card(figures: dict, *, train_count: int, workers: int) -> str:
    """The card as Markdown, from the contents of ``figures.json``."""
    rows = [f"| {name} | {seen:,} | {seconds / 60:.0f} min |" for name, (seen, seconds) in figures["training"].items()]
    sampling, located, edits = figures["sampling"], figures["locator on fresh renders"], figures["edits"]
    template = Path(__file__).with_name("card.md").read_text()
    return template.format(
        subjects=len(SUBJECT_LIST),
        backgrounds=len(BACKGROUND_LIST),
        colours=len(COLOURS),
        styles=len(STYLES),
        subject_words=", ".join(SUBJECT_LIST),
        colour_words=", ".join(COLOURS),
        style_words=", ".join(STYLES),
        megabytes=figures["megabytes"],
        train_count=train_count,
        training_rows="\n".join(rows),
        workers=workers,
        steps=sampling["steps"],
        guidance=sampling["guidance_scale"],
        samples=sampling["samples"],
        judge=percents(figures["judge on fresh renders"]),
        held_out=percents(figures["held-out samples"]),
        per_subject=", ".join(f"{name} {100 * share:.0f} %" for name, share in figures["subjects"].items()),
        psnr=", ".join(f"{name} {value:.1f} dB" for name, value in figures["autoencoder dB"].items()),
        with_control=figures["edge F1"]["with"],
        without_control=figures["edge F1"]["without"],
        clip=", ".join(f"{name} {100 * share:.0f} %" for name, share in figures["clip"].items()),
        edits=figures["clip_text and judge"]["edits"],
        rank=figures["clip_text and judge"]["rank correlation"],
        loading=figures["loading seconds"],
        located=f"{located['distance']:.3f} away, found in {100 * located['found']:.1f} %",
        seen_in_source=f"{100 * seen_in_source(edits):.0f} % at most",
        edit_rows="\n".join(edit_rows(edits)),
    )
