"""Which counter an event gets, what happens when there is none, and what an event counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vpmu.errors import VpmuError
from vpmu.hart.events import HartEvent, Mode
from vpmu.hart.pmu import PhysicalPmu
from vpmu.perf.description import load_host_pmu
from vpmu.perf.event import EventState
from vpmu.perf.host_pmu import HostPmuPerf
from vpmu.spec.perf import PerfType
from vpmu.trace.recorder import Recorder

from ..hart.fake_source import FakeSource
from .host import kvm_attr, make_host


class TestLifeCycle:
    def test_counts_while_enabled_and_never_goes_back(self) -> None:
        host = make_host("full")
        event = host.create("instructions")
        assert event.state is EventState.OFF
        host.run(5)
        event.enable()
        assert event.state is EventState.ACTIVE
        host.run(10)
        assert event.read() == 10
        host.run(10)
        event.disable()
        assert event.state is EventState.OFF
        host.run(100)
        event.enable()
        host.run(3)
        assert event.read() == 23
        event.release()
        assert event.state is EventState.RELEASED
        assert event.read() == 23

    def test_created_enabled_counts_at_once(self) -> None:
        host = make_host("full")
        event = host.create("instructions", disabled=False)
        host.run(7)
        assert event.state is EventState.ACTIVE
        assert event.read() == 7

    def test_a_disabled_event_holds_no_counter(self) -> None:
        host = make_host("full")
        event = host.started()
        assert host.perf.held_counters == {18}
        event.disable()
        assert host.perf.held_counters == frozenset()
        assert host.pmu.inhibit == 0x7FFFD

    def test_enable_and_disable_twice_change_nothing(self) -> None:
        host = make_host("full")
        event = host.started("instructions")
        host.run(5)
        event.enable()
        host.run(5)
        event.disable()
        event.disable()
        assert event.read() == 10
        event.release()
        event.release()

    def test_enable_after_release_is_a_bug_of_the_caller(self) -> None:
        event = make_host("full").create()
        event.release()
        with pytest.raises(RuntimeError, match="released event cycles"):
            event.enable()

    def test_release_of_a_running_event_frees_its_counter(self) -> None:
        host = make_host("full")
        host.started().release()
        assert host.perf.held_counters == frozenset()

    def test_only_wanted_events_are_counted_by_the_hart(self) -> None:
        host = make_host("full")
        event = host.started("cache-references")
        assert host.source.wanted == {HartEvent.LOADS, HartEvent.STORES}
        host.run(10, loads=2, stores=3)
        assert event.read() == 5
        event.disable()
        assert host.source.wanted == frozenset()


class TestModes:
    @pytest.mark.parametrize(
        ("excludes", "expected"),
        [
            ({}, 110),
            ({"exclude_user": True}, 100),
            ({"exclude_kernel": True}, 10),
            ({"exclude_user": True, "exclude_kernel": True}, 0),
            ({"exclude_guest": True}, 0),
        ],
    )
    def test_exclude_bits_filter_the_guest(self, excludes: dict[str, bool], expected: int) -> None:
        host = make_host("qemu-virt")
        event = host.started("instructions", **excludes)
        host.run(10, mode=Mode.VU)
        host.run(100, mode=Mode.VS)
        assert event.read() == expected
        assert not event.host_noise

    def test_without_kvms_config1_they_filter_the_host(self) -> None:
        host = make_host("full")
        event = host.started("instructions", config1=0, exclude_host=False, exclude_user=True)
        host.run(10, mode=Mode.VU)
        assert event.read() == 10
        assert event.host_noise


class TestCounters:
    def test_programmable_from_the_top_then_the_fixed_ones(self) -> None:
        host = make_host("qemu-virt")
        events = [host.started("cycles") for _ in range(18)]
        assert [event.counter for event in events] == [*range(18, 2, -1), 0, None]
        assert [event.host_noise for event in events] == [False] * 16 + [True, False]
        assert events[-1].state is EventState.ERROR
        assert host.started("instructions").counter == 2

    def test_unfiltered_fixed_counter_ignores_the_filter(self) -> None:
        host = make_host("qemu-virt", starve=16)
        event = host.started("instructions", exclude_user=True)
        host.run(10, mode=Mode.VU)
        host.run(100, mode=Mode.VS)
        assert event.read() == 110
        assert event.host_noise

    def test_noise_stays_in_the_count(self) -> None:
        host = make_host("qemu-virt")
        holders = [host.started("dTLB-load-misses") for _ in range(16)]
        event = host.started("cycles")
        event.disable()
        holders[0].release()
        event.enable()
        assert [holder.counter for holder in holders[1:]] == [*range(18, 3, -1)]
        assert event.counter == 3
        assert event.host_noise

    def test_smcntrpmf_filters_the_fixed_ones(self) -> None:
        host = make_host("full", starve=16)
        event = host.started("instructions", exclude_user=True)
        assert event.counter == 2
        host.run(10, mode=Mode.VU)
        host.run(100, mode=Mode.VS)
        assert event.read() == 100
        assert not event.host_noise

    def test_firmware_that_does_not_fall_back(self) -> None:
        host = make_host(replace(load_host_pmu("qemu-virt"), fixed_fallback=False), starve=16)
        assert host.started("cycles").state is EventState.ERROR

    def test_only_listed_counters_are_used(self) -> None:
        description = load_host_pmu("full")
        host = make_host(replace(description, events={**description.events, "branches": frozenset({4, 6})}))
        assert [host.started("branches").counter for _ in range(3)] == [6, 4, None]

    def test_ref_cycles_have_no_fixed_counter(self) -> None:
        host = make_host("full", starve=16)
        assert host.started("ref-cycles").state is EventState.ERROR
        assert host.started("cycles").counter == 0

    def test_all_get_new_counters_when_one_is_enabled(self) -> None:
        host = make_host("full")
        holders = [host.started("branches") for _ in range(3)]
        holders[0].disable()
        assert [holder.counter for holder in holders] == [None, 17, 16]
        host.run(10, branches=4)
        event = host.started("branches")
        assert [holder.counter for holder in holders] == [None, 18, 17]
        assert event.counter == 16
        host.run(10, branches=4)
        assert [e.read() for e in (*holders, event)] == [0, 8, 8, 4]


class TestStarvation:
    """No counter is no errno: a pinned event goes to ERROR, and KVM never looks."""

    def test_error_counts_nothing_and_keeps_the_old_total(self) -> None:
        host = make_host("full")
        holders = [host.started("branches") for _ in range(16)]
        holders[3].disable()
        event = host.started("branches")
        host.run(10, branches=4)
        event.disable()
        holders[3].enable()
        event.enable()
        assert event.state is EventState.ERROR
        host.run(10, branches=4)
        assert event.read() == 4
        event.disable()
        assert event.state is EventState.ERROR
        holders[3].disable()
        host.run(10, branches=4)
        assert event.read() == 4  # a counter is free now, but nobody tries again
        event.enable()
        assert event.state is EventState.ACTIVE
        host.run(10, branches=4)
        assert event.read() == 8

    def test_an_older_event_takes_the_counter_of_the_youngest(self) -> None:
        host = make_host("full")
        event = host.started("branches")
        event.disable()
        holders = [host.started("branches") for _ in range(16)]
        event.enable()
        assert event.state is EventState.ACTIVE
        assert [holder.state for holder in holders] == [EventState.ACTIVE] * 15 + [EventState.ERROR]

    def test_an_event_that_finds_no_counter_takes_the_younger_ones_down(self) -> None:
        # can_add_hw: recorded as counts that stand still on KVM 6.12.107 and 7.2.13
        recorder = Recorder()
        host = make_host("full", recorder=recorder)
        older, failing = host.started("branches"), host.create(type=PerfType.RAW, config=0xFF)
        younger = [host.started("branches"), host.started("cycles")]
        host.run(10, branches=4)
        failing.enable()
        assert failing.state is EventState.ERROR
        assert older.state is EventState.ACTIVE
        assert [event.state for event in younger] == [EventState.ERROR] * 2
        assert [(r.action, r.args, r.result) for r in recorder.records[-3:]] == [
            ("reschedule", {"event": "branches", "counter": None}, "error"),
            ("reschedule", {"event": "cycles", "counter": None}, "error"),
            ("enable", {"event": failing.name, "counter": None}, "error"),
        ]
        host.run(10, branches=4)
        assert [event.read() for event in (older, *younger)] == [8, 4, 10]
        # Nobody tries the failing one again: the others count as soon as they are enabled.
        for event in younger:
            event.enable()
        host.run(10, branches=4)
        assert [event.read() for event in (older, *younger)] == [12, 8, 20]

    def test_the_younger_ones_are_not_tried(self) -> None:
        host = make_host("qemu-virt")
        event = host.create("dTLB-load-misses")
        failing = host.create("dTLB-load-misses")
        holders = [host.started("dTLB-load-misses") for _ in range(15)]
        cycles = host.started("cycles")
        event.enable()
        assert (holders[-1].counter, cycles.counter) == (3, 0)
        failing.enable()  # sixteen of seventeen find an hpmcounter, and `cycle` is free for cycles
        assert failing.counter == 17
        assert holders[-1].state is cycles.state is EventState.ERROR

    def test_a_counter_that_is_taken_away_costs_the_youngest_its_own(self) -> None:
        """The older event sat on the counter that goes, and moves to another one."""
        host = make_host("full")
        older, younger = host.started("ref-cycles"), host.started("bus-cycles")
        host.run(10)
        taken = host.perf.take_away(15)
        assert older.counter not in taken
        assert (older.state, younger.state) == (EventState.ACTIVE, EventState.ERROR)
        host.run(5)
        assert (older.read(), younger.read()) == (15, 10)

    def test_starve(self) -> None:
        host = make_host("full", starve=14)
        states = [host.started("branches").state for _ in range(3)]
        assert states == [EventState.ACTIVE, EventState.ACTIVE, EventState.ERROR]

    def test_claimed_and_starved(self) -> None:
        host = make_host(replace(load_host_pmu("full"), claimed=frozenset({0, 18})), starve=2)
        assert host.perf.held_counters == {0, 16, 17, 18}
        assert host.started("cycles").counter == 15

    @pytest.mark.parametrize("starve", [-1, 17])
    def test_impossible_starve(self, starve: int) -> None:
        with pytest.raises(VpmuError, match="expected 0 to 16, the hpmcounters of full, got"):
            make_host("full", starve=starve)

    def test_a_raw_event_without_a_row_fails_to_be_scheduled(self) -> None:
        host = make_host("qemu-virt")
        event = host.started(type=PerfType.RAW, config=1)
        assert event.state is EventState.ERROR
        host.run(1000)
        assert event.read() == 0
        assert host.perf.held_counters == frozenset()

    def test_raw_events_of_the_description_count(self) -> None:
        host = make_host("full")
        event = host.started(type=PerfType.RAW, config=6)
        host.run(100, traps=9)
        assert event.read() == 9

    def test_flexible_events_wait(self) -> None:
        host = make_host("full", starve=15)
        pinned = host.started("branches")
        first = host.started("branches", pinned=False)
        second = host.started("branches", pinned=False)
        assert first.state is second.state is EventState.INACTIVE
        first.disable()
        pinned.disable()
        assert second.state is EventState.ACTIVE
        host.run(10, branches=2)
        assert (first.read(), second.read()) == (0, 2)

    def test_leaked_events_keep_their_counters(self) -> None:
        # O27: 18 events on cycles that nobody releases; nothing gets a counter then, but instret is free
        host = make_host("qemu-virt")
        for _ in range(18):
            host.started("cycles")
        assert host.started("dTLB-load-misses").state is EventState.ERROR
        assert host.started("cycles").state is EventState.ERROR
        instructions = host.started("instructions")
        assert instructions.counter == 2
        assert instructions.host_noise

    def test_recorded_exhaustion(self) -> None:
        # O12: 16 dTLB, then cycles and instructions; QEMU counts one TLB event on one counter only
        host = make_host("qemu-virt")
        tlb = [host.started("dTLB-load-misses") for _ in range(16)]
        cycles, instructions = host.started("cycles"), host.started("instructions")
        host.run(1000, dtlb_read_miss=69)
        assert [event.read() for event in tlb] == [69] + [0] * 15
        assert cycles.read() == instructions.read() == 1000
        assert cycles.host_noise
        assert instructions.host_noise

    def test_the_next_counter_counts_after_the_first_is_gone(self) -> None:
        host = make_host("qemu-virt")
        first, second = host.started("dTLB-load-misses"), host.started("dTLB-load-misses")
        first.disable()
        host.run(10, dtlb_read_miss=3)
        assert second.read() == 0
        second.disable()
        second.enable()
        host.run(10, dtlb_read_miss=3)
        assert second.read() == 3


def test_provider_facts() -> None:
    perf = make_host("qemu-virt").perf
    assert (perf.name, perf.usable, perf.num_hw_counters, perf.width) == ("qemu-virt", True, 18, 64)


def test_pmu_must_be_the_described_one() -> None:
    description = load_host_pmu("full")
    with pytest.raises(ValueError, match="the PMU of hart 0 is not the one that 'full' describes"):
        HostPmuPerf(PhysicalPmu(FakeSource()), description)


def test_records() -> None:
    recorder = Recorder()
    host = make_host("qemu-virt", recorder=recorder, hart_id=1)
    event = host.started("cycles")
    host.run(3)
    event.disable()
    event.release()
    with pytest.raises(Exception, match="ENOENT"):
        host.perf.create(kvm_attr("cache-misses"))
    lines = [(record.action, record.args, record.result) for record in recorder.records]
    assert lines == [
        ("create", {"event": "cycles"}, "ok"),
        ("enable", {"event": "cycles", "counter": 18}, "active"),
        ("disable", {"event": "cycles", "count": 3}, "off"),
        ("release", {"event": "cycles", "count": 3}, None),
        (
            "create",
            {"event": "cache-misses"},
            "ENOENT: event_init: host PMU qemu-virt does not count cache-misses",
        ),
    ]
    assert {(record.layer, record.actor, record.hart) for record in recorder.records} == {
        ("perf", "perf_event", 1)
    }
