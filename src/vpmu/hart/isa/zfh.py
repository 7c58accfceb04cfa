"""Zfh: half precision (unprivileged ISA, "Zfh and Zfhmin"). Most rows are those of F with another fmt."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from vpmu.hart.isa.fd_rows import FD_ROWS, FORMATS, FdRow, Precision

_HALF = 2 << 25
_WIDTH_OF_WORD, _WIDTH_OF_HALF = 2 << 12, 1 << 12


def _half(row: FdRow) -> FdRow:
    """A row of F, of half precision: fmt is 2; of a load or store, the width."""
    if row.format in ("load", "store"):
        name, match = row.name.replace("w", "h"), row.match ^ _WIDTH_OF_WORD ^ _WIDTH_OF_HALF
    else:
        name, match = row.name.replace(".w.x", ".h.x").replace(".x.w", ".x.h"), row.match | _HALF
        name = name.replace(".s", ".h")
    return replace(row, name=name, match=match, precision="h")


_CONVERSIONS: Final[tuple[tuple[str, int, str, Precision], ...]] = (
    ("fcvt.s.h", 0x40200053, "convert_h", "s"),
    ("fcvt.d.h", 0x42200053, "convert_h", "d"),
    ("fcvt.h.s", 0x44000053, "convert_s", "h"),
    ("fcvt.h.d", 0x44100053, "convert_d", "h"),
)

ZFH_ROWS: Final[tuple[FdRow, ...]] = (
    *(_half(row) for row in FD_ROWS if row.precision == "s" and row.operation != "convert"),
    *(
        FdRow(name, "cvt f<-f", 0xFFF0007F, match, operation, precision, *FORMATS["cvt f<-f"])
        for name, match, operation, precision in _CONVERSIONS
    ),
)
