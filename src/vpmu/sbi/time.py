"""TIME: the supervisor's timer."""

from __future__ import annotations

from ..profiles.behaviours import B
from ..see.vcpu_api import VcpuLike
from ..spec.sbi_events import FwEvent
from .answer import INVALID_PARAM, NOT_SUPPORTED, SUCCESS, Answer, Args


def handle(vcpu: VcpuLike, fid: int, args: Args) -> Answer:
    """set_timer(stime_value): an absolute time; all-ones is never."""
    if fid != 0:
        return INVALID_PARAM if vcpu.profile.has(B.BAD_FID_IS_INVALID_PARAM) else NOT_SUPPORTED
    vcpu.pmu.incr_fw(FwEvent.SET_TIMER)
    vcpu.set_timer(args[0])
    return SUCCESS
