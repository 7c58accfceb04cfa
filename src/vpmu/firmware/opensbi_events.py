"""OpenSBI's events: which exist, which counter is chosen for one, and what event_get_info says of them.

Source: OpenSBI lib/sbi/sbi_pmu.c (pmu_event_validate, pmu_ctr_find_hw, pmu_ctr_find_fw,
sbi_pmu_event_get_info).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from ..hart.memory import MemoryFault
from ..hart.pmu import Selector
from ..profiles.opensbi_behaviours import OB
from ..see.pmu import LOOK_UP, LeaveCall, counted_modes
from ..spec.sbi import EVENT_INFO_ENTRY, U64, SbiError, SbiRet
from ..spec.sbi_events import (
    CACHE_IDS,
    CACHE_OPS,
    FW_MAX,
    HW_GENERAL_MAX,
    EventType,
    split_cache_code,
    split_event_idx,
)

if TYPE_CHECKING:
    from .opensbi_pmu import OpenSbiPmu

SLOTS = 48
"""Size of the array of bound events (SBI_PMU_HW_CTR_MAX + SBI_PMU_FW_CTR_MAX)."""
FIRMWARE_MEMORY = range(0x80000000, 0x80080000)
"""What PMP keeps from S mode on QEMU's virt machine."""
_RAW = (EventType.RAW << 16, EventType.RAW_V2 << 16)
_FIXED_EVENTS = {1: 0, 2: 2}


def find_firmware(pmu: OpenSbiPmu, base: int, mask: int) -> int | None:
    if pmu.shifted:
        # The base of the search is an `int`: from 2^32 on it begins again at 0, with hardware counters.
        set_, low = mask << (base & 63) & U64, pmu.num_hw if base <= pmu.num_hw else base & 0xFFFFFFFF
        free = (i for i in range(low, pmu.num_counters_total) if set_ >> i & 1 and pmu.active[i] is None)
        return next(free, None)
    relative = pmu.profile.has(OB.OPENSBI_FW_INDEX_RELATIVE)
    for bit, index in pmu.members(base, mask):
        slot = bit if relative else index
        if pmu.num_hw <= index < pmu.num_counters_total and slot < SLOTS and pmu.active[slot] is None:
            return slot
    return None


def find_hardware(pmu: OpenSbiPmu, base: int, mask: int, flags: int, event_idx: int, data: int) -> int | None:
    if base >= pmu.num_hw:
        return None
    wanted = mask << base & U64
    found: tuple[int, Selector] | None = None
    for counters, selector in matching(pmu, event_idx, data):
        for index in sorted(counters, reverse=True):  # the search goes on to the end: the last one is taken
            if index < base or not wanted >> index & 1 or pmu.active[index] is not None:
                continue
            if not pmu.physical.running(index):
                found = index, selector
                break
    if found is None:
        fixed = _FIXED_EVENTS.get(event_idx)
        if fixed is None or pmu.profile.has(OB.OPENSBI_FIXED_COUNTER_FALLBACK):
            return fixed
        unused = pmu.profile.has(OB.OPENSBI_FIXED_COUNTER_UNUSED)
        return fixed if wanted >> fixed & 1 and not unused else None
    index, selector = found
    pmu.physical.configure(index, selector, counted_modes(flags, whole=pmu.whole))
    if not pmu.shifted:  # 1.1 leaves the interrupt on
        pmu.of |= 1 << index
    return index


def matching(pmu: OpenSbiPmu, event_idx: int, data: int) -> list[tuple[frozenset[int], Selector]]:
    if event_idx in _RAW:
        return [(counters, selector) for select, counters, selector in pmu.raw if select == data][:1]
    return [(counters, selector) for row, counters, selector in pmu.rows if row == event_idx][:1]


def event_get_info(pmu: OpenSbiPmu, lo: int, hi: int, num_entries: int, flags: int) -> SbiRet:
    if flags or not num_entries or lo % EVENT_INFO_ENTRY.size:
        return pmu.refuse(SbiError.INVALID_PARAM, "arguments", "flags, number of entries or alignment")
    size = EVENT_INFO_ENTRY.size * num_entries & U64
    if hi or any(address in FIRMWARE_MEMORY for address in (lo, lo + size - 1)):
        return pmu.refuse(SbiError.INVALID_ADDRESS, "address", "bits above 63, or the firmware's memory")
    try:
        table = bytearray(pmu.memory.read(lo, size))
    except MemoryFault as fault:
        return pmu.refuse(SbiError.INVALID_ADDRESS, "address", str(fault))
    for offset in range(0, size, EVENT_INFO_ENTRY.size):
        if not offset & LOOK_UP and pmu.leaving():
            raise LeaveCall
        event_idx, _, data = EVENT_INFO_ENTRY.unpack_from(table, offset)
        EVENT_INFO_ENTRY.pack_into(table, offset, event_idx, _supported(pmu, event_idx), data)
    pmu.memory.write(lo, bytes(table))
    return SbiRet(SbiError.SUCCESS)


def _supported(pmu: OpenSbiPmu, event_idx: int) -> bool:
    if event_type(event_idx) is None:
        return False
    if event_idx in _RAW:  # rows of other events have an empty selector, which matches
        return bool(pmu.rows)
    return any(event_idx == row for row, _, _ in pmu.rows)


@lru_cache(maxsize=256)
def event_type(event_idx: int, *, unchecked: bool = False) -> EventType | None:
    """The type of an event that OpenSBI's validation lets pass; bits 20 and above do not take part.

    unchecked: every event passes; what has no type of its own is looked for among the cache events, in vain.
    """
    kind, code = split_event_idx(event_idx)
    if unchecked:
        return EventType(kind) if kind in set(EventType) else EventType.CACHE
    if kind == EventType.HW:
        valid = code < HW_GENERAL_MAX
    elif kind == EventType.CACHE:
        cache_id, op, _ = split_cache_code(code)
        valid = cache_id < len(CACHE_IDS) and op < len(CACHE_OPS)
    elif kind in (EventType.RAW, EventType.RAW_V2):
        valid = code == 0
    else:
        valid = kind == EventType.FW and code < FW_MAX
    return EventType(kind) if valid else None
