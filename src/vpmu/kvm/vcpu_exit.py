"""Exits but those of ECALL and counter CSRs: what KVM serves itself, and what is user space's
(arch/riscv/kvm/vcpu_exit.c).
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from vpmu.hart.exits import Stop
from vpmu.kvm import vcpu_insn
from vpmu.kvm.errors import KvmRunError
from vpmu.see import mmio
from vpmu.see.exits import HungExit, VcpuExit
from vpmu.see.trap import instruction, redirect
from vpmu.spec.csr import Cause
from vpmu.spec.sbi import U64

if TYPE_CHECKING:
    from vpmu.kvm.vcpu import Vcpu

# Firmware events that KVM counts when it sends an exception back to the guest.
_FIRMWARE_EVENT = {
    Cause.LOAD_MISALIGNED: 0,
    Cause.STORE_MISALIGNED: 1,
    Cause.LOAD_ACCESS: 2,
    Cause.STORE_ACCESS: 3,
}


def handle(vcpu: Vcpu, stop: Stop) -> VcpuExit | None:
    """Serve the stop of the hart; None: the guest goes on. Raises KvmRunError."""
    details = vcpu.hart.details
    match stop:
        case Stop.ILLEGAL:
            vcpu_insn.refuse(vcpu, instruction(vcpu), stop)
            return None
        case Stop.MMIO_LOAD | Stop.MMIO_STORE:
            is_write = stop is Stop.MMIO_STORE
            if not vcpu.bare:
                return vcpu_insn.mmio_exit(vcpu, details.a, is_write)
            if vcpu.devices(details.a):  # a device takes integer loads and stores only
                exit_ = mmio.mmio_exit(vcpu, details.a, is_write)
                if exit_ is not None:
                    return exit_
            _access_fault(vcpu, Cause.STORE_ACCESS if is_write else Cause.LOAD_ACCESS, details.c)
            return None
        case Stop.WFI:
            vcpu.hart.pc += 4
            vcpu.blocking, vcpu.suspended = True, False
            return None
        case Stop.EXCEPTION:
            if details.a in _FIRMWARE_EVENT:
                vcpu.pmu.incr_fw(_FIRMWARE_EVENT[Cause(details.a)])
            redirect(vcpu, details.a, details.b)
            return None
        case Stop.FETCH_HOLE:
            if vcpu.bare:
                pc = vcpu.hart.pc  # what was fetched is it, or the instruction's second half in the next page
                _access_fault(vcpu, Cause.FETCH_ACCESS, pc + (details.a - pc & 0xFFF) & U64)
                return None
            # gstage_page_fault emulates loads and stores only
            raise KvmRunError(
                errno.EOPNOTSUPP,
                f"instruction fetch at {vcpu.hart.pc:#x}: no memory at guest physical address {details.a:#x}",
            )
        case Stop.BREAKPOINT | Stop.WATCHPOINT:
            return vcpu.breakpoint(stop)
        case Stop.TRAP_STORM:
            return HungExit(
                f"the trap handler at {vcpu.hart.get('stvec') & ~3:#x} itself traps, for ever "
                f"(cause {vcpu.hart.get('scause')})"
            )
    raise AssertionError(stop)


def _access_fault(vcpu: Vcpu, cause: Cause, value: int) -> None:
    """Nothing answers at a physical address. Firmware takes the exception, counts it and hands it on
    (sbi_trap_handler): there is no KVM_RUN that could fail.
    """
    if cause in _FIRMWARE_EVENT:
        vcpu.pmu.incr_fw(_FIRMWARE_EVENT[cause])
    redirect(vcpu, cause, value)
