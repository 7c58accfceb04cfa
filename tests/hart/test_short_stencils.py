"""Numbers that are a byte in a stencil: of small immediates, and of lines, which are short for that."""

from __future__ import annotations

import random
import struct
from itertools import product

import pytest
from tests.hart.scattered import DATA, FRAMES, facts_of, scatter
from tests.hart.stencil_programs import CODE, RAM, branch, immediate, jal, stitched_records, store

from vpmu.hart import native
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.exits import Stop
from vpmu.hart.generator.operations import NUMBER
from vpmu.hart.hart import Hart
from vpmu.hart.memory import PhysicalMemory
from vpmu.hart.stencils import holes, table
from vpmu.spec.csr import SSTATUS_FS

pytest.importorskip("llvmlite")

if native.stencil_machine() is None:
    pytest.skip("stencils are made for x86-64 hosts", allow_module_level=True)

EDGES = (-2048, -136, -129, -128, -127, -8, -1, 0, 1, 112, 119, 120, 121, 127, 128, 136, 2040)
BASE, OTHER = 8, 9
ARITHMETIC = [(0x13, funct3) for funct3 in (0, 2, 3, 4, 6, 7)] + [(0x1B, 0)]
LOADS = [(0x03, funct3) for funct3 in range(7)] + [(0x07, 2), (0x07, 3)]
STORES = [(0x23, funct3) for funct3 in range(4)] + [(0x27, 2), (0x27, 3)]


def stores(op: int, funct3: int, base: int, source: int, imm: int) -> int:
    return store(funct3, base, source, imm) & ~0x7F | op


def alone() -> list[int]:
    """Every operation with every edge; an access has another base register than the one before."""
    words = []
    for number, imm in enumerate(EDGES):
        for op, funct3 in ARITHMETIC:
            words.append(immediate(op, 10 + number % 20, funct3, 10 + funct3, imm))
        for kind, (op, funct3) in enumerate(LOADS):
            words.append(immediate(op, 12 + kind, funct3, (BASE, OTHER)[kind & 1], imm))
        for kind, (op, funct3) in enumerate(STORES):
            words.append(stores(op, funct3, (BASE, OTHER)[kind & 1], 12 + kind, imm))
    return words


def side_by_side() -> list[int]:
    """Two neighbours, then one that writes the base register, with each edge behind each."""
    words = []
    for number, (one, other) in enumerate(product(EDGES, EDGES)):
        keep = immediate(0x13, BASE, 0, BASE, 0)
        if number & 1:
            words += [immediate(3, 12, 3, BASE, one), immediate(3, 13, number % 7, BASE, other), keep]
        else:
            words += [stores(0x23, 3, BASE, 14, one), stores(0x23, number % 4, BASE, 15, other), keep]
    return words


def boot(engine: str, words: list[int]) -> Hart:
    memory = PhysicalMemory()
    memory.set_slot(0, RAM, 4 << 20)
    hart = Hart(0, memory, engine=engine)
    hart.set("sstatus", SSTATUS_FS)
    memory.write(CODE, struct.pack(f"<{len(words)}I", *words))
    memory.write(FRAMES, bytes(range(251)) * 1044)
    hart.set("satp", scatter(random.Random(1), memory))
    for register in range(10, 32):
        hart.set_x(register, 0x0123456789ABCDEF * register & (1 << 64) - 1)
    hart.pc = CODE
    return hart


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("at", [0x800, 0xF7C, 0xF80, 0xF84, 0x7C, 0x80, 0x84], ids=hex)
@pytest.mark.parametrize("words", [alone(), side_by_side()], ids=("alone", "neighbours"))
def test_immediates_at_the_edges_of_a_byte(words: list[int], at: int) -> None:
    """A page at a time, twice in handlers and then in lines; a page ends where immediates are no bytes any
    more, or elsewhere.
    """
    for first in range(0, len(words), 900):
        part = [*words[first : first + 900]]
        part.append(jal(0, -4 * len(part)))
        harts = [boot(engine, part) for engine in ("native", "reference")]
        for hart in harts:
            hart.set_x(BASE, DATA + 0x2000 + at)
            hart.set_x(OTHER, DATA + 0x4000 + at)
        harts[0].memory.stitch()
        for budget in (2 * len(part), 40 * len(part), 7, 3 * len(part)):
            assert [hart.run(budget) for hart in harts] == [Stop.BUDGET] * 2
            assert facts_of(harts[0], Counting.NOTHING) == facts_of(harts[1], Counting.NOTHING)
        assert len(stitched_records(harts[0])) > 40  # most hand their values on, and are not entered


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("length", [61, 62, 63, 64, 65, 126, 127, 130, 200])
def test_long_straight_lines(length: int) -> None:
    """They are cut; branches lead from the end of each to its beginning and to others', stopped anywhere."""
    words = [immediate(0x13, 10 + at % 20, 0, 10 + at % 20, at) for at in range(length)]
    middle = len(words)
    words += [branch(4, 10, 31, -4 * (length - 1)), immediate(0x13, 10, 0, 10, 1)]  # blt x10, x31
    words += [branch(4, 31, 10, -4 * (middle // 2)), jal(0, -4 * (len(words) + 1))]
    harts = [boot(engine, words) for engine in ("native", "reference")]
    for hart in harts:
        hart.set_x(10, 0)
        hart.set_x(31, 1 << 14)
    harts[0].memory.stitch()
    for budget in (5 * length, 60 * length, *range(1, 140, 3), 300 * length, 1, 90):
        assert [hart.run(budget) for hart in harts] == [Stop.BUDGET] * 2
        assert facts_of(harts[0], Counting.NOTHING) == facts_of(harts[1], Counting.NOTHING)


@pytest.mark.parametrize("counting", [Counting.NOTHING, Counting.WHOLE], ids=("guest", "whole"))
def test_what_is_shorter(counting: Counting) -> None:
    rows = {row.place: row for row in table.compiled(counting)}
    assert all(
        len(row.code) <= len(rows[place & ~1].code) for place, row in rows.items() if place < holes.SLOW
    )
    saved = (
        ("addi", 0, 2),
        ("ld", holes.PLAIN, 6),
        ("ld", holes.FIRST, 12),
        ("sw", holes.NEAR, 3),
        ("jalr", 0, 2),
    )
    for name, form, less in (*saved, ("add", 0, 0), ("fld", 0, 0)):  # the last has a jump inside
        place = 1024 * form + 2 * NUMBER[name]
        assert len(rows[place].code) - len(rows[place + 1].code) == less, name
    for name in ("ld", "sd"):  # only who looks at its page may find another
        stubs = [rows[1024 * form + 2 * NUMBER[name]].stub for form in (holes.PLAIN, holes.FIRST, holes.NEAR)]
        assert stubs == [holes.SLOW, holes.SLOW, 0]
