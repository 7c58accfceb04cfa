"""Random programs over M, HS, U, VS and VU: images that run for long, whatever happens in them.

The program lies in slots of four bytes, two behind what is aligned, so pages have instructions across them.
Handlers go on with the next slot; every trap that reaches M changes something: the mode that goes on,
delegation, pending interrupts, what is mapped. PMP keeps the program from its own code and from where a
simulator may have devices. No jump goes back, so it ends. x20 to x31 are the handlers': copies of the
pointers, temporaries, a count; x20 is the address of atomics, aligned.
"""

from __future__ import annotations

import random

from ..assemble import ECALL, SRET, csr, encode
from .bare import ALL, BASE, FULL_FLAGS, MTIMECMP, SIZE, TOHOST, U64, A, D, Image, R, Tables, U, V, W, X
from .probe import number
from .random_code import ALIGNED, COPIES, COUNT, FENCES, MRET, POINTERS, SAFE, SPARE, TEMP, Generator

HS_HANDLER, VS_HANDLER, M_HANDLER, BLOCKS, CODE = (
    BASE + n for n in (0x1000, 0x2000, 0x3000, 0x8000, 0x20000)
)
CODE_BYTES, DATA, DATA_PAGES, TABLES = 0x4000, BASE + 0x200000, 16, BASE + 0x600000
USER_CODE, GIGA, MEGA = 0x40000000, 0xC0000000, 0x50000000
BLOCK, N_BLOCKS = 512, 64
MPP, MPV, MPIE, FS, SUM, MXR, MPRV = 3 << 11, 1 << 39, 1 << 7, 3 << 13, 1 << 18, 1 << 19, 1 << 17


def flags(rng: random.Random) -> int:
    """Of a page of data."""
    word = V | R | W | X | A | D | rng.choice((0, U))
    for bit in FULL_FLAGS:
        if rng.random() < 0.08:
            word ^= bit
    if rng.random() < 0.02:
        word |= 1 << rng.choice((54, 58, 61, 63))
    return word


class Program:
    """One image; the same for the same seed."""

    def __init__(self, seed: int | str, traps: int, reserving: bool = False) -> None:
        self.rng, self.image = random.Random(seed), Image()
        self.generator = Generator(self.rng, reserving)
        self.entries: list[tuple[int, int, bool]] = []  # page-table entry, physical page, second stage
        image = self.image
        image.bytes += bytes(0x8000)
        self.tables()
        self.start()
        self.supervisor(HS_HANDLER, guest=False)
        self.supervisor(VS_HANDLER, guest=True)
        self.machine(traps)
        for i in range(N_BLOCKS):
            part = Image()
            self.block(part)
            assert len(part.bytes) <= BLOCK
            image.data(BLOCKS + i * BLOCK, bytes(part.bytes))
        text = Image()
        text.bytes += bytes(2)
        while len(text.bytes) < CODE_BYTES:
            text.emit(*self.generator.words())
        image.data(CODE, bytes(text.bytes[:CODE_BYTES]))
        image.data(DATA, self.rng.randbytes(4096 * DATA_PAGES))

    def at(self, address: int) -> Image:
        """A part that is written at an address."""
        part = Image()
        part.bytes = bytearray(address - BASE)
        return part

    def put(self, address: int, part: Image) -> None:
        self.image.data(address, bytes(part.bytes[address - BASE :]))

    def tables(self) -> None:
        self.first = [Tables(self.image, TABLES + 0x20000 * i, levels) for i, levels in enumerate((3, 4))]
        self.second = [
            Tables(self.image, TABLES + 0x40000 + 0x20000 * i, levels, x4=True)
            for i, levels in enumerate((3, 4))
        ]
        for tables in (*self.first, *self.second):
            second = tables in self.second
            user = U if second else 0
            code = V | R | X | A | user
            for page in range(BASE, CODE + CODE_BYTES, 4096):
                tables.map(page, page, code)
            for page in range(DATA, DATA + 4096 * DATA_PAGES, 4096):
                entry = tables.map(page, page, flags(self.rng) | (user if self.rng.random() < 0.9 else 0))
                self.entries.append((entry, page, second))
            if second:
                for page in range(TABLES, TABLES + 0x80000, 4096):
                    tables.map(page, page, ALL | U)
                continue
            for offset in range(0, CODE_BYTES, 4096):
                tables.map(USER_CODE + offset, CODE + offset, V | R | X | A | U)
            tables.map(GIGA, BASE, ALL & ~X | self.rng.choice((0, U)), 2)
            tables.map(MEGA, DATA, ALL & ~(X | A | D) | self.rng.choice((0, U)), 1)

    def start(self) -> None:
        """Registers, PMP, vectors; then the first block."""
        rng, part = self.rng, self.at(BASE)
        part.store(MTIMECMP, U64)
        part.csrw(number("pmpaddr0"), BASE >> 2)
        part.csrw(number("pmpaddr0") + 1, CODE + CODE_BYTES >> 2)
        part.csrw(number("pmpaddr0") + 2, U64)
        part.csrw(number("pmpcfg0"), 0x1B_8D_88)
        vectors = (("mtvec", M_HANDLER), ("stvec", HS_HANDLER), ("vstvec", VS_HANDLER))
        counters = (("mcounteren", U64), ("hcounteren", U64), ("scounteren", U64))
        for name, value in (*vectors, *counters, ("menvcfg", 0), ("mstatus", FS), ("vsstatus", FS)):
            part.csrw(number(name), value)
        for register in range(32):
            part.li(TEMP, rng.choice((rng.getrandbits(64), rng.getrandbits(30))))
            part.emit(0xF2000053 | TEMP << 15 | register << 7)  # fmv.d.x
        for register in range(1, ALIGNED):
            part.li(register, rng.choice((rng.getrandbits(64), rng.getrandbits(32), CODE)))
        for pointer, copy in zip(POINTERS, COPIES, strict=True):
            near = rng.choice((0, 4096 - rng.randrange(24), rng.randrange(4096), 8 * rng.randrange(512)))
            offset = 4096 * rng.randrange(DATA_PAGES) + near
            window = rng.choice((DATA, DATA, DATA, GIGA + DATA - BASE, MEGA))
            part.li(
                copy, rng.choice((CODE, 1 << 62, BASE + SIZE)) if rng.random() < 0.06 else window + offset
            )
            part.emit(encode("add", rd=pointer, rs1=copy))
        part.li(ALIGNED, DATA)
        part.li(SAFE, 1 << 6 | 1 << 7 | 1 << 8 | 1 << 9)
        part.li(COUNT, 0)
        part.csrw(number("mepc"), CODE + 2)
        part.jump(BLOCKS)
        assert part.here <= HS_HANDLER
        self.put(BASE, part)

    def elsewhere(self, part: Image, epc: str) -> None:
        """After a fault of the fetch: the same place in the code of the one or the other privilege."""
        part.emit(csr("csrrs", TEMP, number(epc)), encode("slli", rd=SPARE, rs1=COUNT, imm=5))
        part.emit(encode("add", rd=TEMP, rs1=TEMP, rs2=SPARE), encode("slli", rd=TEMP, rs1=TEMP, imm=50))
        part.emit(encode("srli", rd=TEMP, rs1=TEMP, imm=52), encode("slli", rd=TEMP, rs1=TEMP, imm=2))
        part.emit(encode("addi", rd=TEMP, rs1=TEMP, imm=2), encode("andi", rd=SPARE, rs1=COUNT, imm=1))
        part.emit(encode("beq", rs1=SPARE, rs2=0, imm=28))
        part.li(SPARE, CODE)
        part.jump(part.here + 24)
        part.li(SPARE, USER_CODE)
        part.emit(encode("add", rd=TEMP, rs1=TEMP, rs2=SPARE), csr("csrrw", 0, number(epc), TEMP))

    def dispatch(self, part: Image, cause: str) -> int:
        """Jumps for interrupts and for faults of the fetch; answers where their distances are to be set."""
        part.emit(encode("addi", rd=COUNT, rs1=COUNT, imm=1), csr("csrrs", TEMP, number(cause)))
        hole = len(part.bytes)
        part.emit(*[0x13] * 8)
        return hole

    def patch(self, part: Image, hole: int, interrupt: int, fetch: int) -> None:
        at = BASE + hole
        words = [encode("blt", rs1=TEMP, rs2=0, imm=interrupt - at)]
        for cause in (1, 12, 20):
            words += [
                encode("addi", rd=SPARE, rs1=TEMP, imm=-cause),
                encode("beq", rs1=SPARE, rs2=0, imm=fetch - (at + 4 * len(words) + 4)),
            ]
        for i, word in enumerate(words):
            part.bytes[hole + 4 * i : hole + 4 * i + 4] = word.to_bytes(4, "little")

    def supervisor(self, where: int, guest: bool) -> None:
        part = self.at(where)
        hole = self.dispatch(part, "scause")
        seen = ("stval",) if guest else ("stval", "htval", "hstatus")
        part.emit(*(csr("csrrs", TEMP, number(name)) for name in (*seen, "sepc")))
        part.emit(encode("andi", rd=SPARE, rs1=TEMP, imm=2), encode("add", rd=TEMP, rs1=TEMP, rs2=SPARE))
        part.emit(encode("addi", rd=TEMP, rs1=TEMP, imm=2), csr("csrrw", 0, number("sepc"), TEMP))
        back = part.here
        part.emit(encode("andi", rd=TEMP, rs1=COUNT, imm=15), encode("bne", rs1=TEMP, rs2=0, imm=8), ECALL)
        part.emit(csr("csrrs", TEMP, number("sstatus")), SRET)
        part.jump(CODE + 2)
        fetch = part.here
        self.elsewhere(part, "sepc")
        part.jump(back)
        interrupt = part.here
        part.emit(csr("csrrw", TEMP, number("sip"), 0))
        part.emit(ECALL if guest else csr("csrrw", TEMP, number("hvip"), 0))
        part.jump(back)
        self.patch(part, hole, interrupt, fetch)
        self.put(where, part)

    def machine(self, traps: int) -> None:
        part = self.at(M_HANDLER)
        for name in ("mtval", "mtval2", "mstatus", "mip", "hstatus", "vsstatus"):
            part.emit(csr("csrrs", TEMP, number(name)))
        hole = self.dispatch(part, "mcause")
        part.emit(csr("csrrs", SPARE, number("mepc")))
        part.emit(encode("addi", rd=TEMP, rs1=TEMP, imm=-9), encode("sltiu", rd=TEMP, rs1=TEMP, imm=2))
        part.emit(encode("slli", rd=TEMP, rs1=TEMP, imm=1), encode("or", rd=TEMP, rs1=TEMP, rs2=SPARE))
        part.emit(encode("andi", rd=TEMP, rs1=TEMP, imm=2), encode("addi", rd=TEMP, rs1=TEMP, imm=2))
        part.emit(encode("add", rd=SPARE, rs1=SPARE, rs2=TEMP))
        part.emit(csr("csrrw", 0, number("mepc"), SPARE))
        onwards = part.here
        part.emit(csr("csrrw", 0, number("mip"), 0), csr("csrrw", 0, number("hvip"), 0))
        part.li(TEMP, traps)
        part.emit(encode("bltu", rs1=COUNT, rs2=TEMP, imm=8))
        end = len(part.bytes)
        part.emit(0x13)
        part.emit(encode("andi", rd=SPARE, rs1=COUNT, imm=N_BLOCKS - 1))
        part.emit(encode("slli", rd=SPARE, rs1=SPARE, imm=9))
        part.li(TEMP, BLOCKS)
        part.emit(encode("add", rd=SPARE, rs1=SPARE, rs2=TEMP), encode("jalr", rs1=SPARE))
        fetch = part.here
        self.elsewhere(part, "mepc")
        part.jump(onwards)
        interrupt = onwards
        finish = part.here
        part.csrw(number("mie"), 0)
        part.store(TOHOST, 1)
        part.emit(0x10500073)
        part.jump(part.here)
        self.patch(part, hole, interrupt, fetch)
        jump = encode("jal", imm=finish - (BASE + end))
        part.bytes[end : end + 4] = jump.to_bytes(4, "little")
        self.put(M_HANDLER, part)

    def block(self, part: Image) -> None:
        """Change something, and return to some mode."""
        rng = self.rng
        atps = {
            "satp": (0, *(tables.atp(1) for tables in self.first)),
            "vsatp": (0, *(tables.atp(2) for tables in self.first)),
            "hgatp": (0, *(tables.atp(3) for tables in self.second)),
        }
        bits = (1, 2, 5, 6, 9, 10)
        some = lambda likely: sum(1 << bit for bit in bits if rng.random() < likely)  # noqa: E731
        medeleg = rng.getrandbits(24) & 0xF8B1FE
        values: dict[str, tuple[int, float]] = {
            "satp": (rng.choice(atps["satp"]), 0.3),
            "vsatp": (rng.choice(atps["vsatp"]), 0.3),
            "hgatp": (rng.choice(atps["hgatp"]), 0.3),
            "medeleg": (rng.choice((medeleg, 0xF8B1FE)), 0.3),
            "hedeleg": (rng.getrandbits(20) & 0x8B1FE, 0.3),
            "mideleg": (some(0.6), 0.2),
            "hideleg": (some(0.6), 0.2),
            "mie": (some(0.6), 0.2),
            "mip": (some(0.3), 0.2),
            "hvip": (some(0.3), 0.2),
            "menvcfg": (rng.choice((0, 1 << 61)), 0.1),
            "henvcfg": (rng.choice((0, 1 << 61)), 0.1),
        }
        chosen = {name: value for name, (value, likely) in values.items() if rng.random() < likely}
        for name, value in list(chosen.items())[:6]:
            part.csrw_with(TEMP, number(name), value)
        if rng.random() < 0.2:
            part.li(ALIGNED, rng.choice((DATA, GIGA + DATA - BASE, MEGA)) + 8 * rng.randrange(0x2000))
        if rng.random() < 0.3:
            entry, page, second = rng.choice(self.entries)
            part.li(TEMP, entry)
            part.li(SPARE, page >> 12 << 10 | flags(rng) | (U if second and rng.random() < 0.9 else 0))
            part.emit(encode("sd", rs1=TEMP, rs2=SPARE), *(encode(name) for name in FENCES[:3]))
        if rng.random() < 0.4:
            part.li(TEMP, MPP | MPV | FS | SUM | MXR | MPIE | MPRV)
            part.emit(csr("csrrc", 0, number("mstatus"), TEMP))
            privilege, virt = rng.choice(((3, 0), (1, 0), (0, 0), (1, 1), (0, 1), (1, 1), (0, 1)))
            status = privilege << 11 | MPV * virt | rng.choice((FS, FS, FS, 0, 1 << 13))
            for bit in (SUM, MXR, MPIE, MPRV):
                status |= rng.choice((0, bit))
            part.li(TEMP, status)
            part.emit(csr("csrrs", 0, number("mstatus"), TEMP))
        part.emit(MRET)
