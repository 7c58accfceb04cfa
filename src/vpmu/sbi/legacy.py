"""The v0.1 calls: EIDs 0 to 8. The answer is in a0 only, and a1 keeps what the guest had in it."""

from __future__ import annotations

from ..see.exits import SbiExit, SystemEvent
from ..see.vcpu_api import VcpuLike
from ..spec.csr import Irq
from ..spec.sbi import XLEN, Eid, SbiError, SbiRet
from . import harts
from .answer import Answer, Args
from .srst import EVENT_SHUTDOWN

SUCCESS = SbiRet(SbiError.SUCCESS, None)


def handle(vcpu: VcpuLike, fid: int, args: Args) -> Answer:
    """A v0.1 call; `fid` is its EID. Hart masks are read through the guest's translation, which may trap it
    (GuestTrap).
    """
    match fid:
        case Eid.LEGACY_SET_TIMER:
            vcpu.set_timer(args[0])
        case Eid.LEGACY_CONSOLE_PUTCHAR | Eid.LEGACY_CONSOLE_GETCHAR:
            return SbiExit(fid, 0, args)
        case Eid.LEGACY_CLEAR_IPI:
            vcpu.unset_interrupt(Irq.SOFTWARE)
        case Eid.LEGACY_SEND_IPI:
            for target in _targets(vcpu, args[0]):
                target.set_interrupt(Irq.SOFTWARE)
        case Eid.LEGACY_REMOTE_FENCE_I:
            for target in _targets(vcpu, args[0]):
                target.fence_i()
        case Eid.LEGACY_REMOTE_SFENCE_VMA:
            for target in _targets(vcpu, args[0]):
                target.sfence_vma(args[1], args[2], None)
        case Eid.LEGACY_REMOTE_SFENCE_VMA_ASID:
            for target in _targets(vcpu, args[0]):
                target.sfence_vma(args[1], args[2], args[3])
        case Eid.LEGACY_SHUTDOWN:
            return SystemEvent(EVENT_SHUTDOWN, 0)
        case _:
            return SbiRet(SbiError.NOT_SUPPORTED, None)
    return SUCCESS


def _targets(vcpu: VcpuLike, mask_address: int) -> list[VcpuLike]:
    """Harts of the mask at that virtual address, all where it is 0. Harts that do not exist are left out."""
    if not mask_address:
        return list(vcpu.vcpus)
    mask = int.from_bytes(vcpu.load_virtual(mask_address, XLEN // 8), "little")
    return harts.select(vcpu, mask, 0)[0]
