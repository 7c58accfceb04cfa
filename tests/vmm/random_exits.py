"""Random programs that do over and over what the hart's engine may answer in KVM's stead, and in between what
it may not: reads of counters, calls of BASE, counters that are programmed, interrupts, timers, devices.
"""

from __future__ import annotations

import random

from vpmu.spec.sbi import ConfigFlag, Eid, PmuFid, StartFlag, StopFlag

from ..hart.assemble import ECALL, NOP, SRET, csr, encode
from ..hart.whole.bare import BASE, Image

T0, T1, T2, HASH, DATA, ROUND, H0, H1, NEXT = 5, 6, 7, 9, 18, 19, 28, 29, 27
A0, A1, A6, A7 = 10, 11, 16, 17
SSTATUS, SIE, STVEC, SCOUNTEREN, SEPC, SCAUSE, SIP = 0x100, 0x104, 0x105, 0x106, 0x141, 0x142, 0x144
SSIP, STIP, LCOFI = 1 << 1, 1 << 5, 1 << 13
SPP = 1 << 8
UART = 0x10000000
COUNTERS = (0, 2, 3, 4, 5, 18, 31)
EVENTS = (1, 2, 5, 0x10000, 0x10002, 0xF0005, 0x77, 0x10019)


class ExitProgram:
    """One image, the same for the same seed. `misses`: it counts misses of the modelled TLB, too."""

    def __init__(self, seed: int | str, *, misses: bool = True, parts: int = 40) -> None:
        self.rng, self.image = random.Random(seed), Image()
        self.events = EVENTS if misses else EVENTS[:-1]
        self.start()
        for _ in range(parts):
            self.part()
        self.image.emit(encode("jal", rd=0, imm=0))

    def start(self) -> None:
        image = self.image
        image.emit(encode("jal", rd=0, imm=0x100))
        handler = image.here
        image.emit(csr("csrrs", H0, SCAUSE), encode("bge", rs1=H0, rs2=0, imm=0x58))
        image.emit(encode("lui", rd=H1, imm=LCOFI >> 12), encode("addi", rd=H1, rs1=H1, imm=SSIP))
        image.emit(csr("csrrc", 0, SIP, H1), encode("addi", rd=H1, imm=STIP), csr("csrrc", 0, SIE, H1))
        image.emit(SRET)
        # an exception: an ECALL of a program goes on at NEXT in the supervisor, anything else is stepped over
        image.to(BASE + 0x60)
        image.emit(csr("csrrs", H1, SEPC), encode("addi", rd=H1, rs1=H1, imm=4))
        image.emit(encode("addi", rd=H0, rs1=H0, imm=-8), encode("bne", rs1=H0, rs2=0, imm=16))
        image.emit(
            encode("addi", rd=H1, rs1=NEXT), encode("addi", rd=H0, imm=SPP), csr("csrrs", 0, SSTATUS, H0)
        )
        image.emit(csr("csrrw", 0, SEPC, H1), SRET)
        image.to(BASE + 0x100)
        image.emit(encode("auipc", rd=T0), encode("addi", rd=T0, rs1=T0, imm=handler - image.here))
        image.emit(csr("csrrw", 0, STVEC, T0))
        image.li(DATA, BASE + 0x100000)
        image.csrw(SIE, SSIP | STIP | LCOFI)
        for counter in (0, 2, 3):
            self.call(Eid.PMU, PmuFid.COUNTER_CONFIG_MATCHING, 0, 1 << counter, ConfigFlag.CLEAR_VALUE,
                      {0: 1, 2: 2, 3: 5}[counter], 0)  # fmt: skip
        self.call(Eid.PMU, PmuFid.COUNTER_START, 0, 0xD, 0, 0)

    def note(self, register: int) -> None:
        self.image.emit(
            encode("slli", rd=T1, rs1=HASH, imm=5), encode("sub", rd=HASH, rs1=T1, rs2=HASH),
            encode("xor", rd=HASH, rs1=HASH, rs2=register),
        )  # fmt: skip

    def call(self, eid: int, fid: int, *arguments: int, note: bool = True) -> None:
        for number, argument in enumerate(arguments):
            self.image.li(A0 + number, int(argument))
        self.image.li(A6, int(fid))
        self.image.li(A7, int(eid))
        self.image.emit(ECALL)
        if note:
            self.note(A0)
            self.note(A1)

    def read(self) -> None:
        number, rd = 0xC00 + self.rng.choice(COUNTERS), self.rng.choice((T0, T0, T0, 0))
        self.image.emit(csr(self.rng.choice(("csrrs", "csrrc")), rd, number))
        self.note(T0)

    def base(self) -> None:
        probed = self.rng.choice((Eid.PMU, Eid.TIME, 0x1234, Eid.SSE, 0x0A000000))
        self.call(Eid.BASE, self.rng.randrange(8), probed, note=self.rng.random() < 0.7)

    def ask(self) -> None:
        self.call(Eid.PMU, self.rng.randrange(2), self.rng.choice((0, 1, 3, 40, 64, 1 << 40)))

    def program(self) -> None:
        rng = self.rng
        base, mask = rng.choice(((0, 1 << rng.choice(COUNTERS)), (0, 0x7FFF8), (3, 0x3), (0, 1 << 33)))
        match rng.randrange(3):
            case 0:
                flags = rng.choice((0, ConfigFlag.CLEAR_VALUE, ConfigFlag.AUTO_START, ConfigFlag.SKIP_MATCH,
                                    ConfigFlag.SET_UINH, ConfigFlag.SET_SINH))  # fmt: skip
                self.call(
                    Eid.PMU, PmuFid.COUNTER_CONFIG_MATCHING, base, mask, flags, rng.choice(self.events), 0
                )
            case 1:
                value = rng.choice((0, -rng.randrange(1, 400), 12345))
                flags = rng.choice((0, StartFlag.SET_INIT_VALUE))
                self.call(Eid.PMU, PmuFid.COUNTER_START, base, mask, flags, value)
            case 2:
                self.call(Eid.PMU, PmuFid.COUNTER_STOP, base, mask, rng.choice((0, 0, StopFlag.RESET)))

    def pending(self) -> None:
        """The guest changes its own pending interrupts."""
        self.image.li(T0, self.rng.choice((SSIP, LCOFI, SSIP | LCOFI)))
        for name in self.rng.choice((("csrrs",), ("csrrc",), ("csrrs", "csrrc"), ("csrrc", "csrrs"))):
            self.image.emit(csr(name, 0, SIP, T0))
            if self.rng.random() < 0.5:
                self.read()

    def far(self) -> None:
        """A call that has nothing to do with counters."""
        calls = ((Eid.RFENCE, 0, 1, 0), (Eid.RFENCE, 1, 1, 0, 0, 0), (Eid.RFENCE, 77), (Eid.IPI, 0, 1, 0))
        mask = self.rng.choice((BASE + 0x100000, 18))  # where no memory is, too
        legacy = [(eid, 0, mask) for eid in range(Eid.LEGACY_CLEAR_IPI, Eid.LEGACY_SHUTDOWN)]
        self.call(*self.rng.choice((*calls, *legacy)))

    def other(self) -> None:
        rng, image = self.rng, self.image
        match rng.randrange(9):
            case 0:
                image.emit(csr("csrrs", T0, 0xC01), encode("addi", rd=A0, rs1=T0, imm=rng.randrange(1, 5)))
                image.li(A6, 0)
                image.li(A7, Eid.TIME)
                image.emit(ECALL)
                image.csrw(SIE, SSIP | STIP | LCOFI)
            case 1:
                image.li(T2, rng.randrange(1, 200))
                image.emit(encode("addi", rd=T2, rs1=T2, imm=-1), encode("bne", rs1=T2, rs2=0, imm=-4))
            case 2:
                image.li(T0, UART)
                image.emit(encode("lb", rd=T1, rs1=T0, imm=5))
                self.note(T1)
            case 3:
                image.emit(encode("ld", rd=T1, rs1=DATA), encode("sd", rs1=DATA, rs2=HASH, imm=8))
            case 4:
                image.emit(csr("csrrw", T0, 0xC00, T1))  # not to be written
            case 5:
                self.call(Eid.PMU, PmuFid.COUNTER_FW_READ, rng.choice((3, 33)))
            case 6:
                image.emit(csr("csrrwi", 0, SCOUNTEREN, rng.randrange(32)))
            case 7:
                image.emit(csr(rng.choice(("csrrsi", "csrrci")), 0, SSTATUS, 2))
            case 8:
                image.emit(*[NOP] * rng.randrange(1, 9))

    def quiet(self) -> None:
        """Work that is no exit."""
        self.image.emit(*[NOP] * self.rng.randrange(1, 9))

    def step(self, others: bool) -> None:
        kinds = [
            self.read,
            self.read,
            self.base,
            self.ask,
            self.quiet,
            self.far,
            self.other if others else self.pending,
        ]
        for _ in range(self.rng.choice((1, 1, 2, 6))):
            self.rng.choice(kinds)()

    def user(self) -> None:
        """Reads of a program in VU mode."""
        image = self.image
        image.emit(encode("auipc", rd=T0), encode("addi", rd=T0, rs1=T0, imm=32))
        image.emit(csr("csrrw", 0, SEPC, T0), encode("addi", rd=T0, imm=SPP), csr("csrrc", 0, SSTATUS, T0))
        place = len(image.bytes)
        image.emit(NOP, NOP, SRET)  # the two NOPs are where NEXT is set
        for _ in range(4):
            self.read()
        image.emit(ECALL)
        offset = len(image.bytes) - place
        after = words_of(encode("auipc", rd=NEXT), encode("addi", rd=NEXT, rs1=NEXT, imm=offset))
        image.bytes[place : place + 8] = after

    def part(self) -> None:
        """A loop of a few steps."""
        image, rng = self.image, self.rng
        for _ in range(rng.randrange(3)):
            self.program()
        rounds = rng.choice((1, 3, 5, 12))
        image.li(ROUND, rounds)
        top = len(image.bytes)
        others = rng.random() < 0.4
        for _ in range(rng.randrange(1, 4)):
            self.step(others)
        if rng.random() < 0.2:
            rng.choice((self.pending, self.program, self.user))()
        image.emit(encode("addi", rd=ROUND, rs1=ROUND, imm=-1), encode("beq", rs1=ROUND, rs2=0, imm=8))
        image.emit(encode("jal", rd=0, imm=top - len(image.bytes)))


def words_of(*words: int) -> bytes:
    """As they lie in memory."""
    image = Image()
    image.emit(*words)
    return bytes(image.bytes)
