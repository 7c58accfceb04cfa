"""OpenSBI's counter_config_matching (sbi_pmu_ctr_cfg_match)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..profiles.opensbi_behaviours import OB
from ..spec.sbi import ConfigFlag, SbiError, SbiRet
from ..spec.sbi_events import EventType
from .opensbi_events import SLOTS, event_type, find_firmware, find_hardware
from .opensbi_startstop import start_hw, write

if TYPE_CHECKING:
    from .opensbi_pmu import OpenSbiPmu


def counter_config_matching(
    pmu: OpenSbiPmu, base: int, mask: int, flags: int, event_idx: int, event_data: int
) -> SbiRet:
    """See SbiPmu.counter_config_matching."""
    if pmu.beyond(base, mask) or (not mask and not pmu.profile.has(OB.OPENSBI_MASK_ZERO_ACCEPTED)):
        return pmu.refuse(SbiError.INVALID_PARAM, "counter set", "it has an invalid counter")
    kind = event_type(event_idx, unchecked=pmu.profile.has(OB.OPENSBI_EVENT_UNCHECKED))
    if kind is None:
        return pmu.refuse(SbiError.INVALID_PARAM, "event_idx", f"event {event_idx:#x} does not exist")
    if flags & ConfigFlag.SKIP_MATCH:
        lowest = (mask & -mask).bit_length() - 1 if mask else 63
        first = (base if pmu.profile.has(OB.OPENSBI_SKIP_MATCH_TAKES_BASE) else base + lowest) & 0xFFFFFFFF
        if first < SLOTS and pmu.active[first] is None:
            return pmu.refuse(SbiError.INVALID_PARAM, "SKIP_MATCH", f"counter {first} has no event")
        chosen: int | None = first
        pmu.undetermined |= first >= SLOTS
    else:
        firmware = kind is EventType.FW
        chosen = (
            find_firmware(pmu, base, mask)
            if firmware
            else find_hardware(pmu, base, mask, flags, event_idx, event_data)
        )
        if chosen is None:
            return pmu.refuse(
                SbiError.NOT_SUPPORTED, "counter choice", "no counter of the set is free for the event"
            )
        pmu.active[chosen] = event_idx & 0xFFFFFFFF
    assert chosen is not None
    if kind is EventType.FW:
        state = event_idx & 0xFFFF if pmu.per_code else chosen
        if flags & ConfigFlag.CLEAR_VALUE:
            pmu.fw_values[state] = 0
        if flags & ConfigFlag.AUTO_START:
            pmu.fw_started.add(state)
    elif kind is EventType.HW or not pmu.profile.has(OB.OPENSBI_AUTO_START_GENERAL_ONLY):
        if flags & ConfigFlag.CLEAR_VALUE:
            write(pmu, chosen, 0)
        if flags & ConfigFlag.AUTO_START:
            start_hw(pmu, chosen, None)
    return SbiRet(SbiError.SUCCESS, chosen)
