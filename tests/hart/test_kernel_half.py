"""Translations of the upper half of the address space stay over fences (privileged/kernel_half.py): as long
as no table that they came from was written to, by whoever, and the root leads where it led. Of a guest's
hart, and of HS and VS mode of one with all its modes, the latter with and without a second stage.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from vpmu.hart import state
from vpmu.hart.exits import Stop
from vpmu.hart.hart import Hart
from vpmu.hart.memory import HostMemory, PhysicalMemory
from vpmu.hart.whole import WholeHart
from vpmu.spec.csr import SSTATUS_SPP
from vpmu.spec.privileged import HSTATUS_SPV

from .assemble import NOP, SRET, code, csr, encode
from .guest import ALL, BASE, EVERYTHING, SIZE, VECTOR, A, D, U, V, X, put
from .guest import boot as boot_guest
from .random_tables import (
    FENCE,
    FENCE_ONE,
    GIGA,
    OPERANDS,
    PAGE,
    PAGES,
    RESULTS,
    SATP,
    SV39,
    SV48,
    UPPER,
    Tables,
    handler,
    program,
    table,
)

pytestmark = pytest.mark.usefixtures("built_engine")

SECOND = BASE + 0x80000
"""The root of a second stage, which maps all memory by itself."""


def boot(kind: str, engine: str, words: Sequence[int] = (), *, adue: int = 0) -> Hart:
    """A hart in the mode of a host's or a guest's kernel, at BASE, where `words` lie; behind VECTOR are
    NOPs.
    """
    if kind == "guest":
        return boot_guest(engine, words, adue=adue)
    memory = PhysicalMemory()
    memory.set_slot(0, BASE, SIZE)
    hart = WholeHart(0, memory, engine=engine, isa={"h", "svadu"} if adue else {"h"})
    if kind != "HS":
        put(hart, SECOND, BASE >> 30, BASE, ALL | U)
        hgatp = SV39 << 60 | SECOND >> 12 if kind == "VS behind a second stage" else 0
        for name, value in (("hstatus", HSTATUS_SPV), ("sstatus", SSTATUS_SPP), ("hedeleg", EVERYTHING),
                            ("henvcfg", adue << 61), ("sepc", BASE), ("hgatp", hgatp)):  # fmt: skip
            hart.set(name, value)
        memory.write(VECTOR, code([SRET]))
        hart.pc = VECTOR
        assert hart.run(1) is Stop.BUDGET
        assert (hart.pc, hart.get("virt")) == (BASE, 1)
    memory.write(VECTOR, code([NOP] * 16))
    memory.write(BASE, code(words))
    hart.set("stvec", VECTOR)
    hart.pc = BASE
    return hart


@pytest.fixture(params=["guest", "HS", "VS", "VS behind a second stage"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(kind: str, engine: str, mode: int, adue: int, seed: int) -> tuple[object, ...]:
    """What a random program finds, does and leaves."""
    rng = random.Random(f"{mode} {adue} {seed}")
    hart = boot(kind, engine, adue=adue)
    tables = Tables(hart, mode, rng)
    words, operands = program(tables, 160)
    hart.memory.write(BASE, code(words))
    hart.memory.write(VECTOR, code(handler()))
    hart.memory.write(OPERANDS, b"".join(value.to_bytes(8, "little") for value in operands))
    hart.set("satp", tables.satp())
    hart.flush()
    hart.set_x(31, OPERANDS)
    hart.set_x(30, RESULTS)
    for _ in range(40):
        hart.run(97)
        if hart.pc == BASE + 4 * len(words):
            break
    registers = [hart.x(number) for number in range(1, 32)]
    return registers, hart.pc, hart.instructions, hart.memory.read(BASE, SIZE)


@pytest.mark.parametrize("adue", [0, 1], ids=("Svade", "Svadu"))
@pytest.mark.parametrize("mode", [SV39, SV48], ids=("Sv39", "Sv48"))
@pytest.mark.parametrize("seed", range(25))
def test_random_tables(kind: str, mode: int, adue: int, seed: int) -> None:
    native, reference = (run(kind, engine, mode, adue, seed) for engine in ("native", "reference"))
    assert native == reference


# ---------------------------------------------------------------- one by one


SSTATUS, MXR = 0x100, 1 << 19
LOOK = [FENCE, encode("ld", rd=6, rs1=5)]
LEAF = table(5)


def mapped(kind: str, *, given: bool = False) -> Hart:
    """A hart whose upper half begins with the page PAGES, and that has looked there."""
    hart = boot(kind, "native", LOOK)
    if given:
        memory = HostMemory.over(memoryview(bytearray(SIZE)))
        for page in (BASE, SECOND):
            memory.view[page - BASE : page - BASE + PAGE] = hart.memory.read(page, PAGE)
        hart.memory.set_slot(0, BASE, SIZE, backing=memory)
    map_first_page(hart)
    return hart


def map_first_page(hart: Hart) -> None:
    """The upper half begins with the page PAGES, and the hart has looked there."""
    put(hart, table(0), BASE >> 30 & 511, BASE, ALL)
    put(hart, table(0), UPPER >> 30 & 511, table(3), V)
    put(hart, table(3), 0, LEAF, V)
    put(hart, LEAF, 0, PAGES, ALL)
    hart.memory.write(PAGES, (1).to_bytes(8, "little"))
    hart.memory.write(PAGES + PAGE, (2).to_bytes(8, "little"))
    hart.set("satp", SV39 << 60 | table(0) >> 12)
    hart.flush()
    assert look(hart) == 1


def look(hart: Hart) -> int:
    """What lies at the beginning of the upper half, after a fence of everything."""
    hart.set_x(5, UPPER)
    hart.pc = BASE
    assert hart.run(2) is Stop.BUDGET
    return hart.x(6)


def entries(hart: Hart) -> list[int]:
    """Addresses of the upper half in the cache of loads."""
    context = state.CONTEXT_S if hart.whole and not hart.get("virt") else state.CONTEXT_VS
    first = (state.CONTEXTS + context * state.CONTEXT_SIZE + state.TLB_READ) // 8
    tags = hart.words[first : first + 2 * state.READ_ENTRIES : 2]
    return [tag for tag in tags if tag >> 63 and not tag & 4095]


def other_leaf() -> bytes:
    return ((PAGES + PAGE) >> 12 << 10 | ALL).to_bytes(8, "little")


def test_it_stays_over_a_fence_and_another_root(kind: str) -> None:
    hart = mapped(kind)
    hart.memory.write(table(1), hart.memory.read(table(0), PAGE))
    hart.memory.write(BASE + PAGE, code([FENCE, csr("csrrw", 0, SATP, 7), FENCE]))
    assert look(hart) == 1
    hart.set_x(7, SV39 << 60 | table(1) >> 12)
    hart.pc = BASE + PAGE
    for _ in range(3):
        assert hart.run(1) is Stop.BUDGET
        assert entries(hart) == [UPPER]
    put(hart, table(1), UPPER >> 30 & 511, table(4), V)
    hart.pc = BASE + PAGE
    assert hart.run(1) is Stop.BUDGET
    assert entries(hart) == []


def test_python_writes_to_a_table(kind: str) -> None:
    hart = mapped(kind)
    hart.memory.write(LEAF, other_leaf())
    assert look(hart) == 2


def test_another_hart_writes_to_a_table(kind: str) -> None:
    """With a store to a page that it has stored to before, when that was no table yet."""
    hart = boot(kind, "native", LOOK)
    other = type(hart)(1, hart.memory, engine="native")
    hart.memory.write(BASE + PAGE, code([encode("sd", rs1=5, rs2=6)] * 2))
    other.set_x(5, LEAF + 8)
    other.pc = BASE + PAGE
    assert other.run(1) is Stop.BUDGET
    map_first_page(hart)
    other.set_x(5, LEAF)
    other.set_x(6, int.from_bytes(other_leaf(), "little"))
    assert other.run(1) is Stop.BUDGET
    assert look(hart) == 2


def test_memory_that_is_somebody_elses(kind: str) -> None:
    """Its owner may write to it, and tells nobody."""
    hart = mapped(kind, given=True)
    backing = hart.memory.regions[0].backing
    backing.view[LEAF - BASE : LEAF - BASE + 8] = other_leaf()
    assert look(hart) == 2


def test_the_mode_of_satp_changes(kind: str) -> None:
    """Sv48 reads another index of the same root, which leads elsewhere."""
    hart = mapped(kind)
    top = table(8)
    put(hart, table(0), 0, top, V)
    put(hart, top, BASE >> 30 & 511, BASE, ALL)
    put(hart, table(0), UPPER >> 39 & 511, table(9), V)
    put(hart, table(9), UPPER >> 30 & 511, table(4), V)
    put(hart, table(4), 0, LEAF + PAGE, V)
    put(hart, LEAF + PAGE, 0, PAGES + PAGE, ALL)
    hart.memory.write(BASE, code([csr("csrrw", 0, SATP, 7), encode("ld", rd=6, rs1=5)]))
    for mode, expected in ((SV39, 1), (SV48, 2), (SV39, 1)):
        hart.set_x(7, mode << 60 | table(0) >> 12)
        assert look(hart) == expected


def test_more_roots_than_are_noted(kind: str) -> None:
    """A kernel that uses many gigabytes of its half."""
    hart = mapped(kind)
    count = state.MAX_ROOTS + 3
    first = UPPER >> 30 & 511
    for number in range(count):
        put(hart, table(0), first + number, table(3), V)
    put(hart, table(4), 0, LEAF + PAGE, V)
    put(hart, LEAF + PAGE, 0, PAGES + PAGE, ALL)
    visits = [encode("ld", rd=6, rs1=5), encode("add", rd=5, rs1=5, rs2=7)] * count
    words = [FENCE, *visits, encode("sd", rs1=8, rs2=9), FENCE, encode("ld", rd=6, rs1=10)]
    hart.memory.write(BASE + PAGE, code(words))
    hart.set_x(5, UPPER)
    hart.set_x(7, GIGA)
    hart.set_x(8, table(0) + 8 * (first + count - 1))
    hart.set_x(9, table(4) >> 12 << 10 | V)
    hart.set_x(10, UPPER + (count - 1) * GIGA)
    hart.pc = BASE + PAGE
    assert hart.run(len(words)) is Stop.BUDGET
    assert hart.x(6) == 2


def test_a_page_becomes_a_table_after_a_store_to_it(kind: str) -> None:
    """Where that store went is forgotten, and the next one is seen."""
    hart = mapped(kind)
    store, load = encode("sd", rs1=8, rs2=9), encode("ld", rd=6, rs1=5)
    words = [FENCE, store, load, store, FENCE, load]
    hart.memory.write(BASE + PAGE, code(words))
    hart.set_x(5, UPPER + (1 << 21))
    put(hart, table(3), 1, table(4), V)  # a new table, with the first page; then with the second
    hart.set_x(8, table(4))
    hart.set_x(9, PAGES >> 12 << 10 | ALL)
    hart.pc = BASE + PAGE
    assert hart.run(3) is Stop.BUDGET
    assert hart.x(6) == 1
    hart.set_x(9, int.from_bytes(other_leaf(), "little"))
    assert hart.run(3) is Stop.BUDGET
    assert hart.x(6) == 2


def test_decoded_pages_begin_anew(kind: str) -> None:
    """Where the pool of decoded pages is full, nobody watches the tables any more."""
    hart = mapped(kind)
    words = hart.memory.shared.words
    words[state.SHARED["code_next"]] = words[state.SHARED["code_end"]]
    hart.memory.write(BASE + PAGE, code([encode("sd", rs1=8, rs2=9), *LOOK]))
    hart.set_x(8, LEAF)
    hart.set_x(9, int.from_bytes(other_leaf(), "little"))
    hart.pc = BASE + PAGE
    assert hart.run(3) is Stop.BUDGET
    assert hart.x(6) == 2


def test_a_fence_of_one_address_behind_one_of_all(kind: str) -> None:
    """It covers all of a leaf of 2 MiB, whose translations the fence of everything has left."""
    hart = mapped(kind)
    put(hart, table(3), 1, BASE, ALL)
    put(hart, LEAF + PAGE, PAGES - BASE + PAGE >> 12, PAGES, ALL)
    load = encode("ld", rd=6, rs1=7)
    words = [FENCE, load, FENCE, load, encode("sd", rs1=8, rs2=9), FENCE_ONE, load]
    hart.memory.write(BASE + PAGE, code(words))
    hart.set_x(5, UPPER + (1 << 21))
    hart.set_x(7, UPPER + (1 << 21) + PAGES - BASE + PAGE)
    hart.set_x(8, table(3) + 8)
    hart.set_x(9, LEAF + PAGE >> 12 << 10 | V)
    hart.pc = BASE + PAGE
    for steps, expected in ((2, 2), (2, 2), (3, 1)):
        assert hart.run(steps) is Stop.BUDGET
        assert hart.x(6) == expected


def test_mxr_changes(kind: str) -> None:
    """What it allows is asked anew: a page that may only be executed is read with it alone."""
    hart = mapped(kind)
    put(hart, LEAF, 1, PAGES + PAGE, V | X | A | D)
    load = encode("ld", rd=6, rs1=5)
    words = [csr("csrrs", 0, SSTATUS, 7), load, csr("csrrc", 0, SSTATUS, 7), load]
    hart.memory.write(BASE + PAGE, code(words))
    hart.set_x(5, UPPER + PAGE)
    hart.set_x(7, MXR)
    hart.pc = BASE + PAGE
    assert hart.run(3) is Stop.BUDGET
    assert hart.x(6) == 2
    assert hart.run(1) is Stop.BUDGET
    assert (hart.pc, hart.get("scause")) == (VECTOR + 4, 13)
