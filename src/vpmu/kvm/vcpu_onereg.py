"""The registers of a vCPU as user space reaches them (arch/riscv/kvm/vcpu_onereg.c)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vpmu.spec.csr import Csr

if TYPE_CHECKING:
    from vpmu.hart.hart import Hart
    from vpmu.kvm.vcpu import Vcpu

GUEST_CSRS = {
    Csr.SSTATUS: "sstatus", Csr.SIE: "sie", Csr.STVEC: "stvec", Csr.SSCRATCH: "sscratch", Csr.SEPC: "sepc",
    Csr.SCAUSE: "scause", Csr.STVAL: "stval", Csr.SIP: "sip", Csr.SATP: "satp",
    Csr.SCOUNTEREN: "scounteren", Csr.SENVCFG: "senvcfg",
}  # fmt: skip
"""CSRs that user space reads and writes by ONE_REG, and the word of the hart that holds each."""


class Registers(Sequence[int]):
    """x0..x31 of a vCPU, readable and writable by index; x0 stays 0."""

    def __init__(self, hart: Hart) -> None:
        self._hart = hart

    def __getitem__(self, index: int) -> int:  # type: ignore[override]
        return self._hart.x(range(32)[index])

    def __setitem__(self, index: int, value: int) -> None:
        self._hart.set_x(range(32)[index], value)

    def __len__(self) -> int:
        return 32


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
