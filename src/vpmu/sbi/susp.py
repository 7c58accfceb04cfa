"""SUSP: system suspend. User space carries it out; the hart resumes like one that was started."""

from __future__ import annotations

from ..see.exits import SbiExit
from ..see.vcpu_api import MP_STATE_STOPPED, VcpuLike
from ..spec.sbi import Eid, SbiError, SbiRet
from .answer import INVALID_ADDRESS, INVALID_PARAM, NOT_SUPPORTED, Answer, Args
from .hsm import executable

SUSPEND_TO_RAM = 0


def handle(vcpu: VcpuLike, fid: int, args: Args) -> Answer:
    """system_suspend(sleep_type, resume_addr, opaque). DENIED while another hart is not stopped."""
    if fid != 0:
        return NOT_SUPPORTED
    if args[0] & 0xFFFFFFFF != SUSPEND_TO_RAM:
        return INVALID_PARAM
    if not executable(vcpu, args[1]):
        return INVALID_ADDRESS
    if any(other.mp_state != MP_STATE_STOPPED for other in vcpu.vcpus if other.hart_id != vcpu.hart_id):
        return SbiRet(SbiError.DENIED)
    vcpu.request_reset(args[1], args[2])
    return SbiExit(Eid.SUSP, fid, args)
