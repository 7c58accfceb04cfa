"""A hart whose M mode is software on it: Python plays devices and keeps the PMU's CSRs, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpmu.firmware.supervisor import Supervisor
from vpmu.hart.pmu_csrs import MCYCLE, NoCsr, PmuCsrs
from vpmu.hart.state import STATE
from vpmu.see.counter_read import faulty_csr
from vpmu.see.pmu import IllegalCounter
from vpmu.spec.csr import Cause, Csr
from vpmu.spec.privileged import IP_LCOFI

if TYPE_CHECKING:
    from vpmu.firmware.injection import Lines

_SIP, _LINES = STATE["sip"], STATE["lines"]
_COUNTERS = (Csr.CYCLE >> 5, MCYCLE >> 5)
_WRITE, _SET = 1, 2  # funct3 of CSRRW and CSRRS; CSRRC is 3


class BareHart(Supervisor):
    """A hart that starts in M mode, and its PMU's CSRs."""

    csrs: PmuCsrs
    lines: Lines | None = None
    """What a fault plan does to the interrupt lines."""

    def set_interrupt(self, irq: int) -> None:
        if self.lines is None or self.lines.raises(irq):
            self.set_line(irq, level=True)

    def unset_interrupt(self, irq: int) -> None:
        self.set_line(irq, level=False)
        if self.lines is not None:
            self.lines.lowered(irq)

    def set_line(self, irq: int, *, level: bool) -> None:
        """Raise or withdraw an interrupt line of a device."""
        if not level:
            self.hart.words[_LINES] &= ~(1 << irq)
            return
        self.hart.words[_LINES] |= 1 << irq
        if self.wakes is not None and self.blocking:
            self.wakes()

    def overflowed(self, counter: int) -> None:
        """OF of a counter went from 0 to 1: LCOFIP is set, once (Sscofpmf)."""
        self.overflows += 1
        self.pmu.last_overflow = counter
        if self.overflow_seen is not None:
            self.overflow_seen(self)
        self.hart.words[_SIP] |= IP_LCOFI

    def open_counters(self) -> None:
        """The hart's counters are its own: traces do not see them read, and a fault plan only where it wants
        to.
        """
        if self.published is not None:
            self.published.answer(self.faults is None or not self.faults.wants("kvm.csr"))

    def reset(self) -> None:
        """Power on: M mode at the reset vector's work done, all counters at rest."""
        self.hart.reset()
        self.csrs.reset()
        self.blocking = False
        self.mmio = None

    def _present_interrupts(self) -> None:
        """What devices raise are lines; the rest is the hart's own."""

    def _take_back_interrupts(self) -> None:
        """The latches are the hart's own."""

    def _counter_csr(self) -> None:
        hart, word = self.hart, self.hart.fetched_instruction() or 0
        csr, funct3, source, rd = word >> 20, word >> 12 & 7, word >> 15 & 31, word >> 7 & 31
        operand = source if funct3 & 4 else hart.x(source)
        operation = funct3 & 3
        try:
            old = self.csrs.read(csr)
        except NoCsr:
            hart.inject(Cause.ILLEGAL_INSTRUCTION, word)
            return
        if csr == Csr.SCOUNTOVF:
            old &= hart.get("exit_a")  # what the counter enables show
        shown = old
        if self.faults is not None and csr >> 5 in _COUNTERS:
            try:
                shown = faulty_csr(self.faults, self.hart_id, csr & 31, old)
            except IllegalCounter:
                hart.inject(Cause.ILLEGAL_INSTRUCTION, word)
                return
        hart.advance(1)  # what is written holds from the next instruction on
        hart.count_class("csr")
        if operation == _WRITE or source:
            new = operand if operation == _WRITE else old | operand if operation == _SET else old & ~operand
            self.csrs.write(csr, new)
        hart.set_x(rd, shown)
        hart.pc += 4
        self.perf.poll()  # where the access itself wraps a counter
