"""Prompts for a scene: many wordings of the same subject, background, colour and style."""

from __future__ import annotations

import numpy as np

from training.vocabulary import BACKGROUNDS, STYLES, VERBS


def article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def plain_caption(subject: str, background: str, colour: str | None = None, style: str | None = None) -> str:
    """The one wording used for evaluation and galleries, e.g. ``a red car on grass, neon style``."""
    thing = f"{colour} {subject}" if colour else subject
    text = f"{article(thing)} {thing} {BACKGROUNDS[background][0]}"
    return f"{text}, {style} style" if style else text


def random_caption(
    rng: np.random.Generator, subject: str, background: str, colour: str | None, style: str | None
) -> str:
    """A random wording; verbs carry no meaning but bring video-like prompts into the distribution."""
    thing = f"{colour} {subject}" if colour else subject
    head = f"{article(thing)} {thing}" if rng.random() < 0.85 else f"the {thing}"
    if rng.random() < 0.35:
        head += (" is " if rng.random() < 0.5 else " ") + str(rng.choice(VERBS))
    text = f"{head} {rng.choice(BACKGROUNDS[background])}"
    if style is None:
        return f"a photo of {text}" if rng.random() < 0.25 else text
    word = str(rng.choice(STYLES[style]))
    form = rng.random()
    if form < 0.6:
        return f"{text}, {word} style"
    if form < 0.8:
        return f"{text}, {word}"
    return f"{article(word)} {word} of {text}"
