"""Which addresses OpenSBI lets a supervisor name: those of its root domain (sbi_domain_check_addr). Nobody
asks whether there is memory, and an odd address of code loses its bit 0 (lib/sbi/sbi_domain.c; runs of 1.1,
1.6 and 1.9).
"""

from __future__ import annotations

from ..profiles.opensbi_behaviours import OB
from ..profiles.profiles import Profile
from ..spec.sbi import U64

_FIRMWARE = 0x80000000
_CLINT = range(0x02000000, 0x02010000)
_OLD = (_CLINT, range(_FIRMWARE, _FIRMWARE + 0x80000))
_NEW = (
    _CLINT,
    range(_FIRMWARE, _FIRMWARE + 0x60000),
    range(0x00100000, 0x00101000),  # the test finisher
    range(0x10000000, 0x10001000),  # the serial port
)
"""As the firmware lists them when it boots on our machine, whose addresses are those of QEMU's `virt`."""


def allows(profile: Profile, address: int) -> bool:
    """Whether a supervisor may name that address."""
    regions = _NEW if profile.has(OB.OPENSBI_DEVICES_OUT_OF_BOUNDS) else _OLD
    return not any(address in region for region in regions)


def allows_range(profile: Profile, address: int, size: int) -> bool:
    """Whether a supervisor may name these `size` bytes; none at all it always may."""
    if not size:
        return True
    if profile.has(OB.OPENSBI_RANGE_BY_FIRST_BYTE):
        return allows(profile, address)
    last = address + size - 1
    if last >= U64:
        return False
    regions = _NEW if profile.has(OB.OPENSBI_DEVICES_OUT_OF_BOUNDS) else _OLD
    return not any(address < region.stop and last >= region.start for region in regions)
