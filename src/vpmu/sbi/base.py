"""BASE: versions, identities, which extensions there are."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from ..see.exits import SbiExit
from ..see.vcpu_api import VcpuLike
from ..spec.sbi import EXPERIMENTAL_EIDS, VENDOR_EIDS, BaseFid, Eid
from .answer import NOT_SUPPORTED, Answer, Args, success

IDENTITIES: dict[int, Callable[[VcpuLike], int]] = {
    BaseFid.GET_SPEC_VERSION: attrgetter("profile.sbi_version"),
    BaseFid.GET_IMPL_ID: attrgetter("profile.impl_id"),
    BaseFid.GET_IMPL_VERSION: attrgetter("profile.impl_version"),
    BaseFid.GET_MVENDORID: attrgetter("mvendorid"),
    BaseFid.GET_MARCHID: attrgetter("marchid"),
    BaseFid.GET_MIMPID: attrgetter("mimpid"),
}
"""FID -> what the vCPU says of its implementation."""


def handle(vcpu: VcpuLike, fid: int, args: Args) -> Answer:
    """The functions of BASE; none of them can fail."""
    identity = IDENTITIES.get(fid)
    if identity is not None:
        return success(identity(vcpu))
    if fid != BaseFid.PROBE_EXTENSION:
        return NOT_SUPPORTED
    eid = args[0]
    if eid >> 24 in (EXPERIMENTAL_EIDS, VENDOR_EIDS) and vcpu.sbi_enabled(eid):
        # KVM does not know what user space offers there.
        return SbiExit(Eid.BASE, fid, args)
    return success(int(vcpu.sbi_enabled(eid)))
