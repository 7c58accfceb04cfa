"""SFENCE.VMA of one address covers all that the leaf there covers (privileged ISA, 12.2.1), however many
entries the engine holds of it; and of everything else it may leave what it likes, but must not miss it.
"""

from __future__ import annotations

import random

import pytest

from vpmu.hart.exits import Stop
from vpmu.hart.hart import Hart

from .assemble import code, encode
from .guest import ALL, BASE, ENGINES, ROOT, V, boot, put

pytestmark = [pytest.mark.usefixtures("built_engine"), pytest.mark.parametrize("engine", ENGINES)]

PAGE, MEGA, GIGA = 1 << 12, 1 << 21, 1 << 30
SV39 = 8 << 60 | ROOT >> 12
FORMS = ("address", "address and ASID")


def fence(rs1: int, rs2: int) -> int:
    return 0x12000073 | rs1 << 15 | rs2 << 20


def machine(engine: str) -> Hart:
    """Sv39, with the two megabytes at BASE by identity."""
    hart = boot(engine, [])
    hart.memory.write(ROOT, bytes(8 * PAGE))
    put(hart, ROOT, BASE >> 30 & 511, ROOT + PAGE, V)
    put(hart, ROOT + PAGE, BASE >> 21 & 511, BASE, ALL)
    hart.set("satp", SV39)
    hart.flush()
    return hart


def peek(hart: Hart, address: int) -> int:
    """What the guest loads from an address."""
    hart.memory.write(BASE, code([encode("ld", rd=6, rs1=5)]))
    hart.set_x(5, address)
    hart.pc = BASE
    assert hart.run(1) is Stop.BUDGET
    assert hart.pc == BASE + 4
    return hart.x(6)


def run(hart: Hart, *words: int) -> None:
    hart.memory.write(BASE, code(words))
    hart.pc = BASE
    assert hart.run(len(words)) is Stop.BUDGET
    assert hart.pc == BASE + 4 * len(words)


def set_leaf(hart: Hart, virtual: int, size: int, physical: int) -> None:
    """A leaf of `size` in the third gigabyte, in tables of its own; the root is of Sv39."""
    root_index, free = virtual >> 30 & 511, ROOT + 4 * PAGE
    if size == GIGA:
        put(hart, ROOT, root_index, physical, ALL)
        return
    put(hart, ROOT, root_index, free, V)
    if size == MEGA:
        put(hart, free, virtual >> 21 & 511, physical, ALL)
        return
    put(hart, free, virtual >> 21 & 511, free + PAGE, V)
    put(hart, free + PAGE, virtual >> 12 & 511, physical, ALL)


def two_memories(hart: Hart, size: int, offsets: list[int]) -> None:
    """Slots of one page at equal places of two ranges of `size`: the address in the first, its complement in
    the second.
    """
    for base in (size, 2 * size):
        for slot, offset in enumerate(offsets):
            hart.memory.set_slot(1 + slot + (4 if base > size else 0), 0x100 * GIGA + base + offset, PAGE)
    for offset in offsets:
        hart.memory.write(0x100 * GIGA + size + offset, (offset + 1).to_bytes(8, "little"))
        hart.memory.write(0x100 * GIGA + 2 * size + offset, (offset + 2).to_bytes(8, "little"))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [MEGA, GIGA], ids=("2 MiB", "1 GiB"))
@pytest.mark.parametrize("virtual", [4 * GIGA, (1 << 64) - 4 * GIGA], ids=("low", "high"))
def test_a_fence_of_one_address_covers_the_leaf(engine: str, virtual: int, size: int, form: str) -> None:
    hart = machine(engine)
    offsets = [0, 3 * PAGE, size // 2, size - PAGE][:3]
    two_memories(hart, size, offsets)
    set_leaf(hart, virtual, size, 0x100 * GIGA + size)
    for offset in offsets:
        assert peek(hart, virtual + offset) == offset + 1
    set_leaf(hart, virtual, size, 0x100 * GIGA + 2 * size)
    hart.set_x(10, virtual + random.Random(size).choice((PAGE, size // 3, size - 8)))
    hart.set_x(11, 0)  # that of satp
    run(hart, fence(10, 0 if form == FORMS[0] else 11))
    for offset in offsets:
        assert peek(hart, virtual + offset) == offset + 2


@pytest.mark.parametrize("size", [MEGA, GIGA], ids=("2 MiB", "1 GiB"))
def test_a_superpage_that_is_split_or_joined(engine: str, size: int) -> None:
    """A leaf replaced by leaves of another size at the same place: after a fence of each page all are new."""
    hart = machine(engine)
    offsets = [0, 3 * PAGE, 5 * PAGE]
    two_memories(hart, size, offsets)
    virtual = 4 * GIGA
    set_leaf(hart, virtual, size, 0x100 * GIGA + size)
    for offset in offsets:
        assert peek(hart, virtual + offset) == offset + 1
    for offset in offsets:
        set_leaf(hart, virtual + offset, PAGE, 0x100 * GIGA + 2 * size + offset)
    hart.set_x(10, virtual)
    run(hart, fence(10, 0))  # of the leaf that was
    for offset in offsets:
        assert peek(hart, virtual + offset) == offset + 2
    set_leaf(hart, virtual, size, 0x100 * GIGA + size)
    for offset in offsets:
        hart.set_x(10, virtual + offset)
        run(hart, fence(10, 0))
    for offset in offsets:
        assert peek(hart, virtual + offset) == offset + 1


def test_instructions_of_a_superpage(engine: str) -> None:
    """The fetch cache too."""
    hart = machine(engine)
    offsets = [0, 3 * PAGE]
    two_memories(hart, MEGA, offsets)
    for which in (1, 2):
        for offset in offsets:
            program = code([encode("addi", rd=7, rs1=0, imm=which), encode("jalr", rd=0, rs1=1)])
            hart.memory.write(0x100 * GIGA + which * MEGA + offset, program)
    virtual = 4 * GIGA

    def call(address: int) -> int:
        hart.memory.write(BASE, code([encode("jalr", rd=1, rs1=5)]))
        hart.set_x(5, address)
        hart.pc = BASE
        assert hart.run(3) is Stop.BUDGET
        assert hart.pc == BASE + 4
        return hart.x(7)

    set_leaf(hart, virtual, MEGA, 0x100 * GIGA + MEGA)
    assert [call(virtual + offset) for offset in offsets] == [1, 1]
    set_leaf(hart, virtual, MEGA, 0x100 * GIGA + 2 * MEGA)
    hart.set_x(10, virtual + 77 * PAGE)
    run(hart, fence(10, 0))
    assert [call(virtual + offset) for offset in offsets] == [2, 2]


def test_stores_of_a_superpage(engine: str) -> None:
    hart = machine(engine)
    offsets = [0, 3 * PAGE]
    two_memories(hart, MEGA, offsets)
    virtual = 4 * GIGA
    store = encode("sd", rs1=5, rs2=6)
    set_leaf(hart, virtual, MEGA, 0x100 * GIGA + MEGA)
    for offset in offsets:
        hart.set_x(5, virtual + offset)
        hart.set_x(6, 0xAA)
        run(hart, store)
    set_leaf(hart, virtual, MEGA, 0x100 * GIGA + 2 * MEGA)
    hart.set_x(10, virtual + 500 * PAGE)
    run(hart, fence(10, 0))
    for offset in offsets:
        hart.set_x(5, virtual + offset)
        hart.set_x(6, 0xBB)
        run(hart, store)
        assert hart.memory.read(0x100 * GIGA + MEGA + offset, 1) == b"\xaa"
        assert hart.memory.read(0x100 * GIGA + 2 * MEGA + offset, 1) == b"\xbb"
