"""The native engine against the reference engine: the same random programs, every state after every few
instructions.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from vpmu.hart import state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.events import HartEvent
from vpmu.hart.exits import Stop
from vpmu.hart.extensions import GUEST_ISA
from vpmu.hart.hart import HEDELEG, Hart
from vpmu.hart.isa.table import decode
from vpmu.hart.memory import PhysicalMemory
from vpmu.spec.csr import SSTATUS_FS, Cause, Csr, Irq

from .assemble import SRET, Stream, code, csr, encode, random_register_file

pytestmark = pytest.mark.usefixtures("built_engine")

BASE, SIZE = 0x80000000, 2 << 20
HANDLER, CODE, DATA = BASE + 0x10000, BASE + 0x11000, BASE + 0x20000
TABLES, TABLES_SIZE = 0xC0000000, 0x10000  # mapped nowhere: when a changed entry is seen is left to engines
CODE_BYTES, DATA_BYTES = 3 * 4096, 8 * 4096
GIGA, MEGA = 0x40000000, 0x00200000  # where superpages map the same memory
NEVER, SOMETIMES, ALWAYS = 0, 256, 257
V, R, W, X, U, A, D = 1, 2, 4, 8, 16, 64, 128
CSRS = (
    Csr.SSTATUS,
    Csr.SIE,
    Csr.SIP,
    Csr.SSCRATCH,
    Csr.SEPC,
    Csr.SCAUSE,
    Csr.STVAL,
    Csr.SCOUNTEREN,
    Csr.SENVCFG,
    Csr.STIMECMP,
    Csr.SSTATUS,
    Csr.TIME,
    Csr.FFLAGS,
    Csr.FRM,
    Csr.FCSR,
    Csr.CYCLE,
    Csr.HPMCOUNTER3,
    0x015,
    0x600,
)
_PRIVATE = (
    "ctx",
    "contexts",
    "shared",
    "dbase",
    "stitched",
    "epoch",
    "insn",
    "length",
    "n",
    "n_fold",
    "n_start",
    "fault",
    "trap_n",
    "trap_fuel",
    "exit_a",
    "exit_b",
    "exit_c",
)
COMPARED = tuple(name for name in state.STATE if name not in _PRIVATE)


def handler(return_to_user: int) -> list[int]:
    """Clear software interrupts and skip two bytes; after a fault of the fetch start at CODE again.

    It returns to U mode never, always, or when bit 3 of sepc is set.
    """
    t0 = 5
    return [
        csr("csrrw", t0, Csr.SSCRATCH, t0),
        csr("csrrw", 0, Csr.SIP, 0),
        csr("csrrs", t0, Csr.SCAUSE),
        encode("addi", rd=t0, rs1=t0, imm=-Cause.FETCH_PAGE_FAULT),
        encode("bne", rs1=t0, rs2=0, imm=12),
        encode("auipc", rd=t0, imm=(CODE - HANDLER) >> 12),
        encode("jal", imm=12),
        csr("csrrs", t0, Csr.SEPC),
        encode("addi", rd=t0, rs1=t0, imm=2),
        csr("csrrw", 0, Csr.SEPC, t0),
        encode("slli", rd=t0, rs1=t0, imm=5) if return_to_user != ALWAYS else encode("addi", rd=t0, imm=256),
        encode("andi", rd=t0, rs1=t0, imm=min(return_to_user, SOMETIMES)),
        csr("csrrc", 0, Csr.SSTATUS, t0),
        csr("csrrw", t0, Csr.SSCRATCH, t0),
        SRET,
    ]


@dataclass
class Tables:
    """Page tables in the guest's memory: identity for BASE page by page, superpages at GIGA and MEGA."""

    memory: PhysicalMemory
    rng: random.Random
    levels: int
    user: int = 0  # U when the program may run in U mode, and only there
    next_table: int = TABLES

    def entry(self, table: int, index: int, value: int) -> None:
        self.memory.write(table + 8 * index, value.to_bytes(8, "little"))

    def table(self) -> int:
        self.next_table += 4096
        return self.next_table - 4096

    def leaf(self, physical: int, flags: int) -> int:
        return physical >> 12 << 10 | flags

    def flags(self) -> int:
        """Mostly everything allowed."""
        flags = V | R | W | X | A | D | self.rng.choice((self.user, self.user, self.user, U))
        for bit in (V, R, W, X, A, D):
            if self.rng.random() < 0.08:
                flags &= ~bit
        if self.rng.random() < 0.03:
            flags |= 1 << self.rng.choice((54, 58, 61, 63))
        return flags

    def build(self) -> int:
        """Write the tables; answers satp."""
        top = root = self.table()
        if self.levels == 4:
            root = self.table()
            self.entry(top, 0, self.leaf(root, V))
        identity_1, identity_0, low = self.table(), self.table(), self.table()
        self.entry(root, BASE >> 30, self.leaf(identity_1, V))
        self.entry(identity_1, 0, self.leaf(identity_0, V))
        self.entry(root, GIGA >> 30, self.leaf(BASE, self.flags()))
        self.entry(
            root, 0, self.leaf(low, V | (self.rng.choice((U, A, D)) if self.rng.random() < 0.1 else 0))
        )
        self.entry(low, MEGA >> 21, self.leaf(BASE, self.flags()))
        self.entry(low, (MEGA >> 21) + 1, self.leaf(BASE + 4096, self.flags()))  # a misaligned superpage
        for page in range(512):
            address = BASE + 4096 * page
            flags = self.flags()
            if address == HANDLER:
                flags = V | R | X | A
            elif CODE <= address < CODE + CODE_BYTES:
                flags = flags | V | X | A
                flags = flags & ~(U | 0xFF << 54) | self.user
                flags |= R if flags & W else 0
            self.entry(identity_0, page, self.leaf(address, flags))
        return (self.levels + 5) << 60 | top >> 12


def machine(engine: str, seed: int, paging: int, counting: Counting) -> Hart:
    """A hart with a random program; the same for the same seed, whatever the engine."""
    rng = random.Random(seed)
    memory = PhysicalMemory()
    memory.set_slot(0, BASE, SIZE)
    memory.set_slot(1, TABLES, TABLES_SIZE)
    hart = Hart(0, memory, engine=engine, isa=GUEST_ISA)
    wanted = [HartEvent.BRANCHES] if Counting.CLASSES in counting else []
    wanted += [HartEvent.ITLB_MISS] if Counting.MISSES in counting else []
    hart.want(wanted)
    memory.write(CODE, Stream(rng, CSRS).code(CODE_BYTES)[:CODE_BYTES])
    memory.write(DATA, rng.randbytes(DATA_BYTES))
    user = rng.choice((0, U))
    satp = Tables(memory, rng, paging, user).build() if paging else 0
    memory.write(HANDLER, code(handler(SOMETIMES if not paging else ALWAYS if user else NEVER)))
    for number in range(1, 32):
        hart.set_x(
            number,
            rng.choice((rng.getrandbits(64), rng.getrandbits(6), CODE + (rng.randrange(CODE_BYTES) & ~1))),
        )
        hart.words[state.F + number] = random_register_file(rng)
    windows = [BASE] * 4 + ([GIGA, MEGA, MEGA + 0x200000] if paging else [])
    for copy, pointer in zip(Stream.COPIES, Stream.POINTERS, strict=True):
        inside = rng.choice((DATA, DATA, DATA, CODE)) + 4096 * rng.randrange(3) - BASE
        near = rng.choice((0, 4096 - rng.randrange(24), rng.randrange(4096), 8 * rng.randrange(512)))
        address = rng.choice(windows) + inside + near
        if rng.random() < 0.1:
            address = rng.choice((BASE + SIZE - 8, 1 << 62, 0x10000000, (1 << 64) - 4))
        hart.set_x(copy, address)
        hart.set_x(pointer, address)
    hart.set_x(Stream.SATP, satp)
    for name, value in (
        ("satp", satp),
        ("stvec", HANDLER),
        ("hedeleg", rng.choice((HEDELEG, (1 << 32) - 1))),
    ):
        hart.set(name, value)
    hart.set("sstatus", rng.choice((0, SSTATUS_FS, SSTATUS_FS, SSTATUS_FS | 1 << 18 | 1 << 8)))
    hart.set("frm", rng.choice((0, 0, 1, 2, 3, 4, 5)))
    hart.pc = CODE
    return hart


def picture(hart: Hart, counting: Counting) -> dict[str, int | bytes]:
    """All that an engine may change and both must change alike."""
    answer: dict[str, int | bytes] = {name: hart.get(name) for name in COMPARED}
    answer |= {f"x{i}": hart.x(i) for i in range(32)} | {f"f{i}": hart.words[state.F + i] for i in range(32)}
    answer["ctx"] = hart.get("ctx") - hart.get("contexts")
    answer["memory"] = hart.memory.read(BASE, SIZE)
    if Counting.CLASSES in counting:
        for context in range(3):
            answer |= {
                f"{n}{context}": hart.words[state.context_word(context, n)] for n in state.CLASS_COUNTERS
            }
    return answer


def nudge(rng: random.Random, harts: tuple[Hart, ...]) -> None:
    """Now and then pending interrupts change, and the program goes on elsewhere, for random programs soon
    run in circles.
    """
    pending = rng.choice(
        (None, None, None, 0, 1 << Irq.TIMER, 1 << Irq.EXTERNAL, 1 << Irq.LCOFI, 1 << Irq.SOFTWARE)
    )
    target = CODE + (rng.randrange(CODE_BYTES - 8) & ~1) if rng.random() < 0.3 else None
    user = rng.random() < 0.5
    for hart in harts:
        if pending is not None:
            hart.set("sip", pending)
        if target is None:
            continue
        hart.pc = target
        if not hart.get("satp"):
            hart.set("mode", state.VU if user else state.VS)
        hart.set("sstatus", hart.get("sstatus") | SSTATUS_FS)
        for copy, pointer in zip(Stream.COPIES, Stream.POINTERS, strict=True):
            hart.set_x(pointer, hart.x(copy))


def as_kvm(hart: Hart, stop: Stop) -> None:
    """Do about a stop what its user would."""
    if stop is Stop.BUDGET:
        return
    if stop is Stop.EXCEPTION:
        hart.inject(hart.details.a, hart.details.b)
    elif stop is Stop.FETCH_HOLE:
        hart.inject(Cause.FETCH_PAGE_FAULT, hart.pc)
    elif stop in (Stop.ILLEGAL, Stop.MMIO_LOAD, Stop.MMIO_STORE, Stop.TRAP_STORM):
        hart.inject(Cause.ILLEGAL_INSTRUCTION, 0)
    else:
        hart.pc += decode(int.from_bytes(hart.memory.read(hart.translate(hart.pc, 2), 2), "little")).length


@pytest.mark.parametrize("counting", [Counting.NOTHING, Counting.CLASSES, Counting.CLASSES | Counting.MISSES])
@pytest.mark.parametrize("paging", [0, 3, 4], ids=["bare", "sv39", "sv48"])
@pytest.mark.parametrize("seed", range(5))
def test_random_programs(seed: int, paging: int, counting: Counting) -> None:
    rng = random.Random(seed)
    native, reference = (machine(engine, seed, paging, counting) for engine in ("native", "reference"))
    previous = picture(reference, counting)
    for turn in range(150):
        budget = rng.choice((1, 2, rng.randrange(1, 20), rng.randrange(1, 80)))
        stops = native.run(budget), reference.run(budget)
        one, other = picture(native, counting), picture(reference, counting)
        wrong = {
            key: (one[key], other[key], previous[key])
            for key in one
            if one[key] != other[key] and key != "memory"
        }
        assert not wrong, f"turn {turn}, budget {budget}, from pc {previous['pc']:#x}"
        assert one["memory"] == other["memory"], f"turn {turn}, budget {budget}, from pc {previous['pc']:#x}"
        assert stops[0] is stops[1]
        if stops[0] not in (Stop.BUDGET, Stop.ECALL, Stop.WFI, Stop.VIRTUAL, Stop.ILLEGAL, Stop.TRAP_STORM):
            assert native.details.a == reference.details.a
        for hart in (native, reference):
            as_kvm(hart, stops[0])
        nudge(rng, (native, reference))
        previous = other


def test_the_random_programs_do_what_they_are_for() -> None:
    """The programs above reach every class of instruction, both modes, and all kinds of trap."""
    causes, stops, modes = set(), set(), set()
    counts = dict.fromkeys(state.CLASS_COUNTERS, 0)
    for seed in range(4):
        for paging in (0, 3, 4):
            rng, hart = random.Random(seed), machine("native", seed, paging, Counting.CLASSES)
            for _ in range(150):
                stop = hart.run(rng.randrange(1, 40))
                stops.add(stop)
                modes.add(hart.mode)
                causes.add(hart.get("scause"))
                as_kvm(hart, stop)
                nudge(rng, (hart,))
            for name in counts:
                counts[name] += sum(hart.words[state.context_word(context, name)] for context in range(3))
    assert len(modes) == 2
    assert all(counts.values()), counts
    assert {
        Cause.ILLEGAL_INSTRUCTION,
        Cause.LOAD_PAGE_FAULT,
        Cause.STORE_PAGE_FAULT,
        Cause.FETCH_PAGE_FAULT,
    } <= causes
    assert {Stop.ECALL, Stop.VIRTUAL, Stop.ILLEGAL, Stop.MMIO_LOAD, Stop.BUDGET} <= stops
