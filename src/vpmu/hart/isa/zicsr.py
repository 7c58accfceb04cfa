"""Zicsr and the privileged instructions of S mode (unprivileged ISA, chapter 6; privileged ISA, chapter
12).
"""

from __future__ import annotations

from vpmu.hart.isa.instruction import CSR, Format, Instruction, Kind, R

_NONE = Format("none")
_CSR_ROWS = (("csrrw", 0x1073), ("csrrs", 0x2073), ("csrrc", 0x3073),
             ("csrrwi", 0x5073), ("csrrsi", 0x6073), ("csrrci", 0x7073))  # fmt: skip

INSTRUCTIONS = (
    *(Instruction(name, CSR, 0x707F, match, Kind.SYSTEM, name, event="csr") for name, match in _CSR_ROWS),
    Instruction("ecall", _NONE, 0xFFFFFFFF, 0x00000073, Kind.SYSTEM, "ecall", event="system"),
    Instruction("ebreak", _NONE, 0xFFFFFFFF, 0x00100073, Kind.SYSTEM, "ebreak", event="system"),
    Instruction("sret", _NONE, 0xFFFFFFFF, 0x10200073, Kind.SYSTEM, "sret", event="system"),
    Instruction("wfi", _NONE, 0xFFFFFFFF, 0x10500073, Kind.SYSTEM, "wfi", event="system"),
    Instruction("sfence.vma", R, 0xFE007FFF, 0x12000073, Kind.SYSTEM, "sfence_vma", event="system"),
    Instruction("mret", _NONE, 0xFFFFFFFF, 0x30200073, Kind.SYSTEM, "mret", event="system", whole=True),
)
