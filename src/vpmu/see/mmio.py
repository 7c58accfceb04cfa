"""Loads and stores where there is no memory: devices served at once, or by who runs the hart."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from vpmu.see.exits import MmioExit
from vpmu.see.trap import instruction
from vpmu.spec.sbi import U64

if TYPE_CHECKING:
    from vpmu.see.guest_hart import GuestHart, IoBus


def mmio_exit(vcpu: GuestHart, gpa: int, is_write: bool) -> MmioExit | None:
    """The exit for the access at pc, which no device on the bus serves. None: it is no integer load or store,
    or not aligned for its size.
    """
    access = access_of(instruction(vcpu))
    if access is None or gpa & access[1] - 1:
        return None
    register, size, sign, length = access
    if is_write:
        vcpu.hart.pc += length
        data = (vcpu.hart.words[register] & (1 << 8 * size) - 1).to_bytes(size, "little")
        return MmioExit(gpa, size, True, data)
    vcpu.mmio = (register, size, sign, length)
    return MmioExit(gpa, size, False)


def complete_mmio(vcpu: GuestHart, value: int) -> None:
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


def serve_on_bus(vcpu: GuestHart, bus: IoBus, is_write: bool) -> bool:
    """Serve the access that stopped the hart on the in-kernel bus; False leaves it to `mmio_exit`."""
    hart = vcpu.hart
    access = access_of(instruction(vcpu))
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
def access_of(word: int) -> tuple[int, int, bool, int] | None:
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
