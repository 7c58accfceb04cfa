"""KVM_RUN: enter the guest, serve its exits, until something is user space's (kvm_arch_vcpu_ioctl_run)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vpmu.hart.exits import Stop
from vpmu.hart.state import STATE
from vpmu.kvm.interrupts import VcpuInterrupts
from vpmu.kvm.vcpu_exit import handle
from vpmu.kvm.vcpu_insn import virtual_instruction
from vpmu.see import reset, timer
from vpmu.see.exits import BudgetExit, IdleExit, VcpuExit
from vpmu.see.limits import SLICE, STALLED_EXITS, UNLIMITED, hangs
from vpmu.see.mmio import serve_on_bus
from vpmu.see.sbi_call import sbi_call
from vpmu.see.vcpu_api import MP_STATE_STOPPED

if TYPE_CHECKING:
    from vpmu.kvm.vcpu import Vcpu

_SIP: Final = STATE["sip"]
_TIME: Final = STATE["time_ns"]
_COUNT_VU: Final = STATE["count_vu"]
_COUNT_VS: Final = STATE["count_vs"]

_BUDGET: Final = Stop.BUDGET
_ECALL: Final = Stop.ECALL
_VIRTUAL: Final = Stop.VIRTUAL
_MMIO_LOAD: Final = Stop.MMIO_LOAD
_MMIO_STORE: Final = Stop.MMIO_STORE
# Asked for at every exit: Enum.name is a descriptor, and an enum's member hashes slowly.
_STOP_NAME: Final = tuple(stop.name for stop in Stop)


def run(vcpu: Vcpu, max_instructions: int | None = None, until_ns: int | None = None) -> VcpuExit:
    """See Vcpu.run."""
    try:
        return _run(vcpu, max_instructions, until_ns)
    finally:
        if vcpu.standing is not None and vcpu.standing.stands:
            vcpu.standing.credit()


def _run(vcpu: Vcpu, max_instructions: int | None, until_ns: int | None) -> VcpuExit:
    vcpu.extensions.ran_at_least_once = True
    vcpu.open_counters()
    hart, words, interrupts, perf = vcpu.hart, vcpu.hart.words, vcpu.interrupts, vcpu.perf
    quiet, standing = perf.quiet, vcpu.standing
    assert isinstance(interrupts, VcpuInterrupts) and standing is not None  # noqa: PT018 - as vCPUs are made
    interrupts.stray = 0  # the hart has no such bit: what KVM reads back does not hold it
    if standing.some:
        standing.withdraw()
    slice_ends = 0
    limit = UNLIMITED if max_instructions is None else hart.instructions + max_instructions
    while True:
        entered = not vcpu.midway
        if entered and vcpu.at_entry is not None:
            vcpu.at_entry(vcpu)
        if vcpu.reset_to is not None:
            reset.requested(vcpu)
        if vcpu.mp_state == MP_STATE_STOPPED:
            return IdleExit(None)
        if entered and vcpu.timer is not None:
            timer.expire(vcpu)
        changed = interrupts.pending_mask or interrupts.moves_by_itself
        words[_SIP] = interrupts.flush() if changed else interrupts.hvip
        if vcpu.blocking:
            if not timer.pending(vcpu) & timer.wake_mask(vcpu):
                return IdleExit(timer.deadline(vcpu))
            vcpu.blocking = False
        retired = words[_COUNT_VU] + words[_COUNT_VS]
        if retired >= slice_ends:  # wherever exits are, so that it does not matter who answers them
            slice_ends = retired - retired % SLICE + SLICE
        left = (slice_ends if slice_ends < limit else limit) - retired
        budget = UNLIMITED
        if retired >= quiet.until or until_ns is not None or vcpu.timer is not None:
            budget = _budget(vcpu, until_ns)
        if budget <= 0 or left <= 0 or vcpu.immediate_exit:
            if left <= 0 < budget and not vcpu.immediate_exit:
                vcpu.midway = True  # it has been entered, and the limit is the caller's
            return BudgetExit()
        if not entered:
            vcpu.midway = False
        elif retired != vcpu.progress:
            vcpu.progress, vcpu.stalled = retired, 0
        elif (hung := hangs(vcpu)) is not None:
            return hung
        if budget < left:
            left = budget
        if standing.stands:
            standing.enter(words[_SIP])
        end = words[_TIME] + left
        stop = hart.run(left)
        if standing.some:
            standing.stopped(stop)
        if stop is _MMIO_LOAD or stop is _MMIO_STORE:
            stop = _serve_devices(vcpu, stop, end)
        if words[_SIP] != interrupts.hvip:
            interrupts.sync(words[_SIP])
        if words[_COUNT_VU] + words[_COUNT_VS] >= quiet.until:
            perf.poll()
        if stop is _BUDGET:
            # The caller's limit or a timer of the hart's own: it goes on as if it had not stopped.
            done = words[_COUNT_VU] + words[_COUNT_VS] - retired
            asked = bool(vcpu.immediate_exit)  # also while the guest ran
            vcpu.midway = 0 < done < budget and not asked and vcpu.stalled < STALLED_EXITS
            continue
        vcpu.exits[_STOP_NAME[stop]] += 1
        if stop is _VIRTUAL:
            virtual_instruction(vcpu)
            continue
        exit_ = sbi_call(vcpu) if stop is _ECALL else handle(vcpu, stop)
        if exit_ is not None:
            return exit_


def _serve_devices(vcpu: Vcpu, stop: Stop, end: int) -> Stop:
    """Serve the access of a hart to the in-kernel bus and run it on, until `end` or another stop."""
    hart, words = vcpu.hart, vcpu.hart.words
    bus = vcpu.io_bus or _no_bus
    while stop is _MMIO_LOAD or stop is _MMIO_STORE:
        vcpu.interrupts.sync(words[_SIP])
        if not serve_on_bus(vcpu, bus, stop is Stop.MMIO_STORE):
            return stop
        vcpu.exits[_STOP_NAME[stop]] += 1
        now = words[_TIME]
        budget = end - now
        if budget <= 0 or vcpu.immediate_exit or vcpu.stalled >= STALLED_EXITS:
            return Stop.BUDGET
        words[_SIP] = vcpu.interrupts.flush()
        stop = hart.run(budget)
        if words[_TIME] == now:
            vcpu.stalled += 1
    return stop


def _no_bus(gpa: int, size: int, is_write: bool, value: int) -> None:
    """A vCPU without devices in the kernel."""


def _budget(vcpu: Vcpu, until_ns: int | None) -> int:
    """Instructions until something has to be looked at: the timer, or the next host counter overflow."""
    budget = UNLIMITED
    if until_ns is not None or vcpu.timer is not None:
        now = vcpu.hart.time_ns
        if until_ns is not None and until_ns - now < budget:
            budget = until_ns - now
        if vcpu.timer is not None:
            budget = min(budget, timer.due_ns(vcpu, vcpu.timer) - now)
    overflow = vcpu.perf.budget()
    if overflow is not None and overflow < budget:
        budget = min(budget, max(overflow, 1))
    return budget
