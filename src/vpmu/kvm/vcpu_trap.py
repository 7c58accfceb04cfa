"""Traps that KVM sends to the guest, and the instruction that caused an exit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpmu.kvm.vcpu_api import GuestTrap
from vpmu.spec.sbi import U64

if TYPE_CHECKING:
    from vpmu.kvm.vcpu import Vcpu


def redirect(vcpu: Vcpu, cause: int, value: int) -> None:
    """Send a trap to the guest (kvm_riscv_vcpu_trap_redirect)."""
    if vcpu.recorder.enabled:
        vcpu.recorder.emit(
            "kvm", "vcpu", "redirect", hart=vcpu.hart_id, cause=cause, stval=value, pc=vcpu.hart.pc
        )
    vcpu.hart.inject(cause, value)


def instruction(vcpu: Vcpu) -> int:
    """The instruction word at pc (0 if it cannot be read)."""
    try:
        word = int.from_bytes(vcpu.load_virtual(vcpu.hart.pc, 2, access=2), "little")
        if word & 3 == 3:
            word |= int.from_bytes(vcpu.load_virtual(vcpu.hart.pc + 2 & U64, 2, access=2), "little") << 16
    except GuestTrap:
        return 0
    return word
