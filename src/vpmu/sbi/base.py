"""BASE: versions, identities, which extensions there are."""

from __future__ import annotations

from ..see.exits import SbiExit
from ..see.vcpu_api import VcpuLike
from ..spec.sbi import EXPERIMENTAL_EIDS, VENDOR_EIDS, BaseFid, Eid, SbiError, SbiRet
from .answer import NOT_SUPPORTED, Answer, Args


def handle(vcpu: VcpuLike, fid: int, args: Args) -> Answer:
    """The functions of BASE; none of them can fail."""
    profile = vcpu.profile
    match fid:
        case BaseFid.GET_SPEC_VERSION:
            value = profile.sbi_version
        case BaseFid.GET_IMPL_ID:
            value = profile.impl_id
        case BaseFid.GET_IMPL_VERSION:
            value = profile.impl_version
        case BaseFid.PROBE_EXTENSION:
            eid = args[0]
            if eid >> 24 in (EXPERIMENTAL_EIDS, VENDOR_EIDS) and vcpu.sbi_enabled(eid):
                # KVM does not know what user space offers there.
                return SbiExit(Eid.BASE, fid, args)
            value = int(vcpu.sbi_enabled(eid))
        case BaseFid.GET_MVENDORID:
            value = vcpu.mvendorid
        case BaseFid.GET_MARCHID:
            value = vcpu.marchid
        case BaseFid.GET_MIMPID:
            value = vcpu.mimpid
        case _:
            return NOT_SUPPORTED
    return SbiRet(SbiError.SUCCESS, value)
