"""IPI: software interrupts to other harts."""

from __future__ import annotations

from ..profiles.behaviours import B
from ..see.vcpu_api import VcpuLike
from ..spec.csr import Irq
from ..spec.sbi_events import FwEvent
from . import harts
from .answer import INVALID_PARAM, NOT_SUPPORTED, SUCCESS, Answer, Args


def handle(vcpu: VcpuLike, fid: int, args: Args) -> Answer:
    """send_ipi(hart_mask, hart_mask_base). INVALID_PARAM for a hart that does not exist; KVM has served the
    others then.
    """
    profile = vcpu.profile
    if fid != 0:
        return INVALID_PARAM if profile.has(B.BAD_FID_IS_INVALID_PARAM) else NOT_SUPPORTED
    targets, valid = harts.select(vcpu, args[0], args[1])
    if not valid and not profile.has(B.FW_STATE_PER_CODE) and not profile.has(B.IPI_INVALID_HART_IGNORED):
        return INVALID_PARAM
    vcpu.pmu.incr_fw(FwEvent.IPI_SENT)
    for target in targets:
        target.set_interrupt(Irq.SOFTWARE)
        target.pmu.incr_fw(FwEvent.IPI_RECEIVED)
    return SUCCESS if valid or profile.has(B.IPI_INVALID_HART_IGNORED) else INVALID_PARAM
