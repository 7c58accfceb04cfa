"""HSM: start, stop, suspend harts."""

from __future__ import annotations

from ..firmware import domain
from ..profiles.behaviours import B
from ..profiles.opensbi_behaviours import OB
from ..profiles.profiles import IMPL_ID_KVM
from ..see.vcpu_api import MP_STATE_STOPPED, MemoryFault, VcpuLike
from ..spec.sbi import HartState, HsmFid, SbiError, SbiRet
from . import harts
from .answer import FAILED, INVALID_ADDRESS, INVALID_PARAM, NOT_SUPPORTED, SUCCESS, Answer, Args

RETENTIVE = 0x00000000
NON_RETENTIVE = 0x80000000
_PLATFORM_TYPES = (range(0x10000000, 0x80000000), range(0x90000000, 0x1_0000_0000))


def handle(vcpu: VcpuLike, fid: int, args: Args) -> Answer:
    """The functions of HSM."""
    match fid:
        case HsmFid.HART_START:
            return _start(vcpu, *args[:3])
        case HsmFid.HART_STOP:
            if vcpu.mp_state == MP_STATE_STOPPED:
                return FAILED
            vcpu.stop()
            return SUCCESS
        case HsmFid.HART_GET_STATUS:
            return _status(vcpu, args[0])
        case HsmFid.HART_SUSPEND:
            return _suspend(vcpu, *args[:3])
    return NOT_SUPPORTED


def executable(vcpu: VcpuLike, address: int) -> bool:
    """True where a hart can begin at that physical address: instructions lie in memory, at even addresses."""
    if vcpu.profile.has(OB.OPENSBI_ADDRESSES_BY_REGION):
        return domain.allows(vcpu.profile, address)
    try:
        vcpu.memory.read(address, 2)
    except MemoryFault:
        return False
    return address % 2 == 0


def _target(vcpu: VcpuLike, hart_id: int) -> VcpuLike | None:
    return harts.by_id(vcpu, hart_id & 0xFFFFFFFF if vcpu.profile.has(B.HART_ID_TRUNCATED) else hart_id)


def _start(vcpu: VcpuLike, hart_id: int, start_addr: int, opaque: int) -> SbiRet:
    target = _target(vcpu, hart_id)
    if target is None:
        return INVALID_PARAM
    firmware = vcpu.profile.has(OB.OPENSBI_ADDRESSES_BY_REGION)
    if firmware and not executable(vcpu, start_addr):
        return INVALID_ADDRESS
    if target.mp_state != MP_STATE_STOPPED:
        return INVALID_PARAM if firmware and _suspended(target) else SbiRet(SbiError.ALREADY_AVAILABLE)
    if not vcpu.profile.has(B.HART_START_ADDRESS_UNCHECKED) and not executable(vcpu, start_addr):
        return INVALID_ADDRESS
    target.start(start_addr, opaque)
    return SUCCESS


def _status(vcpu: VcpuLike, hart_id: int) -> SbiRet:
    target = _target(vcpu, hart_id)
    if target is None:
        return SUCCESS if vcpu.profile.has(B.HART_STATUS_LOSES_ERROR) else INVALID_PARAM
    if target.mp_state == MP_STATE_STOPPED:
        return SbiRet(SbiError.SUCCESS, HartState.STOPPED)
    return SbiRet(SbiError.SUCCESS, HartState.SUSPENDED if _suspended(target) else HartState.STARTED)


def _suspended(target: VcpuLike) -> bool:
    """In hart_suspend. KVM cannot tell it from WFI (vcpu->stat.generic.blocking)."""
    return target.blocking and (target.suspended or target.profile.impl_id == IMPL_ID_KVM)


def _suspend(vcpu: VcpuLike, suspend_type: int, resume_addr: int, opaque: int) -> SbiRet:
    # suspend_type is a 32-bit argument: the register's upper half means nothing.
    kind = suspend_type & 0xFFFFFFFF
    if (
        kind & NON_RETENTIVE
        and (kind == NON_RETENTIVE or kind in _PLATFORM_TYPES[1])
        and vcpu.profile.has(OB.OPENSBI_ADDRESSES_BY_REGION)
        and not executable(vcpu, resume_addr)
    ):
        return INVALID_ADDRESS
    if kind == RETENTIVE:
        vcpu.suspend()
        return SUCCESS
    if kind == NON_RETENTIVE and not vcpu.profile.has(B.NON_RETENTIVE_SUSPEND_REFUSED):
        if not executable(vcpu, resume_addr):
            return INVALID_ADDRESS
        vcpu.suspend()
        vcpu.request_reset(resume_addr, opaque)
        return SUCCESS
    if kind == NON_RETENTIVE:
        return NOT_SUPPORTED
    known = any(kind in types for types in _PLATFORM_TYPES)
    return NOT_SUPPORTED if known and not vcpu.profile.has(B.NON_RETENTIVE_SUSPEND_REFUSED) else INVALID_PARAM
