"""What a row of an instruction table says: encoding, operands, meaning, class."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from vpmu.hart.semantics import signed


class Kind(Enum):
    """How an instruction uses its semantics; the generator has one template for each."""

    VALUE = "rd = expression"
    LOAD = "rd = memory[rs1 + imm]"
    STORE = "memory[rs1 + imm] = rs2"
    AMO = "rd = memory[rs1]; memory[rs1] = expression over (old, rs2)"
    BRANCH = "if expression: pc += imm"
    JAL = "rd = pc + length; pc += imm"
    JALR = "rd = pc + length; pc = rs1 + imm"
    SYSTEM = "a function of privileged/ that sees the whole state"
    NOP = "nothing but retiring"
    FP_LOAD = "f[rd] = memory[rs1 + imm]"
    FP_STORE = "memory[rs1 + imm] = f[rs2]"
    FP = "a computation of F or D: rd = operation(rs1, rs2, rs3), flags accrued"


@dataclass(frozen=True, slots=True)
class Field:
    """An operand cut out of the instruction word: pieces (source high bit, source low bit, destination low
    bit).
    """

    pieces: tuple[tuple[int, int, int], ...]
    is_signed: bool = False
    offset: int = 0  # added to the result: x8 for the three-bit registers of the C extension
    constant: int | None = None

    @property
    def width(self) -> int:
        return max(low + high_bit - low_bit + 1 for high_bit, low_bit, low in self.pieces)

    def extract(self, word: int) -> int:
        """The operand in `word`, sign-extended when the field is signed (a Python int, possibly negative)."""
        if self.constant is not None:
            return self.constant
        value = sum(
            (word >> low_bit & ((1 << high_bit - low_bit + 1) - 1)) << low
            for high_bit, low_bit, low in self.pieces
        )
        return (signed(value, self.width) if self.is_signed else value) + self.offset


def bits(spec: str, is_signed: bool = False, offset: int = 0) -> Field:
    """A field in the manual's notation: `"31:20"` or, scattered, `"31=12 30:25=10:5 11:8=4:1 7=11"`."""
    pieces = []
    for part in spec.split():
        source, _, target = part.partition("=")
        high, _, low = source.partition(":")
        if not target:
            target = str(int(high) - int(low or high))
            pieces.append((int(high), int(low or high), 0))
            continue
        # the target may list several ranges that the source bits fill from the top: "12:5=5:4|9:6|2|3"
        top = int(high)
        for destination in target.split("|"):
            d_high, _, d_low = destination.partition(":")
            count = int(d_high) - int(d_low or d_high) + 1
            pieces.append((top, top - count + 1, int(d_low or d_high)))
            top -= count
        if top + 1 != int(low or high):
            raise ValueError(f"field {part!r}: source and target differ in width")
    return Field(tuple(pieces), is_signed, offset)


def constant(value: int) -> Field:
    """An operand that the encoding implies."""
    return Field((), constant=value)


ZERO = constant(0)
RD, RS1, RS2 = bits("11:7"), bits("19:15"), bits("24:20")


@dataclass(frozen=True, slots=True)
class Format:
    """Operands of an encoding: where rd, rs1, rs2 and the immediate come from."""

    name: str
    rd: Field = ZERO
    rs1: Field = ZERO
    rs2: Field = ZERO
    imm: Field = ZERO


R = Format("R", RD, RS1, RS2)
I = Format("I", RD, RS1, ZERO, bits("31:20", is_signed=True))  # noqa: E741 - the manual's name
SHIFT = Format("I-shamt", RD, RS1, ZERO, bits("25:20"))
SHIFTW = Format("I-shamt5", RD, RS1, ZERO, bits("24:20"))
S = Format("S", ZERO, RS1, RS2, bits("31:25=11:5 11:7=4:0", is_signed=True))
B = Format("B", ZERO, RS1, RS2, bits("31=12 30:25=10:5 11:8=4:1 7=11", is_signed=True))
U = Format("U", RD, ZERO, ZERO, bits("31:12", is_signed=True))
J = Format("J", RD, ZERO, ZERO, bits("31=20 30:21=10:1 20=11 19:12=19:12", is_signed=True))
CSR = Format("CSR", RD, RS1, ZERO, bits("31:20"))


@dataclass(frozen=True, slots=True)
class Instruction:
    """One operation: name, encoding (`word & mask == match`), operands, meaning in the semantics language,
    class.
    """

    name: str
    format: Format
    mask: int
    match: int
    kind: Kind
    semantics: str = ""
    size: int = 0  # bytes of memory accessed
    sign_extend: bool = False
    event: str | None = None  # class counter (state.CLASS_COUNTERS) that it increments
    extra_event: str | None = None  # an atomic is also a load or a store
    needs: str = ""  # bit of the hart's word `isa` (spec.privileged) without which it is no instruction
    whole: bool = False  # of M mode or a hypervisor: only a hart with all its modes knows it


@dataclass(frozen=True, slots=True)
class Compressed:
    """A 16-bit encoding and the 32-bit operation that it stands for."""

    name: str
    mask: int
    match: int
    expands_to: str
    rd: Field = ZERO
    rs1: Field = ZERO
    rs2: Field = ZERO
    imm: Field = ZERO
    nonzero: tuple[Field, ...] = field(
        default=()
    )  # encodings in which one of these is zero are not this instruction


def value(
    name: str, form: Format, mask: int, match: int, semantics: str, event: str | None = None, needs: str = ""
) -> Instruction:
    """A row `rd = semantics`."""
    return Instruction(name, form, mask, match, Kind.VALUE, semantics, event=event, needs=needs)
