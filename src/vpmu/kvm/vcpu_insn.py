"""Instructions that KVM emulates: counter CSRs, loads and stores where there is no memory
(arch/riscv/kvm/vcpu_insn.c).
"""

from __future__ import annotations

import errno
from functools import lru_cache
from typing import TYPE_CHECKING

from vpmu.hart.events import Mode
from vpmu.kvm.exits import KvmRunError, MmioExit, VcpuExit
from vpmu.kvm.vcpu_trap import instruction, redirect
from vpmu.see.pmu import IllegalCounter
from vpmu.spec.csr import Cause, Csr
from vpmu.spec.sbi import U64, Eid

if TYPE_CHECKING:
    from vpmu.faults.injector import Injector
    from vpmu.kvm.vcpu import IoBus, Vcpu

# CSRRW and CSRRWI always write; the others write unless rs1 (or the immediate) is 0
_OPCODE_SYSTEM, _CSRRW = 0x73, 1

# --- counter CSRs


def virtual_instruction(vcpu: Vcpu) -> None:
    """The virtual-instruction exception of the instruction at pc."""
    word = instruction(vcpu)
    operation, rs1, rd = word >> 12 & 7, word >> 15 & 31, word >> 7 & 31
    if word & 0x7F != _OPCODE_SYSTEM or operation & 3 == 0:
        redirect(vcpu, Cause.ILLEGAL_INSTRUCTION, word)
        return
    try:
        value = read_counter_csr(vcpu, word >> 20, writes=operation & 3 == _CSRRW or rs1 != 0)
    except IllegalCounter:
        redirect(vcpu, Cause.ILLEGAL_INSTRUCTION, word)
        return
    if rd:
        vcpu.hart.words[rd] = value
    vcpu.hart.pc += 4


def read_counter_csr(vcpu: Vcpu, csr: int, *, writes: bool) -> int:
    """The value of a counter CSR for the guest. Raises IllegalCounter."""
    if not vcpu.pmu.csrs_trap:
        _read(vcpu, csr, writes)  # illegal: it does not retire
        vcpu.hart.advance(1)  # the hart answers, and counts the instruction in what it answers
    elif csr == Csr.SCOUNTOVF and not writes and vcpu.hart.mode is Mode.VS:
        overflowed = vcpu.scountovf()
        if overflowed is not None:
            vcpu.pmu.undetermined = True  # the host's counters, whoever uses them
            vcpu.hart.advance(1)  # the hart answers this one itself: nothing trapped
            return overflowed
    value = _read(vcpu, csr, writes)
    if vcpu.faults is not None:
        value = faulty_csr(vcpu.faults, vcpu.hart_id, csr - Csr.CYCLE, value)
    if vcpu.watch is not None:
        vcpu.watch(vcpu, csr - Csr.CYCLE, value)
    if vcpu.recorder.enabled:
        layer = "kvm" if vcpu.pmu.csrs_trap else "hart"
        vcpu.recorder.emit(layer, "csr", "read", value, hart=vcpu.hart_id, csr=csr)
    return value


def _read(vcpu: Vcpu, csr: int, writes: bool) -> int:
    return vcpu.pmu.read_csr(
        csr, writes=writes, sbi_enabled=vcpu.sbi_enabled(Eid.PMU), user_mode=vcpu.hart.mode is Mode.VU,
        scounteren=vcpu.hart.get("scounteren"),
    )  # fmt: skip


def faulty_csr(injector: Injector, hart_id: int, counter: int, value: int) -> int:
    """The value of a counter CSR after what a fault plan does to it. Raises IllegalCounter."""
    effect = injector.ask("kvm.csr", hart_id, counter=counter)
    if effect is None:
        return value
    if "illegal" in effect:
        raise IllegalCounter("injected")
    if "value" in effect:
        return int(effect["value"]) & U64  # type: ignore[call-overload, no-any-return]
    return (value + int(effect.get("add", 0)) ^ int(effect.get("xor", 0))) & U64  # type: ignore[call-overload, no-any-return]


# --- MMIO


def mmio_exit(vcpu: Vcpu, gpa: int, is_write: bool) -> VcpuExit:
    """The exit for the access at pc, which no device in the kernel serves. Raises KvmRunError as
    kvm_riscv_vcpu_mmio_load and _store do: for other instructions, and where the first byte without memory
    is not aligned for the size of the access.
    """
    access = _access(instruction(vcpu))
    if access is None:
        name, pc = _name(instruction(vcpu)), vcpu.hart.pc
        raise KvmRunError(
            errno.EOPNOTSUPP,
            f"{name} at {pc:#x} on guest physical address {gpa:#x}, where there is no memory",
        )
    register, size, sign, length = access
    if gpa & size - 1:
        raise KvmRunError(
            errno.EIO,
            f"misaligned access of {size} bytes at {vcpu.hart.pc:#x} on guest physical address {gpa:#x}, "
            "where there is no memory",
        )
    if is_write:
        vcpu.hart.pc += length
        data = (vcpu.hart.words[register] & (1 << 8 * size) - 1).to_bytes(size, "little")
        return MmioExit(gpa, size, True, data)
    vcpu.mmio = (register, size, sign, length)
    return MmioExit(gpa, size, False)


def complete_mmio(vcpu: Vcpu, value: int) -> None:
    """User space's answer to a reading MmioExit."""
    if vcpu.mmio is None:
        return
    register, size, sign, length = vcpu.mmio
    vcpu.mmio = None
    value &= (1 << 8 * size) - 1
    if sign and value >> (8 * size - 1):
        value -= 1 << 8 * size
    vcpu.hart.words[register] = value & U64
    vcpu.hart.pc += length


def serve_on_bus(vcpu: Vcpu, bus: IoBus, is_write: bool) -> bool:
    """Serve the access that stopped the hart on the in-kernel bus; False leaves it to `mmio_exit`."""
    hart = vcpu.hart
    access = _access(instruction(vcpu))
    gpa = hart.get("exit_a")
    if access is None or gpa & access[1] - 1:
        return False
    register, size, sign, length = access
    if vcpu.recorder.enabled:
        vcpu.recorder.emit("kvm", "vcpu", "mmio", hart=vcpu.hart_id, gpa=gpa, size=size, write=is_write)
    value = bus(gpa, size, is_write, hart.words[register] if is_write else 0)
    if value is None:
        return False
    if not is_write:
        if sign and value >> (8 * size - 1):
            value |= U64 << 8 * size & U64
        hart.words[register] = value
    hart.pc += length
    return True


@lru_cache(maxsize=512)
def _access(word: int) -> tuple[int, int, bool, int] | None:
    """(index of the register's word in the hart's state, size, sign extension, length) of an integer load
    or store.
    """
    # the tables cost a tenth of a payload's start, and few payloads have devices
    from vpmu.hart.isa.instruction import Kind
    from vpmu.hart.isa.table import decode

    decoded = decode(word)
    row = decoded.row
    if row.kind is Kind.STORE:
        return decoded.rs2, row.size, False, decoded.length
    if row.kind is Kind.LOAD:
        return decoded.rd, row.size, row.sign_extend, decoded.length
    return None


def _name(word: int) -> str:
    from vpmu.hart.isa.table import decode

    return decode(word).row.name
