"""Hart ids and hart masks (SBI 3.0, "Hart list parameter")."""

from __future__ import annotations

from ..profiles.opensbi_behaviours import OB
from ..profiles.profiles import IMPL_ID_OPENSBI
from ..see.vcpu_api import MP_STATE_STOPPED, VcpuLike
from ..spec.sbi import U64, XLEN

ALL = U64
"""hart_mask_base with this value (-1) means every hart; the mask is ignored."""


def by_id(vcpu: VcpuLike, hart_id: int) -> VcpuLike | None:
    """The vCPU with that hart id, None where there is none."""
    for other in vcpu.vcpus:
        if other.hart_id == hart_id:
            return other
    return None


def select(vcpu: VcpuLike, mask: int, base: int) -> tuple[list[VcpuLike], bool]:
    """The vCPUs that (mask, base) names, in order, and whether every hart that it names exists, as far
    as anybody looks.
    """
    there = list(vcpu.vcpus)
    if vcpu.profile.impl_id == IMPL_ID_OPENSBI:  # one that is stopped is as none (run of 1.9 with two harts)
        there = [other for other in there if other.mp_state != MP_STATE_STOPPED]
    if base == ALL:
        return there, True
    if base >= len(vcpu.vcpus) and vcpu.profile.has(OB.OPENSBI_HART_BASE_CHECKED):
        return [], False
    chosen, found = [], 0
    for other in there:
        bit = other.hart_id - base
        if 0 <= bit < XLEN and mask >> bit & 1:
            chosen.append(other)
            found |= 1 << bit
    return chosen, found == mask or vcpu.profile.has(OB.OPENSBI_HART_MASK_UNCHECKED)
