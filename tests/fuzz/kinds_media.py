"""Pictures and videos: as clips, key frames and masks, and in folders of frames."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from random import Random

from fuzz.inputs import OUTSIDE, Input, kind
from fuzz.mutate import NAMES, WORDS, change_bytes

# ----------------------------------------------------------------------------------------------- pictures


def change_picture(rng: Random, path: Path) -> bytes:
    """A picture's bytes changed; of a PNG often with checksums that are right again."""
    content = path.read_bytes()
    content = change_bytes(rng, content)
    if path.suffix == ".png" and rng.random() < 0.6:
        return _mended(content)
    return content


def _mended(content: bytes) -> bytes:
    """A PNG whose chunks have the right checksums."""
    mended, at = content[:8], 8
    while at + 12 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        body = content[at + 4 : at + 8 + length]
        mended += content[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return mended


def _picture(rng: Random, base: Path) -> Input:
    files = [*sorted((base / "pictures").iterdir()), base / "clips/clip-gif.gif", base / "clips/clip-webp.webp",
             base / "clips/clip-png.png"]  # fmt: skip
    path = rng.choice(files)
    made = Input({f"0000{path.suffix}": change_picture(rng, path)})
    made.arguments = {"name": f"0000{path.suffix}", "way": rng.choice(("clip", "key frame", "mask"))}
    return made


@kind("pictures", _picture)
def read_picture(folder: Path, name: str, way: str) -> None:
    from videoedit.media.images import has_transparency, read_image, read_opacity
    from videoedit.media.video import probe, read_video

    path = folder / name
    if way == "clip":
        probe(path)
        read_video(path)
    elif way == "key frame":
        from rerender.keyfiles import find_keyframes

        find_keyframes([path], range(4), (48, 32)) if path.suffix in (".png", ".jpg", ".webp") else None
        read_image(path)
        if has_transparency(path):
            read_opacity(path)
    else:
        (folder / "masks").mkdir()
        path.rename(folder / "masks" / name)
        read_video(folder / "masks")


# ------------------------------------------------------------------------------------------------- videos


def _video(rng: Random, base: Path) -> Input:
    clips = [path for path in sorted((base / "clips").iterdir()) if path.suffix not in (".png", ".webp")]
    path, other = rng.choice(clips), rng.choice(clips)
    content = path.read_bytes()
    if rng.random() < 0.2:
        cut = rng.randrange(len(content))
        content = content[:cut] + other.read_bytes()[rng.randrange(500) :]
    else:
        content = change_bytes(rng, content, other.read_bytes())
    name = f"clip{path.suffix if rng.random() < 0.9 else other.suffix}"
    return Input({name: content}, arguments={"name": name, "fps": rng.choice(("", "", "", "7"))})


@kind("videos", _video)
def read_clip(folder: Path, name: str, fps: str) -> None:
    from fractions import Fraction

    from videoedit.media.video import probe, read_video, write_clip

    rate = Fraction(fps) if fps else None
    info = probe(folder / name, rate)
    video = read_video(folder / name, num_frames=min(4, info.frames), fps=rate)
    write_clip(folder / "out.mp4", video.frames, video, (48, 32))


# ------------------------------------------------------------------------------- names of numbered pictures


def _numbered(rng: Random, base: Path) -> Input:
    """A folder of pictures, called as nobody expects; some are links out of it, folders, or no pictures."""
    picture = (base / "pictures/a.png").read_bytes()
    made = Input({"keys/0000.png": picture}, arguments={"way": rng.choice(("keys", "keys", "clip"))})
    for _ in range(rng.randrange(1, 6)):
        number = rng.choice(("0", "1", "0002", "3", "9999999999", "1" * 5000, "-1", "²", "１", "٣", "0x1", "1e3"))
        words = (*NAMES, *WORDS, "a", "shot2_", "frame ", "v2_", "@2x")
        stem = rng.choice((number, f"{rng.choice(words)}{number}", f"{number}{rng.choice(words)}"))
        stem = os.fsdecode(stem.replace("/", "_").replace("\0", "").encode("utf-8", "surrogatepass")[:200])
        name = f"keys/{stem}{rng.choice(('.png', '.PNG', '.jpg', '.webp', '.png.png', '', '.txt'))}"
        choice = rng.random()
        if choice < 0.1:
            made.links[name] = rng.choice((f"{OUTSIDE}/picture.png", f"{OUTSIDE}/folder", "gone", "."))
        elif choice < 0.15:
            made.files[f"{name}/inner"] = b"x"
        else:
            made.files[name] = rng.choice((picture, picture, b"", b"x", change_bytes(rng, picture)))
    if rng.random() < 0.3:
        made.files.pop("keys/0000.png", None)
    return made


@kind("key-frame names", _numbered)
def read_numbered(folder: Path, way: str) -> None:
    from rerender.keyfiles import find_keyframes, table
    from videoedit.errors import printable
    from videoedit.media.images import has_transparency
    from videoedit.media.video import probe, read_video

    if way == "clip":
        probe(folder / "keys")
        read_video(folder / "keys")
        return
    found = find_keyframes([folder / "keys"], range(4), (48, 32))
    printable(table(found, range(4)))
    list(map(has_transparency, found.values()))
