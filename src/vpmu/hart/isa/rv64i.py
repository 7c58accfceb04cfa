"""RV64I base integer instructions (unprivileged ISA, chapters 2 and 4) and Zifencei."""

from __future__ import annotations

from vpmu.hart.isa.instruction import SHIFT, SHIFTW, B, Format, I, Instruction, J, Kind, R, S, U, value


def _load(name: str, match: int, size: int, sign_extend: bool) -> Instruction:
    return Instruction(name, I, 0x707F, match, Kind.LOAD, size=size, sign_extend=sign_extend, event="load")


def _store(name: str, match: int, size: int) -> Instruction:
    return Instruction(name, S, 0x707F, match, Kind.STORE, size=size, event="store")


def _branch(name: str, match: int, condition: str) -> Instruction:
    return Instruction(name, B, 0x707F, match, Kind.BRANCH, condition, event="branch")


INSTRUCTIONS = (
    value("lui", U, 0x7F, 0x37, "imm << 12"),
    value("auipc", U, 0x7F, 0x17, "pc + (imm << 12)"),
    Instruction("jal", J, 0x7F, 0x6F, Kind.JAL, event="branch"),
    Instruction("jalr", I, 0x707F, 0x67, Kind.JALR, event="branch"),
    _branch("beq", 0x0063, "rs1 == rs2"),
    _branch("bne", 0x1063, "rs1 != rs2"),
    _branch("blt", 0x4063, "slt(rs1, rs2)"),
    _branch("bge", 0x5063, "not slt(rs1, rs2)"),
    _branch("bltu", 0x6063, "rs1 < rs2"),
    _branch("bgeu", 0x7063, "rs1 >= rs2"),
    _load("lb", 0x0003, 1, True),
    _load("lh", 0x1003, 2, True),
    _load("lw", 0x2003, 4, True),
    _load("ld", 0x3003, 8, False),
    _load("lbu", 0x4003, 1, False),
    _load("lhu", 0x5003, 2, False),
    _load("lwu", 0x6003, 4, False),
    _store("sb", 0x0023, 1),
    _store("sh", 0x1023, 2),
    _store("sw", 0x2023, 4),
    _store("sd", 0x3023, 8),
    value("addi", I, 0x707F, 0x0013, "rs1 + imm"),
    value("slti", I, 0x707F, 0x2013, "slt(rs1, imm)"),
    value("sltiu", I, 0x707F, 0x3013, "rs1 < imm"),
    value("xori", I, 0x707F, 0x4013, "rs1 ^ imm"),
    value("ori", I, 0x707F, 0x6013, "rs1 | imm"),
    value("andi", I, 0x707F, 0x7013, "rs1 & imm"),
    value("slli", SHIFT, 0xFC00707F, 0x1013, "rs1 << imm"),
    value("srli", SHIFT, 0xFC00707F, 0x5013, "rs1 >> imm"),
    value("srai", SHIFT, 0xFC00707F, 0x40005013, "sar(rs1, imm)"),
    value("add", R, 0xFE00707F, 0x0033, "rs1 + rs2"),
    value("sub", R, 0xFE00707F, 0x40000033, "rs1 - rs2"),
    value("sll", R, 0xFE00707F, 0x1033, "rs1 << (rs2 & 63)"),
    value("slt", R, 0xFE00707F, 0x2033, "slt(rs1, rs2)"),
    value("sltu", R, 0xFE00707F, 0x3033, "rs1 < rs2"),
    value("xor", R, 0xFE00707F, 0x4033, "rs1 ^ rs2"),
    value("srl", R, 0xFE00707F, 0x5033, "rs1 >> (rs2 & 63)"),
    value("sra", R, 0xFE00707F, 0x40005033, "sar(rs1, rs2 & 63)"),
    value("or", R, 0xFE00707F, 0x6033, "rs1 | rs2"),
    value("and", R, 0xFE00707F, 0x7033, "rs1 & rs2"),
    value("addiw", I, 0x707F, 0x001B, "sext32(rs1 + imm)"),
    value("slliw", SHIFTW, 0xFE00707F, 0x101B, "sext32(rs1 << imm)"),
    value("srliw", SHIFTW, 0xFE00707F, 0x501B, "sext32(zext32(rs1) >> imm)"),
    value("sraiw", SHIFTW, 0xFE00707F, 0x4000501B, "sar(sext32(rs1), imm)"),
    value("addw", R, 0xFE00707F, 0x003B, "sext32(rs1 + rs2)"),
    value("subw", R, 0xFE00707F, 0x4000003B, "sext32(rs1 - rs2)"),
    value("sllw", R, 0xFE00707F, 0x103B, "sext32(rs1 << (rs2 & 31))"),
    value("srlw", R, 0xFE00707F, 0x503B, "sext32(zext32(rs1) >> (rs2 & 31))"),
    value("sraw", R, 0xFE00707F, 0x4000503B, "sar(sext32(rs1), rs2 & 31)"),
    Instruction("fence", Format("fence"), 0x707F, 0x000F, Kind.NOP),
    # The engine sees every store to decoded code at once, so FENCE.I has nothing left to do.
    Instruction("fence.i", Format("fence"), 0x707F, 0x100F, Kind.NOP),
)
