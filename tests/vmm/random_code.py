"""What random machines (random_machine.py) are made of: where things lie, code with constants, a trap
handler, code for user mode.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from vpmu.spec.csr import Csr
from vpmu.spec.sbi import Eid

from ..hart.assemble import ECALL, SRET, csr, encode

RAM, MEMORY = 0x80000000, 4 << 20
PAGE, MEGA, GIGA = 1 << 12, 1 << 21, 1 << 30
HANDLER, USER_CODE, FLAGS = RAM + 0x40000, RAM + 0x41000, RAM + 0x48000
WRITTEN_CODE = RAM + 0x42000  # a page of code that is written, for each hart
SHARED_LEAVES, SHARED_MIDDLE = RAM + 0x49000, RAM + 0x4A000
TABLES, TABLES_OF_A_HART = RAM + 0x50000, 0x8000
DATA, DATA_SIZE = RAM + 0x80000, 0x20000
UART, NOTHING = 0x10000000, 0xC0000000
V, R, W, X, U, G, A, D = 1, 2, 4, 8, 16, 32, 64, 128
SMALL, LARGE, GIANT = 64 * GIGA, 65 * GIGA + 16 * MEGA, 66 * GIGA
SHARED, USER, DEVICE = 68 * GIGA, 70 * GIGA + PAGE, 71 * GIGA
"""Where windows are, each in a gigabyte of its own: leaves of 4 KiB, 2 MiB, 1 GiB, those of all harts, code
for user mode, addresses without memory."""
SMALL_PAGES, LARGE_PAGES, SHARED_PAGES = 16, 4, 8
LOADS, STORES = ("lb", "lbu", "lh", "lhu", "lw", "lwu", "ld"), ("sb", "sh", "sw", "sd")
ATOMICS = ("amoadd.w", "amoadd.d", "amoswap.w", "amoxor.d", "amomaxu.w", "lr.w", "lr.d", "sc.w", "sc.d")
ARITHMETIC = ("add", "sub", "xor", "sltu", "mul", "divu", "rem", "sll", "sra", "addw", "mulhu")
SIZES = {"b": 1, "h": 2, "w": 4, "d": 8}
RETURN = encode("jalr", rd=0, rs1=1)
SFENCE = 0x12000073
FENCE_I = 0x0000100F


def leaf(physical: int, flags: int) -> int:
    return physical >> 12 << 10 | flags


@dataclass
class Code:
    """Instructions of one hart, with a pool of constants behind them."""

    base: int
    words: list[int] = field(default_factory=list)
    pool: list[tuple[int, int, int]] = field(default_factory=list)  # position, register, value

    def add(self, *words: int) -> None:
        self.words += words

    def constant(self, register: int, value: int) -> None:
        self.pool.append((len(self.words), register, value % (1 << 64)))
        self.words += [0, 0]

    def call(self, eid: int, fid: int, *arguments: int) -> None:
        for register, value in ((17, eid), (16, fid), *enumerate(arguments, 10)):
            self.constant(register, value)
        self.add(ECALL)

    def image(self) -> bytes:
        end = self.base + 4 * len(self.words) + 7 & ~7
        constants = b""
        for at, register, value in self.pool:
            distance = end + len(constants) - (self.base + 4 * at)
            self.words[at] = encode("auipc", rd=register, imm=distance + 0x800 >> 12)
            self.words[at + 1] = encode(
                "ld", rd=register, rs1=register, imm=(distance + 0x800 & 0xFFF) - 0x800
            )
            constants += value.to_bytes(8, "little")
        body = b"".join(word.to_bytes(4, "little") for word in self.words)
        return body.ljust(end - self.base, b"\0") + constants


def handler() -> list[int]:
    """Faults skip their instruction (of 4 bytes), or return from the call where there is none to skip; an
    interrupt is switched off at its source.
    """
    to_return = [
        csr("csrrw", 0, Csr.SEPC, 1),
        encode("addi", rd=29, imm=0x100),
        csr("csrrs", 0, Csr.SSTATUS, 29),
        SRET,
    ]
    skip = [
        csr("csrrs", 29, Csr.SEPC),
        encode("addi", rd=29, rs1=29, imm=4),
        csr("csrrw", 0, Csr.SEPC, 29),
        SRET,
    ]
    clear = [
        encode("addi", rd=29, imm=1), encode("sll", rd=29, rs1=29, rs2=28),
        csr("csrrc", 0, Csr.SIP, 29), encode("addi", rd=28, imm=0x200), csr("csrrc", 0, Csr.SIE, 28), SRET,
    ]  # fmt: skip
    timer = [
        encode("addi", rd=29, rs1=10), encode("addi", rd=30, rs1=16), encode("addi", rd=31, rs1=17),
        encode("addi", rd=10, imm=-1), encode("addi", rd=16), encode("lui", rd=17, imm=0x54495),
        encode("addi", rd=17, rs1=17, imm=Eid.TIME - 0x54495000), ECALL,
        encode("addi", rd=10, rs1=29), encode("addi", rd=16, rs1=30), encode("addi", rd=17, rs1=31), SRET,
    ]  # fmt: skip
    words = [csr("csrrs", 28, Csr.SCAUSE)]
    tests = ((8, to_return), (12, to_return), (1, to_return), (20, to_return))
    exceptions: list[int] = []
    for position, (cause, _) in enumerate(tests):
        left = 2 * (len(tests) - position) - 1
        exceptions += [
            encode("addi", rd=29, imm=cause),
            encode("beq", rs1=28, rs2=29, imm=4 * (left + len(skip))),
        ]
    interrupts = [
        encode("andi", rd=28, rs1=28, imm=63), encode("addi", rd=29, imm=5),
        encode("bne", rs1=28, rs2=29, imm=4 * (1 + len(timer))), *timer, *clear,
    ]  # fmt: skip
    words.append(encode("blt", rs1=28, rs2=0, imm=4 * (1 + len(exceptions) + len(skip) + len(to_return))))
    return words + exceptions + skip + to_return + interrupts


def user_code(rng: random.Random) -> list[int]:
    """Pieces of 64 bytes that touch what x7 points to and end with ECALL."""
    words: list[int] = []
    for _ in range(64):
        piece = []
        for _ in range(rng.randrange(1, 8)):
            data = rng.randrange(18, 28)
            piece.append(rng.choice((
                encode(rng.choice(LOADS), rd=data, rs1=7), encode(rng.choice(STORES), rs1=7, rs2=data),
                csr("csrrs", data, rng.choice((0xC00, 0xC01, 0xC02))),
                encode("addi", rd=data, rs1=data, imm=3),
                csr("csrrs", data, Csr.SSTATUS),
            )))  # fmt: skip
        words += (piece + [ECALL] * 16)[:16]
    return words
