"""The model card: the text of ``card.md`` around the measured figures."""

from __future__ import annotations

from pathlib import Path

from training.vocabulary import BACKGROUND_LIST, COLOURS, STYLES, SUBJECT_LIST


def percents(values: dict[str, float]) -> str:
    return " | ".join(f"{100 * values[name]:.1f} %" for name in ("subject", "background", "colour", "style"))


def model_card(figures: dict, *, train_count: int, workers: int) -> str:
    """The card as Markdown, from the contents of ``figures.json``."""
    rows = [f"| {name} | {seen:,} | {seconds / 60:.0f} min |" for name, (seen, seconds) in figures["training"].items()]
    sampling = figures["sampling"]
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
    )
