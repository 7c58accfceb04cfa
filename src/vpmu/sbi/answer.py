"""What an extension's handler takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from ..see.exits import EventResumed, SbiExit, SystemEvent
from ..see.vcpu_api import VcpuLike
from ..spec.sbi import SbiError, SbiRet

Args = tuple[int, int, int, int, int, int]
"""a0 to a5, unsigned 64 bits."""

Answer = SbiRet | SystemEvent | SbiExit | EventResumed
"""Registers for the guest, or an exit that user space serves. A failing KVM_RUN is KvmRunError, a trap
GuestTrap.
"""

Handler = Callable[[VcpuLike, int, Args], Answer]
"""handle(vcpu, fid, args)."""


@lru_cache(maxsize=256)
def success(value: int) -> SbiRet:
    """SUCCESS with a value; those that are asked for often are there."""
    return SbiRet(SbiError.SUCCESS, value)


SUCCESS: Final = SbiRet(SbiError.SUCCESS)
NOT_SUPPORTED: Final = SbiRet(SbiError.NOT_SUPPORTED)
INVALID_PARAM: Final = SbiRet(SbiError.INVALID_PARAM)
INVALID_ADDRESS: Final = SbiRet(SbiError.INVALID_ADDRESS)
FAILED: Final = SbiRet(SbiError.FAILED)
