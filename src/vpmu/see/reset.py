"""A vCPU's reset: what it clears, and when a requested one is done (kvm_riscv_reset_vcpu)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpmu.profiles.behaviours import B
from vpmu.see import timer

if TYPE_CHECKING:
    from vpmu.see.guest_hart import GuestHart


def requested(vcpu: GuestHart) -> None:
    """kvm_riscv_check_vcpu_requests: a pending vCPU reset is done before the guest is entered."""
    assert vcpu.reset_to is not None
    if vcpu.blocking:  # non-retentive suspend: the reset comes with the wake-up
        timer.expire(vcpu)
        if not timer.pending(vcpu) & timer.wake_mask(vcpu):
            return
    pc, opaque = vcpu.reset_to
    vcpu.reset_to = None
    reset(vcpu)
    vcpu.hart.pc = pc
    vcpu.regs[10], vcpu.regs[11] = vcpu.hart_id, opaque


def reset(vcpu: GuestHart) -> None:
    """Registers, pending interrupts, timer and virtual PMU."""
    vcpu.hart.reset()
    configure_hart(vcpu)
    if vcpu.faults is None or vcpu.faults.ask("kvm.reset", vcpu.hart_id) is None:
        vcpu.pmu.reset()
    vcpu.interrupts.reset()
    vcpu.firmware_features.clear()
    vcpu.software_events.clear()
    vcpu.events_masked = True
    vcpu.timer = None
    vcpu.blocking = vcpu.sbi_pending = False
    vcpu.mmio = None
    if vcpu.watch is not None:
        vcpu.watch(vcpu, None, 0)


def configure_hart(vcpu: GuestHart) -> None:
    """henvcfg, which a vCPU reset does not change. ADUE is set where the ISA of the vCPU has Svadu and
    not Svade, as the recorded hosts offer it (kvm_riscv_vcpu_config_ran_once).
    """
    vcpu.hart.set("adue", not vcpu.profile.has(B.SVADU_WITHHELD))
