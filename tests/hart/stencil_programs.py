"""Programs for stencils, and a machine that runs them on two engines side by side."""

from __future__ import annotations

import ctypes
import random
import struct
from collections.abc import Callable

from tests.hart.scattered import DATA, FRAMES, facts_of, scatter

from vpmu.hart import state
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.exits import Stop
from vpmu.hart.hart import Hart
from vpmu.hart.memory import PhysicalMemory

RAM, CODE = 0x80000000, 0x80010000
PAGES = 3


def immediate(op: int, rd: int, funct3: int, rs1: int, imm: int) -> int:
    return (imm & 0xFFF) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | op


def store(funct3: int, rs1: int, rs2: int, imm: int) -> int:
    return (imm >> 5 & 127) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (imm & 31) << 7 | 0x23


def branch(funct3: int, rs1: int, rs2: int, distance: int) -> int:
    word = (distance >> 12 & 1) << 31 | (distance >> 5 & 63) << 25 | (distance >> 1 & 15) << 8
    return word | (distance >> 11 & 1) << 7 | rs2 << 20 | rs1 << 15 | funct3 << 12 | 0x63


def jal(rd: int, distance: int) -> int:
    word = (distance >> 20 & 1) << 31 | (distance >> 1 & 1023) << 21
    return word | (distance >> 11 & 1) << 20 | (distance >> 12 & 255) << 12 | rd << 7 | 0x6F


def access(rnd: random.Random) -> int:
    """By one of a few base registers (x8 to x11), near others by the same; some loads change their base."""
    rd, base = rnd.randrange(12, 32), rnd.randrange(8, 12)
    near = rnd.choice((0, 16, 1000, -8)) + rnd.randrange(64)
    if rnd.random() < 0.5:
        return immediate(3, rd, rnd.randrange(7), base, near)
    return store(rnd.randrange(4), base, rd, near)


def arithmetic(rnd: random.Random) -> int:
    """Of any kind, where the operands are often x0 or 0."""
    rd, kind = rnd.randrange(12, 32), rnd.random()
    source, other = (rnd.choice((0, rnd.randrange(12, 32))) for _ in range(2))
    if kind < 0.5:
        return immediate(
            0x13, rd, rnd.choice((0, 2, 3, 4, 6, 7)), source, rnd.choice((0, rnd.getrandbits(12)))
        )
    if kind < 0.8:
        funct = rnd.choice((0, 1 << 25)) | rnd.randrange(8) << 12  # of I and M
        return funct | other << 20 | source << 15 | rd << 7 | 0x33
    return rnd.getrandbits(20) << 12 | rd << 7 | rnd.choice((0x17, 0x37))


def program(rnd: random.Random) -> bytes:
    """Code over PAGES pages that stays inside: accesses, arithmetic, base registers that move, branches near,
    most of them forward, and calls to anywhere.
    """
    words: list[int] = []
    total = PAGES * 1024
    while len(words) < total - 1:
        kind, at = rnd.random(), len(words)
        if kind < 0.5:
            words.append(access(rnd))
        elif kind < 0.55:
            base = rnd.randrange(8, 12)
            words.append(immediate(0x13, base, 0, base, rnd.choice((8, -8, 512, -512))))
        elif kind < 0.8:
            words.append(arithmetic(rnd))
        elif kind < 0.95:
            target = min(max(at + rnd.choice((-7, 2, 3, 5, 9, 20)), 0), total - 1)
            one, other = (rnd.choice((0, rnd.randrange(12, 32))) for _ in range(2))
            words.append(branch(rnd.choice((0, 1, 4, 5, 6, 7)), one, other, 4 * (target - at)))
        else:
            words.append(jal(rnd.choice((0, 1)), 4 * (rnd.randrange(total) - at)))
    words.append(jal(0, -4 * len(words)))
    return struct.pack(f"<{len(words)}I", *words)


def hart_of(engine: str, seed: int, counting: Counting, *, paged: bool = False) -> Hart:
    rnd = random.Random(seed)
    memory = PhysicalMemory()
    memory.set_slot(0, RAM, 4 << 20)
    hart = Hart(0, memory, engine=engine)
    memory.want(0, counting)
    memory.write(CODE, program(rnd))
    memory.write(FRAMES, rnd.randbytes(0x40000))
    memory.write(DATA, rnd.randbytes(0x8000))
    for register in range(12, 32):
        hart.set_x(register, rnd.getrandbits(rnd.choice((3, 32, 64))))
    for register in range(8, 12):
        hart.set_x(register, DATA + rnd.choice((0x100, 0xFE0, 0x1FF8, 0x3000)))
    if paged:
        hart.set("satp", scatter(rnd, memory))
    hart.pc = CODE
    return hart


def stitched_records(hart: Hart) -> list[int]:
    """Records that lead into lines, of all pages."""
    shared = hart.memory.shared.words
    pages = range(shared[state.SHARED["code_pool"]], shared[state.SHARED["code_next"]], state.DECODED_STRIDE)
    records = [word_at(page + 8 * i) for page in pages for i in range(2048)]
    return [record for record in records if record & 1023 == state.RECORD_STITCHED]


def word_at(address: int) -> int:
    return ctypes.c_uint64.from_address(address).value


def walk(native_hart: Hart, reference: Hart, counting: Counting, turns: int, rnd: random.Random,
          between: Callable[[int], None] = lambda turn: None) -> None:  # fmt: skip
    for turn in range(turns):
        budget = rnd.choice((1, 2, 3, 7, 40, 300))
        stops = native_hart.run(budget), reference.run(budget)
        assert stops[0] == stops[1], turn
        got, expected = facts_of(native_hart, counting), facts_of(reference, counting)
        assert got == expected, f"turn {turn}"
        assert native_hart.memory.read(DATA, 0x8000) == reference.memory.read(DATA, 0x8000), f"turn {turn}"
        if stops[0] is not Stop.BUDGET:
            return
        between(turn)
        if turn % 2:  # out of whatever it goes round in
            pc, values = CODE + 4 * rnd.randrange(1000 * PAGES), [rnd.getrandbits(64) for _ in range(20)]
            for hart in (native_hart, reference):
                hart.pc = pc
                for register, value in enumerate(values, 12):
                    hart.set_x(register, value)


def chain(rnd: random.Random, length: int) -> list[int]:
    """A loop in which nearly every instruction reads what one or two before it have set."""
    words: list[int] = []
    while len(words) < length:
        rd, one, other = (rnd.randrange(12, 15) for _ in range(3))
        kind, funct, base = rnd.random(), rnd.randrange(8) << 12, rnd.randrange(8, 12)
        near = rnd.choice((0, 16, 1000, -8)) + rnd.randrange(64)
        if kind < 0.15:
            words.append(immediate(0x13, rd, rnd.choice((0, 2, 3, 4, 6, 7)), one, rnd.getrandbits(12)))
        elif kind < 0.22:  # shifts
            right = rnd.choice((1 << 12, 5 << 12, 5 << 12 | 1 << 30))
            words.append(right | rnd.randrange(64) << 20 | one << 15 | rd << 7 | 0x13)
        elif kind < 0.4:  # sub among them, and comparisons, whose result is in another register of the host
            funct = rnd.choice((funct, funct | 1 << 25, 1 << 30, 3 << 12))
            words.append(funct | other << 20 | one << 15 | rd << 7 | 0x33)
        elif kind < 0.45:  # of 32 bits
            words.append(rnd.choice((0, 1 << 30)) | other << 20 | one << 15 | rd << 7 | 0x3B)
            words.append(immediate(0x1B, rd, 0, rd, rnd.choice((0, 1, -1))))
        elif kind < 0.6:  # constants
            words.append(
                rnd.choice((immediate(0x13, rd, 0, 0, near), rnd.getrandbits(20) << 12 | rd << 7 | 0x37))
            )
        elif kind < 0.75:
            load = rnd.random() < 0.6
            way = immediate(3, rd, rnd.randrange(7), base, near)
            words.append(way if load else store(rnd.randrange(4), base, one, near))
        elif kind < 0.8:  # a load that replaces its base
            words.append(immediate(0x13, rd, 0, base, near))
            words.append(immediate(3, rd, rnd.randrange(7), rd, rnd.randrange(64)))
        else:
            ahead = 4 * rnd.randrange(2, 6)
            words.append(branch(rnd.choice((0, 1, 4, 5, 6, 7)), one, rnd.choice((0, 0, other)), ahead))
    return [*words, *[0x13] * 6, jal(0, -4 * (len(words) + 6))]
