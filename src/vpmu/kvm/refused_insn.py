"""Instructions that KVM does not emulate for a guest: they go back to it as illegal ones, and which exception
of the hart they were decides what is counted (arch/riscv/kvm/vcpu_exit.c, truly_illegal_insn).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpmu.hart.exits import Stop
from vpmu.hart.isa import hypervisor
from vpmu.profiles.behaviours import B
from vpmu.see.trap import redirect
from vpmu.spec.csr import Cause

if TYPE_CHECKING:
    from vpmu.kvm.vcpu import Vcpu

_OPCODE_SYSTEM, _CSRRW = 0x73, 1
_FW_ILLEGAL_INSN = 4
_LEVEL_2 = (0x2, 0x6, 0xA, 0xE)
HYPERVISOR_CSRS = frozenset((
    0x200, 0x204, 0x205, 0x240, 0x241, 0x242, 0x243, 0x244, 0x24D, 0x280, 0x600, 0x602, 0x603, 0x604, 0x605,
    0x606, 0x607, 0x60A, 0x643, 0x644, 0x645, 0x64A, 0x680,
))  # fmt: skip
"""Those of H that exist on a host and may be written; hgeip (0xE12) may only be read. (Privileged ISA,
"Hypervisor and Virtual Supervisor CSRs"; those of AIA and Smstateen depend on the host and are not here.)
"""
_HGEIP = 0xE12


def refused(vcpu: Vcpu, word: int, stop: Stop) -> None:
    """The engine stopped with VIRTUAL or ILLEGAL at an instruction, `word`, that nobody emulates."""
    real = _exception(word, stop)
    if real is not stop:
        vcpu.exits[stop.name] -= 1
        vcpu.exits[real.name] += 1
    if vcpu.bare or (real is Stop.ILLEGAL and not vcpu.profile.has(B.ILLEGAL_INSN_DELEGATED)):
        vcpu.pmu.incr_fw(_FW_ILLEGAL_INSN)  # of firmware's hart, which has no V, all are illegal ones
    redirect(vcpu, Cause.ILLEGAL_INSTRUCTION, word)


def _exception(word: int, stop: Stop) -> Stop:
    """What the hart of a host with H raises where V=1. The engine knows no instruction of H, and takes every
    CSR of the hypervisor's range for one that is there.
    """
    if stop is Stop.ILLEGAL:
        of_h = any(word & row.mask == row.match for row in hypervisor.INSTRUCTIONS if row.whole)
        return Stop.VIRTUAL if of_h else Stop.ILLEGAL
    csr, writes = word >> 20, word >> 12 & 3 == _CSRRW or word >> 15 & 31 != 0
    if word & 0x7F != _OPCODE_SYSTEM or not word >> 12 & 3 or csr >> 8 not in _LEVEL_2:
        return Stop.VIRTUAL
    there = csr in HYPERVISOR_CSRS or (csr == _HGEIP and not writes)
    return Stop.VIRTUAL if there else Stop.ILLEGAL
