"""DBCN: the debug console, which user space serves."""

from __future__ import annotations

from ..firmware import domain
from ..profiles.opensbi_behaviours import OB
from ..see.exits import SbiExit
from ..see.vcpu_api import VcpuLike
from ..spec.sbi import Eid
from .answer import FAILED, INVALID_PARAM, NOT_SUPPORTED, Answer, Args

CONSOLE_WRITE, CONSOLE_READ, CONSOLE_WRITE_BYTE = range(3)


def handle(vcpu: VcpuLike, fid: int, args: Args) -> Answer:
    """Every function of DBCN leaves to user space; OpenSBI looks at the addresses before."""
    if fid in (CONSOLE_WRITE, CONSOLE_READ) and vcpu.profile.has(OB.OPENSBI_ADDRESSES_BY_REGION):
        count, low, high = args[:3]
        if high:
            return FAILED
        if not domain.allows_range(vcpu.profile, low, count):
            return INVALID_PARAM
    if fid in (CONSOLE_WRITE, CONSOLE_READ, CONSOLE_WRITE_BYTE):
        return SbiExit(Eid.DBCN, fid, args)
    return NOT_SUPPORTED
