"""Traps that KVM sends to the guest, and the instruction that caused an exit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vpmu.see.guest_hart import GuestHart


def redirect(vcpu: GuestHart, cause: int, value: int) -> None:
    """Send a trap to the guest (kvm_riscv_vcpu_trap_redirect)."""
    if vcpu.recorder.enabled:
        vcpu.recorder.emit(
            "kvm", "vcpu", "redirect", hart=vcpu.hart_id, cause=cause, stval=value, pc=vcpu.hart.pc
        )
    vcpu.hart.inject(cause, value)


def instruction(vcpu: GuestHart) -> int:
    """The instruction at pc as the hart fetched it: the guest may have unmapped it since, without a fence."""
    return vcpu.hart.fetched_instruction() or 0
