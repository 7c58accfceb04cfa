"""A guest without machine code: what it does in VS mode, done for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpmu.hart.state import TICK_NS
from vpmu.see import timer
from vpmu.see.counter_read import read_counter_csr
from vpmu.see.pmu import IllegalCounter
from vpmu.see.registers import GUEST_CSRS
from vpmu.see.vcpu_api import GuestTrap
from vpmu.spec.csr import Cause, Csr
from vpmu.spec.sbi import Eid, SbiRet

if TYPE_CHECKING:
    from vpmu.see.guest_hart import GuestHart


def pmu_call(vcpu: GuestHart, fid: int, *args: int) -> tuple[int, int]:
    """A call of the PMU extension: (error, value). Raises KvmRunError, GuestTrap."""
    answer = vcpu.ecall(Eid.PMU, fid, *args)
    assert isinstance(answer, SbiRet)  # it is KVM's own: no exit to user space
    return answer.error, answer.value or 0


def csr_read(vcpu: GuestHart, csr: int) -> int:
    """Read a CSR. Raises GuestTrap where that traps."""
    if csr in GUEST_CSRS:
        return timer.pending(vcpu) if csr == Csr.SIP else vcpu.hart.get(GUEST_CSRS[Csr(csr)])
    if csr == Csr.STIMECMP and "sstc" in vcpu.hart.isa:
        return vcpu.hart.get("stimecmp")
    if csr == Csr.TIME:
        return vcpu.hart.time_ns // TICK_NS
    try:
        return read_counter_csr(vcpu, csr, writes=False)
    except IllegalCounter:
        raise GuestTrap(Cause.ILLEGAL_INSTRUCTION, csr << 20 | 0x2073) from None


def work(vcpu: GuestHart, instructions: int) -> None:
    """Retire `instructions`, overflowing counters exactly where they would."""
    while instructions > 0:
        if vcpu.at_entry is not None:
            vcpu.at_entry(vcpu)
        overflow = vcpu.perf.budget()
        step = instructions if overflow is None else min(instructions, max(overflow, 1))
        vcpu.hart.advance(step)
        vcpu.perf.poll()
        instructions -= step
