"""Bare-metal images: a program builder, page tables, and our engines as the machine."""

from __future__ import annotations

import dataclasses

from vpmu.hart.exits import Stop
from vpmu.hart.memory import PhysicalMemory
from vpmu.hart.whole import WholeHart

from ..assemble import WFI, code, csr, encode

BASE, SIZE = 0x80000000, 16 << 20
TOHOST = BASE + SIZE - 0x1000
MTIMECMP = 0x02004000
U64 = (1 << 64) - 1
T0, T1 = 5, 6
FULL_FLAGS = tuple(1 << bit for bit in range(8))
V, R, W, X, U, G, A, D = FULL_FLAGS
ALL = V | R | W | X | A | D


class Image:
    """Bytes at BASE, written in order; `here` is where the next word goes."""

    def __init__(self) -> None:
        self.bytes = bytearray()

    @property
    def here(self) -> int:
        return BASE + len(self.bytes)

    def emit(self, *words: int) -> None:
        self.bytes += code(words)

    def to(self, address: int) -> None:
        """Go on at an address further up."""
        assert address >= self.here
        self.bytes += bytes(address - self.here)

    def data(self, address: int, value: bytes) -> None:
        """Bytes at an address, wherever the program stands."""
        at = address - BASE
        self.bytes += bytes(max(0, at + len(value) - len(self.bytes)))
        self.bytes[at : at + len(value)] = value

    def li(self, rd: int, value: int) -> None:
        """Any constant: one instruction, or five words of the same size for all others."""
        value &= U64
        if value < 2048 or value >= U64 - 2047:
            self.emit(encode("addi", rd=rd, imm=value if value < 2048 else value - (1 << 64)))
            return
        self.emit(
            encode("auipc", rd=rd, imm=0), encode("ld", rd=rd, rs1=rd, imm=12), encode("jal", rd=0, imm=12)
        )
        self.bytes += value.to_bytes(8, "little")

    def csrw(self, number: int, value: int) -> None:
        self.csrw_with(T0, number, value)

    def csrw_with(self, register: int, number: int, value: int) -> None:
        self.li(register, value)
        self.emit(csr("csrrw", 0, number, register))

    def store(self, address: int, value: int) -> None:
        self.li(T0, address)
        self.li(T1, value)
        self.emit(encode("sd", rs1=T0, rs2=T1))

    def jump(self, target: int, rd: int = 0) -> None:
        self.emit(encode("jal", rd=rd, imm=target - self.here))

    def finish(self) -> None:
        """Tell Spike that it is over; an engine stops at WFI, with nothing enabled."""
        self.csrw(0x304, 0)
        self.store(TOHOST, 1)
        self.emit(WFI)
        self.jump(self.here)


@dataclasses.dataclass
class Tables:
    """Page tables in an image, made on demand. `levels`: 3 is Sv39, 4 Sv48; `x4`: of a second stage."""

    image: Image
    at: int
    levels: int = 3
    x4: bool = False

    def __post_init__(self) -> None:
        self.free = self.at + (0x4000 if self.x4 else 0x1000)

    def atp(self, tag: int = 0) -> int:
        """The value of satp, vsatp or hgatp."""
        return (self.levels + 5) << 60 | tag << 44 | self.at >> 12

    def slot(self, virtual: int, level: int) -> int:
        """Address of the entry of `level` that translates `virtual`; tables on the way are made."""
        table = self.at
        for depth in range(self.levels - 1, -1, -1):
            mask = 2047 if self.x4 and depth == self.levels - 1 else 511
            entry = table + 8 * (virtual >> (12 + 9 * depth) & mask)
            if depth == level:
                return entry
            at = entry - BASE
            word = int.from_bytes(self.image.bytes[at : at + 8], "little")
            if not word & V:
                word = self.free >> 12 << 10 | V
                self.image.data(entry, word.to_bytes(8, "little"))
                self.free += 0x1000
            table = word >> 10 << 12
        raise AssertionError("a leaf is at a level")

    def map(self, virtual: int, physical: int, flags: int, level: int = 0) -> int:
        """Write a leaf; answers its address."""
        entry = self.slot(virtual, level)
        self.image.data(entry, (physical >> 12 << 10 | flags).to_bytes(8, "little"))
        return entry


def hart_of(image: bytes, engine: str, isa: frozenset[str], pmp: int = 0) -> WholeHart:
    """A hart in M mode at the start of the image."""
    memory = PhysicalMemory()
    memory.set_slot(0, BASE, SIZE)
    memory.write(BASE, image)
    hart = WholeHart(0, memory, engine=engine, isa=isa, firmware=True, pmp=pmp)
    hart.pc = BASE
    return hart


def answer(hart: WholeHart, stop: Stop) -> bool:
    """Play the machine around a hart: nothing but memory is there. False: the program is over."""
    if stop is Stop.CSR:  # a counter: reads as zero here
        word = int.from_bytes(hart.memory.read(hart.translate(hart.pc, 2), 4), "little")
        hart.set_x(word >> 7 & 31, 0)
        hart.pc += 4
        hart.advance(1)
    elif stop is Stop.MMIO_STORE and hart.details.c == MTIMECMP:
        hart.pc += 4
        hart.advance(1)
    elif stop in (Stop.MMIO_LOAD, Stop.MMIO_STORE):
        hart.inject(5 if stop is Stop.MMIO_LOAD else 7, hart.details.c)
    elif stop is Stop.WFI:
        return False
    else:
        assert stop is Stop.BUDGET, f"{stop!r} at pc {hart.pc:#x}"
    return True


def run(hart: WholeHart, budget: int = 2_000_000) -> None:
    """Run a hart to the end of its program."""
    end = hart.instructions + budget
    while answer(hart, hart.run(10_000)):
        assert hart.instructions < end, f"no end at pc {hart.pc:#x}"
