"""A vCPU: a guest's hart that KVM runs.

What stops the hart (ECALL, counter CSRs, WFI, MMIO, what is not delegated) is served by the modules named as
KVM's: vcpu_run, vcpu_exit, vcpu_insn and vcpu_onereg.
"""

from __future__ import annotations

from vpmu.kvm import vcpu_onereg, vcpu_run
from vpmu.kvm.interrupts import VcpuInterrupts
from vpmu.see.exits import VcpuExit
from vpmu.see.guest_hart import GuestHart


class Vcpu(GuestHart):
    """One vCPU of a machine."""

    timer_lag = 1

    def new_interrupts(self) -> VcpuInterrupts:
        return VcpuInterrupts()

    def run(self, max_instructions: int | None = None, until_ns: int | None = None) -> VcpuExit:
        """KVM_RUN: run the guest until something is user space's, at most `max_instructions` or until a
        virtual time.

        Raises KvmRunError where KVM_RUN fails with an errno.
        """
        return vcpu_run.run(self, max_instructions, until_ns)

    def one_reg_list(self) -> dict[int, int]:
        """KVM_GET_REG_LIST by type of register: how many of each there are."""
        return vcpu_onereg.register_list(self)
