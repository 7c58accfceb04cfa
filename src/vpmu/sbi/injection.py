"""Faults in the answers of the SBI: stands between the ecall and the dispatcher."""

from __future__ import annotations

from collections.abc import Callable

from ..faults.injector import Injector
from ..kvm.errors import KvmRunError
from ..see.guest_hart import GuestHart
from ..spec.sbi import Eid, PmuFid, SbiError, SbiRet
from .answer import Answer, Args

Ecall = Callable[[GuestHart, int, int, Args], Answer]


def faulty(ecall: Ecall, injector: Injector) -> Ecall:
    """`ecall` with the rules of the site sbi.call before it."""

    def call(vcpu: GuestHart, eid: int, fid: int, args: Args) -> Answer:
        event, counter = _names(eid, fid, args)
        function = (eid, fid) if eid > Eid.LEGACY_SHUTDOWN else (eid, -1)
        effect = injector.ask(
            "sbi.call", vcpu.hart_id, function=function, eid=eid, fid=fid, event=event, counter=counter
        )
        if effect is None:
            return ecall(vcpu, eid, fid, args)
        if "errno" in effect:
            raise KvmRunError(int(effect["errno"]), "SBI call (injected)")  # type: ignore[call-overload]
        if "delay" in effect:
            vcpu.hart.time_ns += int(effect["delay"])  # type: ignore[call-overload]
            return ecall(vcpu, eid, fid, args)
        if "duplicate" in effect:
            ecall(vcpu, eid, fid, args)
            return ecall(vcpu, eid, fid, args)
        error, value = effect.get("error", SbiError.SUCCESS), effect.get("value", 0)
        if "drop" in effect or "error" in effect:
            return SbiRet(int(error), int(value))  # type: ignore[call-overload]
        answer = ecall(vcpu, eid, fid, args)  # the value alone is wrong
        return SbiRet(answer.error, int(value)) if isinstance(answer, SbiRet) else answer  # type: ignore[call-overload]

    return call


def _names(eid: int, fid: int, args: Args) -> tuple[int | None, int | None]:
    """Event and first counter that a PMU call names."""
    if eid != Eid.PMU:
        return None, None
    if fid in (PmuFid.COUNTER_CONFIG_MATCHING, PmuFid.COUNTER_START, PmuFid.COUNTER_STOP):
        mask = args[1]
        counter = args[0] + (mask & -mask).bit_length() - 1 if mask else None
        return (args[3] if fid == PmuFid.COUNTER_CONFIG_MATCHING else None), counter
    return None, args[0] if fid in (PmuFid.COUNTER_FW_READ, PmuFid.COUNTER_GET_INFO) else None
