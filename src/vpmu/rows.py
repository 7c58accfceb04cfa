"""Results as a table: for a notebook's eye, and for pandas or Arrow on request."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .errors import VpmuError

SHOWN = 20
"""Rows that a notebook shows of a longer table, half of them its end."""


class Rows(Sequence[Mapping[str, object]]):
    """Rows of plain values that all have the same columns. `to_pandas` and `to_arrow` need these packages."""

    def __init__(self, columns: Sequence[str], values: Sequence[Sequence[object]]) -> None:
        self.columns = tuple(columns)
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Rows(self.columns, self._values[index])
        return dict(zip(self.columns, self._values[index], strict=True))

    def __iter__(self) -> Iterator[Mapping[str, object]]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return f"<{len(self):,} rows of {', '.join(self.columns)}>"

    def column(self, name: str) -> list[object]:
        """The values of one column."""
        place = self.columns.index(name)
        return [row[place] for row in self._values]

    def to_pandas(self) -> Any:
        """As a pandas.DataFrame. VpmuError where pandas is not installed."""
        try:
            import pandas  # type: ignore[import-not-found, import-untyped, unused-ignore]
        except ImportError:
            raise VpmuError("to_pandas", expected="the package pandas", got="none installed") from None
        return pandas.DataFrame(self._values, columns=list(self.columns))

    def to_arrow(self) -> Any:
        """As a pyarrow.Table. VpmuError where pyarrow is not installed."""
        try:
            import pyarrow  # type: ignore[import-not-found, import-untyped, unused-ignore]
        except ImportError:
            raise VpmuError("to_arrow", expected="the package pyarrow", got="none installed") from None
        return pyarrow.table({name: self.column(name) for name in self.columns})

    def _repr_html_(self) -> str:
        return html_table(self.columns, self._values)


def html_table(columns: Sequence[str], values: Sequence[Sequence[object]]) -> str:
    """A plain table in HTML: numbers to the right with separators, a long one without its middle."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    half = SHOWN // 2
    if len(values) <= SHOWN:
        rows = [_row(row) for row in values]
    else:
        gap = f'<tr><td colspan="{len(columns)}">… {len(values) - SHOWN:,} more</td></tr>'
        rows = [*map(_row, values[:half]), gap, *map(_row, values[-half:])]
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _row(values: Sequence[object]) -> str:
    return f"<tr>{''.join(map(_cell, values))}</tr>"


def _cell(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f'<td style="text-align:right">{value:,}</td>'
    return f"<td>{'' if value is None else html.escape(str(value))}</td>"
