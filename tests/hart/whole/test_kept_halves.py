"""What stays of a guest's kernel over fences (privileged/whole/kept_halves.py) stands on two stages, and is
none of the host's.
"""

from __future__ import annotations

import pytest

from vpmu.hart import state
from vpmu.hart.exits import Stop
from vpmu.hart.hart import Hart
from vpmu.hart.memory import PhysicalMemory
from vpmu.hart.whole import WholeHart
from vpmu.spec.csr import Cause

from ..assemble import NOP, code, csr, encode
from ..guest import ALL, BASE, SIZE, U, V, X, put
from ..random_tables import FENCE, FENCE_ONE, LOWER, PAGE, SATP, SV39, UPPER

pytestmark = pytest.mark.usefixtures("built_engine")

TRAP = BASE + 0x3000
CODE = (BASE + 0x90000, BASE + 0xA0000)
"""Fifteen pages for code of the host, of the guest, which lie behind the first page of the upper half: a page
for each run, since to write to one that has been executed forgets more than the guest does.
"""
ROOT, MIDDLE, LEAF, DATA = (BASE + 0x10000 + number * PAGE for number in range(4))
COPY = 0x10000  # from each of these to another page for the same purpose
SECOND, BELOW, LAST = (BASE + 0x40000 + offset for offset in (0, 0x4000, 0x5000))
SPARE = BASE + 0x80000
OWN, OWN_MIDDLE, OWN_LEAF, OWN_DATA = (BASE + 0x60000 + number * PAGE for number in range(4))
PMP = (0x3B0, 0x3B1, 0x3A0)  # pmpaddr0, pmpaddr1, pmpcfg0
LOOK = encode("ld", rd=6, rs1=5)
GVMA, GVMA_ONE = encode("hfence.gvma"), encode("hfence.gvma", rs1=5)


def tables(hart: Hart, virt: int, root: int, middle: int, leaf: int, data: int, value: int) -> None:
    """The first pages of the upper half, behind a root that maps all memory by itself."""
    put(hart, root, BASE >> 30 & 511, BASE, ALL)
    put(hart, root, UPPER >> 30 & 511, middle, V)
    put(hart, middle, 0, leaf, V)
    put(hart, leaf, 0, data, ALL)
    for number in range(1, 16):
        put(hart, leaf, number, CODE[virt] + number * PAGE, ALL)
    hart.memory.write(data, value.to_bytes(8, "little"))


class Stand:
    """A hart whose host and guest have an upper half each; the guest's memory is mapped page by page."""

    def __init__(self, engine: str, *, denied: int | None = None) -> None:
        self.engine, self.runs = engine, 0
        memory = PhysicalMemory()
        memory.set_slot(0, BASE, SIZE)
        self.hart = hart = WholeHart(0, memory, engine=engine, isa={"h"}, pmp=0 if denied is None else 2)
        memory.write(TRAP, code([NOP]))
        tables(hart, 1, ROOT, MIDDLE, LEAF, DATA, 1)
        tables(hart, 1, ROOT + COPY, MIDDLE + COPY, LEAF + COPY, DATA + COPY, 2)
        tables(hart, 0, OWN, OWN_MIDDLE, OWN_LEAF, OWN_DATA, 10)
        put(hart, SECOND, BASE >> 30, BELOW, V)
        put(hart, BELOW, 0, LAST, V)
        for number in range(256):
            self.map(BASE + number * PAGE, BASE + number * PAGE)
        self.satp = {0: SV39 << 60 | OWN >> 12, 1: SV39 << 60 | ROOT >> 12}
        hart.set("hgatp", SV39 << 60 | SECOND >> 12)
        hart.flush()
        if denied is not None:
            self.deny(denied)

    def deny(self, page: int) -> None:
        """M mode denies S mode one page, and allows the rest."""
        hart, words = self.hart, [csr("csrrw", 0, number, 5 + at) for at, number in enumerate(PMP)]
        hart.memory.write(CODE[0], code(words))
        for at, value in enumerate((page >> 2 | (PAGE >> 3) - 1, (1 << 54) - 1, 0x1F18)):  # both NAPOT
            hart.set_x(5 + at, value)
        hart.set("medeleg", 0)
        hart.set("mode", state.MACHINE)
        hart.pc = CODE[0]
        assert hart.run(len(words)) is Stop.BUDGET

    def map(self, guest: int, physical: int, flags: int = ALL | U) -> None:
        put(self.hart, LAST, guest - BASE >> 12, physical, flags)

    def run(self, virt: int, *words: int, x5: int = UPPER) -> int:
        """Instructions of the host (0) or guest (1); what they loaded. The cause of a trap is negative."""
        hart = self.hart
        self.runs += 1
        own, other = self.satp[virt], self.satp[1 - virt]
        for name, value in (("mode", state.SUPERVISOR), ("virt", virt), ("satp", own), ("other_satp", other),
                            ("stvec", TRAP), ("other_stvec", TRAP)):  # fmt: skip
            hart.set(name, value)
        hart.memory.write(CODE[virt] + self.runs * PAGE, code(words))
        hart.set_x(5, x5)
        hart.set_x(6, 0)
        hart.pc = UPPER + self.runs * PAGE
        for _ in words:
            stop = hart.run(1)
            if stop is Stop.EXCEPTION or hart.pc == TRAP + 4:
                return -hart.get("exit_a" if stop is Stop.EXCEPTION else "scause")
            assert stop is Stop.BUDGET
        self.satp = {virt: hart.get("satp"), 1 - virt: hart.get("other_satp")}
        return hart.x(6)

    def look_from(self, virt: int, root: int) -> int:
        """What another root finds, where the instructions that ask stay in the caches."""
        self.hart.set_x(7, SV39 << 60 | root >> 12)
        return self.run(virt, FENCE, LOOK, csr("csrrw", 0, SATP, 7), LOOK)

    def entries(self) -> list[int]:
        """Addresses of the guest's upper half in the cache of loads."""
        first = (state.CONTEXTS + state.CONTEXT_VS * state.CONTEXT_SIZE + state.TLB_READ) // 8
        tags = self.hart.words[first : first + 2 * state.READ_ENTRIES : 2]
        return [tag for tag in tags if tag >> 63 and not tag & 4095]


@pytest.fixture(params=["native", "reference"])
def stand(request: pytest.FixtureRequest) -> Stand:
    return Stand(request.param)


@pytest.mark.parametrize("fence", [GVMA, GVMA_ONE], ids=("all", "one"))
@pytest.mark.parametrize("page", [ROOT, MIDDLE, LEAF, DATA], ids=("root", "middle", "leaf", "data"))
def test_the_second_stage_changes(stand: Stand, page: int, fence: int) -> None:
    """A page of the guest lies elsewhere, once HFENCE.GVMA has said so."""
    assert stand.run(1, FENCE, LOOK) == 1
    stand.map(page, page + COPY)
    stand.run(0, fence, x5=page >> 2)
    assert stand.run(1, LOOK) == 2


def test_a_root_behind_the_second_stage(stand: Stand) -> None:
    """Another guest physical page, with what the old root had or with something else in it."""
    stand.map(SPARE, ROOT)
    stand.map(SPARE + PAGE, ROOT + COPY)
    assert stand.look_from(1, SPARE) == 1
    if stand.engine == "native":
        assert stand.entries() == [UPPER]
    assert stand.run(1, LOOK) == 1
    assert stand.look_from(1, SPARE + PAGE) == 2


@pytest.mark.parametrize("writer", [0, 1], ids=("host", "guest"))
def test_a_table_behind_the_second_stage(stand: Stand, writer: int) -> None:
    """It is watched where it lies, whoever writes to it."""
    stand.map(LEAF, LEAF + COPY)
    assert stand.run(1, FENCE, LOOK) == 2
    stand.hart.set_x(8, LEAF if writer else LEAF + COPY)
    stand.hart.set_x(9, DATA >> 12 << 10 | ALL)
    stand.run(writer, encode("sd", rs1=8, rs2=9))
    assert stand.run(1, FENCE, LOOK) == 1


@pytest.mark.parametrize(
    "flags", [0, V, ALL, V | X | U, (ALL | U) & ~V], ids=("none", "a table", "not U", "X", "not V")
)
def test_a_root_that_the_second_stage_does_not_let_read(stand: Stand, flags: int) -> None:
    stand.map(SPARE, ROOT, flags)
    assert stand.look_from(1, SPARE) == -Cause.FETCH_GUEST_PAGE_FAULT


def test_vsatp_and_hfence_vvma(stand: Stand) -> None:
    """The host changes a guest's root, or a table of it, as KVM does where a vCPU moves."""
    assert stand.run(1, FENCE, LOOK) == 1
    stand.run(0, csr("csrrw", 0, 0x280, 5), x5=SV39 << 60 | ROOT + COPY >> 12)
    assert stand.run(1, LOOK) == 2
    put(stand.hart, LEAF + COPY, 0, DATA, ALL)
    stand.run(0, encode("hfence.vvma"))
    assert stand.run(1, LOOK) == 1


def test_host_and_guest_stand_apart(stand: Stand) -> None:
    """Each has its half, and what one edits or fences is none of the other's."""
    for host, guest in ((10, 1), (10, 2), (1, 2), (1, 1)):
        put(stand.hart, OWN_LEAF, 0, OWN_DATA if host == 10 else DATA, ALL)
        put(stand.hart, LEAF, 0, DATA + (guest - 1) * COPY, ALL)
        assert stand.run(0, FENCE, LOOK) == host
        assert stand.run(1, FENCE, LOOK) == guest
        assert stand.run(0, LOOK) == host


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("virt", [0, 1], ids=("HS", "VS"))
def test_physical_memory_protection_of_a_root(engine: str, virt: int) -> None:
    """A root that S mode may not read leads nowhere, whatever it holds."""
    stand = Stand(engine, denied=SPARE)
    stand.hart.memory.write(SPARE, stand.hart.memory.read(ROOT if virt else OWN, PAGE))
    assert stand.look_from(virt, SPARE) == -Cause.FETCH_ACCESS


def test_what_one_forgets_the_other_stands_on(stand: Stand) -> None:
    """The guest's half goes with HFENCE.GVMA; the host's still knows its root."""
    put(stand.hart, LEAF, 3, CODE[0] + 3 * PAGE, ALL)
    assert stand.run(1, FENCE, LOOK) == 1
    assert stand.run(0, FENCE, LOOK, GVMA) == 10
    put(stand.hart, OWN, UPPER >> 30 & 511, MIDDLE, V)
    assert stand.run(0, FENCE, LOOK) == 1


def test_a_fence_of_one_and_one_of_the_other(stand: Stand) -> None:
    """The guest's covers all of its leaf of 2 MiB, though the host has fenced everything in between."""
    where = LOWER + (1 << 21)
    put(stand.hart, ROOT, LOWER >> 30, MIDDLE, V)
    put(stand.hart, MIDDLE, 1, BASE, ALL)
    stand.hart.memory.write(BASE, (3).to_bytes(8, "little"))
    assert stand.run(1, LOOK, x5=where) == 3
    stand.run(0, FENCE)
    put(stand.hart, MIDDLE, 1, LEAF + COPY, V)
    stand.run(1, FENCE_ONE, x5=where + PAGE)
    assert stand.run(1, LOOK, x5=where) == 2
