"""A: load-reserved, store-conditional and atomic memory operations (unprivileged ISA, chapter 13).

The harts of a machine run one after the other on one host thread, so an AMO is a plain read and write. aq
and rl (bits 26 and 25) order nothing here and are ignored.
"""

from __future__ import annotations

from vpmu.hart.isa.instruction import RD, RS1, Format, Instruction, Kind, R

_MASK = 0xF800707F
_LR = Format("R", RD, RS1)


def _amo(name: str, funct5: int, word: str, double: str) -> tuple[Instruction, Instruction]:
    match = funct5 << 27 | 0x2F
    return (
        Instruction(f"{name}.w", R, _MASK, match | 2 << 12, Kind.AMO, word, 4, True, "atomic", "store"),
        Instruction(f"{name}.d", R, _MASK, match | 3 << 12, Kind.AMO, double, 8, False, "atomic", "store"),
    )


INSTRUCTIONS = (
    Instruction("lr.w", _LR, 0xF9F0707F, 0x1000202F, Kind.SYSTEM, "load_reserved", 4, True, "atomic", "load"),
    Instruction(
        "lr.d", _LR, 0xF9F0707F, 0x1000302F, Kind.SYSTEM, "load_reserved", 8, False, "atomic", "load"
    ),
    Instruction("sc.w", R, _MASK, 0x1800202F, Kind.SYSTEM, "store_conditional", 4, True, "atomic", "store"),
    Instruction("sc.d", R, _MASK, 0x1800302F, Kind.SYSTEM, "store_conditional", 8, False, "atomic", "store"),
    *_amo("amoswap", 1, "rs2", "rs2"),
    *_amo("amoadd", 0, "old + rs2", "old + rs2"),
    *_amo("amoxor", 4, "old ^ rs2", "old ^ rs2"),
    *_amo("amoand", 12, "old & rs2", "old & rs2"),
    *_amo("amoor", 8, "old | rs2", "old | rs2"),
    *_amo("amomin", 16, "old if slt(sext32(old), sext32(rs2)) else rs2", "old if slt(old, rs2) else rs2"),
    *_amo("amomax", 20, "rs2 if slt(sext32(old), sext32(rs2)) else old", "rs2 if slt(old, rs2) else old"),
    *_amo("amominu", 24, "old if zext32(old) < zext32(rs2) else rs2", "old if old < rs2 else rs2"),
    *_amo("amomaxu", 28, "rs2 if zext32(old) < zext32(rs2) else old", "rs2 if old < rs2 else old"),
)
