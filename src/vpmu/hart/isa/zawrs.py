"""Zawrs: waiting for a store to a reserved address (unprivileged ISA, "Zawrs"). A wait may end at once."""

from __future__ import annotations

from vpmu.hart.isa.instruction import Format, Instruction, Kind

_FORM = Format("none")

INSTRUCTIONS = (
    Instruction("wrs.nto", _FORM, 0xFFFFFFFF, 0x00D00073, Kind.NOP, needs="ISA_ZAWRS"),
    Instruction("wrs.sto", _FORM, 0xFFFFFFFF, 0x01D00073, Kind.NOP, needs="ISA_ZAWRS"),
)
