"""SRST: shutdown and reboot, which user space carries out."""

from __future__ import annotations

from ..profiles.behaviours import B
from ..profiles.opensbi_behaviours import OB
from ..see.exits import SystemEvent
from ..see.vcpu_api import VcpuLike
from .answer import INVALID_PARAM, NOT_SUPPORTED, Answer, Args

SHUTDOWN, COLD_REBOOT, WARM_REBOOT = range(3)
VENDOR_TYPES = range(0xF0000000, 0x1_0000_0000)
NO_REASON, SYSTEM_FAILURE = range(2)
PLATFORM_REASONS = range(0xE0000000, 0x1_0000_0000)

EVENT_SHUTDOWN, EVENT_RESET = 1, 2
"""KVM_SYSTEM_EVENT_SHUTDOWN and KVM_SYSTEM_EVENT_RESET."""


def handle(vcpu: VcpuLike, fid: int, args: Args) -> Answer:
    """system_reset(reset_type, reset_reason), both 32 bits."""
    if fid != 0:
        return NOT_SUPPORTED
    kind, reason = args[0] & 0xFFFFFFFF, args[1] & 0xFFFFFFFF
    if vcpu.profile.has(OB.OPENSBI_RESET_KNOWN_ONLY) and (args[0] > WARM_REBOOT or args[1] > SYSTEM_FAILURE):
        return INVALID_PARAM
    if not vcpu.profile.has(B.SRST_UNKNOWN_NOT_SUPPORTED):
        if kind > WARM_REBOOT and kind not in VENDOR_TYPES:
            return INVALID_PARAM
        if reason > SYSTEM_FAILURE and reason not in PLATFORM_REASONS:
            return INVALID_PARAM
    if kind == SHUTDOWN:
        return SystemEvent(EVENT_SHUTDOWN, reason)
    if kind in (COLD_REBOOT, WARM_REBOOT):
        return SystemEvent(EVENT_RESET, reason)
    return NOT_SUPPORTED
