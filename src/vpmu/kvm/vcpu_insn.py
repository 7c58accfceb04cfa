"""Instructions that KVM emulates: counter CSRs, loads and stores where there is no memory
(arch/riscv/kvm/vcpu_insn.c).
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from vpmu.hart.exits import Stop
from vpmu.hart.state import STATE
from vpmu.kvm.errors import KvmRunError
from vpmu.see import mmio
from vpmu.see.counter_read import read_counter_csr
from vpmu.see.exits import MmioExit
from vpmu.see.pmu import IllegalCounter
from vpmu.see.trap import instruction
from vpmu.spec.csr import Csr
from vpmu.spec.sbi import U64

if TYPE_CHECKING:
    from vpmu.kvm.vcpu import Vcpu

# CSRRW and CSRRWI always write; the others write unless rs1 (or the immediate) is 0
_PC: Final = STATE["pc"]
_OPCODE_SYSTEM: Final = 0x73
_CSRRW: Final = 1
_COUNTERS: Final = Csr.CYCLE >> 5  # what the numbers of the counters' CSRs begin with


def virtual_instruction(vcpu: Vcpu) -> None:
    """The virtual-instruction exception of the instruction at pc."""
    word = vcpu.hart.fetched_instruction() or 0
    operation, rs1, rd = word >> 12 & 7, word >> 15 & 31, word >> 7 & 31
    if word & 0x7F != _OPCODE_SYSTEM or operation & 3 == 0:
        refuse(vcpu, word, Stop.VIRTUAL)
        return
    try:
        value = read_counter_csr(vcpu, word >> 20, writes=operation & 3 == _CSRRW or rs1 != 0)
    except IllegalCounter:
        refuse(vcpu, word, Stop.VIRTUAL)
        return
    if word >> 25 == _COUNTERS and vcpu.standing is not None:
        vcpu.standing.read(word >> 20 & 31)
    words = vcpu.hart.words
    if rd:
        words[rd] = value
    words[_PC] = words[_PC] + 4 & U64


def refuse(vcpu: Vcpu, word: int, stop: Stop) -> None:
    """See refused_insn.refused."""
    from vpmu.kvm.refused_insn import refused  # which few guests need

    if vcpu.standing is not None:
        vcpu.standing.withdraw()
    refused(vcpu, word, stop)


def mmio_exit(vcpu: Vcpu, gpa: int, is_write: bool) -> MmioExit:
    """The exit for the access at pc, which no device in the kernel serves. Raises KvmRunError as
    kvm_riscv_vcpu_mmio_load and _store do: for other instructions, and where the first byte without memory
    is not aligned for the size of the access.
    """
    exit_ = mmio.mmio_exit(vcpu, gpa, is_write)
    if exit_ is not None:
        return exit_
    pc, word = vcpu.hart.pc, instruction(vcpu)
    access = mmio.access_of(word)
    if access is None:
        raise KvmRunError(
            errno.EOPNOTSUPP,
            f"{_name(word)} at {pc:#x} on guest physical address {gpa:#x}, where there is no memory",
        )
    raise KvmRunError(
        errno.EIO,
        f"misaligned access of {access[1]} bytes at {pc:#x} on guest physical address {gpa:#x}, "
        "where there is no memory",
    )


def _name(word: int) -> str:
    from vpmu.hart.isa.table import decode

    return decode(word).row.name
