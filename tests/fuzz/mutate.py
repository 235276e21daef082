"""Changes by chance: of bytes, of plain values, of texts."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

from fuzz.inputs import OUTSIDE

NUMBERS = (-1, 0, 1, 2, 7, 64, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63, 10**19, 10**30)
REALS = (0.0, -0.0, 0.5, -1.5, 1e-300, 1e300, 1e39, float("nan"), float("inf"), float("-inf"))
NAMES = (
    *("../victim.txt", "../../victim.txt", f"{OUTSIDE}/victim.txt", f"{OUTSIDE}/picture.png", f"{OUTSIDE}/new.txt"),
    *("..", ".", "/", "~/victim.txt", "a/../../victim.txt", "C:\\x", "\\\\host\\share", "con", "nul.png", "a\0b", ""),
    *("a" * 300, "d/" * 200, "\x1b[31mred\x1b[0m", "\u202egnp.exe", "\udcff", "%s%n%d.png", "{0.__class__}", "-o"),
    *("file:///etc/passwd", "http://localhost:1/x", "${HOME}", "`id`", "run.json", "clip.mp4", "*", "[a", "é", "\n"),
)
WORDS = (
    *("", " ", "\n\n", "x", "true", "null", "nan", "1e999", "0b_", "0o9", "2001-99-99", "12:30:45", "!!int x", "*a"),
    *("&a [*a]", "<<", "{", "[", "]", "'", '"', "\\", "\x00", "\x1b]0;t\x07", "\ud800", "\U0001f600", "９", "½", "²"),
    *("mini", "cpu", "cuda", "auto", "none", "0x", "1/0", "-1", "99999999999999999999", "9" * 5000, "a" * 5000),
    *("%", "../" * 9 + "etc/passwd", "__class__", "<script>alert(1)</script>", "${x}", "{{ 7*7 }}", "evil/kernel"),
)


def chance_value(rng: Random, depth: int = 0) -> Any:
    """A value as no sane writer would put it there."""
    choice = rng.randrange(9 if depth < 3 else 6)
    if choice < 4:
        return rng.choice((rng.choice(NUMBERS), rng.choice(REALS), rng.choice(NAMES), rng.choice(WORDS)))
    if choice < 6:
        return rng.choice((None, True, False, [], {}, rng.randrange(1000), rng.random()))
    if choice == 6:
        return [chance_value(rng, depth + 1) for _ in range(rng.choice((1, 2, 3, 5, 40)))]
    if choice == 7:
        return {str(rng.choice(WORDS)): chance_value(rng, depth + 1) for _ in range(rng.choice((1, 2, 5)))}
    nested: Any = rng.choice(WORDS)
    for _ in range(rng.choice((3, 70, 400))):
        nested = [nested] if rng.random() < 0.5 else {"a": nested}
    return nested


def change_value(rng: Random, tree: Any, times: int = 0) -> Any:
    """A copy of plain values with a few of them changed."""
    tree = copy.deepcopy(tree)
    for _ in range(times or rng.choice((1, 1, 1, 2, 3, 6))):
        places = _places(tree)
        if not places:
            return chance_value(rng)
        _change(rng, *rng.choice(places))
    return tree


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """All (container, key) in a tree of plain values."""
    found, todo = [], [tree]
    while todo:
        one = todo.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        for key in keys:
            found.append((one, key))
            todo.append(one[key])
    return found


def _change(rng: Random, holder: Any, key: Any) -> None:
    choice = rng.randrange(10)
    if choice == 0:
        del holder[key]
    elif choice == 1 and isinstance(holder, dict):
        holder[str(rng.choice((*NAMES, *WORDS)))] = holder.pop(key)
    elif choice == 1:
        holder.insert(key, holder[key])
    elif choice == 2:
        holder[key] = rng.choice(([holder[key]], {"a": holder[key]}, str(holder[key]), [holder[key]] * 50))
    elif choice < 6 and isinstance(holder[key], int | float):
        holder[key] = rng.choice((*NUMBERS, *REALS))
    elif choice < 6 and isinstance(holder[key], str):
        holder[key] = rng.choice((*NAMES, *WORDS, holder[key] * 2, holder[key][:-1], holder[key].upper()))
    else:
        holder[key] = chance_value(rng)


def as_json(rng: Random, tree: Any) -> bytes:
    """A JSON text of values; now and then with bytes changed too."""
    data = json.dumps(tree, indent=rng.choice((None, 1))).encode()
    return change_bytes(rng, data) if rng.random() < 0.2 else data


def change_bytes(rng: Random, data: bytes, other: bytes = b"", times: int = 0) -> bytes:
    """Bytes cut, flipped, repeated, overwritten, joined with others."""
    for _ in range(times or rng.choice((1, 1, 2, 4, 16))):
        data = _change_bytes(rng, data, other)
    return data


def _change_bytes(rng: Random, data: bytes, other: bytes) -> bytes:
    at, length = rng.randrange(len(data) + 1), rng.choice((1, 2, 4, 8, 40, 600))
    if rng.random() < 0.5:
        at = min(at, rng.randrange(200))  # headers are worth more
    before, after = data[:at], data[at + length :]
    choice = rng.randrange(10)
    if choice < 2:
        return before if rng.random() < 0.7 else data[at:]
    if choice < 4 and data:
        at = min(at, len(data) - 1)
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    if choice == 4:
        return before + rng.randbytes(length) + after
    if choice == 5:
        number = rng.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 65535, 65536, 60000, 10**6))
        return before + number.to_bytes(4, rng.choice(("little", "big"))) + data[at + 4 :]
    if choice == 6:
        return before + data[at : at + length] * rng.choice((2, 3, 50)) + after
    if choice == 7:
        return before + data[at + length :]
    if choice == 8:
        return before + (other or rng.randbytes(length)) + data[at:]
    return before + rng.choice(WORDS).encode("utf-8", "surrogatepass") + after
