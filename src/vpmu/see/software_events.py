"""Supervisor software events on a hart: where their handler is entered, and what it comes back to (SBI 3.0,
chapter "Supervisor Software Events Extension"; lib/sbi/sbi_sse.c of OpenSBI).

What belongs to an event is a row of attributes in the specification's order; see `Attribute`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from vpmu.profiles.opensbi_behaviours import OB
from vpmu.spec.csr import SSTATUS_SIE, SSTATUS_SPIE, SSTATUS_SPP
from vpmu.spec.sbi import U64

if TYPE_CHECKING:
    from vpmu.see.guest_hart import GuestHart

U_MODE, S_MODE = 0, 1
GLOBAL = 1 << 15
"""Bit of the number of an event that belongs to no hart."""
STATES = 3
PENDING, INJECTABLE = 1 << 2, 1 << 3
UNUSED, REGISTERED, ENABLED, RUNNING = range(4)
"""Bits of the attribute STATUS, and the states in its two lowest."""


class Attribute(IntEnum):
    """Attributes of an event, by number."""

    STATUS = 0
    PRIORITY = 1
    CONFIG = 2
    PREFERRED_HART = 3
    ENTRY_PC = 4
    ENTRY_ARG = 5
    INTERRUPTED_SEPC = 6
    INTERRUPTED_FLAGS = 7
    INTERRUPTED_A6 = 8
    INTERRUPTED_A7 = 9


Events = dict[int, list[int]]
"""Attributes by the number of the event; those of GLOBAL ones are with the first hart."""


def events_of(vcpu: GuestHart) -> list[tuple[int, list[int]]]:
    """What the hart would take, the most urgent first: by priority, then by number."""
    found = {number: row for number, row in vcpu.software_events.items() if not number & GLOBAL}
    for number, row in vcpu.vcpus[0].software_events.items():
        if number & GLOBAL and row[Attribute.PREFERRED_HART] == vcpu.hart_id:
            found[number] = row
    return sorted(found.items(), key=lambda one: (one[1][Attribute.PRIORITY], one[0]))


def deliver(vcpu: GuestHart) -> None:
    """On the way back to the supervisor: enter the handler of the most urgent event that is enabled and
    pending, unless one that is as urgent runs (sbi_sse_process_pending_events).
    """
    if vcpu.events_masked:
        return
    for _, row in events_of(vcpu):
        state = row[Attribute.STATUS] & STATES
        if state == RUNNING:
            return
        if state == ENABLED and row[Attribute.STATUS] & PENDING:
            _enter(vcpu, row)
            return


def interrupt(vcpu: GuestHart) -> None:
    """Another hart made an event pending here: firmware's interrupt, wherever the hart is. One whose firmware
    or user space has yet to answer takes it on its next way back, and so does one that runs a guest (V=1).
    """
    at_rest = vcpu.mmio is None and not vcpu.sbi_pending and vcpu.reset_to is None
    if at_rest and not (vcpu.hart.whole and vcpu.hart.get("virt")):
        deliver(vcpu)
        if vcpu.wakes is not None:
            vcpu.wakes()


def _enter(vcpu: GuestHart, row: list[int]) -> None:
    hart = vcpu.hart
    status, supervisor = hart.get("sstatus"), hart.get("mode") == S_MODE
    row[Attribute.STATUS] = row[Attribute.STATUS] & ~(STATES | PENDING) | RUNNING
    if vcpu.profile.has(OB.OPENSBI_SSE_STATUS_ALL_ONES):
        row[Attribute.STATUS] = U64 & ~PENDING
    row[Attribute.INTERRUPTED_SEPC] = hart.get("sepc")
    row[Attribute.INTERRUPTED_FLAGS] = bool(status & SSTATUS_SPP) | bool(status & SSTATUS_SPIE) << 1
    row[Attribute.INTERRUPTED_A6], row[Attribute.INTERRUPTED_A7] = vcpu.regs[16], vcpu.regs[17]
    entered = status & ~(SSTATUS_SPP | SSTATUS_SPIE | SSTATUS_SIE)
    entered |= SSTATUS_SPP * supervisor | SSTATUS_SPIE * bool(status & SSTATUS_SIE)
    hart.set("sstatus", entered)
    hart.set("sepc", hart.pc)
    hart.set("mode", S_MODE)
    vcpu.regs[16], vcpu.regs[17] = vcpu.hart_id, row[Attribute.ENTRY_ARG]
    hart.pc = row[Attribute.ENTRY_PC]
    vcpu.blocking = False


def leave(vcpu: GuestHart, row: list[int]) -> None:
    """The handler is through: the hart goes on where it was (sse_event_resume)."""
    hart = vcpu.hart
    status, flags = hart.get("sstatus"), row[Attribute.INTERRUPTED_FLAGS]
    hart.pc = hart.get("sepc")
    hart.set("mode", S_MODE if status & SSTATUS_SPP else U_MODE)
    back = status & ~(SSTATUS_SPP | SSTATUS_SPIE | SSTATUS_SIE)
    back |= SSTATUS_SIE * bool(status & SSTATUS_SPIE)
    back |= SSTATUS_SPP * (flags & 1) | SSTATUS_SPIE * (flags >> 1 & 1)
    hart.set("sstatus", back)
    hart.set("sepc", row[Attribute.INTERRUPTED_SEPC])
    vcpu.regs[16], vcpu.regs[17] = row[Attribute.INTERRUPTED_A6], row[Attribute.INTERRUPTED_A7]
