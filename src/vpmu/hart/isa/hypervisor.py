"""The hypervisor extension and Svinval (privileged ISA, 21.3 and chapter 20)."""

from __future__ import annotations

from vpmu.hart.isa.instruction import Format, Instruction, Kind, R

_NONE = Format("none")
_LOADS = (
    ("hlv.b", 0x60004073, 1),
    ("hlv.bu", 0x60104073, 1),
    ("hlv.h", 0x64004073, 2),
    ("hlv.hu", 0x64104073, 2),
    ("hlvx.hu", 0x64304073, 2),
    ("hlv.w", 0x68004073, 4),
    ("hlv.wu", 0x68104073, 4),
    ("hlvx.wu", 0x68304073, 4),
    ("hlv.d", 0x6C004073, 8),
)
_STORES = (
    ("hsv.b", 0x62004073, 1),
    ("hsv.h", 0x66004073, 2),
    ("hsv.w", 0x6A004073, 4),
    ("hsv.d", 0x6E004073, 8),
)
_FENCES = (
    ("hfence.vvma", 0x22000073),
    ("hfence.gvma", 0x62000073),
    ("hinval.vvma", 0x26000073),
    ("hinval.gvma", 0x66000073),
)


def _system(name: str, form: Format, mask: int, match: int, semantics: str, size: int = 0) -> Instruction:
    return Instruction(name, form, mask, match, Kind.SYSTEM, semantics, size, event="system", whole=True)


def _svinval(name: str, form: Format, mask: int, match: int, semantics: str) -> Instruction:
    return Instruction(name, form, mask, match, Kind.SYSTEM, semantics, event="system", needs="ISA_SVINVAL")


INSTRUCTIONS = (
    *(_system(name, R, 0xFFF0707F, match, name.replace(".", "_"), size) for name, match, size in _LOADS),
    *(_system(name, R, 0xFE007FFF, match, "hsv", size) for name, match, size in _STORES),
    *(_system(name, R, 0xFE007FFF, match, name.replace(".", "_")) for name, match in _FENCES),
    _svinval("sinval.vma", R, 0xFE007FFF, 0x16000073, "sinval_vma"),
    _svinval("sfence.w.inval", _NONE, 0xFFFFFFFF, 0x18000073, "sfence_w_inval"),
    _svinval("sfence.inval.ir", _NONE, 0xFFFFFFFF, 0x18100073, "sfence_w_inval"),
)
