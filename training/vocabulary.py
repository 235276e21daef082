"""The words the miniature model knows: subjects, backgrounds, colours and styles."""

from __future__ import annotations

SUBJECTS: dict[str, str] = {  # word -> code point of its picture in the Fluent emoji set
    "elephant": "1f418",
    "giraffe": "1f992",
    "cat": "1f408",
    "rabbit": "1f407",
    "swan": "1f9a2",
    "turtle": "1f422",
    "fish": "1f41f",
    "butterfly": "1f98b",
    "penguin": "1f427",
    "flamingo": "1f9a9",
    "snail": "1f40c",
    "car": "1f697",
    "bus": "1f68c",
    "bicycle": "1f6b2",
    "airplane": "2708-fe0f",
    "sailboat": "26f5",
    "rocket": "1f680",
    "house": "1f3e0",
    "umbrella": "2602-fe0f",
    "mushroom": "1f344",
}
NOTO_NAMES = {"car": "automobile"}  # where the second look has another name
FLYING = frozenset({"butterfly", "airplane", "rocket"})  # float above the ground, cast no contact shadow

BACKGROUNDS: dict[str, tuple[str, ...]] = {  # word -> phrases that mean it
    "grass": ("on grass", "on the grass", "on green grass", "in a meadow"),
    "snow": ("in the snow", "on snow", "in snow"),
    "beach": ("on the beach", "on a beach", "at the beach"),
    "desert": ("in the desert", "in a desert"),
    "space": ("in space", "in outer space"),
    "city": ("in the city", "in a city", "on a city street"),
    "underwater": ("underwater", "under water", "in the ocean"),
    "forest": ("in the forest", "in a forest"),
}
FLOATING = frozenset({"space", "underwater"})  # backgrounds without a ground to stand on

COLOURS: dict[str, tuple[int, int, int]] = {  # word -> RGB
    "red": (225, 30, 35),
    "orange": (250, 130, 20),
    "yellow": (250, 215, 30),
    "green": (40, 165, 60),
    "blue": (35, 90, 225),
    "purple": (135, 50, 190),
    "pink": (250, 120, 185),
}

STYLES: dict[str, tuple[str, ...]] = {  # word -> phrases that follow "a ... of" or ", ... style"
    "watercolor": ("watercolor", "watercolor painting"),
    "neon": ("neon", "neon light"),
    "pixel art": ("pixel art",),
    "cartoon": ("cartoon", "comic"),
}
VERBS = ("walking", "running", "moving", "standing", "jumping", "driving", "riding", "flying")

SUBJECT_LIST = tuple(SUBJECTS)
BACKGROUND_LIST = tuple(BACKGROUNDS)
COLOUR_LIST = (None, *COLOURS)  # index 0: no colour word
STYLE_LIST = (None, *STYLES)  # index 0: no style word


def is_held_out(subject: int, background: int) -> bool:
    """True for pairs of indices that never occur in training (about 1 in 13)."""
    return (subject * 7 + background * 5) % 13 == 0
