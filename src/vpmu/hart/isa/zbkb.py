"""Zbkb: bit manipulation for cryptography, without what Zbb has too (unprivileged ISA, "Zbkb")."""

from __future__ import annotations

from vpmu.hart.isa.instruction import RD, RS1, Format, R, value


def _swapped(source: str, mask: int, distance: int) -> str:
    """Neighbouring groups of bits exchanged: those of `mask` with the ones above them."""
    return f"(({source} & {mask}) << {distance} | ({source} >> {distance}) & {mask})"


_BREV8 = "rs1"
for _distance, _byte in ((1, 0x55), (2, 0x33), (4, 0x0F)):
    _BREV8 = _swapped(_BREV8, _byte * 0x0101010101010101, _distance)

INSTRUCTIONS = (
    value("pack", R, 0xFE00707F, 0x08004033, "zext32(rs1) | (rs2 << 32)", needs="ISA_ZBKB"),
    value("packh", R, 0xFE00707F, 0x08007033, "zext8(rs1) | (zext8(rs2) << 8)", needs="ISA_ZBKB"),
    value("packw", R, 0xFE00707F, 0x0800403B, "sext32(zext16(rs1) | (rs2 << 16))", needs="ISA_ZBKB"),
    value("brev8", Format("R1", RD, RS1), 0xFFF0707F, 0x68705013, _BREV8, needs="ISA_ZBKB"),
)
