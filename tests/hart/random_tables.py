"""Random page tables of both halves of the address space, and programs that edit them, fence, and look."""

from __future__ import annotations

import random

from vpmu.hart.hart import Hart

from .assemble import SRET, code, csr, encode
from .guest import ALL, BASE, A, D, R, V, W, X, put

PAGE, GIGA = 1 << 12, 1 << 30
SATP, SEPC, SCAUSE = 0x180, 0x141, 0x142
FENCE, FENCE_ONE = 0x12000073, 0x12000073 | 5 << 15  # of all, of the address in x5
OPERANDS, RESULTS, TABLES, PAGES = (BASE + offset for offset in (0x20000, 0x30000, 0x40000, 0x60000))
UPPER, LOWER = 0xFFFFFFC0_00000000, 0x40000000
"""The first is the lowest address of the upper half in Sv39; both have the same place in the caches."""
SV39, SV48 = 8, 9


def table(number: int) -> int:
    """Guest physical address of a page for a table."""
    return TABLES + number * PAGE


ROOTS, TOPS = (0, 1, 2), (8, 9, 10)
MIDDLES, LEAVES = ((3, 4), (11, 12)), ((5, 6, 7), (13, 14, 15))
"""Tables of the upper half, and of the lower one."""
BELOW = (*MIDDLES[0], *MIDDLES[1], *LEAVES[0], *LEAVES[1])


class Tables:
    """Page tables: three roots, which agree by chance, and what they lead to. All memory is mapped by
    identity, by a leaf of a gigabyte, so the guest reaches its tables.
    """

    def __init__(self, hart: Hart, mode: int, rng: random.Random) -> None:
        self.mode, self.rng = mode, rng
        hart.memory.write(TABLES, bytes(16 * PAGE))
        for number in (*ROOTS, *TOPS):
            for _, value, where in self.choices_of(number):
                put(hart, *where, *value)
            put(hart, table(number), BASE >> 30 & 511, BASE, ALL)
        if mode == SV48:
            for number in ROOTS:
                put(hart, table(number), 0, table(TOPS[number]), V)
        for number in BELOW:
            for at in range(2):
                put(hart, table(number), at, *self.entry(number))
        for number in range(16):
            words = [encode("addi", rd=6, rs1=0, imm=number), encode("jalr", rd=0, rs1=1)]
            hart.memory.write(PAGES + number * PAGE, code(words) + bytes([number]) * 64)

    @property
    def base(self) -> int:
        """The upper half's first address."""
        return UPPER if self.mode == SV39 else 0xFFFF8000_00000000

    def address(self) -> int:
        """Somewhere in the two pages of each half that lie behind two entries of a middle table."""
        half = self.rng.random() < 0.5
        at = self.rng.randrange(2) << 21 | self.rng.randrange(2) << 12
        return (self.base if half else LOWER) + at

    def choices_of(self, number: int) -> list[tuple[int, tuple[int, int], tuple[int, int]]]:
        """Of a table that stands above middle ones: (address that it is for, what stands there, where)."""
        where = []
        for half, address in enumerate((self.base, LOWER)):
            if self.mode == SV48 and number in ROOTS:
                index, lead = address >> 39 & 511, TOPS
            else:
                index, lead = address >> 30 & 511, MIDDLES[half]
            shared = index == BASE >> 39 & 511 and lead is TOPS  # the program's own memory is behind it, too
            flags = V if shared or self.rng.random() < 0.9 else 0
            where.append((address, (table(self.rng.choice(lead)), flags), (table(number), index)))
        return where

    def entry(self, number: int) -> tuple[int, int]:
        """What may stand in a middle table, or in one of leaves."""
        for middles, leaves in zip(MIDDLES, LEAVES, strict=True):
            if number in middles:
                return table(self.rng.choice(leaves)), V
        flags = self.rng.choice((ALL, ALL, ALL, V | R | A, V | R | X | A, V | R | W | D, 0))
        return PAGES + self.rng.randrange(16) * PAGE, flags

    def edit(self) -> tuple[int, int]:
        """(physical address of an entry, its new value)."""
        number = self.rng.choice((*ROOTS, *BELOW, *LEAVES[0], *LEAVES[1] * 4))
        if number in ROOTS:
            if self.mode == SV48 and self.rng.random() < 0.5:
                number = self.rng.choice(TOPS)
            _, (physical, flags), (at, index) = self.rng.choice(self.choices_of(number))
        else:
            physical, flags = self.entry(number)
            at, index = table(number), self.rng.randrange(2)
        return at + 8 * index, physical >> 12 << 10 | flags

    def satp(self) -> int:
        return self.mode << 60 | table(self.rng.choice(ROOTS)) >> 12


def program(tables: Tables, length: int) -> tuple[list[int], list[int]]:
    """A program that edits, fences, and looks, and its operands: x31 goes through them, x30 through its
    results. It fences all after each edit, and so nothing that it sees is left to the hart.
    """
    rng, words, operands = tables.rng, [], []

    def operand(register: int, value: int) -> None:
        operands.append(value)
        words.extend((encode("ld", rd=register, rs1=31), encode("addi", rd=31, rs1=31, imm=8)))

    for _ in range(length):
        draw = rng.random()
        if draw < 0.12:
            where, value = tables.edit()
            operand(5, where)
            operand(6, value)
            words += [encode("sd", rs1=5, rs2=6), FENCE]
        elif draw < 0.17:
            words.append(FENCE)
        elif draw < 0.25:
            operand(5, tables.satp())
            words.append(csr("csrrw", 0, SATP, 5))
        elif draw < 0.30:
            operand(5, tables.address())
            words.append(FENCE_ONE)
        else:
            operand(5, tables.address() + 8 * rng.randrange(1, 8))
            if draw < 0.75:
                words.append(encode("ld", rd=6, rs1=5))
            elif draw < 0.85:
                words += [encode("addi", rd=6, rs1=31), encode("sd", rs1=5, rs2=6)]
            else:
                words += [encode("andi", rd=5, rs1=5, imm=-64), encode("jalr", rd=1, rs1=5)]
            words += [encode("sd", rs1=30, rs2=6), encode("addi", rd=30, rs1=30, imm=8)]
    return words, operands


def handler() -> list[int]:
    """On behind an access that faulted, with its cause in x6; back from a call that did."""
    return [
        csr("csrrs", 6, SCAUSE),
        csr("csrrs", 28, SEPC),
        encode("addi", rd=28, rs1=28, imm=4),
        encode("addi", rd=29, rs1=0, imm=12),
        encode("bne", rs1=6, rs2=29, imm=8),
        encode("addi", rd=28, rs1=1),
        csr("csrrw", 0, SEPC, 28),
        SRET,
    ]
