"""A hart with a few instructions in memory, for directed tests."""

from __future__ import annotations

from collections.abc import Iterable

from vpmu.hart.hart import Hart
from vpmu.hart.memory import PhysicalMemory

from .assemble import NOP, code

BASE, SIZE = 0x80000000, 1 << 20
DATA, VECTOR = BASE + 0x8000, BASE + 0x4000
HOLE = 0x40000000
"""A guest physical address with no memory."""
EVERYTHING = (1 << 32) - 1
ENGINES = ("native", "reference")


def boot(
    engine: str,
    words: Iterable[int] = (),
    *,
    at: int = BASE,
    x: dict[int, int] | None = None,
    fp: bool = True,
    isa: Iterable[str] = (),
    **state: int,
) -> Hart:
    """A hart at `at`, where `words` lie; `x` are registers, `state` words of the state. Traps go to VECTOR,
    where NOPs are.
    """
    memory = PhysicalMemory()
    memory.set_slot(0, BASE, SIZE)
    hart = Hart(0, memory, engine=engine, fp=fp, isa=isa)
    memory.write(VECTOR, code([NOP] * 16))
    memory.write(at, code(words))
    hart.pc = at
    hart.set("stvec", VECTOR)
    hart.set("hedeleg", EVERYTHING)
    for name, value in state.items():
        hart.set(name, value)
    for number, value in (x or {}).items():
        hart.set_x(number, value)
    return hart


ROOT, MIDDLE, LEAVES = BASE + 0x10000, BASE + 0x11000, BASE + 0x12000
SV39 = 8 << 60 | ROOT >> 12
V, R, W, X, U, A, D = 1, 2, 4, 8, 16, 64, 128
ALL = V | R | W | X | A | D


def map_pages(hart: Hart, pages: dict[int, tuple[int, int]]) -> None:
    """Sv39 with 4 KiB pages of one 2 MiB range: virtual -> (physical, flags); the page at BASE is mapped by
    itself.
    """
    hart.memory.write(ROOT, bytes(3 * 4096))
    for virtual, (physical, flags) in {BASE: (BASE, ALL), VECTOR: (VECTOR, ALL), **pages}.items():
        put(hart, ROOT, virtual >> 30 & 511, MIDDLE, V)
        put(hart, MIDDLE, virtual >> 21 & 511, LEAVES, V)
        put(hart, LEAVES, virtual >> 12 & 511, physical, flags)
    hart.set("satp", SV39)
    hart.flush()


def put(hart: Hart, table: int, index: int, physical: int, flags: int) -> None:
    """One page-table entry."""
    hart.memory.write(table + 8 * index, (physical >> 12 << 10 | flags).to_bytes(8, "little"))
