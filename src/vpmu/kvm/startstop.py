"""counter_start and counter_stop (FID 3 and 4): sets of counters, values, the snapshot page.

Order of a set: ascending index; the last error of a member is the answer, the other members are served (as
KVM does). Choices of the strict profile: a set that holds a counter without an event is refused by start
before anything changes, for stop such a counter is one that is already stopped; a member that runs already
keeps its value; a page that cannot be read or written is FAILED before anything changes; a host counter that
cannot be had, or only at the cost of another counter, is FAILED for that member, which stays stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ..perf.event import EventState, PerfEvent
from ..profiles.behaviours import B
from ..see.pmu import members as members_of
from ..see.vcpu_api import MemoryFault
from ..spec.sbi import START_FLAGS, STOP_FLAGS, SbiError, SbiRet, StartFlag, StopFlag
from ..spec.sbi_events import FW_MAX
from .counter import Counter

if TYPE_CHECKING:
    from .pmu import VcpuPmu

SET_INIT_VALUE: Final = int(StartFlag.SET_INIT_VALUE)
INIT_SNAPSHOT: Final = int(StartFlag.INIT_SNAPSHOT)
RESET: Final = int(StopFlag.RESET)
TAKE_SNAPSHOT: Final = int(StopFlag.TAKE_SNAPSHOT)
SUCCESS: Final = SbiError.SUCCESS
_SUCCESSFUL: Final = SbiRet(SUCCESS)
_EMPTY = "the set is empty or has an invalid counter"


def counter_start(pmu: VcpuPmu, base: int, mask: int, flags: int, initial_value: int) -> SbiRet:
    """See SbiPmu.counter_start."""
    pmu.undetermined, pmu.last_refusal = False, None
    profile = pmu.profile
    if not pmu.valid_set(base, mask):
        return pmu.refuse(SbiError.INVALID_PARAM, "counter set", _EMPTY)
    if (flags & ~START_FLAGS or flags & START_FLAGS == START_FLAGS) and not profile.has(
        B.RESERVED_FLAGS_IGNORED
    ):
        return pmu.refuse(
            SbiError.INVALID_PARAM, "start_flags", f"reserved or contradicting bits in {flags:#x}"
        )
    slots: Sequence[int] | None = None
    if flags & INIT_SNAPSHOT and profile.has(B.SNAPSHOT):
        if not pmu.snapshot.installed:
            return pmu.refuse(SbiError.NO_SHMEM, "INIT_SNAPSHOT", "no shared memory is set")
        try:
            slots = pmu.snapshot.load(pmu.memory)
        except MemoryFault as fault:
            return pmu.refuse(SbiError.FAILED, "INIT_SNAPSHOT", f"the shared memory cannot be read: {fault}")
    members = members_of(base, mask)
    if not profile.has(B.UNCONFIGURED_SKIPPED):
        for _, index in members:
            if not pmu.counters[index].in_use:
                return pmu.refuse(SbiError.INVALID_PARAM, "counter set", f"counter {index} has no event")
    error = SUCCESS
    for bit, index in members:
        counter = pmu.at(index)
        if counter is None or not counter.in_use:
            continue
        value = initial_value if flags & SET_INIT_VALUE else slots[bit] if slots is not None else None
        if not counter.firmware:
            result = _start_hardware(pmu, counter, value)
        elif profile.has(B.FW_STATE_PER_CODE):
            if value is not None:
                counter.set_value(value)
            if counter.code >= FW_MAX:
                return pmu.refuse(SbiError.INVALID_PARAM, "start", f"counter {index} has no firmware event")
            result = _start_code(pmu, counter)
        else:
            result = _start_firmware(pmu, counter, value)
        if result is not SUCCESS:
            error = result
    return _SUCCESSFUL if error is SUCCESS else SbiRet(error)


def _start_code(pmu: VcpuPmu, counter: Counter) -> SbiError:
    counter.overflown = False
    state = pmu.fw[counter.code]
    if state.started:
        return pmu.member_error(SbiError.ALREADY_STARTED, counter, "its event code counts already")
    state.started, state.value, state.tainted = True, counter.value, counter.tainted
    return SUCCESS


def _start_firmware(pmu: VcpuPmu, counter: Counter, value: int | None) -> SbiError:
    if counter.started:
        return pmu.member_error(SbiError.ALREADY_STARTED, counter, "it counts already")
    if value is not None:
        counter.set_value(value)
    counter.started = True
    return SUCCESS


def _start_hardware(pmu: VcpuPmu, counter: Counter, value: int | None) -> SbiError:
    profile = pmu.profile
    if profile.has(B.START_OVERWRITES_RUNNING):
        counter.overflown = False
        if value is not None and (
            counter.started or counter.event is None or profile.has(B.READ_ACCUMULATES)
        ):
            counter.value, counter.tainted = value, False
    event = counter.event
    if event is None:
        return pmu.member_error(SbiError.INVALID_PARAM, counter, "it has no perf event")
    if counter.started:
        return pmu.member_error(SbiError.ALREADY_STARTED, counter, "it counts already")
    counter.overflown = False
    if not profile.has(B.READ_ACCUMULATES):
        if value is None:
            counter.fold()
        elif event.state is EventState.ACTIVE:
            # Enabled by AUTO_START, which nobody noted: what it has counted since then stays (KVM 7.2.13).
            counter.value, counter.tainted = value, False
        else:
            counter.set_value(value if profile.has(B.WIDTH_NOT_MASKED) else value & counter.mask)
    if profile.has(B.PERIOD_REJECTED_SILENTLY):
        period = counter.kvm_period(zero_too_large=profile.has(B.PERIOD_OF_ZERO_TOO_LARGE))
    else:
        period = counter.exact_period()
    refused = event.set_period(period)
    if refused is not None and pmu.recorder.enabled:  # KVM ignores the result: the old period stays
        pmu.note("perf_event_period", "refused", refused.errno_name, counter=counter.idx, period=period)
    if profile.has(B.ERROR_STATE_IGNORED):
        event.enable()
    elif not _enabled_beside_the_others(pmu, event):
        return pmu.member_error(SbiError.FAILED, counter, "no host counter is free", layer="perf")
    counter.started = True
    return SUCCESS


def _enabled_beside_the_others(pmu: VcpuPmu, event: PerfEvent) -> bool:
    """Enable `event` if no event that counts loses its host counter by it; else all is as it was."""
    others = [counter.event for counter in pmu.counters[: pmu.num_hw] if counter.started]
    counting = [other for other in others if other is not None and other.state is EventState.ACTIVE]
    event.enable()
    lost = [other for other in counting if other.state is EventState.ERROR]
    if event.state is not EventState.ERROR and not lost:
        return True
    event.disable()
    for other in lost:
        other.enable()
    return False


def counter_stop(pmu: VcpuPmu, base: int, mask: int, flags: int) -> SbiRet:
    """See SbiPmu.counter_stop."""
    pmu.undetermined, pmu.last_refusal = False, None
    profile = pmu.profile
    if not pmu.valid_set(base, mask):
        return pmu.refuse(SbiError.INVALID_PARAM, "counter set", _EMPTY)
    if flags & ~STOP_FLAGS and not profile.has(B.RESERVED_FLAGS_IGNORED):
        return pmu.refuse(SbiError.INVALID_PARAM, "stop_flags", f"reserved bits in {flags:#x}")
    take_snapshot = bool(flags & TAKE_SNAPSHOT) and profile.has(B.SNAPSHOT)
    if take_snapshot and not pmu.snapshot.installed:
        return pmu.refuse(SbiError.NO_SHMEM, "TAKE_SNAPSHOT", "no shared memory is set")
    if take_snapshot and not profile.has(B.SNAPSHOT_FROM_COPY):
        refused = _store_exactly(pmu, base, mask)
        if refused is not None:
            return refused
        take_snapshot = False
    error, page_changed = SUCCESS, False
    for bit, index in members_of(base, mask):
        counter = pmu.at(index)
        if counter is None or not counter.in_use:
            if not profile.has(B.UNCONFIGURED_SKIPPED):
                error = SbiError.ALREADY_STOPPED
                pmu.refuse(error, "stop", f"counter {index} has no event")
            continue
        if counter.firmware and profile.has(B.FW_STATE_PER_CODE) and counter.code >= FW_MAX:
            # KVM leaves the function here: the page is not written although it may have changed.
            return pmu.refuse(SbiError.INVALID_PARAM, "stop", f"counter {index} has no firmware event")
        result = _stop_one(pmu, counter, reset=bool(flags & RESET), snapshot=take_snapshot)
        if result is not SUCCESS:
            error = result
        if take_snapshot and (error is SUCCESS or not profile.has(B.SNAPSHOT_ENDS_AT_ERROR)):
            pmu.snapshot.put(bit, _stored_value(pmu, counter), overflown=counter.overflown)
            page_changed = True
        if flags & RESET:
            _reset_one(pmu, counter)
            if take_snapshot:
                pmu.snapshot.clear_overflow(bit)
                page_changed = True
    if page_changed:
        pmu.undetermined |= pmu.snapshot.tainted
        try:
            pmu.snapshot.flush(pmu.memory)
        except MemoryFault as fault:
            if not profile.has(B.SNAPSHOT_WRITE_IGNORED):
                return pmu.refuse(
                    SbiError.FAILED, "TAKE_SNAPSHOT", f"the shared memory cannot be written: {fault}"
                )
    return _SUCCESSFUL if error is SUCCESS else SbiRet(error)


def _stop_one(pmu: VcpuPmu, counter: Counter, *, reset: bool, snapshot: bool) -> SbiError:
    profile = pmu.profile
    if counter.firmware:
        if not profile.has(B.FW_STATE_PER_CODE):
            was_started, counter.started = counter.started, False
        else:
            state = pmu.fw[counter.code]
            was_started, state.started = state.started, False
            if was_started and not profile.has(B.FW_STOP_KEEPS_BASE):
                counter.value, counter.tainted = state.value, state.tainted
        if was_started:
            return SUCCESS
        return pmu.member_error(SbiError.ALREADY_STOPPED, counter, "it does not count")
    event = counter.event
    if event is None:
        return pmu.member_error(SbiError.INVALID_PARAM, counter, "it has no perf event")
    result = SUCCESS
    loses_delta = reset and profile.has(B.SNAPSHOT_RESET_LOSES_DELTA)
    if counter.started:
        event.disable()
        counter.started = False
        if not profile.has(B.READ_ACCUMULATES) and not loses_delta:
            pmu.settle(counter)
    else:
        result = pmu.member_error(SbiError.ALREADY_STOPPED, counter, "it does not count")
    if reset:
        if profile.has(B.RESET_ADDS_TOTAL) or (
            snapshot and profile.has(B.READ_ACCUMULATES) and not loses_delta
        ):
            counter.accumulate()
        counter.release()
    return result


def _stored_value(pmu: VcpuPmu, counter: Counter) -> int:
    """What TAKE_SNAPSHOT puts into a counter's slot."""
    profile = pmu.profile
    if counter.firmware:
        if profile.has(B.FW_STATE_PER_CODE) and profile.has(B.FW_STOP_KEEPS_BASE):
            state = pmu.fw[counter.code]
            counter.value, counter.tainted = state.value, state.tainted
    elif profile.has(B.READ_ACCUMULATES):
        counter.accumulate()
    pmu.undetermined |= counter.tainted
    return counter.value


def _reset_one(pmu: VcpuPmu, counter: Counter) -> None:
    """RESET: the counter has no event any more. KVM forgets the perf event of a firmware counter without
    releasing it.
    """
    if counter.event is not None and not (counter.firmware and pmu.profile.has(B.FW_RESET_LEAKS_EVENT)):
        counter.release()
    counter.unbind()


def _store_exactly(pmu: VcpuPmu, base: int, mask: int) -> SbiRet | None:
    """Write the bitmap and the slots of the set, and nothing else, with the values that the stop below will
    leave.
    """
    values: dict[int, int] = {}
    for bit, index in members_of(base, mask):
        counter = pmu.counters[index]
        if counter.in_use:
            values[bit] = pmu.read_exactly(counter)
    overflows = 0
    for bit in range(64):
        counter_at = pmu.at(base + bit)
        if counter_at is not None and counter_at.in_use:
            pmu.settle(counter_at)
            overflows |= counter_at.overflown << bit
    try:
        pmu.snapshot.store(pmu.memory, overflows, values)
    except MemoryFault as fault:
        return pmu.refuse(SbiError.FAILED, "TAKE_SNAPSHOT", f"the shared memory cannot be written: {fault}")
    return None
