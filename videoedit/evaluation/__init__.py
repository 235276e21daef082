"""Comparative runs: several methods over a suite of clips and edits, one table, one page.

``from videoedit.evaluation import read_suite, run_suite``; names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videoedit.evaluation.entries import choose_entries
    from videoedit.evaluation.estimate import forecast
    from videoedit.evaluation.results import Results, UnitResult, read_results
    from videoedit.evaluation.runner import run_suite
    from videoedit.evaluation.suite import Suite, read_suite
    from videoedit.evaluation.units import Entry

_WHERE = {
    "Entry": "units",
    "Results": "results",
    "Suite": "suite",
    "UnitResult": "results",
    "choose_entries": "entries",
    "forecast": "estimate",
    "read_results": "results",
    "read_suite": "suite",
    "run_suite": "runner",
}

__all__ = [
    "Entry",
    "Results",
    "Suite",
    "UnitResult",
    "choose_entries",
    "forecast",
    "read_results",
    "read_suite",
    "run_suite",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'videoedit.evaluation' has no attribute {name!r}")
    return getattr(import_module(f"videoedit.evaluation.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
