"""How a run of a hart ends: what is left to who runs it. The exits of KVM_RUN, which others share.

Named tuples: every start of vpmu makes these classes, and dataclasses take ten times as long to make.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple, TypeVar


class SystemEvent(NamedTuple):
    """KVM_EXIT_SYSTEM_EVENT: type 1 shutdown, 2 reset; reason as the guest gave it."""

    type: int
    reason: int


class SbiExit(NamedTuple):
    """KVM_EXIT_RISCV_SBI: user space answers this call with (error, value)."""

    eid: int
    fid: int
    args: tuple[int, int, int, int, int, int]


class EventResumed(NamedTuple):
    """The handler of a software event is through: registers and pc are those with which the hart goes on."""

    resumed: bool = True


UserExit = SystemEvent | SbiExit


class MmioExit(NamedTuple):
    """KVM_EXIT_MMIO: an access to no memory slot. `data` is what a write stores, little-endian; a read is
    completed by user space.
    """

    gpa: int
    size: int
    is_write: bool
    data: bytes = b""


class BudgetExit(NamedTuple):
    """The instructions or the time that user space allowed are used up."""

    allowed: bool = True
    """A tuple without fields would be false."""


class IdleExit(NamedTuple):
    """The vCPU waits: stopped, or in WFI until an interrupt. `deadline` is the virtual time in ns of its
    timer, if one is set.
    """

    deadline: int | None


class HungExit(NamedTuple):
    """The guest traps for ever without retiring an instruction."""

    reason: str


class BreakpointExit(NamedTuple):
    """The hart is before an instruction with a breakpoint (hart.breakpoints), or before one that is about to
    access watched memory (hart.watchpoints).
    """

    pc: int
    watched: bool = False


VcpuExit = MmioExit | SystemEvent | SbiExit | BudgetExit | IdleExit | HungExit | BreakpointExit

_Key = TypeVar("_Key")


class Tally(Counter[_Key]):
    """A Counter that is written to as a dict is: four times as quick, since nothing is looked for in Python.
    What is not there cannot be deleted.
    """

    __delitem__ = dict.__delitem__  # type: ignore[assignment]
