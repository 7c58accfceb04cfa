"""A small assembler over the instruction table, and programs of random instructions."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable

from vpmu.hart import state
from vpmu.hart.isa.instruction import Compressed, Field, Instruction, Kind
from vpmu.hart.isa.table import BY_NAME, COMPRESSED, INSTRUCTIONS

C_BY_NAME = {row.name: row for row in COMPRESSED}
CSR_NAMES = frozenset(row.name for row in INSTRUCTIONS if row.name.startswith("csr"))
_ADDRESSING = (Kind.LOAD, Kind.STORE, Kind.AMO, Kind.JALR, Kind.FP_LOAD, Kind.FP_STORE)
NOP, EBREAK, ECALL, SRET, WFI = 0x13, 0x00100073, 0x00000073, 0x10200073, 0x10500073


def place(field: Field, value: int) -> int:
    """`value` where `field` looks for it; the inverse of Field.extract."""
    if field.constant is not None:
        return 0
    value -= field.offset
    word = 0
    for high, low, target in field.pieces:
        word |= (value >> target & (1 << high - low + 1) - 1) << low
    return word


def encode(name: str, *, rd: int = 0, rs1: int = 0, rs2: int = 0, imm: int = 0) -> int:
    """The word of an instruction, 16-bit ones among them. Register f0 is number state.F."""
    row: Instruction | Compressed = C_BY_NAME[name] if name in C_BY_NAME else BY_NAME[name]
    form = row.format if isinstance(row, Instruction) else row
    operands = ((form.rd, rd), (form.rs1, rs1), (form.rs2, rs2), (form.imm, imm))
    word = row.match
    for field, value in operands:
        word |= place(field, value or field.offset) & ~row.mask
    return word


def fp(name: str, rd: int = 0, rs1: int = 0, rs2: int = 0, rs3: int = 0, rm: int = 7) -> int:
    """A computation of F or D on bare register numbers, whatever their file."""
    row = BY_NAME[name]
    return row.match | (rd << 7 | rs1 << 15 | rs2 << 20 | rs3 << 27 | rm << 12) & ~row.mask


def csr(name: str, rd: int, number: int, rs1: int = 0) -> int:
    """A CSR instruction; `rs1` is the five-bit immediate of the forms that have one."""
    return encode(name, rd=rd, rs1=rs1, imm=number)


def code(words: Iterable[int]) -> bytes:
    """Words as they lie in memory; two or four bytes as their low bits say."""
    return b"".join(word.to_bytes(4 if word & 3 == 3 else 2, "little") for word in words)


def random_register_file(rng: random.Random) -> int:
    """The bits of an f register: singles and doubles that computations meet, and anything at all."""
    small = rng.choice(
        (0.0, -0.0, 1.0, -1.5, 3.25, 2.0**60, float(rng.randrange(-99, 99)), rng.uniform(-9e3, 9e3))
    )
    return rng.choice((rng.getrandbits(64), as_double(small), as_single(small), as_single(small)))


def as_double(value: float) -> int:
    """The bits of a double."""
    return int.from_bytes(struct.pack("<d", value), "little")


def as_single(value: float) -> int:
    """The NaN-boxed single nearest to `value`."""
    return 0xFFFFFFFF << 32 | int.from_bytes(struct.pack("<f", value), "little")


class Stream:
    """Random instructions that mostly do something: registers 8..15 and sp point at data, 24..31 keep their
    copies.

    Nothing but `restore` writes the pointers on purpose, compressed instructions do now and then.
    """

    POINTERS = (2, *range(8, 15))
    COPIES = tuple(range(24, 32))
    SATP = 23  # the value of satp that the program may write

    def __init__(self, rng: random.Random, csrs: Iterable[int], *, without: Iterable[str] = ()) -> None:
        self.rng, self.csrs = rng, tuple(csrs)
        self.rows = [row for row in INSTRUCTIONS if row.name not in set(without)]
        self.short = [row for row in COMPRESSED if row.expands_to not in set(without)]

    def word(self) -> int:
        """The next instruction."""
        rng = self.rng
        draw = rng.random()
        if draw < 0.12:
            at = rng.randrange(8)
            return encode("add", rd=self.POINTERS[at], rs1=self.COPIES[at])
        if draw < 0.13:
            return csr("csrrw", 0, 0x180, rng.choice((0, self.SATP)))
        if draw < 0.15:
            return rng.choice((rng.getrandbits(32) | 3, rng.getrandbits(14) << 2 | rng.randrange(3)))
        if draw < 0.40:
            return self._compressed(rng.choice(self.short))
        return self._full(rng.choice(self.rows))

    def _compressed(self, row: Compressed) -> int:
        word = row.match | self.rng.getrandbits(16) & ~row.mask
        if row.expands_to in ("jal", "beq", "bne"):
            word = word & ~place(row.imm, -1) | place(row.imm, 2 * self.rng.randrange(-6, 40))
        if row.rd.constant is None and row.rd.extract(word) in self.COPIES:
            word ^= 1 << 11
        return word

    def _full(self, row: Instruction) -> int:
        rng, form = self.rng, row.format
        word = row.match | rng.getrandbits(32) & ~row.mask
        if row.kind in (Kind.BRANCH, Kind.JAL):
            word = word & ~place(form.imm, -1) | place(form.imm, 2 * rng.randrange(-6, 60))
        if row.name in CSR_NAMES:
            word = word & 0xFFFFF | rng.choice(self.csrs) << 20
        elif (row.kind in _ADDRESSING or row.name[:3] in ("lr.", "sc.", "cbo")) and rng.random() < 0.9:
            word = word & ~(31 << 15) | rng.choice(self.POINTERS) << 15
        if row.kind is Kind.FP and rng.random() < 0.7:
            word = word & ~(7 << 12 & ~row.mask) | rng.choice((0, 7)) << 12 & ~row.mask
        rd = word >> 7 & 31
        if form.rd.constant is None and form.rd.offset == 0 and (rd >= 23 or rd in self.POINTERS):
            word = word & ~(31 << 7) | rng.choice((0, 1, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22)) << 7
        return word

    def code(self, size: int) -> bytes:
        """At least `size` bytes of instructions."""
        total = bytearray()
        while len(total) < size:
            total += code([self.word()])
        return bytes(total)


def f(number: int) -> int:
    """The number of f register `number` in the instruction table."""
    return state.F + number
