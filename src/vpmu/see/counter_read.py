"""A guest's read of a counter CSR, of its kernel or scripted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vpmu.hart.events import Mode
from vpmu.hart.state import STATE, USER
from vpmu.see.pmu import IllegalCounter
from vpmu.spec.csr import Csr
from vpmu.spec.sbi import U64, Eid

if TYPE_CHECKING:
    from vpmu.faults.injector import Injector
    from vpmu.see.guest_hart import GuestHart

_CYCLE: Final = int(Csr.CYCLE)
_SCOUNTOVF: Final = int(Csr.SCOUNTOVF)
_PMU: Final = int(Eid.PMU)
_SCOUNTEREN: Final = STATE["scounteren"]
_MODE: Final = STATE["mode"]


def read_counter_csr(vcpu: GuestHart, csr: int, *, writes: bool) -> int:
    """The value of a counter CSR for the guest. Raises IllegalCounter."""
    traps = vcpu.pmu.csrs_trap
    if not traps:
        _read(vcpu, csr, writes)  # illegal: it does not retire
        vcpu.hart.advance(1)  # the hart answers, and counts the instruction in what it answers
    elif csr == _SCOUNTOVF and not writes and vcpu.hart.mode is Mode.VS:
        overflowed = vcpu.scountovf()
        if overflowed is not None:
            vcpu.pmu.undetermined = True  # the host's counters, whoever uses them
            vcpu.hart.advance(1)  # the hart answers this one itself: nothing trapped
            vcpu.hart.count_class("csr")
            return overflowed
    value = _read(vcpu, csr, writes)
    if vcpu.faults is not None:
        value = faulty_csr(vcpu.faults, vcpu.hart_id, csr - _CYCLE, value)
    if vcpu.watch is not None:
        vcpu.watch(vcpu, csr - _CYCLE, value)
    if vcpu.recorder.enabled:
        layer = "kvm" if traps else "hart"
        vcpu.recorder.emit(layer, "csr", "read", value, hart=vcpu.hart_id, csr=csr)
    if not traps:
        vcpu.hart.count_class("csr")
        vcpu.perf.poll()  # where the read itself wraps a counter
    return value


def _read(vcpu: GuestHart, csr: int, writes: bool) -> int:
    words = vcpu.hart.words
    user_mode = words[_MODE] == USER and vcpu.hart.mode is Mode.VU  # not asked on the way of a kernel
    return vcpu.pmu.read_csr(
        csr, writes=writes, sbi_enabled=vcpu.sbi_enabled(_PMU), user_mode=user_mode,
        scounteren=words[_SCOUNTEREN],
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
