"""The long run: ``python -m fuzz N [KIND ...]`` reads N inputs, split evenly; ``--keep`` keeps what fails as a test."""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from pathlib import Path

from fuzz.base import build
from fuzz.harness import keep, run_all, table, working
from fuzz.inputs import KINDS

FOUND = Path(__file__).parent / "found"


def main(arguments: list[str]) -> int:
    """Read inputs, print what fails and a table; 1 if anything fails."""
    for module in ("kinds_text", "kinds_weights", "kinds_media"):
        import_module(f"fuzz.{module}")
    keeps = "--keep" in arguments
    count, *rest = [one for one in arguments if one != "--keep"]
    first = int(rest.pop(0)) if rest and rest[0].isdecimal() else 0
    kinds = rest or sorted(KINDS)
    each = -(-int(count) // len(kinds))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        base, root = Path(place, "base"), Path(place, "root")
        build(base)
        with working(base, root) as worker:
            jobs = ((kind, number) for kind in kinds for number in range(first, first + each))
            found = run_all(worker, jobs, sys.stderr.write)
        failures = [one for tally in found.values() for one in tally.failures]
        seen = set()
        for one in failures:
            if one["where"] not in seen:
                seen.add(one["where"])
                print(f"--- {one['kind']} {one['given']}: {one['line']}\n{one.get('traceback', '')}")
        if keeps:
            keep(failures, base, FOUND)
    print(table(found))
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
