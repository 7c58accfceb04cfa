"""Zicond: a register or zero, by a condition (unprivileged ISA, chapter "Zicond")."""

from __future__ import annotations

from vpmu.hart.isa.instruction import R, value

INSTRUCTIONS = (
    value("czero.eqz", R, 0xFE00707F, 0x0E005033, "0 if rs2 == 0 else rs1"),
    value("czero.nez", R, 0xFE00707F, 0x0E007033, "rs1 if rs2 == 0 else 0"),
)
