"""FWFT: firmware features (SBI 3.0). In KVM since Linux 6.18; which features it has depends on the host."""

from __future__ import annotations

from ..profiles.behaviours import B
from ..profiles.opensbi_behaviours import OB
from ..see.vcpu_api import VcpuLike
from ..spec.sbi import FwftFeature, FwftFid, SbiError, SbiRet
from .answer import INVALID_PARAM, NOT_SUPPORTED, Answer, Args

FLAG_LOCK = 1 << 0

_DEFINED = frozenset(int(feature) for feature in FwftFeature)
_VALUES: dict[int, tuple[int, ...]] = {FwftFeature.MISALIGNED_EXC_DELEG: (0, 1)}
"""The features that a vCPU has, and what each can be set to. Misaligned loads and stores do not trap on our
harts, so that delegating them shows in the value alone; no hart here masks pointers, and KVM offers no
others.
"""


def handle(vcpu: VcpuLike, fid: int, args: Args) -> Answer:
    """fwft_set(feature, value, flags) and fwft_get(feature). DENIED for ids that no feature has,
    NOT_SUPPORTED for features that this vCPU has not.
    """
    if fid not in (FwftFid.SET, FwftFid.GET):
        return NOT_SUPPORTED
    feature = args[0] & 0xFFFFFFFF  # a 32-bit argument
    values = _VALUES.get(feature)
    if values is None or vcpu.profile.has(B.FWFT_WITHOUT_FEATURES):
        return NOT_SUPPORTED if feature in _DEFINED else SbiRet(SbiError.DENIED)
    value, locked = vcpu.firmware_features.get(feature, (0, False))
    if fid == FwftFid.GET:
        return SbiRet(SbiError.SUCCESS, value)
    if args[2] & ~FLAG_LOCK:
        return INVALID_PARAM
    if locked:
        old = vcpu.profile.has(OB.OPENSBI_FWFT_LOCKED_IS_DENIED)
        return SbiRet(SbiError.DENIED if old else SbiError.DENIED_LOCKED)
    if args[1] not in values:
        return INVALID_PARAM
    vcpu.firmware_features[feature] = (args[1], bool(args[2]))
    return SbiRet(SbiError.SUCCESS)
