"""The physical PMU: counting, filters, widths, overflow, and what it asks of the hart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpmu.hart.events import HartEvent, Mode
from vpmu.hart.pmu import CYCLE, INSTRET, CounterLayout, PhysicalPmu

from .fake_source import FakeSource

FULL = 1 << 64


def make(**layout: object) -> tuple[FakeSource, PhysicalPmu]:
    source = FakeSource()
    return source, PhysicalPmu(source, CounterLayout(**layout))  # type: ignore[arg-type]


class TestCounting:
    def test_counts_only_while_it_runs(self) -> None:
        source, pmu = make()
        pmu.configure(3, HartEvent.INSTRUCTIONS)
        source.run(5)
        assert pmu.read(3) == 0
        pmu.start(3)
        source.run(7)
        assert pmu.read(3) == 7
        pmu.stop(3)
        source.run(100)
        assert pmu.read(3) == 7
        pmu.start(3)
        source.run(1)
        assert pmu.read(3) == 8

    def test_start_and_stop_twice_change_nothing(self) -> None:
        source, pmu = make()
        for _ in range(2):
            pmu.start(INSTRET)
        source.run(3)
        pmu.start(INSTRET)
        for _ in range(2):
            pmu.stop(INSTRET)
        assert pmu.read(INSTRET) == 3
        assert source.wanted == frozenset()

    def test_write_while_running(self) -> None:
        source, pmu = make()
        pmu.start(CYCLE)
        source.run(9)
        pmu.write(CYCLE, 1000)
        source.run(2)
        assert pmu.read(CYCLE) == 1002

    @pytest.mark.parametrize("running", [True, False])
    def test_restart_is_write_clear_and_start(self, running: bool) -> None:
        source, pmu = make(width=8)
        pmu.configure(3, HartEvent.INSTRUCTIONS)
        pmu.start(3)
        source.run(300)
        if not running:
            pmu.stop(3)
        pmu.restart(3, 0x1F0)
        assert (pmu.read(3), pmu.overflow_flags, pmu.poll()) == (0xF0, 0, ())
        source.run(16)
        assert (pmu.read(3), pmu.poll()) == (0, (3,))

    def test_a_counter_without_an_event_stands_still(self) -> None:
        source, pmu = make()
        pmu.write(4, 12)
        pmu.start(4)
        source.run(5)
        assert pmu.read(4) == 12

    def test_a_selector_of_two_events_counts_both(self) -> None:
        source, pmu = make()
        pmu.configure(3, (HartEvent.LOADS, HartEvent.STORES))
        pmu.start(3)
        source.run(10, loads=3, stores=4)
        assert pmu.read(3) == 7

    def test_configure_of_a_running_counter_goes_on_with_the_new_event(self) -> None:
        source, pmu = make()
        pmu.configure(3, HartEvent.INSTRUCTIONS)
        pmu.start(3)
        source.run(10, loads=2)
        pmu.configure(3, HartEvent.LOADS)
        source.run(10, loads=3)
        assert pmu.read(3) == 13
        assert source.wanted == {HartEvent.LOADS}

    def test_inhibit_shows_the_stopped_counters(self) -> None:
        _, pmu = make(programmable=2)
        assert pmu.inhibit == 0b11101
        pmu.start(3)
        pmu.start(CYCLE)
        assert pmu.inhibit == 0b10100
        assert pmu.running(3)
        assert not pmu.running(4)


class TestModes:
    def test_filter(self) -> None:
        source, pmu = make()
        for index, modes in (3, Mode.VU), (4, Mode.VS), (5, Mode.VU | Mode.VS), (6, Mode(0)):
            pmu.configure(index, HartEvent.INSTRUCTIONS, modes)
            pmu.start(index)
        source.run(10, Mode.VU)
        source.run(100, Mode.VS)
        assert [pmu.read(index) for index in (3, 4, 5, 6)] == [10, 100, 110, 0]

    @pytest.mark.parametrize(("smcntrpmf", "expected"), [(False, 110), (True, 10)])
    def test_fixed_counters_filter_with_smcntrpmf_only(self, smcntrpmf: bool, expected: int) -> None:
        source, pmu = make(smcntrpmf=smcntrpmf)
        pmu.configure(INSTRET, HartEvent.INSTRUCTIONS, Mode.VU)
        pmu.start(INSTRET)
        source.run(10, Mode.VU)
        source.run(100, Mode.VS)
        assert pmu.read(INSTRET) == expected
        assert pmu.filters(INSTRET) is smcntrpmf

    def test_no_filter_without_sscofpmf(self) -> None:
        source, pmu = make(sscofpmf=False)
        pmu.configure(3, HartEvent.INSTRUCTIONS, Mode.VU)
        pmu.start(3)
        source.run(10, Mode.VU)
        source.run(100, Mode.VS)
        assert pmu.read(3) == 110


class TestWant:
    def test_is_what_running_counters_need(self) -> None:
        source, pmu = make()
        pmu.configure(3, HartEvent.LOADS)
        pmu.configure(4, (HartEvent.LOADS, HartEvent.STORES))
        assert source.wanted == frozenset()
        pmu.start(3)
        assert source.wanted == {HartEvent.LOADS}
        pmu.start(4)
        assert source.wanted == {HartEvent.LOADS, HartEvent.STORES}
        pmu.stop(3)
        assert source.wanted == {HartEvent.LOADS, HartEvent.STORES}
        pmu.stop(4)
        assert source.wanted == frozenset()

    def test_an_empty_filter_needs_nothing(self) -> None:
        source, pmu = make()
        pmu.configure(3, HartEvent.LOADS, Mode(0))
        pmu.start(3)
        assert source.wanted == frozenset()


class TestOverflow:
    def test_flag_and_one_request_at_the_wrap(self) -> None:
        source, pmu = make()
        pmu.configure(3, HartEvent.INSTRUCTIONS)
        pmu.write(3, FULL - 1000)
        pmu.start(3)
        assert pmu.budget() == 1000
        source.run(999)
        assert pmu.budget() == 1
        assert pmu.poll() == ()
        source.run(1)
        assert pmu.poll() == (3,)
        assert pmu.poll() == ()
        assert pmu.overflow_flags == 1 << 3
        assert pmu.read(3) == 0

    def test_budget_is_zero_until_the_request_is_taken(self) -> None:
        source, pmu = make()
        pmu.configure(3, HartEvent.INSTRUCTIONS)
        pmu.write(3, FULL - 1)
        pmu.start(3)
        source.run(1)
        assert pmu.budget() == 0
        assert pmu.poll() == (3,)
        assert pmu.budget() is None

    def test_no_second_request_while_the_flag_is_set(self) -> None:
        source, pmu = make(width=8)
        pmu.configure(3, HartEvent.INSTRUCTIONS)
        pmu.start(3)
        source.run(256)
        assert pmu.poll() == (3,)
        source.run(256)
        assert pmu.poll() == ()
        pmu.clear_overflow(3)
        assert pmu.budget() == 256
        source.run(256)
        assert pmu.poll() == (3,)

    def test_a_wrap_before_the_stop_is_not_lost(self) -> None:
        source, pmu = make(width=8)
        pmu.configure(3, HartEvent.INSTRUCTIONS)
        pmu.start(3)
        source.run(300)
        pmu.stop(3)
        assert pmu.poll() == (3,)
        assert pmu.read(3) == 44

    def test_clearing_the_flag_withdraws_the_request(self) -> None:
        source, pmu = make(width=8)
        pmu.configure(3, HartEvent.INSTRUCTIONS)
        pmu.start(3)
        source.run(300)
        pmu.clear_overflow(3)
        assert pmu.poll() == ()
        source.run(300)
        pmu.configure(3, HartEvent.CYCLES)
        assert pmu.poll() == ()

    @given(value=st.integers(0, FULL * 4), width=st.integers(1, 64))
    def test_a_write_never_overflows(self, value: int, width: int) -> None:
        _, pmu = make(width=width)
        pmu.configure(3, HartEvent.INSTRUCTIONS)
        pmu.start(3)
        pmu.write(3, FULL - 1)
        pmu.write(3, value)
        assert pmu.read(3) == value % (1 << width)
        assert pmu.overflow_flags == 0

    @given(
        start=st.integers(0, 255),
        steps=st.lists(st.integers(0, 100), max_size=20),
        polls=st.sets(st.integers(0, 19)),
    )
    def test_value_and_flag_do_not_depend_on_who_looks(
        self, start: int, steps: list[int], polls: set[int]
    ) -> None:
        source, pmu = make(width=8)
        pmu.configure(3, HartEvent.INSTRUCTIONS)
        pmu.write(3, start)
        pmu.start(3)
        requests = 0
        for number, step in enumerate(steps):
            source.run(step)
            if number in polls:
                requests += len(pmu.poll())
        requests += len(pmu.poll())
        total = start + sum(steps)
        assert pmu.read(3) == total % 256
        assert requests == (total >= 256)

    def test_fixed_counters_wrap_without_a_flag(self) -> None:
        source, pmu = make(smcntrpmf=True)
        pmu.write(INSTRET, FULL - 5)
        pmu.start(INSTRET)
        assert pmu.budget() is None
        source.run(7)
        assert pmu.poll() == ()
        assert pmu.read(INSTRET) == 2

    @pytest.mark.parametrize("layout", [{"overflow_interrupts": False}, {"sscofpmf": False}])
    def test_no_flag_without_the_extension(self, layout: dict[str, bool]) -> None:
        source, pmu = make(**layout)
        pmu.configure(3, HartEvent.INSTRUCTIONS)
        pmu.write(3, FULL - 5)
        pmu.start(3)
        assert pmu.budget() is None
        source.run(7)
        assert pmu.poll() == ()
        assert pmu.overflow_flags == 0
        assert pmu.read(3) == 2

    def test_budget_is_the_nearest(self) -> None:
        _, pmu = make()
        for index, left in (3, 500), (4, 20), (5, 900):
            pmu.configure(index, HartEvent.INSTRUCTIONS)
            pmu.write(index, FULL - left)
            pmu.start(index)
        assert pmu.budget() == 20
        pmu.stop(4)
        assert pmu.budget() == 500
        pmu.configure(3, HartEvent.INSTRUCTIONS, Mode(0))
        assert pmu.budget() == 900


class TestOneCounterPerEvent:
    def test_the_first_configured_counts(self) -> None:
        source, pmu = make(one_counter_per_event=True)
        for index in 5, 3, 4:
            pmu.configure(index, HartEvent.DTLB_READ_MISS)
            pmu.start(index)
        source.run(10, dtlb_read_miss=4)
        assert [pmu.read(index) for index in (3, 4, 5)] == [0, 0, 4]

    def test_the_next_to_be_configured_takes_over(self) -> None:
        source, pmu = make(one_counter_per_event=True)
        pmu.configure(3, HartEvent.DTLB_READ_MISS)
        pmu.configure(4, HartEvent.DTLB_READ_MISS)
        pmu.configure(3, None)
        pmu.start(4)
        source.run(10, dtlb_read_miss=4)
        assert pmu.read(4) == 0  # still as it was configured
        pmu.configure(4, HartEvent.DTLB_READ_MISS)
        source.run(10, dtlb_read_miss=4)
        assert pmu.read(4) == 4

    def test_cycles_and_instructions_are_exempt(self) -> None:
        source, pmu = make(one_counter_per_event=True)
        for index in 3, 4:
            pmu.configure(index, HartEvent.CYCLES)
            pmu.start(index)
        source.run(10)
        assert pmu.read(3) == pmu.read(4) == 10


class TestLayout:
    @pytest.mark.parametrize("index", [1, 5, 31, -1])
    def test_no_such_counter(self, index: int) -> None:
        _, pmu = make(programmable=2)
        with pytest.raises(ValueError, match=f"^no counter {index}; counters: 0, 2, 3, 4$"):
            pmu.read(index)

    def test_fixed_counters_have_one_event(self) -> None:
        _, pmu = make()
        with pytest.raises(ValueError, match=r"^counter 0 cannot count instructions$"):
            pmu.configure(CYCLE, HartEvent.INSTRUCTIONS)

    def test_selectors_limit_the_programmable_ones(self) -> None:
        _, pmu = make(selectors={(HartEvent.LOADS,): frozenset({4})})
        pmu.configure(4, HartEvent.LOADS)
        with pytest.raises(ValueError, match=r"^counter 3 cannot count loads$"):
            pmu.configure(3, HartEvent.LOADS)
        assert not pmu.can_count(4, (HartEvent.STORES,))

    @pytest.mark.parametrize(
        "layout", [{"programmable": 30}, {"programmable": -1}, {"width": 65}, {"width": 0}]
    )
    def test_impossible_layouts(self, layout: dict[str, int]) -> None:
        with pytest.raises(ValueError, match="expected"):
            make(**layout)

    def test_widths(self) -> None:
        _, pmu = make(width=48)
        assert (pmu.mask(CYCLE).bit_length(), pmu.mask(3).bit_length()) == (64, 48)


def test_cycles_by_the_cost_model_overflow_at_the_instruction_that_takes_them_past_the_end() -> None:
    """With costs a cycle counter moves by more than one: the run loop closes in, and the last step is one
    instruction.
    """
    source = FakeSource()
    pmu = PhysicalPmu(source, CounterLayout(cycle_costs={HartEvent.LOADS: 2, HartEvent.DTLB_READ_MISS: 20}))
    pmu.configure(3, HartEvent.CYCLES)
    pmu.write(3, 2**64 - 100)
    pmu.start(3)
    assert source.wanted >= {HartEvent.CYCLES, HartEvent.LOADS, HartEvent.DTLB_READ_MISS}
    assert pmu.budget() == 100 // 23
    source.run(4, loads=2, dtlb_read_miss=1)
    assert pmu.read(3) == 2**64 - 100 + 4 + 2 * 2 + 20
    source.run(70)
    assert pmu.budget() == 1
    assert not pmu.poll()
    source.run(1, loads=1)
    assert pmu.poll() == (3,)
    assert pmu.read(3) == 1
