"""PMU events: `event_idx`, its parts, and the names by which people call them (SBI 3.0, "Event Encoding")."""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import NamedTuple

from ..errors import UnknownNameError, UsageError

EVENT_IDX_BITS = 20
EVENT_IDX_INVALID = 0xFFFFFFFF
"""What Linux stores where no event is bound. Its code part reads back as 0xFFFF."""


class EventType(IntEnum):
    """Bits 19:16 of event_idx; 4 to 14 are not defined."""

    HW = 0
    CACHE = 1
    RAW = 2
    RAW_V2 = 3
    FW = 15


class HwEvent(IntEnum):
    """Codes of type 0, "Hardware General Events"."""

    NO_EVENT = 0
    CPU_CYCLES = 1
    INSTRUCTIONS = 2
    CACHE_REFERENCES = 3
    CACHE_MISSES = 4
    BRANCH_INSTRUCTIONS = 5
    BRANCH_MISSES = 6
    BUS_CYCLES = 7
    STALLED_CYCLES_FRONTEND = 8
    STALLED_CYCLES_BACKEND = 9
    REF_CPU_CYCLES = 10


HW_GENERAL_MAX = len(HwEvent)


class FwEvent(IntEnum):
    """Codes of type 15, "Firmware Events". 22 to 255 are reserved, 256 to 65534 implementation specific."""

    MISALIGNED_LOAD = 0
    MISALIGNED_STORE = 1
    ACCESS_LOAD = 2
    ACCESS_STORE = 3
    ILLEGAL_INSN = 4
    SET_TIMER = 5
    IPI_SENT = 6
    IPI_RECEIVED = 7
    FENCE_I_SENT = 8
    FENCE_I_RECEIVED = 9
    SFENCE_VMA_SENT = 10
    SFENCE_VMA_RECEIVED = 11
    SFENCE_VMA_ASID_SENT = 12
    SFENCE_VMA_ASID_RECEIVED = 13
    HFENCE_GVMA_SENT = 14
    HFENCE_GVMA_RECEIVED = 15
    HFENCE_GVMA_VMID_SENT = 16
    HFENCE_GVMA_VMID_RECEIVED = 17
    HFENCE_VVMA_SENT = 18
    HFENCE_VVMA_RECEIVED = 19
    HFENCE_VVMA_ASID_SENT = 20
    HFENCE_VVMA_ASID_RECEIVED = 21
    PLATFORM = 65535


FW_MAX = 22
"""Firmware event codes below this are the standard ones."""

CACHE_IDS = ("L1-dcache", "L1-icache", "LLC", "dTLB", "iTLB", "branch", "node")
"""Cache ids 0 to 6 by the names that perf gives them ("Hardware Cache Events")."""
CACHE_OPS = (("loads", "load-misses"), ("stores", "store-misses"), ("prefetches", "prefetch-misses"))
"""Op ids 0 to 2, each with result 0 (access) and 1 (miss), as perf names them."""

_HW_NAMES = {
    HwEvent.CPU_CYCLES: "cycles",
    HwEvent.INSTRUCTIONS: "instructions",
    HwEvent.CACHE_REFERENCES: "cache-references",
    HwEvent.CACHE_MISSES: "cache-misses",
    HwEvent.BRANCH_INSTRUCTIONS: "branches",
    HwEvent.BRANCH_MISSES: "branch-misses",
    HwEvent.BUS_CYCLES: "bus-cycles",
    HwEvent.STALLED_CYCLES_FRONTEND: "stalled-cycles-frontend",
    HwEvent.STALLED_CYCLES_BACKEND: "stalled-cycles-backend",
    HwEvent.REF_CPU_CYCLES: "ref-cycles",
}
_ALIASES = {
    "cpu-cycles": "cycles",
    "branch-instructions": "branches",
    "idle-cycles-frontend": "stalled-cycles-frontend",
    "idle-cycles-backend": "stalled-cycles-backend",
}


class Event(NamedTuple):
    """An event as counter_config_matching takes it, with its name."""

    event_idx: int
    event_data: int
    name: str


def split_event_idx(event_idx: int) -> tuple[int, int]:
    """(type, code) of an event_idx; bits 20 and above are dropped."""
    return event_idx >> 16 & 0xF, event_idx & 0xFFFF


def join_event_idx(event_type: int, code: int) -> int:
    """The event_idx of a type (0 to 15) and a code (0 to 65535)."""
    return event_type << 16 | code


def cache_code(cache_id: int, op: int, result: int) -> int:
    """Code of a cache event: id in bits 15:3, op in 2:1, result in 0."""
    return cache_id << 3 | op << 1 | result


def split_cache_code(code: int) -> tuple[int, int, int]:
    """(cache id, op, result) of a type 1 code."""
    return code >> 3, code >> 1 & 3, code & 1


@cache
def standard_events() -> dict[str, Event]:
    """Every event that has a name, by name: 10 general, 42 cache and 22 firmware events, in the order of
    their codes.
    """
    names = {name: join_event_idx(EventType.HW, code) for code, name in _HW_NAMES.items()}
    for cache_id, cache_name in enumerate(CACHE_IDS):
        for op, results in enumerate(CACHE_OPS):
            for result, suffix in enumerate(results):
                idx = join_event_idx(EventType.CACHE, cache_code(cache_id, op, result))
                names[f"{cache_name}-{suffix}"] = idx
    for fw in FwEvent:
        if fw < FW_MAX:
            names[f"fw:{fw.name.lower()}"] = join_event_idx(EventType.FW, fw)
    return {name: Event(idx, 0, name) for name, idx in names.items()}


def event_by_name(name: str) -> Event:
    """The event of that name, `rHEX` (raw, 48 bits), `raw-v2:HEX` (56 bits) or a number (an event_idx).

    Raises UnknownNameError with the near names, UsageError for a raw selector that is too wide.
    """
    events = standard_events()
    wanted = name.strip()
    folded = {known.lower(): known for known in events} | _ALIASES
    known = folded.get(wanted.lower())
    if known is not None:
        return events[known]
    for prefix, event_type, bits in (("raw-v2:", EventType.RAW_V2, 56), ("r", EventType.RAW, 48)):
        digits = wanted[len(prefix) :]
        if wanted.startswith(prefix) and digits and all(c in "0123456789abcdefABCDEFx" for c in digits):
            return Event(join_event_idx(event_type, 0), _selector(wanted, digits, bits), wanted)
    if wanted[:1].isdigit():
        try:
            idx = int(wanted, 0)
        except ValueError:
            idx = -1
        if 0 <= idx < 1 << EVENT_IDX_BITS:
            return Event(idx, 0, event_name(idx))
    raise UnknownNameError("event", name, events)


def _selector(name: str, digits: str, bits: int) -> int:
    try:
        selector = int(digits, 16)
    except ValueError:
        raise UsageError(f"raw event {name!r}", expected="a hexadecimal selector", got=digits) from None
    if selector >> bits:
        raise UsageError(
            f"raw event {name!r}", expected=f"a selector of at most {bits} bits", got=hex(selector)
        )
    return selector


@cache
def _names_by_idx() -> dict[int, str]:
    return {event.event_idx: event.name for event in standard_events().values()}


def event_name(event_idx: int, event_data: int = 0) -> str:
    """The name of an event as `event_by_name` takes it; an event without a name is its number."""
    event_type, _ = split_event_idx(event_idx)
    if event_type == EventType.RAW:
        return f"r{event_data:x}"
    if event_type == EventType.RAW_V2:
        return f"raw-v2:{event_data:x}"
    return _names_by_idx().get(event_idx, hex(event_idx))
