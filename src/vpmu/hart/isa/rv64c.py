"""C and Zcb: compressed instructions (unprivileged ISA, chapters 26 and 27), each as the 32-bit operation
that it stands for.

Fields read as in the manual: `"12=5 6:2=4:0"` puts bit 12 at bit 5 and bits 6:2 at bits 4:0 of the immediate.
"""

from __future__ import annotations

from vpmu.hart import state
from vpmu.hart.isa.instruction import ZERO, Compressed, Field, bits, constant

_RD = bits("11:7")
_RS2 = bits("6:2")
_RD_ = bits("4:2", offset=8)  # the three-bit registers x8..x15
_RS1_ = bits("9:7", offset=8)
_FRD, _FRS2 = bits("11:7", offset=state.F), bits("6:2", offset=state.F)
_F_ = bits("4:2", offset=state.F + 8)  # f8..f15
_SP, _RA = constant(2), constant(1)
_IMM6 = bits("12=5 6:2=4:0", is_signed=True)
_UIMM6 = bits("12=5 6:2=4:0")
_SHAMT = _UIMM6
_LW = bits("12:10=5:3 6=2 5=6")
_LD = bits("12:10=5:3 6:5=7:6")
_LWSP = bits("12=5 6:4=4:2 3:2=7:6")
_LDSP = bits("12=5 6:5=4:3 4:2=8:6")
_SWSP = bits("12:9=5:2 8:7=7:6")
_SDSP = bits("12:10=5:3 9:7=8:6")
_ADDI4SPN = bits("12:11=5:4 10:7=9:6 6=2 5=3")
_ADDI16SP = bits("12=9 6=4 5=6 4:3=8:7 2=5", is_signed=True)
_BYTE, _HALF = bits("6=0 5=1"), bits("5=1")
_J = bits("12=11 11=4 10:9=9:8 8=10 7=6 6=7 5:3=3:1 2=5", is_signed=True)
_B = bits("12=8 11:10=4:3 6:5=7:6 4:3=2:1 2=5", is_signed=True)


def _ca(name: str, match: int, expands_to: str) -> Compressed:
    return Compressed(name, 0xFC63, match, expands_to, rd=_RS1_, rs1=_RS1_, rs2=_RD_)


def _cu(name: str, match: int, expands_to: str, imm: Field = ZERO) -> Compressed:
    return Compressed(name, 0xFC7F, match, expands_to, rd=_RS1_, rs1=_RS1_, imm=imm)


def _load(name: str, match: int, expands_to: str, imm: Field, rd: Field = _RD_) -> Compressed:
    return Compressed(name, 0xE003, match, expands_to, rd=rd, rs1=_RS1_, imm=imm)


def _store(name: str, match: int, expands_to: str, imm: Field, rs2: Field = _RD_) -> Compressed:
    return Compressed(name, 0xE003, match, expands_to, rs1=_RS1_, rs2=rs2, imm=imm)


COMPRESSED = (
    Compressed("c.addi4spn", 0xE003, 0x0000, "addi", rd=_RD_, rs1=_SP, imm=_ADDI4SPN, nonzero=(_ADDI4SPN,)),
    _load("c.fld", 0x2000, "fld", _LD, rd=_F_),
    _load("c.lw", 0x4000, "lw", _LW),
    _load("c.ld", 0x6000, "ld", _LD),
    _store("c.fsd", 0xA000, "fsd", _LD, rs2=_F_),
    _store("c.sw", 0xC000, "sw", _LW),
    _store("c.sd", 0xE000, "sd", _LD),
    Compressed("c.addi", 0xE003, 0x0001, "addi", rd=_RD, rs1=_RD, imm=_IMM6),  # c.nop is rd = x0
    Compressed("c.addiw", 0xE003, 0x2001, "addiw", rd=_RD, rs1=_RD, imm=_IMM6, nonzero=(_RD,)),
    Compressed("c.li", 0xE003, 0x4001, "addi", rd=_RD, imm=_IMM6),
    Compressed("c.addi16sp", 0xEF83, 0x6101, "addi", rd=_SP, rs1=_SP, imm=_ADDI16SP, nonzero=(_ADDI16SP,)),
    Compressed("c.lui", 0xE003, 0x6001, "lui", rd=_RD, imm=_IMM6, nonzero=(_IMM6,)),
    Compressed("c.srli", 0xEC03, 0x8001, "srli", rd=_RS1_, rs1=_RS1_, imm=_SHAMT),
    Compressed("c.srai", 0xEC03, 0x8401, "srai", rd=_RS1_, rs1=_RS1_, imm=_SHAMT),
    Compressed("c.andi", 0xEC03, 0x8801, "andi", rd=_RS1_, rs1=_RS1_, imm=_IMM6),
    _ca("c.sub", 0x8C01, "sub"),
    _ca("c.xor", 0x8C21, "xor"),
    _ca("c.or", 0x8C41, "or"),
    _ca("c.and", 0x8C61, "and"),
    _ca("c.subw", 0x9C01, "subw"),
    _ca("c.addw", 0x9C21, "addw"),
    Compressed("c.j", 0xE003, 0xA001, "jal", imm=_J),
    Compressed("c.beqz", 0xE003, 0xC001, "beq", rs1=_RS1_, imm=_B),
    Compressed("c.bnez", 0xE003, 0xE001, "bne", rs1=_RS1_, imm=_B),
    Compressed("c.slli", 0xE003, 0x0002, "slli", rd=_RD, rs1=_RD, imm=_SHAMT),
    Compressed("c.fldsp", 0xE003, 0x2002, "fld", rd=_FRD, rs1=_SP, imm=_LDSP),
    Compressed("c.lwsp", 0xE003, 0x4002, "lw", rd=_RD, rs1=_SP, imm=_LWSP, nonzero=(_RD,)),
    Compressed("c.ldsp", 0xE003, 0x6002, "ld", rd=_RD, rs1=_SP, imm=_LDSP, nonzero=(_RD,)),
    Compressed("c.ebreak", 0xFFFF, 0x9002, "ebreak"),
    Compressed("c.jr", 0xF07F, 0x8002, "jalr", rs1=_RD, nonzero=(_RD,)),
    Compressed("c.jalr", 0xF07F, 0x9002, "jalr", rd=_RA, rs1=_RD, nonzero=(_RD,)),
    Compressed("c.mv", 0xF003, 0x8002, "add", rd=_RD, rs2=_RS2, nonzero=(_RS2,)),
    Compressed("c.add", 0xF003, 0x9002, "add", rd=_RD, rs1=_RD, rs2=_RS2, nonzero=(_RS2,)),
    Compressed("c.fsdsp", 0xE003, 0xA002, "fsd", rs1=_SP, rs2=_FRS2, imm=_SDSP),
    Compressed("c.swsp", 0xE003, 0xC002, "sw", rs1=_SP, rs2=_RS2, imm=_SWSP),
    Compressed("c.sdsp", 0xE003, 0xE002, "sd", rs1=_SP, rs2=_RS2, imm=_SDSP),
    # Zcb
    Compressed("c.lbu", 0xFC03, 0x8000, "lbu", rd=_RD_, rs1=_RS1_, imm=_BYTE),
    Compressed("c.lhu", 0xFC43, 0x8400, "lhu", rd=_RD_, rs1=_RS1_, imm=_HALF),
    Compressed("c.lh", 0xFC43, 0x8440, "lh", rd=_RD_, rs1=_RS1_, imm=_HALF),
    Compressed("c.sb", 0xFC03, 0x8800, "sb", rs1=_RS1_, rs2=_RD_, imm=_BYTE),
    Compressed("c.sh", 0xFC43, 0x8C00, "sh", rs1=_RS1_, rs2=_RD_, imm=_HALF),
    _cu("c.zext.b", 0x9C61, "andi", imm=constant(255)),
    _cu("c.sext.b", 0x9C65, "sext.b"),
    _cu("c.zext.h", 0x9C69, "zext.h"),
    _cu("c.sext.h", 0x9C6D, "sext.h"),
    _cu("c.zext.w", 0x9C71, "add.uw"),
    _cu("c.not", 0x9C75, "xori", imm=constant(-1)),
    _ca("c.mul", 0x9C41, "mul"),
)
