"""Tables of verdicts: coloured, and as wide as the terminal (rich), where a person looks; else plain text."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .output import table

_STYLES = {
    "unexpected": "bold white on red", "host lost": "bold red", "guest lost": "red", "guest hung": "magenta",
    "silently wrong": "yellow", "deviates": "cyan", "degraded gracefully": "blue", "as specified": "green",
}  # fmt: skip
"""The worst first: it gives a cell its colour."""


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under heads."""
    if not sys.stdout.isatty():
        print(table(heads, rows))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(*heads, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        shown.add_row(*(Text(cell, style_of(cell)) for cell in row))
    Console().print(shown)


def style_of(cell: str) -> str:
    """rich's style of a cell, by the worst verdict in it; none where there is no verdict."""
    return next((style for name, style in _STYLES.items() if name in cell), "")
