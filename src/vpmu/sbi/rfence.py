"""RFENCE: fences on other harts. The target is served at once, which no guest can tell from "before its next
instruction".
"""

from __future__ import annotations

from ..profiles.behaviours import B
from ..see.vcpu_api import VcpuLike
from ..spec.sbi import RfenceFid
from ..spec.sbi_events import FwEvent
from . import harts
from .answer import INVALID_PARAM, NOT_SUPPORTED, SUCCESS, Answer, Args

_HFENCES: dict[int, FwEvent] = {
    RfenceFid.HFENCE_GVMA_VMID: FwEvent.HFENCE_GVMA_VMID_SENT,
    RfenceFid.HFENCE_GVMA: FwEvent.HFENCE_GVMA_SENT,
    RfenceFid.HFENCE_VVMA_ASID: FwEvent.HFENCE_VVMA_ASID_SENT,
    RfenceFid.HFENCE_VVMA: FwEvent.HFENCE_VVMA_SENT,
}
"""And the firmware event that counts each."""


def handle(vcpu: VcpuLike, fid: int, args: Args) -> Answer:
    """The remote fences. HFENCE ones are NOT_SUPPORTED without the hypervisor extension (KVM: nothing,
    SUCCESS).
    """
    profile = vcpu.profile
    if fid in _HFENCES and not vcpu.has_hypervisor:
        return SUCCESS if profile.has(B.HFENCE_NOP) else NOT_SUPPORTED
    if fid > RfenceFid.HFENCE_VVMA:
        return NOT_SUPPORTED
    mask, base, start, size, asid, _ = args
    targets, valid = harts.select(vcpu, mask, base)
    if not valid and not profile.has(B.RFENCE_INVALID_HART_IGNORED):
        return INVALID_PARAM
    if fid == RfenceFid.FENCE_I:
        fence_i(vcpu, targets)
    elif fid in _HFENCES:
        _fence(vcpu, targets, _HFENCES[fid], start, size, None)
    else:
        sfence_vma(vcpu, targets, start, size, asid if fid == RfenceFid.SFENCE_VMA_ASID else None)
    return SUCCESS


def fence_i(vcpu: VcpuLike, targets: list[VcpuLike]) -> None:
    """FENCE.I on the targets, with the firmware events of both sides."""
    vcpu.pmu.incr_fw(FwEvent.FENCE_I_SENT)
    for target in targets:
        target.fence_i()
        target.pmu.incr_fw(FwEvent.FENCE_I_RECEIVED)


def sfence_vma(vcpu: VcpuLike, targets: list[VcpuLike], start: int, size: int, asid: int | None) -> None:
    """SFENCE.VMA on the targets. KVM takes it for what it does below: an HFENCE.VVMA, and counts that."""
    if vcpu.profile.has(B.SFENCE_COUNTED_AS_HFENCE):
        sent = FwEvent.HFENCE_VVMA_SENT if asid is None else FwEvent.HFENCE_VVMA_ASID_SENT
    else:
        sent = FwEvent.SFENCE_VMA_SENT if asid is None else FwEvent.SFENCE_VMA_ASID_SENT
    _fence(vcpu, targets, sent, start, size, asid)


def _fence(
    vcpu: VcpuLike, targets: list[VcpuLike], sent: int, start: int, size: int, asid: int | None
) -> None:
    vcpu.pmu.incr_fw(sent)
    for target in targets:
        target.sfence_vma(start, size, asid)
        target.pmu.incr_fw(sent + 1)  # *_RECEIVED follows *_SENT
