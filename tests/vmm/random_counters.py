"""Random programs that program counters and read them: in M mode by CSRs, above firmware by SBI calls.

Each part programs some counters, works and reads, and goes to a lower mode that works and reads as well and
comes back by ECALL. The trap handler skips what was illegal and acknowledges overflow interrupts. All that
was read goes into x9, and to where x8 points.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from vpmu.spec.sbi import Eid, PmuFid

from ..hart.assemble import ECALL, NOP, SRET, csr, encode
from ..hart.whole.bare import BASE, Image

MRET = 0x30200073
T0, T1, T2, S0, HASH, A0, NEXT, SCRATCH = 5, 6, 7, 8, 9, 10, 27, 26
H0, H1 = 28, 29
RESULTS, RESULT_BYTES = 0x40000, 0x10000
LCOFI, SCOUNTOVF, MHPMEVENT0, MCOUNTINHIBIT = 13, 0xDA0, 0x320, 0x320
MPP, SPP, MPV, FS = 3 << 11, 1 << 8, 1 << 39, 3 << 13
COUNTERS = (0, 2, *range(3, 12))
FILTERS = tuple(1 << bit for bit in (58, 59, 60, 61, 62))


class CounterProgram:
    """One image, the same for the same seed. `machine`: it runs in M mode; `guests`: VS and VU are there."""

    def __init__(
        self, seed: int | str, *, machine: bool, guests: bool, events: Sequence[int], parts: int = 60
    ) -> None:
        self.rng, self.image, self.events = random.Random(seed), Image(), events
        self.machine, self.guests = machine, guests
        self.letter = 0x300 if machine else 0x100
        self.start()
        for _ in range(parts):
            self.part()
        self.image.emit(encode("jal", rd=0, imm=0))
        assert len(self.image.bytes) < RESULTS
        self.image.to(BASE + RESULTS)
        self.image.bytes += bytes(RESULT_BYTES)

    def own(self, number: int) -> int:
        """A CSR of the level that programs: 0x41 is mepc or sepc."""
        return self.letter + number

    def start(self) -> None:
        image = self.image
        image.emit(encode("jal", rd=0, imm=0x100))
        handler, leave = image.here, MRET if self.machine else SRET
        image.emit(csr("csrrs", H0, self.own(0x42)), encode("slli", rd=HASH, rs1=HASH, imm=1))
        image.emit(encode("add", rd=HASH, rs1=HASH, rs2=H0), encode("bge", rs1=H0, rs2=0, imm=32))
        image.emit(csr("csrrs", H1, self.own(0x41)), encode("add", rd=HASH, rs1=HASH, rs2=H1))
        image.emit(encode("addi", rd=H1, imm=1), encode("slli", rd=H1, rs1=H1, imm=LCOFI))
        image.emit(csr("csrrc", 0, self.own(0x44), H1), leave, NOP)
        image.emit(encode("addi", rd=H0, rs1=H0, imm=-8), encode("sltiu", rd=H0, rs1=H0, imm=4))
        image.emit(encode("bne", rs1=H0, rs2=0, imm=20))
        image.emit(csr("csrrs", H1, self.own(0x41)), encode("addi", rd=H1, rs1=H1, imm=4))
        image.emit(csr("csrrw", 0, self.own(0x41), H1), leave)
        image.emit(encode("jalr", rs1=NEXT))  # an ECALL: go on at this level
        image.to(BASE + 0x100)
        image.emit(encode("auipc", rd=T0), encode("addi", rd=T0, rs1=T0, imm=handler - image.here))
        image.emit(csr("csrrw", 0, self.own(0x05), T0), encode("auipc", rd=S0))
        image.li(T0, BASE + RESULTS - image.here + 4)
        image.emit(encode("add", rd=S0, rs1=S0, rs2=T0), encode("addi", rd=SCRATCH, rs1=S0))
        image.emit(encode("addi", rd=S0, rs1=S0, imm=512))
        if self.machine:
            image.csrw(0x3B0, (1 << 54) - 1)
            image.csrw(0x3A0, 0x1F)
            for number in (0x306, 0x606, 0x106):
                image.csrw(number, (1 << 32) - 1)
        image.csrw(self.own(0x04), 1 << LCOFI)

    def note(self, register: int) -> None:
        """A value into the hash and to memory."""
        self.image.emit(
            encode("slli", rd=T1, rs1=HASH, imm=5), encode("sub", rd=HASH, rs1=T1, rs2=HASH),
            encode("xor", rd=HASH, rs1=HASH, rs2=register), encode("sd", rs1=S0, rs2=register),
            encode("addi", rd=S0, rs1=S0, imm=8),
        )  # fmt: skip

    def read(self) -> None:
        rng = self.rng
        numbers = [0xC00 + rng.choice(COUNTERS), 0xC00 + rng.choice(COUNTERS), SCOUNTOVF, 0xC00, 0xC02]
        if self.machine:
            numbers += [0xB00 + rng.choice(COUNTERS), 0xB00 + rng.choice(COUNTERS), 0xC01]
        self.image.emit(encode("addi", rd=T0), csr(rng.choice(("csrrs", "csrrc")), T0, rng.choice(numbers)))
        self.note(T0)

    def work(self) -> None:
        rng, image = self.rng, self.image
        for _ in range(rng.randrange(8)):
            match rng.randrange(8):
                case 0 | 1:
                    self.read()
                case 2:
                    image.emit(encode("mul", rd=T1, rs1=T0, rs2=HASH))
                case 3:
                    image.emit(encode("ld", rd=T1, rs1=SCRATCH, imm=8 * rng.randrange(32)))
                case 4:
                    image.emit(encode("sd", rs1=SCRATCH, rs2=T1, imm=8 * rng.randrange(32)))
                case 5:
                    image.emit(encode("amoadd.d", rd=T1, rs1=SCRATCH, rs2=T0))
                case 6:
                    image.li(T2, rng.randrange(1, 20))
                    image.emit(encode("addi", rd=T2, rs1=T2, imm=-1), encode("bne", rs1=T2, rs2=0, imm=-4))
                case 7:
                    image.emit(*[NOP] * rng.randrange(1, 6))

    def part(self) -> None:
        self.image.emit(csr("csrrsi", 0, self.own(0x00), 8 if self.machine else 2))  # interrupts on
        for _ in range(self.rng.randrange(1, 6)):
            if self.machine:
                self.program_csr()
            else:
                self.call()
            self.work()
        if self.rng.random() < 0.7:
            self.below()

    def value(self) -> int:
        """Of a counter: often about to wrap."""
        rng = self.rng
        near = (1 << rng.choice((48, 64, 64))) - rng.randrange(1, 60)
        return rng.choice((near, near, 0, rng.getrandbits(64))) & (1 << 64) - 1

    def event(self) -> int:
        """A value of mhpmevent."""
        rng = self.rng
        bits = sum(bit for bit in FILTERS if rng.random() < 0.2) | rng.choice((0, 0, 0, 1 << 63))
        return rng.choice(self.events) | bits

    def program_csr(self) -> None:
        rng, image = self.rng, self.image
        counter = rng.choice(COUNTERS)
        match rng.randrange(8):
            case 0 | 1 | 2:
                image.csrw(MHPMEVENT0 + max(counter, 3), self.event())
            case 3:
                image.csrw(rng.choice((0x321, 0x322)), self.event() & sum(FILTERS))
            case 4:
                image.li(T0, self.value())
                image.emit(csr(rng.choice(("csrrw", "csrrs", "csrrc")), T1, 0xB00 + counter, T0))
                self.note(T1)
            case 5:
                image.li(T0, rng.getrandbits(32))
                image.emit(csr(rng.choice(("csrrc", "csrrc", "csrrs")), T1, MCOUNTINHIBIT, T0))
                self.note(T1)
            case 6:
                number = rng.choice((0x306, 0x606, 0x106) if self.guests else (0x306, 0x106))
                image.csrw(number, rng.choice(((1 << 32) - 1, rng.getrandbits(32))))
            case 7:
                image.emit(csr("csrrs", T0, MHPMEVENT0 + max(counter, 3)))
                self.note(T0)

    def call(self) -> None:
        """A call of the PMU extension."""
        rng, image = self.rng, self.image
        base, mask = rng.choice(COUNTERS), rng.choice((1, 7, 0xFFF8, 1))
        match rng.randrange(3):
            case 0:
                flags = rng.choice((0, 2, 4, 6)) | sum(1 << bit for bit in range(3, 8) if rng.random() < 0.15)
                arguments = (0, 0xFFF, flags, rng.choice(self.events), 0)
                fid = PmuFid.COUNTER_CONFIG_MATCHING
            case 1:
                arguments = (base, mask, rng.choice((0, 1, 1)), self.value(), 0)
                fid = PmuFid.COUNTER_START
            case _:
                arguments = (base, mask, rng.choice((0, 0, 1)), 0, 0)
                fid = PmuFid.COUNTER_STOP
        for number, value in enumerate(arguments):
            image.li(A0 + number, value)
        image.li(16, fid)
        image.li(17, Eid.PMU)
        image.emit(ECALL)
        self.note(A0)
        if rng.random() < 0.3:
            image.csrw(0x106, rng.choice(((1 << 32) - 1, rng.getrandbits(32))))

    def below(self) -> None:
        """Work in a lower mode, which comes back by ECALL."""
        rng, image = self.rng, self.image
        virtual = rng.randrange(2) if self.guests else 0
        privilege = rng.randrange(2) if self.machine or virtual else 0
        image.li(T0, MPP | MPV if self.machine else SPP)
        image.emit(csr("csrrc", 0, self.own(0x00), T0))
        if self.machine:
            image.li(T0, privilege << 11 | MPV * virtual | 1 << 7)
            image.emit(csr("csrrs", 0, self.own(0x00), T0))
        else:
            image.li(T0, privilege << 8 | 1 << 5)
            image.emit(csr("csrrs", 0, self.own(0x00), T0))
            if self.guests:
                image.li(T0, 1 << 7)
                image.emit(csr("csrrs" if virtual else "csrrc", 0, 0x600, T0))
        image.emit(encode("auipc", rd=T0), encode("addi", rd=T0, rs1=T0, imm=24))
        image.emit(csr("csrrw", 0, self.own(0x41), T0))
        at = len(image.bytes)
        image.emit(encode("auipc", rd=NEXT), NOP, MRET if self.machine else SRET)
        self.work()
        self.work()
        image.emit(ECALL)
        on = encode("addi", rd=NEXT, rs1=NEXT, imm=len(image.bytes) - at)
        image.bytes[at + 4 : at + 8] = on.to_bytes(4, "little")
