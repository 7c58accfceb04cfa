"""Which stencils there are: for each operation, the forms that help it."""

from __future__ import annotations

from vpmu.hart import state
from vpmu.hart.generator.operations import Operation
from vpmu.hart.generator.templates import TWO_PATHS
from vpmu.hart.isa.instruction import Kind
from vpmu.hart.stencils import holes
from vpmu.hart.stencils.holes import FAR, FIRST, NEAR, NO_IMM, NO_RD, NO_RS1, NO_RS2, SLOW, TAKEN

_JUMPS = (Kind.BRANCH, Kind.JAL, Kind.JALR)
_LOADS, _STORES = (Kind.LOAD, Kind.FP_LOAD), (Kind.STORE, Kind.FP_STORE)
STENCILED = frozenset((Kind.VALUE, Kind.NOP, Kind.AMO, Kind.FP, *_JUMPS, *_LOADS, *_STORES))

ABSENT: dict[str, dict[int, str]] = {
    "addi": {NO_RS1: "rs1", NO_IMM: "imm"},  # li, mv
    "addiw": {NO_IMM: "imm"},  # sext.w
    "add": {NO_RS1: "rs1"},  # c.mv
    "sub": {NO_RS1: "rs1"},  # neg
    "sltu": {NO_RS1: "rs1"},  # snez
    **{name: {NO_RS2: "rs2"} for name in ("beq", "bne", "blt", "bge")},  # beqz...
}
"""Operands that are often x0 or 0, by the form for it."""
_BIT = {"rs1": holes.OF_RS1, "rs2": holes.OF_RS2, "imm": holes.OF_IMM}


WRITING = (Kind.VALUE, Kind.LOAD, Kind.JAL, Kind.JALR)
"""These have a form without rd."""
COMMUTING = ("add", "and", "or", "xor", "addw", "mul", "mulw", "beq", "bne")
NEAR_REGISTERS = {
    **dict.fromkeys((*WRITING, Kind.STORE, Kind.BRANCH), ("rd", "rs1", "rs2")),
    **dict.fromkeys((Kind.FP_LOAD, Kind.FP_STORE), ("rs1",)),
}
"""By kind, operands that are one of x0 to x31, and reached by a byte where the code has no jump in it."""


def has_stencil(operation: Operation) -> bool:
    """Whether there is one; what is no instruction, and what is left to its handler, has none."""
    return operation.name not in (*state.SPECIAL_OPERATIONS, "illegal") and operation.row.kind in STENCILED


def forms_of(operation: Operation) -> tuple[int, ...]:
    """The forms of an operation."""
    no_rd = (NO_RD,) * (operation.row.kind in WRITING)
    if operation.row.kind in (*_LOADS, *_STORES):
        return holes.PLAIN, FIRST, NEAR, *no_rd
    return holes.PLAIN, *ABSENT.get(operation.row.name, {}), *no_rd


def form_bits(operation: Operation) -> int:
    """What the stitcher has to know of an operation to choose its form."""
    kind = operation.row.kind
    bits = sum(_BIT[operand] for operand in ABSENT.get(operation.row.name, {}).values())
    bits |= holes.OF_RD * (kind in WRITING) | holes.COMMUTES * (operation.row.name in COMMUTING)
    return bits | holes.LOADS * (kind in _LOADS) | holes.STORES * (kind in _STORES)


def stub_of(operation: Operation) -> int:
    """The place of an operation's stub; 0 where it has none."""
    if operation.row.kind in (Kind.BRANCH, Kind.JAL):
        return TAKEN if operation.in_page else FAR
    return SLOW if operation.row.kind in TWO_PATHS else 0
