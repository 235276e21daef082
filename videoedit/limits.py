"""How much is read of what comes from outside. More is refused in one line that names the limit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 256 * 2**20  # of a text file
MOST_VALUES = 1_000_000  # of a YAML or JSON file, what aliases repeat counted each time
DEEPEST = 64  # levels of lists and mappings


def read_text(path: Path) -> str:
    """A text file in UTF-8; ValueError if it is too long or none, OSError if it cannot be read."""
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")  # a pipe or a device might never end
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ValueError(f"it has {size:,} bytes, more than the {MOST_BYTES:,} that are read")
    return path.read_text(encoding="utf-8-sig")


def parse_json(text: str) -> Any:
    """Plain values; ValueError for what is no JSON, nested too deeply, or has numbers of thousands of digits."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels") from error


class LimitedLoader(yaml.SafeLoader):
    """safe_load that stops at `DEEPEST` levels and at `MOST_VALUES` values, aliases counted as often as they stand."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._level = 0
        self._values: dict[int, int] = {}  # by node: how many values it holds

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark, repeated = self.peek_event().start_mark, self.check_event(yaml.AliasEvent)
        self._level += 1
        if self._level > DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"nested deeper than {DEEPEST} levels", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._level -= 1
        if repeated and id(node) not in self._values:  # the alias stands inside of what it names
            raise yaml.MarkedYAMLError(problem="its aliases repeat themselves", problem_mark=mark)
        if not repeated:
            self._values[id(node)] = 1 + sum(self._values[id(part)] for part in _parts(node))
        if self._values[id(node)] > MOST_VALUES:
            problem = f"its aliases stand for more than {MOST_VALUES:,} values"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        return node


def _parts(node: Any) -> list[Any]:
    """The nodes right below one."""
    if isinstance(node, yaml.SequenceNode):
        return node.value
    parts = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            parts += [key, value]
    return parts
