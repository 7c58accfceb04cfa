"""The host kernel's RISC-V PMU driver: what an attr means on the described host, and which modes it
counts in.

Source: drivers/perf/riscv_pmu_sbi.c (pmu_sbi_event_map, pmu_sbi_get_filter_flags), Linux 6.12 and 7.2.
"""

from __future__ import annotations

import errno
from functools import lru_cache
from typing import NamedTuple

from vpmu.hart.events import Mode
from vpmu.hart.pmu import FIXED, Selector
from vpmu.perf.description import HostPmuDescription
from vpmu.spec.perf import (
    CONFIG1_NOT_VS,
    CONFIG1_NOT_VU,
    CONFIG_MASK,
    EVENTS,
    RISCV_CONFIG1_GUEST_EVENTS,
    CacheId,
    CacheOp,
    CacheResult,
    PerfEventAttr,
    PerfHw,
    PerfType,
    cache_config,
    cache_fields,
    event_name,
)

_RAW_KINDS = {
    1: "bits 63:62 of a raw config are 01, which means nothing",
    2: "SBI firmware events of the host are not modelled",
    3: "platform firmware events of the host are not modelled",
}


class MappedEvent(NamedTuple):
    """An event that event_init accepts."""

    name: str
    selector: Selector
    counters: tuple[int, ...]
    """hpmcounters that can count it, in the order in which the firmware tries them; none for a raw event
    it has no row for.
    """
    fixed: int | None = None
    """cycle or instret, for the two events that these count."""


class Refusal(NamedTuple):
    """An errno, and why."""

    errno: int
    why: str


class Driver:
    """Maps attrs for one description."""

    def __init__(self, description: HostPmuDescription, raw_event_bits: int | None = None) -> None:
        self._description = description
        self._raw_event_bits = description.raw_event_bits if raw_event_bits is None else raw_event_bits
        fixed = {event.value: index for index, event in FIXED.items()}
        self._generic = {
            EVENTS[name]: MappedEvent(name, selector, _search_order(counters), fixed.get(name))
            for name, counters, selector in description.countable()
        }
        self._raw = {
            config: MappedEvent(event_name(PerfType.RAW, config), selector, _search_order(counters))
            for config, counters, selector in description.countable_raw()
        }

        self.event_map = lru_cache(maxsize=1024)(self._event_map)
        """(type, config) -> the event that this stands for, or the driver's errno."""

    def _event_map(self, type_: int, config: int) -> MappedEvent | Refusal:
        if type_ == PerfType.RAW:
            return self._raw_event(config)
        # The upper half of the config names a PMU. perf drops it when no PMU of that number takes the
        # event, and asks all.
        config &= CONFIG_MASK
        if type_ == PerfType.HARDWARE:
            if config >= PerfHw.MAX:
                return Refusal(errno.EINVAL, f"no hardware event has config {config:#x}")
        elif type_ == PerfType.HW_CACHE:
            cache, op, result = cache_fields(config)
            if cache >= CacheId.MAX or op >= CacheOp.MAX or result >= CacheResult.MAX:
                why = f"malformed cache event {config:#x} (cache {cache}, op {op}, result {result})"
                return Refusal(errno.EINVAL, why)
            config = cache_config(cache, op, result)
        else:
            return Refusal(errno.ENOENT, f"no PMU takes events of type {type_}")
        event = self._generic.get((type_, config))
        if event is None:
            name = event_name(type_, config)
            return Refusal(errno.ENOENT, f"host PMU {self._description.name} does not count {name}")
        return event

    def _raw_event(self, config: int) -> MappedEvent | Refusal:
        kind = _RAW_KINDS.get(config >> 62)
        if kind is not None:
            return Refusal(errno.ENOENT, kind)
        if config >> self._raw_event_bits:
            return Refusal(errno.ENOENT, f"raw config {config:#x} is wider than {self._raw_event_bits} bits")
        # Raw events are not checked at boot: one that the firmware has no row for passes here and fails to
        # be scheduled.
        return self._raw.get(config) or MappedEvent(event_name(PerfType.RAW, config), (), ())


def guest_modes(attr: PerfEventAttr, *, whole: bool = False) -> Mode:
    """The guest's modes in which an event counts; `whole`: the guest is the supervisor of a hart with all its
    modes, and counts its own guests, too.

    With KVM's config1 the exclude bits are about the guest's own user and kernel; without it they are
    about the host's.
    """
    if attr.exclude_guest:
        return Mode(0)
    for_guest = attr.config1 & RISCV_CONFIG1_GUEST_EVENTS
    no_user = bool(for_guest and attr.exclude_user)
    no_kernel = bool(for_guest and attr.exclude_kernel)
    if not whole:
        return _MODES[no_user, no_kernel]
    modes = Mode.U | Mode.S | Mode.VU | Mode.VS
    for excluded, mode in (
        (no_user, Mode.U),
        (no_kernel, Mode.S),
        (attr.config1 & CONFIG1_NOT_VU, Mode.VU),
        (attr.config1 & CONFIG1_NOT_VS, Mode.VS),
    ):
        if excluded:
            modes &= ~mode
    return modes


_MODES = {
    (False, False): Mode.VU | Mode.VS,
    (False, True): Mode.VU,
    (True, False): Mode.VS,
    (True, True): Mode(0),
}


def counts_host(attr: PerfEventAttr) -> bool:
    """True where a mode of the host itself is left to be counted."""
    if attr.exclude_host:
        return False
    if attr.config1 & RISCV_CONFIG1_GUEST_EVENTS:
        return True  # user mode is only ever inhibited by exclude_host
    return not (attr.exclude_user and attr.exclude_kernel)


def _search_order(counters: frozenset[int]) -> tuple[int, ...]:
    # OpenSBI 1.6 goes on searching after a match and so takes the last: 18 first, then 17 (recorded).
    return tuple(sorted(counters, reverse=True))
