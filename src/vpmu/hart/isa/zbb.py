"""Zba, Zbb and Zbs, together B: address generation, basic and single-bit manipulation (unprivileged ISA,
chapter 28).
"""

from __future__ import annotations

from vpmu.hart.isa.instruction import RD, RS1, SHIFT, SHIFTW, Format, Instruction, R, value

_UNARY = Format("R1", RD, RS1)


def _r(name: str, match: int, semantics: str) -> Instruction:
    return value(name, R, 0xFE00707F, match, semantics)


def _unary(name: str, match: int, semantics: str) -> Instruction:
    return value(name, _UNARY, 0xFFF0707F, match, semantics)


_ORC = " | ".join(f"({0xFF << 8 * i} if rs1 & {0xFF << 8 * i} else 0)" for i in range(8))

INSTRUCTIONS = (
    _r("sh1add", 0x20002033, "rs2 + (rs1 << 1)"),
    _r("sh2add", 0x20004033, "rs2 + (rs1 << 2)"),
    _r("sh3add", 0x20006033, "rs2 + (rs1 << 3)"),
    _r("add.uw", 0x0800003B, "rs2 + zext32(rs1)"),
    _r("sh1add.uw", 0x2000203B, "rs2 + (zext32(rs1) << 1)"),
    _r("sh2add.uw", 0x2000403B, "rs2 + (zext32(rs1) << 2)"),
    _r("sh3add.uw", 0x2000603B, "rs2 + (zext32(rs1) << 3)"),
    value("slli.uw", SHIFT, 0xFC00707F, 0x0800101B, "zext32(rs1) << imm"),
    _r("andn", 0x40007033, "rs1 & ~rs2"),
    _r("orn", 0x40006033, "rs1 | ~rs2"),
    _r("xnor", 0x40004033, "~(rs1 ^ rs2)"),
    _unary("clz", 0x60001013, "clz64(rs1)"),
    _unary("clzw", 0x6000101B, "clz32(rs1)"),
    _unary("ctz", 0x60101013, "ctz64(rs1)"),
    _unary("ctzw", 0x6010101B, "ctz32(rs1)"),
    _unary("cpop", 0x60201013, "popcount(rs1)"),
    _unary("cpopw", 0x6020101B, "popcount(zext32(rs1))"),
    _r("max", 0x0A006033, "rs2 if slt(rs1, rs2) else rs1"),
    _r("maxu", 0x0A007033, "rs2 if rs1 < rs2 else rs1"),
    _r("min", 0x0A004033, "rs1 if slt(rs1, rs2) else rs2"),
    _r("minu", 0x0A005033, "rs1 if rs1 < rs2 else rs2"),
    _unary("sext.b", 0x60401013, "sext8(rs1)"),
    _unary("sext.h", 0x60501013, "sext16(rs1)"),
    _unary("zext.h", 0x0800403B, "zext16(rs1)"),
    _r("rol", 0x60001033, "(rs1 << (rs2 & 63)) | (rs1 >> (-rs2 & 63))"),
    _r("rolw", 0x6000103B, "sext32((rs1 << (rs2 & 31)) | (zext32(rs1) >> (-rs2 & 31)))"),
    _r("ror", 0x60005033, "(rs1 >> (rs2 & 63)) | (rs1 << (-rs2 & 63))"),
    value("rori", SHIFT, 0xFC00707F, 0x60005013, "(rs1 >> imm) | (rs1 << (-imm & 63))"),
    value("roriw", SHIFTW, 0xFE00707F, 0x6000501B, "sext32((zext32(rs1) >> imm) | (rs1 << (-imm & 31)))"),
    _r("rorw", 0x6000503B, "sext32((zext32(rs1) >> (rs2 & 31)) | (rs1 << (-rs2 & 31)))"),
    _unary("orc.b", 0x28705013, _ORC),
    _unary("rev8", 0x6B805013, "bswap(rs1)"),
    _r("bclr", 0x48001033, "rs1 & ~(1 << (rs2 & 63))"),
    _r("bext", 0x48005033, "(rs1 >> (rs2 & 63)) & 1"),
    _r("binv", 0x68001033, "rs1 ^ (1 << (rs2 & 63))"),
    _r("bset", 0x28001033, "rs1 | (1 << (rs2 & 63))"),
    value("bclri", SHIFT, 0xFC00707F, 0x48001013, "rs1 & ~(1 << imm)"),
    value("bexti", SHIFT, 0xFC00707F, 0x48005013, "(rs1 >> imm) & 1"),
    value("binvi", SHIFT, 0xFC00707F, 0x68001013, "rs1 ^ (1 << imm)"),
    value("bseti", SHIFT, 0xFC00707F, 0x28001013, "rs1 | (1 << imm)"),
)
