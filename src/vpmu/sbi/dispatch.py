"""From an ecall of VS mode to the extension that answers it (kvm_riscv_vcpu_sbi_ecall)."""

from __future__ import annotations

from ..kvm.errors import HostLostError, KvmRunError
from ..see.exits import EventResumed, SbiExit, SystemEvent
from ..see.vcpu_api import VcpuLike
from ..spec.sbi import Eid, SbiRet
from ..spec.sbi_functions import function
from . import base, dbcn, fwft, hsm, ipi, legacy, pmu, rfence, srst, sse, sta, susp, time
from .answer import NOT_SUPPORTED, Answer, Args, Handler


def _not_modelled(vcpu: VcpuLike, fid: int, args: Args) -> Answer:
    """An extension that is found by its name alone: debug triggers, of which our harts have none."""
    return NOT_SUPPORTED


HANDLERS: dict[int, Handler] = {
    Eid.BASE: base.handle,
    Eid.TIME: time.handle,
    Eid.IPI: ipi.handle,
    Eid.RFENCE: rfence.handle,
    Eid.HSM: hsm.handle,
    Eid.SRST: srst.handle,
    Eid.PMU: pmu.handle,
    Eid.DBCN: dbcn.handle,
    Eid.SUSP: susp.handle,
    Eid.FWFT: fwft.handle,
    Eid.STA: sta.handle,
    Eid.SSE: sse.handle,
    Eid.DBTR: _not_modelled,
}
"""EID -> handler. Legacy calls and the experimental and vendor ranges are not in it."""


def ecall(vcpu: VcpuLike, eid: int, fid: int, args: Args) -> Answer:
    """Answer an ecall: a7 = `eid`, a6 = `fid`, a0 to a5 = `args`, all unsigned 64 bits and compared in full.

    SbiRet: a0 and, unless its value is None, a1 change, pc goes on behind the ecall. SystemEvent and SbiExit
    leave to user space, which answers an SbiExit. Raises KvmRunError where KVM_RUN ends with an errno and
    nothing of the guest changes, HostLostError where the host goes down, and GuestTrap where the guest takes
    a trap instead.
    """
    if not vcpu.recorder.enabled:
        handler = HANDLERS.get(eid)
        if handler is not None and vcpu.sbi_enabled(eid):
            return handler(vcpu, fid, args)
        return _answer(vcpu, eid, fid, args)
    called = function(eid, fid)
    named = dict(zip(called.arguments, args, strict=False))
    try:
        answer = _answer(vcpu, eid, fid, args)
    except KvmRunError as error:
        vcpu.recorder.emit("sbi", called.name, "kvm-run-error", -error.errno, hart=vcpu.hart_id, **named)
        raise
    except HostLostError as lost:
        vcpu.recorder.emit(
            "sbi", called.name, "host-lost", lost.commit, hart=vcpu.hart_id, reason=lost.reason, **named
        )
        raise
    result: object = (answer.error, answer.value) if isinstance(answer, SbiRet) else _exit_name(answer)
    vcpu.recorder.emit("sbi", called.name, "call", result, hart=vcpu.hart_id, **named)
    return answer


def _exit_name(answer: SystemEvent | SbiExit | EventResumed) -> str:
    """The exit to user space, as linux/kvm.h calls it."""
    if isinstance(answer, EventResumed):
        return "resumed"
    if isinstance(answer, SbiExit):
        return "KVM_EXIT_RISCV_SBI"
    return f"KVM_EXIT_SYSTEM_EVENT type {answer.type} reason {answer.reason}"


def _answer(vcpu: VcpuLike, eid: int, fid: int, args: Args) -> Answer:
    if not vcpu.sbi_enabled(eid):
        return NOT_SUPPORTED
    handler = HANDLERS.get(eid)
    if handler is not None:
        return handler(vcpu, fid, args)
    if eid <= Eid.LEGACY_SHUTDOWN:
        return legacy.handle(vcpu, eid, args)
    return SbiExit(eid, fid, args)  # experimental and vendor extensions are user space's
