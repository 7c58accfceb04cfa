"""Zicbom and Zicboz: cache blocks of 64 bytes (unprivileged ISA, chapter "CMO"). Prefetches are hints, which
ORI with x0 is already.
"""

from __future__ import annotations

from vpmu.hart.isa.instruction import RS1, Format, Instruction, Kind

BLOCK = 64
"""Bytes of a cache block: `riscv,cbom-block-size` and its like in a device tree."""
_FORM = Format("CBO", rs1=RS1)


def _cbo(name: str, match: int, semantics: str, needs: str, event: str | None = None) -> Instruction:
    return Instruction(
        name, _FORM, 0xFFF07FFF, match, Kind.SYSTEM, semantics, BLOCK, event=event, needs=needs
    )


INSTRUCTIONS = (
    _cbo("cbo.inval", 0x0000200F, "cbo_inval", "ISA_ZICBOM"),
    _cbo("cbo.clean", 0x0010200F, "cbo_clean", "ISA_ZICBOM"),
    _cbo("cbo.flush", 0x0020200F, "cbo_clean", "ISA_ZICBOM"),
    _cbo("cbo.zero", 0x0040200F, "cbo_zero", "ISA_ZICBOZ", "store"),
)
