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


_SINK = 32  # where what is loaded into x0 goes
_RD, _RS2, _SHORT_RS2, _PRIME = (7, 31, 0), (20, 31, 0), (2, 31, 0), (2, 7, 8)
_ACCESSES = (
    *((0x707F, kind << 12 | 0x03, _RD, 1 << (kind & 3), kind < 3) for kind in range(7)),  # lb to lwu
    *((0x707F, kind << 12 | 0x23, _RS2, 1 << kind, False) for kind in range(4)),  # sb to sd
    (0xE003, 0x4000, _PRIME, 4, True), (0xE003, 0xC000, _PRIME, 4, False),  # c.lw, c.sw
    (0xE003, 0x6000, _PRIME, 8, False), (0xE003, 0xE000, _PRIME, 8, False),  # c.ld, c.sd
    (0xE003, 0x4002, _RD, 4, True), (0xE003, 0xC002, _SHORT_RS2, 4, False),  # c.lwsp, c.swsp
    (0xE003, 0x6002, _RD, 8, False), (0xE003, 0xE002, _SHORT_RS2, 8, False),  # c.ldsp, c.sdsp
    (0xFC03, 0x8000, _PRIME, 1, False), (0xFC43, 0x8400, _PRIME, 2, False),  # c.lbu, c.lhu
    (0xFC43, 0x8440, _PRIME, 2, True),  # c.lh
    (0xFC03, 0x8800, _PRIME, 1, False), (0xFC43, 0x8C00, _PRIME, 2, False),  # c.sb, c.sh
)  # fmt: skip
"""Mask and match of the integer loads and stores; the register's field (lowest bit, mask, first register);
bytes, sign extension. By hand, as kvm_riscv_vcpu_mmio_load has it: the tables of all instructions take 8 ms.
"""


@lru_cache(maxsize=512)
def access_of(word: int) -> tuple[int, int, bool, int] | None:
    """(index of the register's word in the hart's state, size, sign extension, length) of an integer load
    or store.
    """
    length = 4 if word & 3 == 3 else 2
    for mask, match, (low, bits, first), size, sign in _ACCESSES:
        if word & mask == match:
            register = (word >> low & bits) + first
            if not register and low == _RD[0]:
                return (_SINK, size, sign, length) if length == 4 else None  # short ones: reserved
            return register, size, sign, length
    return None
