"""The timer of a vCPU, and what it waits for: kvm_riscv_vcpu_timer_*, kvm_arch_vcpu_runnable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpmu.hart.state import STATE, TICK_NS
from vpmu.see.vcpu_api import MP_STATE_STOPPED
from vpmu.spec.csr import Irq

if TYPE_CHECKING:
    from vpmu.see.guest_hart import GuestHart

NEVER = (1 << 64) - 1
_SIE = STATE["sie"]
_STIP = 1 << Irq.TIMER


def arm(vcpu: GuestHart, next_cycle: int) -> None:
    """The timer interrupt comes when `time` reaches `next_cycle`, all ones: never; a pending one is gone, and
    one whose time is over comes at once. A hart with Sstc compares itself (kvm_riscv_vcpu_update_vstimecmp).
    """
    if vcpu.hart.set_own_timer(next_cycle):
        return
    vcpu.timer = None if next_cycle == NEVER else next_cycle
    vcpu.interrupts.unset(Irq.TIMER)
    if vcpu.hart.time_ns // TICK_NS >= next_cycle:
        _expired(vcpu)


def expire(vcpu: GuestHart) -> None:
    """Raise the timer interrupt if its time has come."""
    if vcpu.timer is not None and vcpu.hart.time_ns >= due_ns(vcpu, vcpu.timer):
        _expired(vcpu)


def _expired(vcpu: GuestHart) -> None:
    vcpu.timer = None
    vcpu.interrupts.set(Irq.TIMER)


def due_ns(vcpu: GuestHart, cycle: int) -> int:
    """Virtual time at which the interrupt of a timer comes, whatever exits there are before.

    While the guest runs: a tick after its time (`timer_lag`). KVM's hrtimer is never early and reaches the
    guest by an exit, so that a guest which has just read `time` never finds the interrupt ahead of what it
    read. A guest that waits has nothing to read.
    """
    return (cycle + (0 if vcpu.blocking else vcpu.timer_lag)) * TICK_NS


def deadline(vcpu: GuestHart) -> int | None:
    """Virtual time in ns at which the timer interrupt, or one that is late, ends waiting; None: nothing is
    set.
    """
    if vcpu.timer is not None:
        own: int | None = vcpu.timer * TICK_NS
    else:
        own = vcpu.hart.next_timer_ns() if wake_mask(vcpu) & _STIP else None
    late = vcpu.interrupts.due_ns
    return own if late is None else late if own is None else min(own, late)


def pending(vcpu: GuestHart) -> int:
    """What the guest finds in sip at its next entry."""
    return vcpu.interrupts.flush() | vcpu.hart.own_timer_bit


def wake_mask(vcpu: GuestHart) -> int:
    """The interrupts that end waiting: those that sie enables, or, in a suspension, all of them."""
    return NEVER if vcpu.suspended else vcpu.hart.words[_SIE] & vcpu.wakes_by


def sleeps(vcpu: GuestHart, now_ns: int) -> bool:
    """True where nothing is to do at virtual time `now_ns`: stopped, or waiting for an interrupt."""
    if vcpu.mp_state == MP_STATE_STOPPED:
        return True
    if not vcpu.blocking:
        return False
    due = deadline(vcpu)
    if due is not None and due <= now_ns:
        return False
    return not pending(vcpu) & wake_mask(vcpu)
