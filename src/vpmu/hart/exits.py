"""Why an engine stopped. The values are shared by the generated code and by Python."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Stop(IntEnum):
    """Reason of the last stop; `exit_a`, `exit_b`, `exit_c` of the state hold the details named here."""

    NONE = 0
    BUDGET = 1  # the budget is spent; pc is the next instruction
    ECALL = 2  # ECALL in VS mode; pc stays on it
    VIRTUAL = 3  # virtual-instruction exception: a = instruction word
    ILLEGAL = 4  # illegal instruction that is not delegated to the guest: a = instruction word
    MMIO_LOAD = 5  # a = guest physical address, b = size, c = guest virtual address
    MMIO_STORE = 6
    FETCH_HOLE = 7  # instruction fetch where there is no memory: a = guest physical address
    WFI = 8  # WFI with nothing pending; pc stays on it
    TRAP_STORM = 9  # many traps without one retired instruction
    EXCEPTION = 10  # an exception that is not delegated: a = cause, b = stval
    CSR = 11  # an access to a CSR of the PMU that Python keeps; pc stays on it
    BREAKPOINT = 12  # before an instruction that a breakpoint is on (breakpoints.py): a = its host address
    WATCHPOINT = 13  # before a watched access (watchpoints.py): a = physical address, b = size, c = kind


class Details(NamedTuple):
    """The three words that go with a stop (see Stop)."""

    a: int
    b: int
    c: int
