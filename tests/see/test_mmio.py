"""Loads and stores that somebody else serves are read by hand: as the tables of instructions have them."""

from __future__ import annotations

import random
from collections.abc import Iterator

from vpmu.hart.isa.instruction import Kind
from vpmu.hart.isa.table import INSTRUCTIONS, decode
from vpmu.see.mmio import access_of


def by_the_tables(word: int) -> tuple[int, int, bool, int] | None:
    decoded = decode(word)
    row = decoded.row
    if row.kind is Kind.STORE:
        return decoded.rs2, row.size, False, decoded.length
    if row.kind is Kind.LOAD:
        return decoded.rd, row.size, row.sign_extend, decoded.length
    return None


def words() -> Iterator[int]:
    """Every short instruction, and of each long one many operands; random words besides."""
    chance = random.Random(14)
    yield from (word for word in range(1 << 16) if word & 3 != 3)
    for row in INSTRUCTIONS:
        for _ in range(20):
            yield row.match | chance.getrandbits(32) & ~row.mask & 0xFFFFFFFF
    for low in (0x03, 0x23):
        for high in range(8):
            yield from (chance.getrandbits(17) << 15 | high << 12 | rd << 7 | low for rd in range(32))
    yield from (chance.getrandbits(30) << 2 | 3 for _ in range(2000))


def test_access_of_is_what_the_tables_say() -> None:
    found = 0
    for word in words():
        expected = by_the_tables(word)
        assert access_of(word) == expected, hex(word)
        found += expected is not None
    assert found > 1 << 14
