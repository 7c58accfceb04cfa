"""What every implementation of the specification must keep, checked on what a guest sees.

A reference of its own: it knows the states of counters from the answers alone, and what each next answer may
be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..spec.sbi import (
    CONFIG_FLAGS,
    START_FLAGS,
    STOP_FLAGS,
    U64,
    ConfigFlag,
    Eid,
    PmuFid,
    SbiError,
    StartFlag,
    StopFlag,
)
from .calls import Call, Result
from .target import Facts

E = SbiError
_MEMBER = {E.SUCCESS, E.INVALID_PARAM, E.FAILED, E.NO_SHMEM}
ERRORS: dict[int, set[SbiError]] = {
    PmuFid.NUM_COUNTERS: {E.SUCCESS},
    PmuFid.COUNTER_GET_INFO: {E.SUCCESS, E.INVALID_PARAM},
    PmuFid.COUNTER_CONFIG_MATCHING: {E.SUCCESS, E.INVALID_PARAM, E.NOT_SUPPORTED},
    PmuFid.COUNTER_START: _MEMBER | {E.ALREADY_STARTED},
    PmuFid.COUNTER_STOP: _MEMBER | {E.ALREADY_STOPPED},
    PmuFid.COUNTER_FW_READ: {E.SUCCESS, E.INVALID_PARAM},
    PmuFid.COUNTER_FW_READ_HI: {E.SUCCESS, E.INVALID_PARAM},
    PmuFid.SNAPSHOT_SET_SHMEM: {E.SUCCESS, E.NOT_SUPPORTED, E.INVALID_PARAM, E.INVALID_ADDRESS, E.FAILED},
    PmuFid.EVENT_GET_INFO: {E.SUCCESS, E.NOT_SUPPORTED, E.INVALID_PARAM, E.INVALID_ADDRESS, E.FAILED},
}
"""The errors of each function."""
_HAPPENS = {(int(Eid.TIME), 0): (5,), (int(Eid.RFENCE), 0): (8, 9), (int(Eid.RFENCE), 1): (10, 11)}
"""(EID, FID) -> firmware events that a successful call to oneself causes."""


@dataclass(slots=True)
class _State:
    event: int
    started: bool = False
    value: int | None = None
    """Of a firmware counter, where it is known; of a hardware counter the last reading."""


class Properties:
    """Follows one sequence from a fresh PMU."""

    def __init__(self, facts: Facts) -> None:
        self._total, self._first_fw = facts.total, facts.first_fw
        self._valid = facts.numbers["ALL"]
        self._wide = "WIDE" in facts.numbers
        self._counters: dict[int, _State] = {}
        self._shmem = False

    def violation(self, call: Call, operands: Sequence[int], result: Result) -> str | None:
        """What the answer breaks, None where it is right; the state follows the answer."""
        if result.lost:
            return f"property 1: the call brought the host down, which {result.lost} mends"
        if result.errno is not None:
            return f"property 1: the call ended KVM_RUN with errno {result.errno}"
        if call.op == "c":
            return self._csr(operands[0], result)
        if call.op != "e" or result.error is None:
            return None
        eid, fid = operands[0], operands[1]
        args = [*operands[2:], 0, 0, 0, 0, 0, 0]
        if eid != Eid.PMU:
            self._happened(eid, fid, result.error)
            return None
        if result.error not in ERRORS.get(fid, {E.NOT_SUPPORTED}):
            return f"property 10: {result} is not an answer of function {fid}"
        error = SbiError(result.error)
        match fid:
            case PmuFid.COUNTER_CONFIG_MATCHING:
                return self._config(args, error, result.value)
            case PmuFid.COUNTER_START:
                return self._start(args, error)
            case PmuFid.COUNTER_STOP:
                return self._stop(args, error)
            case PmuFid.COUNTER_FW_READ:
                return self._fw_read(args[0], error, result.value)
            case PmuFid.COUNTER_GET_INFO | PmuFid.COUNTER_FW_READ_HI:
                return self._index(fid, args[0], error, result.value)
            case PmuFid.SNAPSHOT_SET_SHMEM if error is E.SUCCESS:
                self._shmem = not args[0] == args[1] == U64
        return None

    def _members(self, base: int, mask: int) -> list[int] | None:
        """Indices of a set; None where it is empty or has an invalid counter."""
        found = [base + bit for bit in range(64) if mask >> bit & 1]
        if not found or any(index >= self._total or not self._valid >> index & 1 for index in found):
            return None
        return found

    def _config(self, args: Sequence[int], error: SbiError, value: int) -> str | None:
        base, mask, flags, event = args[:4]
        members = self._members(base, mask)
        if members is None or flags & ~CONFIG_FLAGS:
            return None if error is E.INVALID_PARAM else "a bad set or flag was accepted by config"
        if error is not E.SUCCESS:
            return (
                "INVALID_PARAM for a good set"
                if error is E.INVALID_PARAM and event >> 16 not in range(16)
                else None
            )
        if value not in members:
            return f"property 6: counter {value} is not in the set"
        firmware = event >> 16 == 0xF
        if firmware != (value >= self._first_fw):
            return f"counter {value} cannot count event {event:#x}"
        old = self._counters.get(value)
        if old is not None and not flags & ConfigFlag.SKIP_MATCH:
            return f"property 6: counter {value} was configured already"
        state = _State(event, started=bool(flags & ConfigFlag.AUTO_START))
        if flags & ConfigFlag.CLEAR_VALUE:
            state.value = 0
        elif old is not None:
            state.value = old.value
        self._counters[value] = state
        return None

    def _start(self, args: Sequence[int], error: SbiError) -> str | None:
        base, mask, flags, initial = args[:4]
        members = self._members(base, mask)
        both = flags & START_FLAGS == START_FLAGS
        if members is None or flags & ~START_FLAGS or both:
            return None if error is E.INVALID_PARAM else "a bad set or flag was accepted by start"
        if flags & StartFlag.INIT_SNAPSHOT and not self._shmem:
            return None if error is E.NO_SHMEM else "INIT_SNAPSHOT without shared memory was accepted"
        if any(index not in self._counters for index in members):
            return None if error is E.INVALID_PARAM else "property 5: a counter without an event was started"
        if error in (E.INVALID_PARAM, E.NO_SHMEM):
            return f"{error.name} for a set of configured counters"
        running = [index for index in members if self._counters[index].started]
        if (error is E.ALREADY_STARTED) != bool(running) and error is not E.FAILED:
            return f"{error.name} although {running or 'none'} of the set ran"
        for index in members:
            state = self._counters[index]
            if not state.started:
                state.started = error is not E.FAILED or index >= self._first_fw
                if flags & StartFlag.SET_INIT_VALUE:
                    state.value = initial
                elif flags & StartFlag.INIT_SNAPSHOT:
                    state.value = None
        return None

    def _stop(self, args: Sequence[int], error: SbiError) -> str | None:
        base, mask, flags = args[:3]
        members = self._members(base, mask)
        if members is None or flags & ~STOP_FLAGS:
            return None if error is E.INVALID_PARAM else "a bad set or flag was accepted by stop"
        if flags & StopFlag.TAKE_SNAPSHOT and not self._shmem:
            return None if error is E.NO_SHMEM else "TAKE_SNAPSHOT without shared memory was accepted"
        if error in (E.INVALID_PARAM, E.NO_SHMEM) and all(index in self._counters for index in members):
            return f"{error.name} for a set of configured counters"
        idle = [
            index for index in members if index not in self._counters or not self._counters[index].started
        ]
        if error in (E.SUCCESS, E.ALREADY_STOPPED) and (error is E.ALREADY_STOPPED) != bool(idle):
            return f"{error.name} although {idle or 'none'} of the set stood still"
        for index in members:
            if index in self._counters:
                self._counters[index].started = False
                if flags & StopFlag.RESET:
                    del self._counters[index]
        return None

    def _fw_read(self, index: int, error: SbiError, value: int) -> str | None:
        state = self._counters.get(index) if index >= self._first_fw else None
        if (error is E.SUCCESS) != (state is not None):
            what = "a" if state else "no"
            return f"counter_fw_read({index}): {error.name} although it is {what} configured firmware counter"
        if state is None:
            return None
        if state.value is not None and value != state.value:
            return f"property 3: firmware counter {index} reads {value:#x}, expected {state.value:#x}"
        state.value = value
        return None

    def _index(self, fid: int, index: int, error: SbiError, value: int) -> str | None:
        if fid == PmuFid.COUNTER_GET_INFO:
            exists = index < self._total and bool(self._valid >> index & 1)
        else:
            exists = index >= self._first_fw and index in self._counters
        if (error is E.SUCCESS) != exists:
            return f"function {fid} of counter {index}: {error.name}"
        return "the upper half is not 0" if exists and fid == PmuFid.COUNTER_FW_READ_HI and value else None

    def _csr(self, index: int, result: Result) -> str | None:
        state = self._counters.get(index)
        if result.trap is not None:
            return f"counter {index} is configured and cannot be read" if state is not None else None
        if state is None or state.event not in (1, 2):
            return None
        before, state.value = state.value, result.value
        if before is None or not self._wide:
            return None
        if not state.started:
            return (
                f"property 4: counter {index} was stopped at {before:#x} and reads {result.value:#x}"
                if self._moved(before, result.value)
                else None
            )
        ahead = result.value - before & U64
        return (
            f"property 3: counter {index} went from {before:#x} to {result.value:#x}" if ahead >> 63 else None
        )

    @staticmethod
    def _moved(before: int, after: int) -> bool:
        # What was counted between the last reading and the stop is not known here.
        return bool((after - before & U64) >> 63)

    def _happened(self, eid: int, fid: int, error: int) -> None:
        if error != E.SUCCESS:
            return
        for code in _HAPPENS.get((eid, fid), ()):
            for index, state in self._counters.items():
                if (
                    index >= self._first_fw
                    and state.started
                    and state.event & 0xFFFF == code
                    and state.value is not None
                ):
                    state.value = state.value + 1 & U64
