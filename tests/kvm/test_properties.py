"""Ten properties that any correct SBI PMU keeps.

The strict profile keeps them over random call sequences, checked against an exact model of values. Each KVM
profile breaks some: for every broken one there is a short sequence, the behaviours that break it, and the
proof that it holds without them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from vpmu.kvm.errors import KvmRunError
from vpmu.profiles.behaviour import Behaviour
from vpmu.profiles.behaviours import B
from vpmu.profiles.profiles import PROFILES, get_profile
from vpmu.see.pmu import IllegalCounter
from vpmu.spec.sbi import SbiError as E

RAM = 0x8000_0000
PAGES = (0x8010_0000, 0x8010_2000)
CYCLES, INSTRUCTIONS, MISSES, DTLB, TIMER = 1, 2, 4, 0x10019, 0xF0005
SKIP, CLEAR, AUTO = 1, 2, 4
TOP = (1 << 64) - 1

ERRORS = {
    "num_counters": set(),
    "counter_get_info": {E.INVALID_PARAM},
    "counter_config_matching": {E.INVALID_PARAM, E.NOT_SUPPORTED},
    "counter_start": {E.INVALID_PARAM, E.ALREADY_STARTED, E.NO_SHMEM, E.FAILED},
    "counter_stop": {E.INVALID_PARAM, E.ALREADY_STOPPED, E.NO_SHMEM, E.FAILED},
    "counter_fw_read": {E.INVALID_PARAM},
    "counter_fw_read_hi": {E.INVALID_PARAM},
    "snapshot_set_shmem": {E.INVALID_PARAM, E.INVALID_ADDRESS, E.FAILED, E.NOT_SUPPORTED},
    "event_get_info": {E.INVALID_PARAM, E.INVALID_ADDRESS, E.FAILED, E.NOT_SUPPORTED},
}
"""Errors that section 2 lists for each function (property 10)."""


@dataclass
class Model:
    """What a counter is expected to be."""

    value: int = 0
    started: bool = False
    event: int | None = None
    wrapped: bool = False


class StrictPmu(RuleBasedStateMachine):
    """Random calls on the strict profile. Programmable counters have 8 bits, so that they wrap often."""

    make: Any = None

    @initialize()
    def build(self) -> None:
        perf = self.make.FakePerf(num_hw_counters=5, width=8)
        perf.errnos[0, 3] = 2
        self.bench = self.make("spec-3.0", perf)
        self.pmu = self.bench.pmu
        self.perf, self.memory = perf, self.bench.memory
        self.counters = {i: Model() for i in range(28) if i != 1}
        self.shmem: int | None = None
        self.pages = {page: bytearray(4096) for page in PAGES}
        self.interrupts = 0

    def width(self, i: int) -> int:
        return 8 if 3 <= i < 6 else 64

    def call(self, name: str, *args: int) -> tuple[int, int]:
        before = self.state()
        answer = getattr(self.pmu, name)(*args)  # property 1: no exception
        assert answer.error == E.SUCCESS or answer.error in ERRORS[name], (name, args, answer)  # property 10
        if answer.error != E.SUCCESS:
            assert answer.value == 0
            assert self.pmu.last_refusal is not None
            if answer.error not in (E.ALREADY_STARTED, E.ALREADY_STOPPED):
                assert self.state() == before, (name, args, answer)  # property 2
        return answer.error, answer.value

    def state(self) -> tuple[object, ...]:
        counters = tuple(
            (c.in_use, c.event_idx, c.started, c.overflown, c.value, c.event) for c in self.pmu.counters
        )
        return (
            counters,
            self.pmu.snapshot.address,
            bytes(self.memory.read(PAGES[0], 0x3000)),
            len(self.perf.events),
        )

    def members(self, base: int, mask: int) -> list[int] | None:
        """The set's counters, None where one of them is invalid."""
        found = [base + bit for bit in range(64) if mask >> bit & 1]
        return found if found and all(i in self.counters for i in found) else None

    sets = st.one_of(
        st.tuples(st.sampled_from([0, 2, 3, 4, 5, 6, 7, 20]), st.sampled_from([1, 1, 3, 5, 0x7F])),
        st.tuples(st.just(0), st.sampled_from([0xFFF_FFFD, 0x3D, 0xFFF_FFC0, 5])),
        st.tuples(st.sampled_from([0, 1, 27, 28, TOP]), st.sampled_from([0, 1, 2, 3, 0xFFF_FFFF])),
    )
    events = st.sampled_from(
        [0, CYCLES, INSTRUCTIONS, 3, MISSES, 11, DTLB, 0x10006, 0x20000, 0xF0000, TIMER, 0xF0016, 0x40000]
    )

    @rule(
        which=sets,
        flags=st.sampled_from([0, 0, 1, 2, 4, 6, 7, 0x42, 0x100]),
        event=events,
        data=st.sampled_from([0, 0, 9]),
    )
    def config(self, which: tuple[int, int], flags: int, event: int, data: int) -> None:
        error, index = self.call("counter_config_matching", *which, flags, event, data)
        if error:
            return
        members = self.members(*which)
        assert members is not None
        assert index in members  # property 6
        counter = self.counters[index]
        if flags & SKIP:
            assert index == members[0]
        else:
            assert counter.event is None  # property 6
        assert (index >= 6) == (event >> 16 == 15)
        counter.event, counter.started, counter.wrapped = event, bool(flags & AUTO), False
        if flags & CLEAR:
            counter.value = 0

    @rule(
        which=sets, flags=st.sampled_from([0, 1, 2, 3, 4]), value=st.integers(0, TOP) | st.integers(200, 300)
    )
    def start(self, which: tuple[int, int], flags: int, value: int) -> None:
        base = which[0]
        error, _ = self.call("counter_start", *which, flags, value)
        members = self.members(*which)
        if members is None or flags in (3, 4):
            assert error == E.INVALID_PARAM
            return
        if flags & 2 and self.shmem is None:
            assert error == E.NO_SHMEM
            return
        if any(self.counters[i].event is None for i in members):
            assert error == E.INVALID_PARAM
            return
        running = [i for i in members if self.counters[i].started]
        assert error == (E.ALREADY_STARTED if running else E.SUCCESS)
        for i in members:
            counter = self.counters[i]
            if i in running:
                continue
            counter.started, counter.wrapped = True, False
            if flags & 1:
                counter.value = value & (1 << self.width(i)) - 1
            elif flags & 2:
                slot = self.pages[self.shmem][8 + 8 * (i - base) :][:8]
                counter.value = int.from_bytes(slot, "little") & (1 << self.width(i)) - 1

    @rule(which=sets, flags=st.sampled_from([0, 1, 2, 3, 4]))
    def stop(self, which: tuple[int, int], flags: int) -> None:
        base = which[0]
        error, _ = self.call("counter_stop", *which, flags)
        members = self.members(*which)
        if members is None or flags == 4:
            assert error == E.INVALID_PARAM
            return
        if flags & 2 and self.shmem is None:
            assert error == E.NO_SHMEM
            return
        stopped = [i for i in members if not self.counters[i].started]
        assert error == (E.ALREADY_STOPPED if stopped else E.SUCCESS)
        if flags & 2:
            page = self.pages[self.shmem]
            bitmap = sum(1 << i - base for i, c in self.counters.items() if i >= base and c.wrapped)
            page[:8] = bitmap.to_bytes(8, "little")  # property 9
            for i in members:
                if self.counters[i].event is not None:
                    page[8 + 8 * (i - base) :][:8] = b""
                    page[8 + 8 * (i - base) : 16 + 8 * (i - base)] = self.counters[i].value.to_bytes(
                        8, "little"
                    )
        for i in members:
            counter = self.counters[i]
            counter.started = False
            if flags & 1:
                counter.event, counter.wrapped = None, False

    @rule(n=st.sampled_from([1, 3, 100, 200, 1000]))
    def run_guest(self, n: int) -> None:
        self.perf.advance(n)
        for i, counter in self.counters.items():
            if i < 6 and counter.started:
                counter.value += n
                if counter.value >> self.width(i):
                    counter.value &= (1 << self.width(i)) - 1
                    self.interrupts += not counter.wrapped
                    counter.wrapped = True

    @rule(code=st.sampled_from([0, 5, 6]))
    def firmware_event(self, code: int) -> None:
        self.pmu.incr_fw(code)
        for i, counter in self.counters.items():
            if i >= 6 and counter.started and counter.event == 0xF0000 + code:
                counter.value = counter.value + 1 & TOP

    @rule(
        lo=st.sampled_from([*PAGES, PAGES[0] + 8, 0x5000_0000, TOP]),
        hi=st.sampled_from([0, 0, 1, TOP]),
        flags=st.sampled_from([0, 0, 1]),
    )
    def set_shmem(self, lo: int, hi: int, flags: int) -> None:
        error, _ = self.call("snapshot_set_shmem", lo, hi, flags)
        if not error:
            self.shmem = None if lo == hi == TOP else lo
            if self.shmem is not None:
                self.pages[self.shmem][:] = bytes(4096)

    @rule(page=st.sampled_from(PAGES), slot=st.integers(0, 511), value=st.sampled_from([0, 1, 250, TOP]))
    def guest_store(self, page: int, slot: int, value: int) -> None:
        self.memory.set_word(page + 8 * slot, value)
        self.pages[page][8 * slot : 8 * slot + 8] = value.to_bytes(8, "little")

    @rule(idx=st.sampled_from([0, 1, 2, 3, 5, 6, 27, 28, 64, TOP]))
    def info_and_reads(self, idx: int) -> None:
        error, _ = self.call("counter_get_info", idx)
        assert (error == E.SUCCESS) == (idx in self.counters)
        firmware = idx >= 6 and idx in self.counters and self.counters[idx].event is not None
        for name in ("counter_fw_read", "counter_fw_read_hi"):
            error, _ = self.call(name, idx)
            assert (error == E.SUCCESS) == firmware

    @rule(idx=events, reserved=st.booleans())
    def event_table(self, idx: int, reserved: bool) -> None:
        table = 0x8010_1000
        self.memory.set_word(table, idx | reserved << 31)
        self.memory.set_word(table + 8, 0)
        error, _ = self.call("event_get_info", table, 0, 1, 0)
        assert error == (E.INVALID_PARAM if reserved else E.SUCCESS)

    @rule(refuse=st.booleans())
    def host(self, refuse: bool) -> None:
        self.perf.errnos.pop(None, None)
        if refuse:
            self.perf.errnos[None] = 12

    @rule()
    def reset(self) -> None:
        self.pmu.reset()
        self.counters = {i: Model() for i in self.counters}
        self.shmem = None
        assert not self.perf.events  # property 5

    @invariant()
    def values_are_exact(self) -> None:
        """Properties 3 and 4: reading twice gives the same, running counters advance, stopped ones are
        frozen.
        """
        for i, counter in self.counters.items():
            for _ in range(2):
                if counter.event is None:
                    assert self.value(i) is None
                else:
                    assert self.value(i) == counter.value, (i, counter)

    def value(self, i: int) -> int | None:
        if i < 6:
            try:
                return int(self.pmu.read_csr_counter(i))
            except IllegalCounter:
                return None
        answer = self.pmu.counter_fw_read(i)
        return None if answer.error else answer.value

    @invariant()
    def nothing_is_left_behind(self) -> None:
        """Properties 4 and 5: one host event per configured hardware counter, counting while started."""
        configured = [i for i, c in self.counters.items() if i < 6 and c.event is not None]
        assert len(self.perf.events) == len(configured) == self.pmu.live_events()
        for i, counter in self.counters.items():
            assert not counter.started or counter.event is not None
            assert self.pmu.counters[i].in_use == (counter.event is not None)
            assert self.pmu.counters[i].started == counter.started

    @invariant()
    def page_is_the_guests(self) -> None:
        """Property 8: only the bitmap and the set's slots change, and only by stop with snapshot and
        set_shmem.
        """
        for page, expected in self.pages.items():
            assert self.memory.read(page, 4096) == bytes(expected)

    @invariant()
    def interrupts_are_exact(self) -> None:
        """Property 9: one interrupt for every counter that wraps first after its start."""
        assert len(self.bench.interrupts) == self.interrupts


def test_strict_profile_keeps_the_properties(bench: Any) -> None:
    class Machine(StrictPmu):
        make = staticmethod(bench)

    Machine.make = bench
    Machine.TestCase.settings = settings(
        max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
    Machine.TestCase("runTest").runTest()


# --- what KVM breaks ----------------------------------------


def stays_in_kvm_run(call: Callable[[], tuple[int, int]], error: E) -> bool:
    """True where the call answers `error`, False where it ends KVM_RUN."""
    try:
        return call()[0] == error
    except KvmRunError:
        return False


def refused_event_stays_in_kvm_run(b: Any) -> bool:
    b.perf.errnos[None] = 2
    return stays_in_kvm_run(lambda: b.pmu.counter_config_matching(0, 1, 0, CYCLES, 0), E.NOT_SUPPORTED)


def missing_memory_stays_in_kvm_run(b: Any) -> bool:
    b.pmu.host_allocate = lambda size: False
    return stays_in_kvm_run(lambda: b.pmu.snapshot_set_shmem(PAGES[0], 0, 0), E.FAILED)


def missing_memory_for_event_info_stays_in_kvm_run(b: Any) -> bool:
    b.pmu.host_allocate = lambda size: False
    return stays_in_kvm_run(lambda: b.pmu.event_get_info(PAGES[0], 0, 1, 0), E.FAILED)


def refused_start_changes_nothing(b: Any) -> bool:
    b.pmu.counter_config_matching(0, 8, CLEAR, DTLB, 0)
    b.pmu.counter_start(3, 1, 1, 0)
    assert b.pmu.counter_start(3, 1, 1, 5000).error == E.ALREADY_STARTED
    return bool(b.csr(3) == 0)


def refused_event_changes_nothing(b: Any) -> bool:
    b.perf.errnos[0, 3] = 2
    b.pmu.counter_config_matching(0, 8, CLEAR, DTLB, 0)
    try:
        assert b.pmu.counter_config_matching(3, 1, SKIP, MISSES, 0).error == E.NOT_SUPPORTED
    except KvmRunError:
        assert b.pmu.profile.has(B.PERF_FAILURE_ENDS_KVM_RUN)
    try:
        return bool(b.csr(3) == 0)
    except IllegalCounter:
        return False


def reading_counts_nothing(b: Any) -> bool:
    b.pmu.counter_config_matching(0, 8, CLEAR, DTLB, 0)
    b.pmu.counter_start(3, 1, 1, 0)
    b.perf.advance(10)
    return [b.csr(3), b.csr(3), b.csr(3)] == [10, 10, 10]


def stopped_means_frozen(b: Any) -> bool:
    b.pmu.counter_config_matching(0, 8, CLEAR | AUTO, DTLB, 0)
    b.pmu.counter_stop(3, 1, 0)
    before = b.csr(3)
    b.perf.advance(10)
    return bool(b.csr(3) == before)


def configured_means_stopped(b: Any) -> bool:
    b.pmu.counter_config_matching(0, 8, CLEAR, DTLB, 0)
    b.perf.advance(10)
    return bool(b.csr(3) == 0)


def reset_gives_the_host_event_back(b: Any) -> bool:
    b.pmu.counter_config_matching(19, 1, 0, TIMER, 0)
    b.pmu.counter_config_matching(19, 1, SKIP, CYCLES, 0)
    b.pmu.counter_stop(19, 1, 1)
    return not b.perf.events


def started_ends_with_a_vcpu_reset(b: Any) -> bool:
    b.pmu.counter_config_matching(0, 8, CLEAR, DTLB, 0)
    b.pmu.counter_start(3, 1, 1, 0)
    b.pmu.reset()
    b.pmu.counter_config_matching(0, 8, CLEAR, DTLB, 0)
    return bool(b.pmu.counter_start(3, 1, 1, 0).error == E.SUCCESS)


def configured_has_a_host_event(b: Any) -> bool:
    refused_event_changes_nothing(b)
    return all(c.event is not None for c in b.pmu.counters if c.in_use)


def match_stays_in_the_set(b: Any) -> bool:
    return b.pmu.counter_config_matching(3, 1, 0, CYCLES, 0) == (E.SUCCESS, 3)


def match_takes_free_counters_only(b: Any) -> bool:
    b.pmu.counter_config_matching(0, 1, 0, CYCLES, 0)
    return bool(b.pmu.counter_config_matching(0, 1, 0, CYCLES, 0).error == E.NOT_SUPPORTED)


def other_slots_belong_to_the_guest(b: Any) -> bool:
    b.pmu.snapshot_set_shmem(PAGES[0], 0, 0)
    b.memory.set_word(PAGES[0] + 0x10, 7)
    b.memory.set_word(PAGES[0] + 0x208, 8)
    b.pmu.counter_config_matching(0, 8, CLEAR, DTLB, 0)
    b.pmu.counter_start(3, 1, 1, 0)
    b.pmu.counter_stop(3, 1, 2)
    return (b.memory.word(PAGES[0] + 0x10), b.memory.word(PAGES[0] + 0x208)) == (7, 8)


def a_member_in_error_hides_no_value(b: Any) -> bool:
    b.pmu.snapshot_set_shmem(PAGES[0], 0, 0)
    b.pmu.counter_config_matching(0, 8, CLEAR, DTLB, 0)
    b.pmu.counter_config_matching(0, 16, CLEAR, DTLB, 0)
    b.pmu.counter_start(4, 1, 1, 0)
    b.perf.advance(10)
    assert b.pmu.counter_stop(3, 3, 2).error == E.ALREADY_STOPPED
    return bool(b.memory.word(PAGES[0] + 0x10) == 10)


def reset_stores_the_last_delta(b: Any) -> bool:
    b.pmu.snapshot_set_shmem(PAGES[0], 0, 0)
    b.pmu.counter_config_matching(0, 8, CLEAR, DTLB, 0)
    b.pmu.counter_start(3, 1, 1, 0)
    b.perf.advance(10)
    b.pmu.counter_stop(3, 1, 3)
    return bool(b.memory.word(PAGES[0] + 8) == 10)


def overflow_bit_ends_with_the_next_start(b: Any) -> bool:
    b.pmu.snapshot_set_shmem(PAGES[0], 0, 0)
    b.pmu.counter_config_matching(0, 8, CLEAR, DTLB, 0)
    b.pmu.counter_start(3, 1, 1, TOP - 9)
    b.perf.advance(20)
    b.pmu.counter_stop(3, 1, 2)
    assert b.memory.word(PAGES[0]) == 1
    b.pmu.counter_start(3, 1, 1, 0)
    b.pmu.counter_stop(3, 1, 2)
    return bool(b.memory.word(PAGES[0]) == 0)


def no_interrupt_without_a_wrap(b: Any) -> bool:
    b.pmu.counter_config_matching(0, 8, CLEAR, DTLB, 0)
    b.pmu.counter_start(3, 1, 1, TOP - 99)
    b.pmu.counter_stop(3, 1, 0)
    b.pmu.counter_start(3, 1, 1, 0)
    b.perf.advance(200)
    return not b.interrupts


def errors_are_the_functions_own(b: Any) -> bool:
    return b.pmu.counter_config_matching(3, 1, SKIP, DTLB, 0).error in (
        *ERRORS["counter_config_matching"],
        E.SUCCESS,
    )


def unwritable_page_is_reported(b: Any) -> bool:
    b.pmu.snapshot_set_shmem(PAGES[0], 0, 0)
    b.pmu.counter_config_matching(0, 8, CLEAR, DTLB, 0)
    b.pmu.counter_start(3, 1, 1, 0)
    b.memory.slots.clear()
    return bool(b.pmu.counter_stop(3, 1, 2).error == E.FAILED)


BROKEN: list[tuple[int, Callable[[Any], bool], tuple[Behaviour, ...]]] = [
    (1, refused_event_stays_in_kvm_run, (B.PERF_FAILURE_ENDS_KVM_RUN,)),
    (1, missing_memory_stays_in_kvm_run, (B.SHMEM_OOM_ENDS_KVM_RUN,)),
    (1, missing_memory_for_event_info_stays_in_kvm_run, (B.EVENT_INFO_OOM_ENDS_KVM_RUN,)),
    (2, refused_start_changes_nothing, (B.START_OVERWRITES_RUNNING, B.READ_ACCUMULATES)),
    (2, refused_event_changes_nothing, (B.REBIND_RELEASES_FIRST,)),
    (3, reading_counts_nothing, (B.READ_ACCUMULATES,)),
    (4, stopped_means_frozen, (B.AUTO_START_UNTRACKED,)),
    (4, configured_means_stopped, (B.EVENT_CREATED_ENABLED,)),
    (4, reset_gives_the_host_event_back, (B.FW_RESET_LEAKS_EVENT,)),
    (4, started_ends_with_a_vcpu_reset, (B.STARTED_SURVIVES_RESET,)),
    (5, configured_has_a_host_event, (B.REBIND_RELEASES_FIRST,)),
    (6, match_stays_in_the_set, (B.FIXED_COUNTER_IGNORES_SET,)),
    (6, match_takes_free_counters_only, (B.FIXED_COUNTER_IGNORES_SET,)),
    (8, other_slots_belong_to_the_guest, (B.SNAPSHOT_FROM_COPY,)),
    (8, a_member_in_error_hides_no_value, (B.SNAPSHOT_ENDS_AT_ERROR,)),
    (8, reset_stores_the_last_delta, (B.SNAPSHOT_RESET_LOSES_DELTA,)),
    (8, unwritable_page_is_reported, (B.SNAPSHOT_WRITE_IGNORED,)),
    (9, overflow_bit_ends_with_the_next_start, (B.SNAPSHOT_FROM_COPY,)),
    (9, no_interrupt_without_a_wrap, (B.PERIOD_REJECTED_SILENTLY,)),
    (10, errors_are_the_functions_own, (B.SKIP_MATCH_NEEDS_CONFIGURED,)),
]
NEEDS = {
    missing_memory_stays_in_kvm_run: B.SNAPSHOT,
    missing_memory_for_event_info_stays_in_kvm_run: B.EVENT_GET_INFO,
    other_slots_belong_to_the_guest: B.SNAPSHOT,
    a_member_in_error_hides_no_value: B.SNAPSHOT,
    reset_stores_the_last_delta: B.SNAPSHOT,
    unwritable_page_is_reported: B.SNAPSHOT,
    overflow_bit_ends_with_the_next_start: B.SNAPSHOT,
    no_interrupt_without_a_wrap: B.OVERFLOW_INTERRUPT,
}
"""Where a sequence means nothing without a feature."""
CASES = [
    pytest.param(profile, *broken, id=f"{profile}-{broken[0]}-{broken[1].__name__}")
    for profile in PROFILES
    for broken in BROKEN
    if broken[1] not in NEEDS or get_profile(profile).has(NEEDS[broken[1]])
]


@pytest.mark.parametrize(("profile", "number", "holds", "behaviours"), CASES)
def test_property(
    bench: Any, profile: str, number: int, holds: Callable[[Any], bool], behaviours: tuple[Behaviour, ...]
) -> None:
    chosen = get_profile(profile)
    breaking = behaviours[0]
    assert holds(bench(chosen)) != chosen.has(breaking), (
        f"property {number}: {breaking.commit} {breaking.subject}"
    )
    cured = get_profile(profile, without=[behaviour.name for behaviour in behaviours])
    assert holds(bench(cured))


COMPANIONS = {
    B.SNAPSHOT_ENDS_AT_ERROR: (B.SNAPSHOT_FROM_COPY,),
    B.SNAPSHOT_RESET_LOSES_DELTA: (B.SNAPSHOT_FROM_COPY,),
    B.SNAPSHOT_WRITE_IGNORED: (B.SNAPSHOT_FROM_COPY,),
    B.AUTO_START_UNTRACKED: (B.REBIND_RELEASES_FIRST,),
    B.EVENT_CREATED_ENABLED: (B.REBIND_RELEASES_FIRST,),
    B.STARTED_SURVIVES_RESET: (B.REBIND_RELEASES_FIRST,),
    B.FW_RESET_LEAKS_EVENT: (B.SKIP_MATCH_ANY_TYPE, B.FW_STATE_PER_CODE),
    B.PERIOD_REJECTED_SILENTLY: (B.OVERFLOW_PERIOD_FROM_TOTAL,),
}
"""Behaviours that say how one part works need the part to work KVM's way."""


@pytest.mark.parametrize("behaviour", sorted({b[2][0] for b in BROKEN}, key=lambda b: b.name), ids=repr)
def test_strict_profile_is_broken_by_the_behaviour(bench: Any, behaviour: Behaviour) -> None:
    """Adding the one behaviour to the strict profile and what it builds on breaks one of its properties."""
    with_ = [behaviour.name, *(companion.name for companion in COMPANIONS.get(behaviour, ()))]
    profile = get_profile("spec-3.0", with_=with_)
    assert not all(holds(bench(profile)) for _, holds, behaviours in BROKEN if behaviours[0] is behaviour)
