"""Zbc: carry-less multiplication (unprivileged ISA, chapter 28): 64 shifted copies, added without carries."""

from __future__ import annotations

from vpmu.hart.isa.instruction import Instruction, R, value


def _row(name: str, match: int, copies: list[str]) -> Instruction:
    terms = (f"({copy} & -((rs2 >> {bit}) & 1))" for bit, copy in enumerate(copies))
    return value(name, R, 0xFE00707F, match, " ^ ".join(terms))


INSTRUCTIONS = (
    _row("clmul", 0x0A001033, [f"(rs1 << {i})" for i in range(64)]),
    _row("clmulr", 0x0A002033, [f"(rs1 >> {63 - i})" for i in range(64)]),
    _row("clmulh", 0x0A003033, ["0", *(f"(rs1 >> {64 - i})" for i in range(1, 64))]),
)
