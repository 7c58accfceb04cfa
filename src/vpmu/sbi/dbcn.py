"""DBCN: the debug console, which user space serves."""

from __future__ import annotations

from ..see.exits import SbiExit
from ..see.vcpu_api import VcpuLike
from ..spec.sbi import Eid
from .answer import NOT_SUPPORTED, Answer, Args

CONSOLE_WRITE, CONSOLE_READ, CONSOLE_WRITE_BYTE = range(3)


def handle(vcpu: VcpuLike, fid: int, args: Args) -> Answer:
    """Every function of DBCN leaves to user space."""
    if fid in (CONSOLE_WRITE, CONSOLE_READ, CONSOLE_WRITE_BYTE):
        return SbiExit(Eid.DBCN, fid, args)
    return NOT_SUPPORTED
