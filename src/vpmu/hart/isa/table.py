"""The whole instruction set of a hart, assembled from the tables, and a plain-Python decoder over it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from vpmu.hart.isa import (
    hypervisor,
    rv64a,
    rv64c,
    rv64fd,
    rv64i,
    rv64m,
    zawrs,
    zbb,
    zbc,
    zbkb,
    zicbo,
    zicond,
    zicsr,
)
from vpmu.hart.isa.instruction import Compressed, Format, Instruction, Kind

Row = TypeVar("Row", Instruction, Compressed)

ILLEGAL = Instruction("illegal", Format("none"), 0, 0, Kind.SYSTEM, "illegal_instruction")
INSTRUCTIONS: tuple[Instruction, ...] = (
    *rv64i.INSTRUCTIONS,
    *rv64m.INSTRUCTIONS,
    *rv64a.INSTRUCTIONS,
    *rv64fd.INSTRUCTIONS,
    *zicsr.INSTRUCTIONS,
    *zbb.INSTRUCTIONS,
    *zbc.INSTRUCTIONS,
    *zicond.INSTRUCTIONS,
    *hypervisor.INSTRUCTIONS,
    *zicbo.INSTRUCTIONS,
    *zawrs.INSTRUCTIONS,
    *zbkb.INSTRUCTIONS,
    *rv64fd.ZFH,
)
BY_NAME = {row.name: row for row in INSTRUCTIONS}
# An encoding of the C extension exists only when the operation that it stands for does (c.fld needs D).
COMPRESSED: tuple[Compressed, ...] = tuple(row for row in rv64c.COMPRESSED if row.expands_to in BY_NAME)


@dataclass(frozen=True, slots=True)
class Decoded:
    """One instruction with its operands: register numbers (rd 32 is "nowhere", f0 is state.F), immediate as
    a signed Python int, length in bytes.
    """

    row: Instruction
    rd: int
    rs1: int
    rs2: int
    imm: int
    length: int


def most_specific_first(rows: Iterable[Row]) -> list[Row]:
    """Rows in the order in which a decoder must try them: c.ebreak before c.jalr before c.add."""
    return sorted(rows, key=lambda row: -row.mask.bit_count())


_ORDERED = most_specific_first(INSTRUCTIONS)
_ORDERED_COMPRESSED = most_specific_first(COMPRESSED)
_SINK = 32


def unknown(length: int) -> Decoded:
    """An encoding of that many bytes that means nothing."""
    return Decoded(ILLEGAL, _SINK, 0, 0, 0, length)


@lru_cache(maxsize=65536)
def decode(word: int) -> Decoded:
    """Decode an instruction word (16 or 32 bits; the low two bits tell); an unknown one gives the row
    ILLEGAL.
    """
    if word & 3 == 3:
        for row in _ORDERED:
            if word & row.mask == row.match:
                form = row.format
                rd = form.rd.extract(word)
                return Decoded(
                    row,
                    rd or _SINK,
                    form.rs1.extract(word),
                    form.rs2.extract(word),
                    form.imm.extract(word),
                    4,
                )
        return unknown(4)
    word &= 0xFFFF
    for short in _ORDERED_COMPRESSED:
        if word & short.mask == short.match and all(field.extract(word) for field in short.nonzero):
            rd = short.rd.extract(word)
            row = BY_NAME[short.expands_to]
            return Decoded(
                row, rd or _SINK, short.rs1.extract(word), short.rs2.extract(word), short.imm.extract(word), 2
            )
    return unknown(2)
