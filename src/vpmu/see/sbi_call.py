"""SBI calls of a guest: from its ECALL to the answer in its registers (arch/riscv/kvm/vcpu_sbi.c)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from vpmu.hart.state import STATE
from vpmu.see import software_events
from vpmu.see.exits import EventResumed, SystemEvent, VcpuExit
from vpmu.see.pmu import LeaveCall
from vpmu.see.trap import redirect
from vpmu.see.vcpu_api import MP_STATE_RUNNABLE, GuestTrap
from vpmu.spec.sbi import U64, Eid, SbiRet
from vpmu.spec.sbi_functions import CONSTANT

if TYPE_CHECKING:
    from vpmu.see.guest_hart import GuestHart

_PC: Final = STATE["pc"]
_BASE: Final = int(Eid.BASE)
_registers: Final = Struct("8Q").unpack_from  # a0 to a7
MANY_CALLS: Final = 1000
"""Kinds of calls, by EID, FID and error, that are counted each; a guest that makes up more of them has those
counted as EID and FID of all ones.
"""


def sbi_call(vcpu: GuestHart) -> VcpuExit | None:
    """Answer the ECALL at pc; an exit is user space's to serve."""
    registers = _registers(vcpu.hart.words, 8 * 10)
    eid, fid = registers[7], registers[6]
    try:
        answer = vcpu.answers(vcpu, eid, fid, registers[:6])
    except GuestTrap as trap:
        redirect(vcpu, trap.cause, trap.stval)
        return None
    except LeaveCall:
        return None
    if isinstance(answer, SbiRet):
        finish(vcpu, eid, fid, answer)
        if (fid < 2 or eid == _BASE) and vcpu.standing is not None and (eid, fid) in CONSTANT:
            vcpu.standing.called(eid, fid, registers[0], answer)
        return None
    if isinstance(answer, SystemEvent):
        return answer
    if isinstance(answer, EventResumed):
        software_events.deliver(vcpu)
        return None
    vcpu.sbi_pending = True
    return answer


def finish(vcpu: GuestHart, eid: int, fid: int, answer: SbiRet) -> None:
    """Put the answer into a0 and a1 and go on behind the ECALL."""
    error, value = +answer.error, answer.value  # a plain number, of an enum too
    calls, key = vcpu.sbi_calls, (eid, fid, error)
    so_far = calls.get(key)
    if so_far is None and len(calls) >= MANY_CALLS:
        key = U64, U64, error
        so_far = calls.get(key)
    calls[key] = 1 if so_far is None else so_far + 1
    if vcpu.reset_to is not None and vcpu.mp_state == MP_STATE_RUNNABLE and not vcpu.blocking:
        return
    words = vcpu.hart.words
    words[10] = error & U64
    if value is not None:
        words[11] = value & U64
    words[_PC] = words[_PC] + 4 & U64
    if not vcpu.events_masked:
        software_events.deliver(vcpu)


def complete(vcpu: GuestHart, error: int, value: int | None) -> None:
    """User space's answer to an SbiExit."""
    if vcpu.sbi_pending:
        vcpu.sbi_pending = False
        finish(vcpu, vcpu.regs[17], vcpu.regs[16], SbiRet(error, value))
