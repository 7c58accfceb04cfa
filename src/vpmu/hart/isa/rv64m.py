"""M: multiplication and division (unprivileged ISA, chapter 12). Division by zero and overflow never trap."""

from __future__ import annotations

from vpmu.hart.isa.instruction import Instruction, R, value

_ALL = "0xFFFFFFFFFFFFFFFF"


def _row(name: str, match: int, semantics: str) -> Instruction:
    return value(name, R, 0xFE00707F, match, semantics, event="muldiv")


# Dividing by -1 is negation: that gives the overflow case (most negative / -1) its defined result without a
# host trap.
INSTRUCTIONS = (
    _row("mul", 0x02000033, "rs1 * rs2"),
    _row("mulh", 0x02001033, "mulh(rs1, rs2)"),
    _row("mulhsu", 0x02002033, "mulhsu(rs1, rs2)"),
    _row("mulhu", 0x02003033, "mulhu(rs1, rs2)"),
    _row("div", 0x02004033, f"{_ALL} if rs2 == 0 else (-rs1 if rs2 == {_ALL} else sdiv(rs1, rs2))"),
    _row("divu", 0x02005033, f"{_ALL} if rs2 == 0 else udiv(rs1, rs2)"),
    _row("rem", 0x02006033, f"rs1 if rs2 == 0 else (0 if rs2 == {_ALL} else srem(rs1, rs2))"),
    _row("remu", 0x02007033, "rs1 if rs2 == 0 else urem(rs1, rs2)"),
    _row("mulw", 0x0200003B, "sext32(rs1 * rs2)"),
    _row("divw", 0x0200403B,
         f"{_ALL} if zext32(rs2) == 0 else (sext32(-rs1) if sext32(rs2) == {_ALL} "
         "else sext32(sdiv(sext32(rs1), sext32(rs2))))"),
    _row("divuw", 0x0200503B, f"{_ALL} if zext32(rs2) == 0 else sext32(udiv(zext32(rs1), zext32(rs2)))"),
    _row("remw", 0x0200603B,
         f"sext32(rs1) if zext32(rs2) == 0 else (0 if sext32(rs2) == {_ALL} "
         "else sext32(srem(sext32(rs1), sext32(rs2))))"),
    _row("remuw", 0x0200703B, "sext32(rs1) if zext32(rs2) == 0 else sext32(urem(zext32(rs1), zext32(rs2)))"),
)  # fmt: skip
