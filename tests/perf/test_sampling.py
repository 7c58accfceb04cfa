"""Periods and overflow, as the kernel keeps them."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpmu.hart.pmu import CounterLayout
from vpmu.perf.description import load_host_pmu
from vpmu.perf.event import EventState, PerfEvent
from vpmu.spec.perf import U64

from .host import Host, kvm_attr, make_host


def narrow(width: int, **counters: Any) -> Host:
    full = load_host_pmu("full")
    layout: CounterLayout = replace(full.counters, width=width, **counters)
    return make_host(replace(full, counters=layout))


class TestPeriodRules:
    @pytest.mark.parametrize(
        ("period", "words"),
        [(0, "a period of 0"), (1 << 63, "bit 63"), (U64, "bit 63 of the period is set")],
    )
    def test_refused_and_the_old_period_stays(self, period: int, words: str) -> None:
        host = make_host("full")
        event = host.create("instructions", sample_period=500)
        refused = event.set_period(period)
        assert refused is not None
        assert words in refused.reason
        assert refused.errno == errno.EINVAL
        assert event.sample_period == 500
        event.enable()
        host.run(1000)
        assert host.overflows == [500, 1000]

    def test_an_event_that_does_not_sample(self) -> None:
        host = make_host("full")
        event = host.started("instructions", sample_period=0)
        assert "does not sample" in str(event.set_period(10))
        host.run(100)
        assert event.read() == 100
        assert host.overflows == []

    def test_creation_does_not_check_bit_63(self) -> None:
        host = make_host("full")
        event = host.started("instructions", sample_period=U64)
        assert event.sample_period == U64
        # signed, that is -1: the driver programs the longest run that it knows
        assert host.pmu.read(18) == U64 - (1 << 63) + 2
        host.run(1000)
        assert (event.read(), host.overflows) == (1000, [])

    def test_attr_stays_what_it_was(self) -> None:
        event = make_host("full").create(sample_period=500)
        event.set_period(7)
        assert (event.attr.sample_period, event.sample_period) == (500, 7)


class TestOverflow:
    @given(period=st.integers(1, 500), instructions=st.integers(0, 3000))
    def test_at_exact_counts_again_and_again(self, period: int, instructions: int) -> None:
        host = make_host("full")
        event = host.started("instructions", sample_period=period)
        host.run(instructions)
        assert host.overflows == list(range(period, instructions + 1, period))
        assert event.read() == instructions

    @given(
        period=st.integers(1, 300),
        steps=st.lists(st.tuples(st.integers(0, 200), st.booleans()), max_size=12),
    )
    def test_rounds_of_enable_and_disable_do_not_shift_it(
        self, period: int, steps: list[tuple[int, bool]]
    ) -> None:
        host = make_host("full")
        event = host.create("instructions", sample_period=period)
        counted = 0
        for instructions, on in steps:
            (event.enable if on else event.disable)()
            host.run(instructions)
            counted += instructions if on else 0
        assert event.read() == counted
        assert host.overflows == list(range(period, counted + 1, period))

    def test_of_another_event_at_its_own_count(self) -> None:
        host = make_host("full")
        event = host.started("branches", sample_period=3)
        for _ in range(7):
            host.run(1, branches=1)
            host.run(1)
        assert host.overflows == [3, 6]
        assert event.read() == 7

    def test_budget_is_what_is_left(self) -> None:
        host = make_host("full")
        assert host.perf.budget() is None
        event = host.started("instructions", sample_period=1000)
        host.source.run(400)
        assert host.perf.budget() == 600
        event.set_period(50)
        assert host.perf.budget() == 50
        event.disable()
        assert host.perf.budget() is None

    def test_late_interrupt_reports_the_whole_count_once(self) -> None:
        host = make_host("full")
        event = host.started("instructions", sample_period=100)
        host.source.run(130)
        host.perf.poll()
        assert host.overflows == [130]
        host.run(70)
        assert host.overflows == [130, 200]  # the period runs on from 100, not from 130
        assert event.read() == 200

    @pytest.mark.parametrize(("late", "then"), [(100, 200), (250, 200), (99, 1)])
    def test_interrupt_later_than_a_period_starts_a_new_one(self, late: int, then: int) -> None:
        host = make_host("full")
        host.started("instructions", sample_period=100)
        host.source.run(100 + late)
        host.perf.poll()
        host.run(then)
        expected = [100 + late, 200 + late, 300 + late] if late >= 100 else [199, 200]
        assert host.overflows == expected

    def test_none_where_the_host_never_signals(self) -> None:
        host = make_host("qemu-virt")
        event = host.started("instructions", sample_period=10)
        assert host.perf.budget() is None
        host.run(100)
        assert host.overflows == []
        assert event.read() == 100

    def test_none_on_a_fixed_counter(self) -> None:
        host = make_host("full", starve=16)
        event = host.started("instructions", sample_period=10)
        assert event.counter == 2
        host.run(100)
        assert (host.overflows, event.read()) == ([], 100)

    def test_without_a_handler_it_goes_on(self) -> None:
        host = make_host("full")
        event = host.perf.create(kvm_attr("instructions", sample_period=10))
        event.enable()
        host.run(35)
        assert event.read() == 35

    def test_disabled_before_the_interrupt_is_taken(self) -> None:
        host = make_host("full")
        event = host.started("instructions", sample_period=10)
        host.source.run(10)
        event.disable()
        other = host.started("instructions", sample_period=1000)  # gets the same counter
        assert other.counter == 18
        host.perf.poll()
        assert host.overflows == []
        assert (event.read(), other.read()) == (10, 0)


class TestNarrowCounters:
    def test_period_longer_than_half_the_range(self) -> None:
        host = narrow(8)
        event = host.started("instructions", sample_period=1000)
        assert host.perf.budget() == 127  # max_period: it is reached in parts, which nobody sees
        host.run(2500)
        assert host.overflows == [1000, 2000]
        assert event.read() == 2500

    def test_counting_needs_the_interrupt(self) -> None:
        # an event that does not sample is not re-armed, and a counter that laps its last reading loses a lap
        host = narrow(8, overflow_interrupts=False)
        event = host.started("instructions", sample_period=0)
        host.run(300)
        assert event.read() == 300 - 256


class TestKvmHandler:
    """restart_with_period is the core of KVM's overflow handler (kvm_riscv_pmu_overflow)."""

    @staticmethod
    def kvm_host(host: Host) -> list[int]:
        seen: list[int] = []

        def overflow(event: PerfEvent) -> None:
            seen.append(event.read())
            event.restart_with_period(-event.read() & U64)

        host.create = lambda name="cycles", **changes: host.perf.create(  # type: ignore[method-assign]
            kvm_attr(name, **changes), overflow
        )
        return seen

    def test_no_second_overflow(self) -> None:
        # recorded: after the first LCOFI none came within 800 k instructions, and no event was lost
        host = make_host("full")
        seen = self.kvm_host(host)
        event = host.create("instructions")
        event.set_period(1000)
        event.enable()
        host.run(800_000)
        assert seen == [1000]
        assert event.read() == 800_000
        assert event.sample_period == -1000 & U64

    @pytest.mark.parametrize("initial", [0, 1 << 62, (1 << 63) - 1, 0x64])
    def test_old_period_is_kept_for_initial_values_below_2_63(self, initial: int) -> None:
        # O16: start at -300000, stop early, start at 0: perf refuses the period, and the rest of the old one
        # counts on
        host = make_host("full")
        seen = self.kvm_host(host)
        event = host.create("instructions")
        event.set_period(300_000)
        event.enable()
        host.run(2033)
        event.disable()
        assert event.set_period(-initial & U64) is not None
        event.enable()
        host.run(297_966)
        assert seen == []
        host.run(1)
        assert seen == [300_000]

    def test_accepted_period_replaces_it(self) -> None:
        host = make_host("full")
        seen = self.kvm_host(host)
        event = host.create("instructions")
        event.set_period(300_000)
        event.enable()
        host.run(2033)
        event.disable()
        assert event.set_period(-((1 << 63) + 1) & U64) is None
        event.enable()
        host.run(1_000_000)
        assert seen == []

    def test_of_a_stopped_event_is_only_noted(self) -> None:
        host = make_host("full")
        event = host.create("instructions", sample_period=500)
        event.restart_with_period(20)
        event.enable()
        host.run(20)
        assert host.overflows == [20]

    def test_handler_may_disable(self) -> None:
        host = make_host("full")
        event = host.perf.create(kvm_attr("instructions", sample_period=10), lambda event: event.disable())
        event.enable()
        host.run(50)
        assert event.state is EventState.OFF
        assert event.read() == 10
        assert host.perf.held_counters == frozenset()
