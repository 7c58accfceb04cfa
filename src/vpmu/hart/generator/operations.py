"""The numbering of the handlers: an operation is an instruction, or one of its forms."""

from __future__ import annotations

from dataclasses import dataclass

from vpmu.hart import state
from vpmu.hart.isa.instruction import Instruction, Kind
from vpmu.hart.isa.rv64fd import FD_BY_NAME
from vpmu.hart.isa.table import COMPRESSED, ILLEGAL, INSTRUCTIONS

_SHORT_FORMS = frozenset(row.expands_to for row in COMPRESSED)


@dataclass(frozen=True, slots=True)
class Operation:
    """A handler: an instruction in one of its forms. `in_page`: a branch whose target is in its page."""

    name: str
    row: Instruction
    in_page: bool = False

    @property
    def lengths(self) -> tuple[int, ...]:
        """Sizes of the encodings that there are: not every instruction has one of 16 bits."""
        return (2, 4) if self.row is ILLEGAL or self.row.name in _SHORT_FORMS else (4,)


def operations() -> tuple[Operation, ...]:
    """All operations in the order of their numbers, DECODE first.

    The index of a handler is 2 * number + (length == 4).
    """
    rows = [Operation(name, ILLEGAL) for name in (*state.SPECIAL_OPERATIONS, "illegal")]
    for row in INSTRUCTIONS:
        rows.append(Operation(row.name, row))
        if row.kind in (Kind.BRANCH, Kind.JAL):
            rows.append(Operation(row.name + ".in", row, in_page=True))
    return tuple(rows)


def has_slow_path(row: Instruction) -> bool:
    """Whether something that an instruction seldom needs is a function of its own."""
    if row.kind is Kind.FP:
        return FD_BY_NAME[row.name].has_rm
    return row.kind in (Kind.LOAD, Kind.STORE, Kind.AMO, Kind.FP_LOAD, Kind.FP_STORE)


OPERATIONS = operations()
NUMBER = {operation.name: number for number, operation in enumerate(OPERATIONS)}


def record_constant(name: str, length: int = 4) -> int:
    """The record of an operation without operands."""
    return 2 * NUMBER[name] + (length == 4)
