"""A hart with all its modes whose M mode Python plays: SBI calls, counters, and devices of an HS-mode system.

Nothing is emulated for the supervisor: traps go where the hart's own rules send them, and what comes out is
the ECALL, a CSR of the PMU, WFI and MMIO.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpmu.hart.events import Mode
from vpmu.hart.exits import Stop
from vpmu.hart.state import STATE
from vpmu.see import mmio, reset, timer
from vpmu.see.counter_read import read_counter_csr
from vpmu.see.exits import BudgetExit, HungExit, IdleExit, VcpuExit
from vpmu.see.guest_hart import GuestHart
from vpmu.see.limits import SLICE, UNLIMITED, hangs
from vpmu.see.pmu import IllegalCounter
from vpmu.see.sbi_call import sbi_call
from vpmu.see.vcpu_api import MP_STATE_STOPPED
from vpmu.spec.csr import Cause

if TYPE_CHECKING:
    from vpmu.hart.whole import WholeHart

_SIP = STATE["sip"]
_STOP_NAME = tuple(stop.name for stop in Stop)


class Supervisor(GuestHart):
    """A hart in S mode above firmware that Python plays."""

    hart: WholeHart

    def run(self, max_instructions: int | None = None, until_ns: int | None = None) -> VcpuExit:
        """Run the hart until something is the machine's, at most `max_instructions` or until a time."""
        self.extensions.ran_at_least_once = True
        self.open_counters()
        hart = self.hart
        limit = UNLIMITED if max_instructions is None else hart.instructions + max_instructions
        while True:
            entered = not self.midway
            if entered and self.at_entry is not None:
                self.at_entry(self)
                self.perf.poll()  # an overflow that a fault plan holds back may be due
            if self.reset_to is not None:
                reset.requested(self)
            if self.mp_state == MP_STATE_STOPPED:
                return IdleExit(None)
            if entered and self.timer is not None:
                timer.expire(self)
            self._present_interrupts()
            if self.blocking:
                if not hart.can_wake():
                    return IdleExit(self.timer_ns)
                self.blocking = False
            retired = hart.instructions
            left = min(limit - retired, SLICE)
            budget = self._budget(until_ns)
            if budget <= 0 or left <= 0 or self.immediate_exit:
                if left <= 0 < budget and not self.immediate_exit:
                    self.midway = True  # it has been entered, and the limit is the caller's
                return BudgetExit()
            if not entered:
                self.midway = False
            elif retired != self.progress:
                self.progress, self.stalled = retired, 0
            elif (hung := hangs(self)) is not None:
                return hung
            stop = hart.run(min(budget, left))
            self._take_back_interrupts()
            self.perf.poll()
            if stop is Stop.BUDGET:
                # The caller's limit or a timer of the hart's own: it goes on as if it had not stopped.
                self.midway = 0 < hart.instructions - retired < budget
                continue
            self.exits[_STOP_NAME[stop]] += 1
            exit_ = sbi_call(self) if stop is Stop.ECALL else self._handle(stop)
            if exit_ is not None:
                return exit_

    def _present_interrupts(self) -> None:
        """Before an entry: what firmware and devices raise is what the supervisor finds in sip."""
        interrupts = self.interrupts
        changed = interrupts.pending_mask or interrupts.moves_by_itself
        self.hart.words[_SIP] = interrupts.flush() if changed else interrupts.hvip

    def _take_back_interrupts(self) -> None:
        """After an exit: what the supervisor did to its sip."""
        bits = self.hart.words[_SIP]
        if bits != self.interrupts.hvip:
            self.interrupts.sync(bits)

    @property
    def timer_ns(self) -> int | None:
        """Virtual time at which something of this hart may happen by itself."""
        own, firmware = self.hart.next_timer_ns(), super().timer_ns
        times = [at for at in (own, firmware) if at is not None]
        if self.faults is not None:
            times += self.faults.until  # something that is late
        return min(times, default=None)

    def sleeps(self, now_ns: int) -> bool:
        """Whether the hart has nothing to do at virtual time `now_ns`."""
        if self.mp_state == MP_STATE_STOPPED:
            return True
        if not self.blocking:
            return False
        timer = self.timer_ns
        if timer is not None and timer <= now_ns:
            return False
        self._present_interrupts()
        return not self.hart.can_wake()

    def _budget(self, until_ns: int | None) -> int:
        """Instructions until firmware's timer, or an overflow. The hart's own timers end a run."""
        now = self.hart.time_ns
        bounds = [UNLIMITED]
        if until_ns is not None:
            bounds.append(until_ns - now)
        if self.timer is not None:
            bounds.append(timer.due_ns(self, self.timer) - now)
        overflow = self.perf.budget()
        if overflow is not None:
            bounds.append(max(overflow, 1))
        return min(bounds)

    def _handle(self, stop: Stop) -> VcpuExit | None:
        hart = self.hart
        match stop:
            case Stop.BREAKPOINT | Stop.WATCHPOINT:
                return self.breakpoint(stop)
            case Stop.MMIO_LOAD | Stop.MMIO_STORE:
                return self._device(stop is Stop.MMIO_STORE)
            case Stop.CSR:
                self._counter_csr()
                return None
            case Stop.WFI:  # the interrupt that ends it is taken behind it (privileged ISA 3.3.3)
                hart.advance(1)
                hart.count_class("system")
                hart.pc += 4
                self.perf.poll()  # where it wraps a counter itself
                self.blocking, self.suspended = True, False
                return None
            case Stop.EXCEPTION:
                return HungExit(
                    f"exception {hart.details.a} at pc {hart.pc:#x}, which nobody handles: "
                    "medeleg keeps it in M mode, where Python plays the firmware"
                )
            case Stop.TRAP_STORM:
                level = "m" if hart.mode is Mode.M else "s"
                return HungExit(
                    f"the trap handler at {hart.get(level + 'tvec') & ~3:#x} itself traps, for ever "
                    f"(cause {hart.get(level + 'cause'):#x}, mode {hart.mode.name})"
                )
        raise AssertionError(stop)

    def _device(self, is_write: bool) -> VcpuExit | None:
        hart = self.hart
        physical, virtual = hart.get("exit_a"), hart.get("exit_c")
        if self.io_bus is not None and mmio.serve_on_bus(self, self.io_bus, is_write):
            return None
        if self.devices(physical):  # a device takes integer loads and stores only
            exit_ = mmio.mmio_exit(self, physical, is_write)
            if exit_ is not None:
                return exit_
        hart.inject(Cause.STORE_ACCESS if is_write else Cause.LOAD_ACCESS, virtual)
        return None

    def _counter_csr(self) -> None:
        hart = self.hart
        word = hart.fetched_instruction() or 0
        try:
            value = read_counter_csr(self, word >> 20, writes=False)
        except IllegalCounter:
            hart.inject(Cause.ILLEGAL_INSTRUCTION, word)
            return
        rd = word >> 7 & 31
        if rd:
            hart.words[rd] = value
        hart.pc += 4
