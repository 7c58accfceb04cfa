"""counter_config_matching (FID 2): choose a counter and bind an event to it.

Choices of the strict profile where the specification leaves them open: an event that does not exist is
NOT_SUPPORTED; a counter is free when no event is bound to it; of the free counters of the set the fixed one
comes first, then the lowest index; SKIP_MATCH takes the set's first counter even if an event is bound, and a
refusal leaves that event as it was; a host counter that cannot be had for AUTO_START is NOT_SUPPORTED.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from ..perf.event import EventState, PerfError, PerfEvent
from ..profiles.behaviours import B
from ..spec.sbi import CONFIG_FLAGS, U64, ConfigFlag, SbiError, SbiRet
from .counter import MAX_COUNTERS, PERIOD_MAX, Counter
from .errors import KvmRunError
from .translate import Translation, build_attr, describe

if TYPE_CHECKING:
    from .pmu import VcpuPmu

CLEAR_VALUE: Final = int(ConfigFlag.CLEAR_VALUE)
AUTO_START: Final = int(ConfigFlag.AUTO_START)
SKIP_MATCH: Final = int(ConfigFlag.SKIP_MATCH)
_BOUND: Final = tuple(SbiRet(SbiError.SUCCESS, index) for index in range(MAX_COUNTERS))


def counter_config_matching(
    pmu: VcpuPmu, base: int, mask: int, flags: int, event_idx: int, event_data: int
) -> SbiRet:
    """Raises KvmRunError with perf's errno where the profile has `perf-failure-ends-kvm-run`."""
    pmu.undetermined, pmu.last_refusal = False, None
    profile = pmu.profile
    if not pmu.valid_set(base, mask):
        return pmu.refuse(SbiError.INVALID_PARAM, "counter set", "the set is empty or has an invalid counter")
    if flags & ~CONFIG_FLAGS and not profile.has(B.RESERVED_FLAGS_IGNORED):
        return pmu.refuse(SbiError.INVALID_PARAM, "config_flags", f"reserved bits in {flags:#x}")
    event = pmu.translate(event_idx, event_data)
    if event.refusal is not None:
        reason = f"{describe(event_idx, event_data)}: {event.refusal}"
        return pmu.refuse(SbiError.NOT_SUPPORTED, "event_idx", reason)
    counter = _skip_match(pmu, base, mask, event) if flags & SKIP_MATCH else _match(pmu, base, mask, event)
    if isinstance(counter, SbiRet):
        return counter
    if event.firmware:
        _bind_firmware(pmu, counter, flags, event)
    else:
        if profile.has(B.REBIND_RELEASES_FIRST):
            refused = _bind_as_kvm(pmu, counter, flags, event, event_idx)
        else:
            refused = _bind_exactly(pmu, counter, flags, event, event_idx)
        if refused is not None:
            return refused
    counter.in_use = True
    counter.event_idx = event_idx
    return _BOUND[counter.idx]


def _skip_match(pmu: VcpuPmu, base: int, mask: int, event: Translation) -> Counter | SbiRet:
    index = base + (mask & -mask).bit_length() - 1 & U64
    counter = pmu.at(index)
    if (counter is None or not counter.in_use) and pmu.profile.has(B.SKIP_MATCH_NEEDS_CONFIGURED):
        return pmu.refuse(SbiError.FAILED, "SKIP_MATCH", f"counter {index} has no event")
    if counter is None or not (pmu.profile.has(B.SKIP_MATCH_ANY_TYPE) or _can_count(pmu, counter, event)):
        return pmu.refuse(SbiError.NOT_SUPPORTED, "SKIP_MATCH", f"counter {index} cannot count the event")
    return counter


def _can_count(pmu: VcpuPmu, counter: Counter, event: Translation) -> bool:
    """True where the counter is of the event's kind; a fixed counter counts its own event only."""
    if counter.firmware or event.firmware:
        return counter.firmware and event.firmware
    return counter.idx >= 3 or counter.idx == event.fixed_counter


def _match(pmu: VcpuPmu, base: int, mask: int, event: Translation) -> Counter | SbiRet:
    fixed = event.fixed_counter
    if fixed is not None and pmu.profile.has(B.FIXED_COUNTER_IGNORES_SET):
        return pmu.counters[fixed]
    if fixed is not None and base <= fixed and mask >> (fixed - base) & 1 and not pmu.counters[fixed].in_use:
        return pmu.counters[fixed]
    low, high = (pmu.num_hw, pmu.num_counters_total) if event.firmware else (3, pmu.num_hw)
    for index in range(low, high):
        # A base above the index reaches it only where the set wraps past 2^64.
        if mask >> (index - base & U64) & 1 and not pmu.counters[index].in_use:
            return pmu.counters[index]
    kind = "firmware" if event.firmware else "programmable"
    return pmu.refuse(SbiError.NOT_SUPPORTED, "counter choice", f"no free {kind} counter in the set")


def _bind_firmware(pmu: VcpuPmu, counter: Counter, flags: int, event: Translation) -> None:
    if pmu.profile.has(B.FW_STATE_PER_CODE):
        if flags & AUTO_START:
            pmu.fw[event.code].started = True
        if flags & CLEAR_VALUE and not pmu.profile.has(B.FW_CLEAR_IGNORED):
            pmu.fw[event.code].value = 0
        return
    counter.started = bool(flags & AUTO_START)
    counter.overflown = False
    if flags & CLEAR_VALUE and not pmu.profile.has(B.FW_CLEAR_IGNORED):
        counter.set_value(0)


def _bind_as_kvm(
    pmu: VcpuPmu, counter: Counter, flags: int, event: Translation, event_idx: int
) -> SbiRet | None:
    """Release the old perf event, then try to create the new one; None where that succeeded."""
    profile = pmu.profile
    if counter.event is not None:
        counter.release()
    if flags & CLEAR_VALUE:
        counter.set_value(0)
    period = counter.kvm_period(zero_too_large=profile.has(B.PERIOD_OF_ZERO_TOO_LARGE))
    try:
        perf_event = _create(
            pmu, counter, event, flags, period, disabled=not profile.has(B.EVENT_CREATED_ENABLED)
        )
    except PerfError as error:
        return _perf_refused(pmu, error, event_idx)
    if perf_event is None:  # a NULL pointer passes for an event (F9): the counter is in use and has none
        return None
    counter.attach(perf_event)
    if flags & AUTO_START:
        perf_event.enable()
        if not profile.has(B.AUTO_START_UNTRACKED):
            counter.started = True
    return None


def _bind_exactly(
    pmu: VcpuPmu, counter: Counter, flags: int, event: Translation, event_idx: int
) -> SbiRet | None:
    """Create the new perf event, and exchange it for the old one only when nothing can fail any more."""
    old, was_running = counter.event, counter.started
    if was_running:
        pmu.settle(counter)
    value = 0 if flags & CLEAR_VALUE else counter.current()
    period = min(counter.mask + 1 - value, PERIOD_MAX)
    try:
        perf_event = _create(pmu, counter, event, flags, period, disabled=True)
    except PerfError as error:
        return _perf_refused(pmu, error, event_idx)
    if perf_event is None:
        return pmu.refuse(SbiError.NOT_SUPPORTED, "event", "perf returned no event", layer="perf")
    if flags & AUTO_START:
        if old is not None:
            old.disable()  # its host counter may be the one that the new event needs
        perf_event.enable()
        if perf_event.state is EventState.ERROR:
            perf_event.release()
            if old is not None and was_running:
                old.enable()
            return pmu.refuse(
                SbiError.NOT_SUPPORTED, "AUTO_START", "no host counter is free for the event", layer="perf"
            )
    counter.release()
    counter.attach(perf_event)
    counter.set_value(value)
    counter.started = bool(flags & AUTO_START)
    counter.overflown = False
    return None


def _create(
    pmu: VcpuPmu, counter: Counter, event: Translation, flags: int, period: int, *, disabled: bool
) -> PerfEvent | None:
    attr = build_attr(event, flags, period, disabled=disabled, nested=pmu.nested)
    try:
        perf_event = pmu.create_event(counter, attr)
        if perf_event is not None and not (pmu.profile.has(B.RAW_EVENT_UNCHECKED) or perf_event.countable):
            perf_event.release()
            raise PerfError(errno.ENOENT, "no counter of the host counts this raw event")
    except PerfError as error:
        if pmu.recorder.enabled:
            pmu.note(
                "perf_event_create_kernel_counter",
                "refused",
                error.errno_name,
                counter=counter.idx,
                type=attr.type,
                config=attr.config,
                reason=error.reason,
            )
        raise
    if pmu.recorder.enabled:
        pmu.note(
            "perf_event_create_kernel_counter",
            "created",
            0,
            counter=counter.idx,
            type=attr.type,
            config=attr.config,
            sample_period=period,
        )
    return perf_event


def _perf_refused(pmu: VcpuPmu, error: PerfError, event_idx: int) -> SbiRet:
    """Answer for an event that perf did not create. KVM before 2196c066f138 let the errno out of KVM_RUN."""
    step, reason = "perf_event_create_kernel_counter", f"{error.errno_name}: {error.reason}"
    if pmu.profile.has(B.PERF_FAILURE_ENDS_KVM_RUN):
        pmu.refuse(-error.errno, step, reason, layer="perf")
        raise KvmRunError(error.errno, f"kvm pmu event creation failed for eidx {event_idx:x}: {reason}")
    return pmu.refuse(SbiError.NOT_SUPPORTED, step, reason, layer="perf")
