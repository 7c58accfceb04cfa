"""Watchpoints: both engines, and compiled regions, stop before each access to watched bytes, nowhere else."""

from __future__ import annotations

import random

import pytest

from vpmu.hart.exits import Stop
from vpmu.hart.hart import Hart

from .assemble import encode
from .guest import BASE, ENGINES, boot
from .test_hot import _compile_everything

DATA = BASE + 0x10000
START = 42  # instructions before the first watchpoint: two rounds of a loop of 21


def _program(chosen: random.Random, length: int) -> list[int]:
    """Loads, stores and atomics around DATA (x5), across the end of its page too (x7), in a loop."""
    code = []
    for _ in range(length):
        size = chosen.choice((1, 2, 4, 8))
        name = {1: "b", 2: "h", 4: "w", 8: "d"}[size]
        base, at = chosen.choice(((5, chosen.randrange(0, 64)), (7, chosen.randrange(-16, 16))))
        kind = chosen.randrange(3)
        if kind == 0:
            code.append(encode(f"l{name}", rd=6, rs1=base, imm=at))
        elif kind == 1:
            code.append(encode(f"s{name}", rs1=base, rs2=6, imm=at))
        else:
            code.append(encode("amoadd.d", rd=8, rs1=5, rs2=6))
    code.append(encode("jal", imm=-4 * length))
    return code


def _boot(engine: str, code: list[int]) -> Hart:
    hart = boot(engine, code)
    hart.set_x(5, DATA)
    hart.set_x(6, 0x1122334455667788)
    hart.set_x(7, DATA + 0x1000)
    return hart


class _Told:
    def __init__(self, hart: Hart) -> None:
        self.hart = hart
        self.seen: list[tuple[int, int, str]] = []

    def __call__(self, hart: Hart, access: str) -> bool:
        self.seen.append((self.hart.instructions, self.hart.pc, access))
        return True


class _Vcpu:
    def __init__(self, hart: Hart) -> None:
        self.hart = hart


def _run(hart: Hart, until: int) -> None:
    while hart.instructions < until:
        if hart.run(until - hart.instructions) is Stop.WATCHPOINT:
            hart.memory.watchpoints.hit(_Vcpu(hart))


def _expected(code: list[int], first: int, size: int, access: str, until: int) -> list[tuple[int, int, str]]:
    """By single steps, from the instructions themselves."""
    hart = _boot("reference", code)
    hart.run(START)
    found = []
    for count in range(START, until):
        word = int.from_bytes(hart.memory.read(hart.pc, 4), "little")
        opcode, funct3 = word & 0x7F, word >> 12 & 7
        rs1 = hart.x(word >> 15 & 31)
        if opcode == 0x03:
            at, length, kind = rs1 + (word >> 20 ^ 0x800) - 0x800, 1 << (funct3 & 3), "r"
        elif opcode == 0x23:
            low = (word >> 25 << 5 | word >> 7 & 31) ^ 0x800
            at, length, kind = rs1 + low - 0x800, 1 << funct3, "w"
        elif opcode == 0x2F:
            at, length, kind = rs1, 8, "w"
        else:
            at, length, kind = -1, 0, "-"
        if kind in access and at < first + size and first < at + length:
            found.append((count, hart.pc, kind))
        hart.run(1)
    return found


@pytest.mark.parametrize("engine", [*ENGINES, "hot"])
@pytest.mark.parametrize("access", ["r", "w", "rw"])
def test_every_access_to_the_watched_bytes_stops(engine: str, access: str) -> None:
    chosen = random.Random(f"{engine} {access}")
    for _ in range(3):
        code = _program(chosen, 20)
        first = chosen.choice((DATA + chosen.randrange(64), DATA + 0x1000 + chosen.randrange(-12, 12)))
        size, until = chosen.choice((1, 2, 8)), 300
        hart = _boot("native" if engine == "hot" else engine, code)
        hart.run(START)
        if engine == "hot":
            assert _compile_everything(hart)
        told = _Told(hart)
        hart.memory.watchpoints.add(first, size, access, told)
        _run(hart, until)
        assert told.seen == _expected(code, first, size, access, until)
        plain = _boot("reference", code)
        plain.run(until)
        assert [hart.x(i) for i in range(32)] == [plain.x(i) for i in range(32)]
        assert hart.memory.read(DATA, 0x1100) == plain.memory.read(DATA, 0x1100)


def test_one_that_was_taken_away_stops_nobody() -> None:
    hart = _boot("native", _program(random.Random(1), 20))
    told = _Told(hart)
    hart.memory.watchpoints.add(DATA, 64, "rw", told)
    assert hart.run(1000) is Stop.WATCHPOINT
    hart.memory.watchpoints.remove(told)
    assert hart.run(1000) is Stop.BUDGET
    with pytest.raises(ValueError, match="watchpoint: expected bytes of memory"):
        hart.memory.watchpoints.add(DATA, 0, "w", told)
