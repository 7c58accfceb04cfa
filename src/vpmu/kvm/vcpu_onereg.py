"""The registers of a vCPU as user space reaches them (arch/riscv/kvm/vcpu_onereg.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpmu.see.registers import GUEST_CSRS

if TYPE_CHECKING:
    from vpmu.kvm.vcpu import Vcpu


def register_list(vcpu: Vcpu) -> dict[int, int]:
    """KVM_GET_REG_LIST by type of register: how many of each there are; none of them is the PMU's."""
    return {
        0x01: vcpu.profile.config_registers,
        0x02: 33,  # core: pc, x1..x31, mode
        0x03: len(GUEST_CSRS),
        0x04: 4,  # timer
        0x05: 33,  # F: f0..f31, fcsr
        0x06: 33,  # D
        0x07: vcpu.profile.isa_registers,
        0x08: len(vcpu.profile.extensions) - (not vcpu.pmu.available),
        0x0A: 2,  # SBI state: the steal-time area
    }
