"""The privileged architecture as a guest of KVM sees it: traps, interrupts, CSRs, address translation, on
both engines.
"""

from __future__ import annotations

from itertools import product

import pytest

from vpmu.hart import state
from vpmu.hart.events import HartEvent, Mode
from vpmu.hart.exits import Stop
from vpmu.hart.hart import HEDELEG, Hart
from vpmu.spec.csr import (
    SSTATUS_FS,
    SSTATUS_MXR,
    SSTATUS_SD,
    SSTATUS_SIE,
    SSTATUS_SPIE,
    SSTATUS_SPP,
    SSTATUS_SUM,
    SSTATUS_UXL,
    Cause,
    Csr,
    Irq,
)

from .assemble import EBREAK, ECALL, NOP, SRET, WFI, code, csr, encode, fp
from .guest import (
    ALL,
    BASE,
    DATA,
    ENGINES,
    HOLE,
    LEAVES,
    MIDDLE,
    ROOT,
    VECTOR,
    A,
    D,
    R,
    U,
    V,
    W,
    X,
    boot,
    map_pages,
    put,
)

pytestmark = [pytest.mark.usefixtures("built_engine"), pytest.mark.parametrize("engine", ENGINES)]

PAGE = BASE + 0x9000
ABSENT = BASE + 0xA000  # never mapped below
LW, SW = encode("lw", rd=5, rs1=10), encode("sw", rs1=10, rs2=5)
LR, SC = encode("lr.d", rd=5, rs1=10), encode("sc.d", rd=6, rs1=10, rs2=11)
AMO = encode("amoadd.w", rd=5, rs1=10, rs2=11)
SSTATUS_KEPT = SSTATUS_MXR | SSTATUS_SUM | SSTATUS_FS | SSTATUS_SPP | SSTATUS_SPIE
ALL_INTERRUPTS = 1 << Irq.SOFTWARE | 1 << Irq.TIMER | 1 << Irq.EXTERNAL | 1 << Irq.LCOFI


def trap_of(hart: Hart) -> tuple[int, int, int]:
    """Run one instruction into a trap; (scause, sepc, stval)."""
    before = hart.instructions
    hart.run(1)
    assert hart.instructions - before in (0, 1)  # 1: the first instruction of the handler
    return hart.get("scause"), hart.get("sepc"), hart.get("stval")


# ---------------------------------------------------------------- exceptions


@pytest.mark.parametrize(
    ("word", "address", "cause"),
    [
        (LW, ABSENT, Cause.LOAD_PAGE_FAULT),
        (SW, ABSENT, Cause.STORE_PAGE_FAULT),
        (AMO, ABSENT, Cause.STORE_PAGE_FAULT),
        (LR, ABSENT, Cause.LOAD_PAGE_FAULT),
        (encode("fld", rd=64, rs1=10), ABSENT, Cause.LOAD_PAGE_FAULT),
        (encode("fsw", rs2=64, rs1=10), ABSENT, Cause.STORE_PAGE_FAULT),
        (encode("jalr", rs1=10), ABSENT, Cause.FETCH_PAGE_FAULT),
        (LW, 1 << 38, Cause.LOAD_PAGE_FAULT),  # not the sign extension of bit 38
        (SW, (1 << 64) - (1 << 38) - 8, Cause.STORE_PAGE_FAULT),
        (AMO, PAGE + 2, Cause.STORE_MISALIGNED),
        (LR, PAGE + 4, Cause.LOAD_MISALIGNED),
        (SC, PAGE + 4, Cause.STORE_MISALIGNED),
    ],
)
def test_exceptions_with_an_address(engine: str, word: int, address: int, cause: int) -> None:
    hart = boot(engine, [word], x={10: address}, sstatus=SSTATUS_FS)
    map_pages(hart, {PAGE: (DATA, ALL)})
    jumps = cause == Cause.FETCH_PAGE_FAULT
    if jumps:
        hart.run(1)
    assert trap_of(hart) == (cause, address if jumps else BASE, address)


@pytest.mark.parametrize(("word", "cause"), [(AMO, Cause.STORE_ACCESS), (LR, Cause.LOAD_ACCESS)])
def test_there_are_no_atomics_where_there_is_no_memory(engine: str, word: int, cause: int) -> None:
    assert trap_of(boot(engine, [word], x={10: HOLE})) == (cause, BASE, HOLE)


@pytest.mark.parametrize(("word", "mode", "cause", "value"), [
    (EBREAK, state.VS, Cause.BREAKPOINT, BASE),
    (encode("c.ebreak"), state.VU, Cause.BREAKPOINT, BASE),
    (ECALL, state.VU, Cause.USER_ECALL, 0),
])  # fmt: skip
def test_environment_calls_and_breakpoints(engine: str, word: int, mode: int, cause: int, value: int) -> None:
    hart = boot(engine, [word], mode=mode)
    assert trap_of(hart) == (cause, BASE, value)
    assert hart.mode is Mode.VS
    assert bool(hart.get("sstatus") & SSTATUS_SPP) == (mode == state.VS)
    assert hart.count(HartEvent.TRAPS, Mode.VS | Mode.VU) == 1


@pytest.mark.parametrize(("word", "address", "cause", "stval"), [
    (encode("ld", rd=5, rs1=10), PAGE + 4093, Cause.LOAD_PAGE_FAULT, PAGE + 4096),
    (encode("sd", rs2=5, rs1=10), PAGE + 4095, Cause.STORE_PAGE_FAULT, PAGE + 4096),
    (encode("ld", rd=5, rs1=10), PAGE - 3, Cause.LOAD_PAGE_FAULT, PAGE - 3),
])  # fmt: skip
def test_a_fault_on_one_of_two_pages(engine: str, word: int, address: int, cause: int, stval: int) -> None:
    hart = boot(engine, [word], x={10: address, 5: (1 << 64) - 1})
    map_pages(hart, {PAGE: (DATA, ALL)})
    before = hart.memory.read(DATA, 4096)
    assert trap_of(hart) == (cause, BASE, stval)
    assert hart.memory.read(DATA, 4096) == before


def test_an_instruction_on_two_pages(engine: str) -> None:
    add = encode("addi", rd=5, rs1=5, imm=77)
    hart = boot(engine, [encode("jalr", rs1=10)], x={10: PAGE + 4094})
    map_pages(hart, {PAGE: (DATA, ALL), PAGE + 4096: (DATA + 0x3000, ALL)})
    hart.memory.write(DATA + 4094, add.to_bytes(4, "little")[:2])
    hart.memory.write(DATA + 0x3000, add.to_bytes(4, "little")[2:])
    assert hart.run(2) is Stop.BUDGET
    assert (hart.pc, hart.x(5)) == (PAGE + 4098, 77)
    put(hart, LEAVES, PAGE + 4096 >> 12 & 511, DATA + 0x3000, ALL & ~X)
    hart.flush()
    hart.pc = PAGE + 4094
    assert trap_of(hart) == (Cause.FETCH_PAGE_FAULT, PAGE + 4094, PAGE + 4096)


def test_what_is_not_delegated_leaves(engine: str) -> None:
    hart = boot(engine, [AMO], x={10: DATA + 1}, hedeleg=HEDELEG)
    assert hart.run(10) is Stop.EXCEPTION
    assert (hart.details.a, hart.details.b, hart.pc) == (Cause.STORE_MISALIGNED, DATA + 1, BASE)
    assert (hart.instructions, hart.get("scause")) == (0, 0)
    delegated = [cause for cause in Cause if HEDELEG >> cause & 1]
    assert delegated == [Cause.FETCH_MISALIGNED, Cause.BREAKPOINT, Cause.USER_ECALL,
                         Cause.FETCH_PAGE_FAULT, Cause.LOAD_PAGE_FAULT, Cause.STORE_PAGE_FAULT]  # fmt: skip


@pytest.mark.parametrize(
    ("word", "stop"),
    [
        (ECALL, Stop.ECALL),
        (WFI, Stop.WFI),
        (0, Stop.ILLEGAL),
        (encode("lw", rd=5, rs1=10), Stop.MMIO_LOAD),
        (encode("sh", rs2=5, rs1=10), Stop.MMIO_STORE),
        (csr("csrrs", 5, Csr.CYCLE), Stop.VIRTUAL),
        (csr("csrrs", 5, Csr.HPMCOUNTER31), Stop.VIRTUAL),
        (csr("csrrs", 5, Csr.SCOUNTOVF), Stop.VIRTUAL),
        (csr("csrrs", 5, 0x600), Stop.VIRTUAL),
        (csr("csrrs", 5, 0x300), Stop.ILLEGAL),
        (csr("csrrw", 0, Csr.CYCLE), Stop.ILLEGAL),
        (csr("csrrs", 5, 0x1FF), Stop.ILLEGAL),
    ],
)
def test_what_the_host_does_for_a_guest(engine: str, word: int, stop: Stop) -> None:
    hart = boot(engine, [NOP, word, NOP], x={10: HOLE + 16, 5: 0x12345})
    assert hart.run(100) is stop
    assert (hart.pc, hart.instructions, hart.x(5)) == (BASE + 4, 1, 0x12345)
    if stop in (Stop.MMIO_LOAD, Stop.MMIO_STORE):
        assert (hart.details.a, hart.details.b) == (HOLE + 16, 4 if stop is Stop.MMIO_LOAD else 2)


def test_a_fetch_where_there_is_no_memory(engine: str) -> None:
    hart = boot(engine, [encode("jalr", rs1=10)], x={10: HOLE})
    assert hart.run(5) is Stop.FETCH_HOLE
    assert (hart.pc, hart.details.a, hart.instructions) == (HOLE, HOLE, 1)


@pytest.mark.parametrize(
    "word", [SRET, WFI, encode("sfence.vma"), csr("csrrs", 5, Csr.SSTATUS), csr("csrrw", 0, Csr.SATP)]
)
def test_supervisor_instructions_in_user_mode(engine: str, word: int) -> None:
    hart = boot(engine, [word], mode=state.VU)
    assert (hart.run(3), hart.pc, hart.instructions) == (Stop.VIRTUAL, BASE, 0)


def test_a_handler_that_faults_for_ever(engine: str) -> None:
    assert (
        boot(engine, [EBREAK], stvec=HOLE | 1 << 50, satp=0, hedeleg=EVERY_FAULT).run(100_000)
        is Stop.FETCH_HOLE
    )
    hart = boot(engine, [EBREAK], stvec=BASE)
    assert (hart.run(100_000), hart.instructions) == (Stop.TRAP_STORM, 0)


EVERY_FAULT = (1 << 16) - 1


# ---------------------------------------------------------------- exactness


PROGRAM = [
    encode("addi", rd=5, imm=3),
    encode("c.addi", rd=5, imm=-1),  # BASE + 4
    encode("sd", rs1=10, rs2=5),
    encode("ld", rd=6, rs1=10),
    encode("bne", rs1=5, rs2=0, imm=-10),
    csr("csrrs", 7, Csr.TIME),
    EBREAK,
]


def test_every_budget_stops_exactly_there(engine: str) -> None:
    words = {VECTOR: [encode("addi", rd=8, rs1=8, imm=1), csr("csrrw", 0, Csr.SSCRATCH, 8), encode("jal")]}
    single = boot(engine, PROGRAM, x={10: DATA})
    single.memory.write(VECTOR, code(words[VECTOR]))
    for budget in range(1, 40):
        assert single.run(1) is Stop.BUDGET
        hart = boot(engine, PROGRAM, x={10: DATA})
        hart.memory.write(VECTOR, code(words[VECTOR]))
        assert hart.run(budget) is Stop.BUDGET
        assert (hart.instructions, hart.time_ns) == (budget, budget)
        for name in ("pc", "scause", "sepc", "sstatus", "count_vs", "traps_vs", "sscratch"):
            assert hart.get(name) == single.get(name), (budget, name)
        assert [hart.x(i) for i in range(32)] == [single.x(i) for i in range(32)]


@pytest.mark.parametrize("traps_retire", [0, 1])
def test_whether_a_trapping_instruction_retires_is_the_machines(engine: str, traps_retire: int) -> None:
    hart = boot(engine, [NOP, ECALL], traps_retire=traps_retire)
    assert (hart.run(10), hart.instructions) == (Stop.ECALL, 1 + traps_retire)
    hart = boot(engine, [NOP, ECALL], traps_retire=traps_retire, mode=state.VU)
    hart.memory.write(VECTOR, code([WFI]))
    assert (hart.run(10), hart.instructions) == (Stop.WFI, 1 + traps_retire)
    assert hart.get("count_vs") == 0


def test_counts_by_mode_and_class(engine: str) -> None:
    words = [LW, SW, AMO, LR, SC, encode("mul", rd=5), encode("beq", imm=4), encode("c.j", imm=2), SRET]
    hart = boot(engine, words, x={10: DATA}, sepc=BASE, sstatus=SSTATUS_FS)
    hart.want([HartEvent.LOADS])
    hart.memory.write(BASE + len(code(words)), code([NOP]))
    hart.run(len(words))
    assert hart.mode is Mode.VU
    hart.run(len(words) - 1)
    expected = {
        HartEvent.LOADS: 2,
        HartEvent.STORES: 3,
        HartEvent.ATOMICS: 3,
        HartEvent.MULDIV: 1,
        HartEvent.BRANCHES: 2,
    }
    for event, count in expected.items():
        assert (hart.count(event, Mode.VS), hart.count(event, Mode.VU)) == (count, count), event
    assert (hart.count(HartEvent.SYSTEM, Mode.VS), hart.count(HartEvent.SYSTEM, Mode.VU)) == (1, 0)
    assert (hart.get("count_vs"), hart.get("count_vu")) == (len(words), len(words) - 1)


# ---------------------------------------------------------------- interrupts, sret


def test_priority_of_interrupts(engine: str) -> None:
    order, pending = [], ALL_INTERRUPTS
    while pending:
        hart = boot(engine, [NOP], sip=pending, sie=ALL_INTERRUPTS, sstatus=SSTATUS_SIE)
        hart.run(1)
        assert (hart.get("sepc"), hart.get("stval"), hart.get("scause") >> 63) == (BASE, 0, 1)
        order.append(hart.get("scause") & 63)
        pending &= ~(1 << order[-1])
    assert order == [Irq.EXTERNAL, Irq.SOFTWARE, Irq.TIMER, Irq.LCOFI]


@pytest.mark.parametrize(("mode", "sie", "enabled", "taken"), [
    (state.VS, SSTATUS_SIE, 1 << Irq.TIMER, True), (state.VS, 0, 1 << Irq.TIMER, False),
    (state.VU, 0, 1 << Irq.TIMER, True), (state.VU, SSTATUS_SIE, 0, False),
])  # fmt: skip
def test_when_an_interrupt_is_taken(engine: str, mode: int, sie: int, enabled: int, taken: bool) -> None:
    hart = boot(engine, [NOP], mode=mode, sstatus=sie, sie=enabled, sip=1 << Irq.TIMER)
    hart.run(1)
    assert hart.pc == (VECTOR + 4 if taken else BASE + 4)
    if taken:
        previous = SSTATUS_SPP * (mode == state.VS) | SSTATUS_SPIE * (sie != 0)
        assert hart.get("sstatus") == previous


@pytest.mark.parametrize(
    "enable", [csr("csrrsi", 0, Csr.SSTATUS, 2), csr("csrrw", 0, Csr.SIE, 11), csr("csrrsi", 0, Csr.SIP, 2)]
)
def test_an_interrupt_comes_behind_the_instruction_that_lets_it(engine: str, enable: int) -> None:
    missing = {csr("csrrsi", 0, Csr.SSTATUS, 2): "sstatus", csr("csrrw", 0, Csr.SIE, 11): "sie"}.get(
        enable, "sip"
    )
    words = {"sstatus": SSTATUS_SIE, "sie": 1 << Irq.SOFTWARE, "sip": 1 << Irq.SOFTWARE} | {missing: 0}
    hart = boot(engine, [NOP, enable, NOP], x={11: 1 << Irq.SOFTWARE}, **words)
    hart.run(3)
    assert (hart.get("sepc"), hart.pc, hart.instructions) == (BASE + 8, VECTOR + 4, 3)


def test_vectored_traps(engine: str) -> None:
    hart = boot(engine, [EBREAK], stvec=VECTOR | 1)
    hart.run(1)
    assert hart.pc == VECTOR + 4  # an exception goes to the base; one instruction of the handler ran
    for irq in (Irq.SOFTWARE, Irq.TIMER, Irq.EXTERNAL, Irq.LCOFI):
        hart = boot(engine, [NOP], stvec=VECTOR | 1, sip=1 << irq, sie=1 << irq, sstatus=SSTATUS_SIE)
        hart.memory.write(VECTOR, code([NOP] * 16))
        hart.run(1)
        assert hart.pc == VECTOR + 4 * irq + 4


@pytest.mark.parametrize(("spp", "spie"), [*product((0, SSTATUS_SPP), (0, SSTATUS_SPIE))])
def test_sret(engine: str, spp: int, spie: int) -> None:
    hart = boot(engine, [SRET], sepc=DATA, sstatus=spp | spie | SSTATUS_SUM)
    hart.run(1)
    assert (hart.pc, hart.mode) == (DATA, Mode.VS if spp else Mode.VU)
    assert hart.get("sstatus") == SSTATUS_SUM | SSTATUS_SPIE | (SSTATUS_SIE if spie else 0)


def test_sret_takes_a_pending_interrupt(engine: str) -> None:
    hart = boot(
        engine, [SRET], sepc=DATA, sstatus=SSTATUS_SPP | SSTATUS_SPIE, sie=1 << Irq.TIMER, sip=1 << Irq.TIMER
    )
    hart.run(1)
    assert (hart.pc, hart.get("sepc"), hart.instructions) == (VECTOR, DATA, 1)


# ---------------------------------------------------------------- LR and SC


@pytest.mark.parametrize(("between", "result"), [
    ([], 0),
    ([encode("sd", rs1=10, rs2=12)], 1),  # another value
    ([SC], 1),  # a second SC
    ([encode("addi", rd=10, rs1=10, imm=8)], 1),  # another address
    ([encode("amoadd.d", rs1=10, rs2=12)], 1),
])  # fmt: skip
def test_store_conditional(engine: str, between: list[int], result: int) -> None:
    hart = boot(engine, [LR, *between, SC], x={10: DATA, 11: 99, 12: 5})
    hart.run(2 + len(between))
    assert hart.x(6) == result
    if not between:
        assert hart.memory.read(DATA, 8) == (99).to_bytes(8, "little")


def test_a_store_conditional_ends_the_reservation(engine: str) -> None:
    """Even one that changes nothing, and one that fails."""
    hart = boot(engine, [LR, SC, SC], x={10: DATA, 11: 0})
    hart.run(2)
    assert hart.x(6) == 0
    hart.run(1)
    assert hart.x(6) == 1
    elsewhere = encode("sc.d", rd=7, rs1=12, rs2=11)
    hart = boot(engine, [LR, elsewhere, SC], x={10: DATA, 12: DATA + 8})
    hart.run(3)
    assert (hart.x(7), hart.x(6)) == (1, 1)


def test_store_conditional_without_a_reservation(engine: str) -> None:
    hart = boot(engine, [SC], x={10: DATA, 11: 99})
    hart.run(1)
    assert (hart.x(6), hart.memory.read(DATA, 8)) == (1, bytes(8))


# ---------------------------------------------------------------- misaligned


def test_misaligned_accesses_work_in_a_page_and_across_two(engine: str) -> None:
    for size, letter in ((2, "h"), (4, "w"), (8, "d")):
        for start in range(4096 - size, 4097):
            words = [encode(f"s{letter}", rs1=10, rs2=5), encode(f"l{letter}", rd=6, rs1=10)]
            hart = boot(engine, words, x={10: PAGE + start, 5: 0x0102030405060708})
            map_pages(hart, {PAGE: (DATA, ALL), PAGE + 4096: (DATA + 0x5000, ALL)})
            hart.run(2)
            assert hart.x(6) == 0x0102030405060708 & (1 << 8 * size) - 1
            written = (hart.memory.read(DATA, 4096) + hart.memory.read(DATA + 0x5000, 4096)).strip(b"\0")
            assert written == hart.x(6).to_bytes(size, "little")


# ---------------------------------------------------------------- CSRs


def test_the_time_csr(engine: str) -> None:
    hart = boot(engine, [NOP, csr("csrrs", 5, Csr.TIME)], time_ns=12_345_699)
    hart.run(2)
    assert hart.x(5) == 123_457  # the second instruction begins at 12 345 700 ns
    user = boot(engine, [csr("csrrs", 5, Csr.TIME)], mode=state.VU, scounteren=5)
    assert user.run(1) is Stop.VIRTUAL
    user = boot(engine, [csr("csrrs", 5, Csr.TIME)], mode=state.VU, scounteren=2, time_ns=500)
    assert (user.run(1), user.x(5)) == (Stop.BUDGET, 5)


@pytest.mark.parametrize(
    ("number", "written", "read"),
    [
        (Csr.SSTATUS, (1 << 64) - 1, SSTATUS_KEPT | SSTATUS_SD | SSTATUS_UXL),
        (Csr.SEPC, 0x1235, 0x1234),
        (Csr.STVEC, 0x80001003, 0x80001001),
        (Csr.SSCRATCH, 1 << 63, 1 << 63),
        (Csr.SCAUSE, (1 << 63) + 5, (1 << 63) + 5),
        (Csr.STVAL, 77, 77),
        (Csr.SCOUNTEREN, 1 << 32 | 5, 5),
        (Csr.SATP, 1 << 60, 0),
        (Csr.SATP, 10 << 60, 0),
        (Csr.SENVCFG, 0xFF, 1),
        (Csr.SIE, 0xFFFF, ALL_INTERRUPTS),
        (Csr.SIP, 0xFFFF, 1 << Irq.SOFTWARE | 1 << Irq.LCOFI),
        (Csr.FFLAGS, 0xFF, 31),
        (Csr.FRM, 0xFF, 7),
        (Csr.FCSR, 0x1FF, 0xFF),
    ],
)
def test_what_a_csr_keeps(engine: str, number: int, written: int, read: int) -> None:
    hart = boot(
        engine, [csr("csrrw", 0, number, 10), csr("csrrs", 5, number)], x={10: written}, sstatus=SSTATUS_FS
    )
    if number == Csr.SSTATUS:
        hart.set_x(10, written & ~SSTATUS_SIE)
    hart.run(2)
    assert hart.x(5) == read


def test_the_six_csr_instructions(engine: str) -> None:
    names = (
        ("csrrw", 0b1100),
        ("csrrs", 0b1110),
        ("csrrc", 0b0010),
        ("csrrwi", 10),
        ("csrrsi", 0b1010),
        ("csrrci", 0),
    )
    for name, after in names:
        hart = boot(engine, [csr(name, 5, Csr.SSCRATCH, 10)], x={10: 0b1100}, sscratch=0b1010)
        hart.run(1)
        assert (hart.x(5), hart.get("sscratch")) == (0b1010, after), name


# ---------------------------------------------------------------- F and D


FADD = fp("fadd.d", 1, 2, 3)


@pytest.mark.parametrize(
    "word", [FADD, encode("fld", rd=64, rs1=10), encode("c.fsdsp", rs2=64), csr("csrrs", 5, Csr.FCSR)]
)
def test_floating_point_that_is_off_is_illegal(engine: str, word: int) -> None:
    hart = boot(engine, [word], x={10: DATA, 2: DATA})
    assert (hart.run(1), hart.pc) == (Stop.ILLEGAL, BASE)
    hart.set("sstatus", 1 << 13)
    assert hart.run(1) is Stop.BUDGET


@pytest.mark.parametrize(
    ("rm", "frm", "legal"),
    [
        (5, 0, False),
        (6, 0, False),
        (7, 5, False),
        (7, 6, False),
        (7, 7, False),
        (0, 7, True),
        (4, 7, True),
        (7, 4, True),
    ],
)
@pytest.mark.parametrize("name", ["fadd.d", "fmadd.s", "fcvt.w.s", "fcvt.d.w", "fsqrt.s"])
def test_reserved_rounding_modes(engine: str, name: str, rm: int, frm: int, legal: bool) -> None:
    hart = boot(
        engine,
        [fp(name, 5, 2, 0 if name[1:5] in ("cvt.", "sqrt") else 3, 4, rm)],
        sstatus=SSTATUS_FS,
        frm=frm,
    )
    assert (hart.run(1) is Stop.BUDGET) == legal


@pytest.mark.parametrize(
    ("word", "dirty"),
    [
        (FADD, True),
        (encode("flw", rd=64, rs1=10), True),
        (fp("fmv.d.x", 1, 2), True),
        (csr("csrrw", 0, Csr.FRM), True),
        (encode("fsd", rs2=64, rs1=10), False),
        (fp("fmv.x.d", 1, 2), False),
        (fp("feq.d", 5, 2, 3), False),
        (fp("flt.d", 5, 2, 4), True),
        (fp("fcvt.w.d", 5, 4, rm=0), True),
        (fp("fcvt.w.d", 5, 2, rm=0), False),
    ],
)
def test_what_makes_the_registers_dirty(engine: str, word: int, dirty: bool) -> None:
    hart = boot(engine, [word, csr("csrrs", 7, Csr.SSTATUS)], x={10: DATA}, sstatus=1 << 13)
    hart.words[state.F + 4] = 0x7FF8 << 48  # a NaN: comparing and converting it is invalid
    hart.run(2)
    assert hart.x(7) == (SSTATUS_FS | SSTATUS_SD if dirty else 1 << 13) | SSTATUS_UXL


def test_a_hart_without_floating_point(engine: str) -> None:
    hart = boot(
        engine,
        [csr("csrrs", 0, Csr.SSTATUS, 10), csr("csrrs", 5, Csr.SSTATUS), FADD],
        x={10: SSTATUS_FS},
        fp=False,
    )
    assert (hart.run(5), hart.instructions, hart.x(5)) == (Stop.ILLEGAL, 2, SSTATUS_UXL)


# ---------------------------------------------------------------- translation


ACCESSES = {
    "load": (LW, Cause.LOAD_PAGE_FAULT),
    "store": (SW, Cause.STORE_PAGE_FAULT),
    "fetch": (encode("jalr", rs1=10), Cause.FETCH_PAGE_FAULT),
}


def allowed(access: str, flags: int, mode: int, sstatus: int) -> bool:
    """The rules of the privileged ISA, 12.3.2, with Svade."""
    if not flags & V or flags & (R | W) == W or not flags & (R | X) or not flags & A:
        return False
    if mode == state.VU and not flags & U:
        return False
    if mode == state.VS and flags & U and (access == "fetch" or not sstatus & SSTATUS_SUM):
        return False
    if access == "load":
        return bool(flags & R or (sstatus & SSTATUS_MXR and flags & X))
    return bool(flags & W and flags & D) if access == "store" else bool(flags & X)


@pytest.mark.parametrize("access", ACCESSES)
@pytest.mark.parametrize("mode", [state.VU, state.VS])
def test_permissions_of_a_page(engine: str, mode: int, access: str) -> None:
    word, cause = ACCESSES[access]
    for flags in range(256):
        for sstatus in (0, SSTATUS_SUM, SSTATUS_MXR, SSTATUS_SUM | SSTATUS_MXR):
            hart = HARTS.setdefault(engine, boot(engine))
            map_pages(hart, {PAGE: (DATA, flags & ~32), BASE: (BASE, ALL | (U if mode == state.VU else 0))})
            hart.memory.write(BASE, code([word]))
            hart.memory.write(DATA, code([NOP]))
            for name, value in (("mode", mode), ("sstatus", sstatus), ("scause", 0), ("pc", BASE)):
                hart.set(name, value)
            hart.set_x(10, PAGE)
            hart.run(2 if access == "fetch" else 1)
            assert (hart.get("scause") == 0) == allowed(access, flags, mode, sstatus), (
                bin(flags),
                hex(sstatus),
            )
            assert hart.get("scause") in (0, cause)


@pytest.mark.parametrize("access", ACCESSES)
@pytest.mark.parametrize("missing", [A, D, A | D])
def test_accessed_and_dirty_bits_that_the_hart_sets(engine: str, missing: int, access: str) -> None:
    """Svadu (12.3.1): what an access needs and nothing else is written to the leaf, where it is allowed."""
    word, cause = ACCESSES[access]
    for flags, adue in product((V | R | W | X, V), (0, 1)):
        hart = boot(engine, [word], x={10: PAGE}, adue=adue)
        map_pages(hart, {PAGE: (DATA, flags | (A | D) & ~missing)})
        hart.memory.write(DATA, code([NOP]))
        hart.run(2 if access == "fetch" else 1)
        needed = missing & (A | D if access == "store" else A)
        entry = int.from_bytes(hart.memory.read(LEAVES + 8 * (PAGE >> 12 & 511), 8), "little")
        allowed_now = flags != V and (adue or not needed)
        assert (hart.get("scause") == 0) == allowed_now
        assert hart.get("scause") in (0, cause)
        assert entry & (A | D) == ((A | D) & ~missing | (needed if allowed_now else 0))


def test_a_page_table_in_read_only_memory_keeps_its_bits(engine: str) -> None:
    """A bit that cannot be written is a page fault; in writable memory the same access succeeds."""
    for readonly in (False, True):
        hart = boot(engine, [LW], x={10: PAGE + (2 << 20)}, adue=1)
        map_pages(hart, {PAGE: (DATA, ALL)})
        backing = hart.memory.set_slot(1, HOLE, 4096)
        put(hart, HOLE, PAGE >> 12 & 511, DATA, V | R)
        hart.memory.set_slot(1, HOLE, 4096, backing=backing, readonly=readonly)
        put(hart, MIDDLE, (PAGE >> 21) + 1 & 511, HOLE, V)
        hart.run(1)
        assert hart.get("scause") == (Cause.LOAD_PAGE_FAULT if readonly else 0)
        entry = hart.memory.read(HOLE + 8 * (PAGE >> 12 & 511), 1)[0]
        assert entry == (V | R if readonly else V | R | A)


HARTS: dict[str, Hart] = {}
"""One hart for thousands of little runs: a new one takes a millisecond."""


@pytest.mark.parametrize("levels", [3, 4])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_superpages(engine: str, levels: int, level: int) -> None:
    """A leaf at each level; one whose physical address is not a multiple of its size faults."""
    hart = boot(engine, [LW], x={10: BASE + 0x8000})
    hart.memory.write(DATA, bytes.fromhex("78563412"))
    tables = [ROOT, MIDDLE, LEAVES, LEAVES + 4096][: levels - level]
    for at, table in enumerate(tables):
        index = BASE >> (12 + 9 * (levels - 1 - at)) & 511
        last = at == len(tables) - 1
        if last and level == 0:
            for page in range(16):
                put(hart, table, page, BASE + 4096 * page, ALL)
        else:
            put(hart, table, index, BASE if last else tables[at + 1], ALL if last else V)
    hart.set("satp", (levels + 5) << 60 | ROOT >> 12)
    assert (hart.run(1), hart.x(5)) == (Stop.BUDGET, 0x12345678)
    if level:
        hart = boot(engine, [LW], x={10: BASE + 0x8000})
        for at, table in enumerate(tables):
            index = BASE >> (12 + 9 * (levels - 1 - at)) & 511
            last = at == len(tables) - 1
            put(hart, table, index, BASE + 4096 if last else tables[at + 1], ALL if last else V)
        hart.set("satp", (levels + 5) << 60 | ROOT >> 12)
        assert hart.run(1) is Stop.TRAP_STORM  # neither this program nor its handler can be fetched
        assert (hart.get("scause"), hart.get("sepc"), hart.get("stval")) == (
            Cause.FETCH_PAGE_FAULT,
            VECTOR,
            VECTOR,
        )


@pytest.mark.parametrize(("levels", "lowest"), [(3, 1 << 38), (4, 1 << 47)])
def test_the_upper_half_of_the_addresses(engine: str, levels: int, lowest: int) -> None:
    """Its addresses are sign extensions; what lies between the halves always faults."""
    high = (1 << 64) - lowest
    hart = boot(engine, [LW], x={10: high + 0x8000})
    hart.memory.write(DATA, bytes.fromhex("78563412"))
    put(hart, ROOT, 256, MIDDLE, V)
    put(hart, ROOT, BASE >> (12 + 9 * (levels - 1)) & 511, MIDDLE, V)
    last = MIDDLE
    for _ in range(levels - 3):
        last = LEAVES
        put(hart, MIDDLE, 0, LEAVES, V)
        put(hart, MIDDLE, BASE >> 30 & 511, LEAVES, V)
    put(hart, last, 0, BASE, ALL)
    hart.set("satp", (levels + 5) << 60 | ROOT >> 12)
    assert (hart.run(1), hart.x(5)) == (Stop.BUDGET, 0x12345678)
    for address in (high - 0x1000, lowest, lowest + 0x8000, high ^ 1 << 63):
        hart.set_x(10, address)
        hart.pc = BASE
        assert trap_of(hart) == (Cause.LOAD_PAGE_FAULT, BASE, address)


@pytest.mark.parametrize("bit", [*range(54, 64)])
def test_reserved_bits_of_an_entry(engine: str, bit: int) -> None:
    hart = boot(engine, [LW], x={10: PAGE})
    map_pages(hart, {PAGE: (DATA, ALL | 1 << bit)})
    assert trap_of(hart) == (Cause.LOAD_PAGE_FAULT, BASE, PAGE)


@pytest.mark.parametrize("flags", [V | A, V | D, V | U])
def test_reserved_bits_of_a_pointer(engine: str, flags: int) -> None:
    hart = boot(engine, [LW], x={10: PAGE})
    map_pages(hart, {PAGE: (DATA, ALL)})
    put(hart, ROOT, 7, MIDDLE, flags)
    hart.set_x(10, 7 << 30 | PAGE & 0x3FFFFFFF)
    assert trap_of(hart) == (Cause.LOAD_PAGE_FAULT, BASE, 7 << 30 | PAGE & 0x3FFFFFFF)


@pytest.mark.parametrize(
    "fence", [encode("sfence.vma"), encode("sfence.vma", rs1=10), csr("csrrw", 0, Csr.SATP, 12)]
)
def test_a_changed_entry_is_seen_after_a_fence(engine: str, fence: int) -> None:
    store = encode("sd", rs1=14, rs2=13)
    hart = boot(
        engine,
        [LW, store, fence, LW],
        x={10: PAGE, 13: DATA + 4096 >> 12 << 10 | ALL, 14: LEAVES + (PAGE >> 12 & 511) * 8},
    )
    map_pages(hart, {PAGE: (DATA, ALL), LEAVES: (LEAVES, ALL)})
    hart.set_x(12, hart.get("satp"))
    hart.memory.write(DATA, b"\1\0\0\0")
    hart.memory.write(DATA + 4096, b"\2\0\0\0")
    assert (hart.run(1), hart.x(5)) == (Stop.BUDGET, 1)
    assert (hart.run(3), hart.x(5)) == (Stop.BUDGET, 2)
