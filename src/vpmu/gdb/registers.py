"""Registers of a hart, read without a trace and written as an instruction would write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vpmu.gdb.description import CSR, FLOATING, PC, PRIV, VIRT, F, has_fp
from vpmu.hart import state
from vpmu.hart.hart import Hart
from vpmu.kvm.pmu import VcpuPmu
from vpmu.spec.csr import Csr
from vpmu.spec.sbi import U64

if TYPE_CHECKING:
    from vpmu.see.guest_hart import GuestHart

_COUNTERS = range(Csr.CYCLE, Csr.HPMCOUNTER31 + 1)
_MACHINE_COUNTERS = range(0xB00, 0xB20)
_SUPERVISOR, _MACHINE = 1, 3
_WORDS = state.CONTEXTS // 8


def read(vcpu: GuestHart, number: int) -> int | None:
    """A register by its number; None where it has no value now (a counter without an event), or is none."""
    hart = vcpu.hart
    if 0 <= number < PC:
        return hart.x(number)
    if number == PC:
        return hart.pc
    if F <= number < CSR:
        return hart.words[state.F + number - F] if has_fp(hart) else None
    if number == PRIV:
        return _privilege(hart)
    if number == VIRT:
        return int(not hart.whole or bool(hart.get("virt")))
    return _read_csr(vcpu, number - CSR)


def write(vcpu: GuestHart, number: int, value: int) -> bool:
    """Change one; False where that cannot be done."""
    hart = vcpu.hart
    if 0 <= number < PC:
        hart.set_x(number, value)
    elif number == PC:
        hart.pc = value
    elif F <= number < CSR:
        if not has_fp(hart):
            return False
        hart.words[state.F + number - F] = value & U64
    elif number == PRIV:
        return _set_privilege(hart, value)
    elif number == VIRT:
        return False
    else:
        return _write_csr(hart, number - CSR, value & U64)
    return True


def mode_name(hart: Hart) -> str:
    """The mode of a hart, as the ISA names it; of a guest of the KVM model VS and VU, under modelled firmware
    too.
    """
    return hart.mode.name or "?"


def _privilege(hart: Hart) -> int:
    return hart.get("mode") if hart.whole else int(hart.get("mode") == state.VS)


def _set_privilege(hart: Hart, value: int) -> bool:
    known = (0, _SUPERVISOR, _MACHINE) if hart.whole and not hart.get("virt") else (0, _SUPERVISOR)
    if value not in known:
        return False
    hart.set("mode", value if hart.whole else state.VS if value else state.VU)
    hart.reference().call["update_context"]()
    hart.flush()
    return True


def _read_csr(vcpu: GuestHart, csr: int) -> int | None:
    hart = vcpu.hart
    if csr in FLOATING:
        if not has_fp(hart):
            return None
        flags, rounding = hart.get("fflags"), hart.get("frm")
        return {Csr.FFLAGS: flags, Csr.FRM: rounding}.get(Csr(csr), flags | rounding << 5)
    if csr != Csr.TIME and (csr in _COUNTERS or csr in _MACHINE_COUNTERS):
        return counter(vcpu, csr & 31)
    if csr == Csr.SCOUNTOVF:
        return vcpu.pmu.overflow_flags
    return _without_a_trace(hart, lambda call: call["csr_read"](csr))


def counter(vcpu: GuestHart, index: int) -> int | None:
    """What counter `index` holds, without settling it; None where it counts nothing that can be told."""
    pmu = vcpu.pmu
    if isinstance(pmu, VcpuPmu):
        if index >= len(pmu.counters) or pmu.counters[index].info is None:
            return None
        counter = pmu.counters[index]
        if counter.event is None and not counter.in_use:
            return None
        if counter.firmware and counter.code < len(pmu.fw):
            return pmu.fw[counter.code].value or counter.value
        return counter.current()
    physical = getattr(vcpu.perf, "physical", None)
    if physical is None or index not in physical.layout.indices:
        return None
    held = physical._counters[index]
    total = held.base + (physical._count(held) - held.mark if held.running else 0)
    return int(total & held.mask)


def _without_a_trace(hart: Hart, ask: Callable[[dict[str, Callable[..., int]]], int]) -> int | None:
    """What a function of the hart's answers; whatever it did to the hart is undone. None where it traps."""
    before = hart.words[:_WORDS].tobytes()
    hart.set("n", hart.get("n_start"))  # `time` is that of now
    try:
        value = ask(hart.reference().call)
        failed = hart.get("fault")
    finally:
        hart.words[:_WORDS].cast("B")[:] = before
    return None if failed else value


def _write_csr(hart: Hart, csr: int, value: int) -> bool:
    """As CSRRW does, without asking who may: page tables and interrupts take effect at once."""
    if csr >> 10 == 3:
        return False
    before = hart.words[:_WORDS].tobytes()
    call = hart.reference().call
    if _without_a_trace(hart, lambda known: known["csr_read"](csr)) is None:
        return False
    hart.set("fault", 0)
    hart.set("n", hart.get("n_start"))
    call["csr_write"](csr, value)
    if hart.get("fault"):
        hart.words[:_WORDS].cast("B")[:] = before
        return False
    hart.flush()
    return True
