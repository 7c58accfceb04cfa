"""From an SBI event to the `perf_event_attr` that KVM builds for it."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ..profiles.behaviours import B
from ..profiles.profiles import Profile
from ..spec.perf import (
    ALL_ONES,
    CONFIG1_NOT_VS,
    CONFIG1_NOT_VU,
    RISCV_CONFIG1_GUEST_EVENTS,
    PerfEventAttr,
    PerfType,
    cache_config,
)
from ..spec.sbi import ConfigFlag
from ..spec.sbi_events import (
    CACHE_IDS,
    CACHE_OPS,
    EVENT_IDX_BITS,
    FW_MAX,
    HW_GENERAL_MAX,
    EventType,
    HwEvent,
    event_name,
    split_cache_code,
    split_event_idx,
)

FIXED_COUNTERS: dict[int, int] = {HwEvent.CPU_CYCLES: 0, HwEvent.INSTRUCTIONS: 2}
"""General events that have a counter of their own."""


class Translation(NamedTuple):
    """What perf is asked for. `refusal` says why the event does not exist, None where it does."""

    type: int
    config: int
    event_type: int
    code: int
    refusal: str | None
    firmware: bool
    """True for a firmware event, which perf never sees."""
    fixed_counter: int | None
    """Index of the counter made for this event: 0 for cycles, 2 for instructions."""


@lru_cache(maxsize=1024)
def translate(profile: Profile, event_idx: int, event_data: int) -> Translation:
    """Type and config for an event, or the reason why there is no such event in this profile."""
    event_type, code = split_event_idx(event_idx)
    perf_type, config, refusal = _perf_event(profile, event_type, code, event_data)
    if refusal is None and not profile.has(B.EVENT_ARGUMENTS_UNCHECKED):
        refusal = _reserved(profile, event_idx, event_type, code, event_data)
    fixed = FIXED_COUNTERS.get(code) if event_type == EventType.HW else None
    return Translation(perf_type, config, event_type, code, refusal, event_type == EventType.FW, fixed)


def _perf_event(profile: Profile, event_type: int, code: int, data: int) -> tuple[int, int, str | None]:
    """(perf type, config, refusal); untranslatable events keep the all-ones config that KVM passes on."""
    unknown = None if profile.has(B.UNTRANSLATABLE_REACHES_PERF) else "no such event"
    if event_type == EventType.HW:
        if code == HwEvent.NO_EVENT:
            refusal = None if profile.has(B.NO_EVENT_COUNTS_CYCLES) else "NO_EVENT is not an event"
            return PerfType.HARDWARE, 0, refusal
        if code < HW_GENERAL_MAX:
            return PerfType.HARDWARE, code - 1, None
        return PerfType.HARDWARE, ALL_ONES, unknown
    if event_type == EventType.CACHE:
        cache_id, op, result = split_cache_code(code)
        if cache_id < len(CACHE_IDS) and op < len(CACHE_OPS):
            return PerfType.HW_CACHE, cache_config(cache_id, op, result), None
        return PerfType.HW_CACHE, ALL_ONES, unknown
    if event_type == EventType.RAW:
        return PerfType.RAW, data & profile.raw_mask, None
    if event_type == EventType.RAW_V2 and profile.has(B.RAW_V2):
        return PerfType.RAW, data & profile.raw_v2_mask, None
    if event_type == EventType.FW:
        if code < FW_MAX:
            return PerfType.RAW, 1 << 63 | code, None
        return PerfType.RAW, ALL_ONES, "no such firmware event"
    return PerfType.MAX, ALL_ONES, unknown


def _reserved(profile: Profile, event_idx: int, event_type: int, code: int, data: int) -> str | None:
    """Why the arguments do not name an event although their parts would: reserved bits and fields must be
    zero.
    """
    if event_idx >> EVENT_IDX_BITS:
        return "event_idx has bits above 19"
    if event_type in (EventType.RAW, EventType.RAW_V2):
        mask = profile.raw_mask if event_type == EventType.RAW else profile.raw_v2_mask
        if code:
            return "the code of a raw event must be zero"
        return "event_data is wider than the selector" if data & ~mask else None
    return "event_data is reserved for this event" if data else None


SET_UINH, SET_SINH = int(ConfigFlag.SET_UINH), int(ConfigFlag.SET_SINH)
_CONFIG1 = {
    flags: RISCV_CONFIG1_GUEST_EVENTS
    | CONFIG1_NOT_VU * bool(flags & ConfigFlag.SET_VUINH)
    | CONFIG1_NOT_VS * bool(flags & ConfigFlag.SET_VSINH)
    for flags in range(0, 32, 8)
}
_GUEST_FILTERS = int(ConfigFlag.SET_VUINH | ConfigFlag.SET_VSINH)


@lru_cache(maxsize=256)
def build_attr(
    translation: Translation, flags: int, period: int, *, disabled: bool, nested: bool = False
) -> PerfEventAttr:
    """The attr of KVM's kernel counter: pinned, of the guest only; of the filter flags it knows UINH and
    SINH. `nested`: the guest has guests of its own, whose modes VUINH and VSINH are.
    """
    return PerfEventAttr(
        type=translation.type,
        config=translation.config,
        config1=_CONFIG1[flags & _GUEST_FILTERS if nested else 0],
        sample_period=period,
        disabled=disabled,
        pinned=True,
        exclude_user=bool(flags & SET_UINH),
        exclude_kernel=bool(flags & SET_SINH),
        exclude_hv=True,
        exclude_host=True,
    )


def describe(event_idx: int, event_data: int) -> str:
    """The event's name for a message."""
    return event_name(event_idx, event_data)
