"""The machine's own perf: whatever the kernel says is passed up; what it can count is counted."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

import pytest

from vpmu.perf.event import EventState, PerfError
from vpmu.perf.linux import LinuxEvent, LinuxPerf
from vpmu.spec.perf import U64, PerfEventAttr, PerfType

from .host import kvm_attr

TASK_CLOCK = 1  # nanoseconds, PERF_COUNT_SW_TASK_CLOCK: every Linux has it
NOT_PERMITTED = {errno.ENOSYS, errno.EACCES, errno.EPERM}


@pytest.fixture
def perf() -> Iterator[LinuxPerf]:
    provider = LinuxPerf()
    yield provider
    provider.close()


def task_clock(perf: LinuxPerf, handler: Any = None, **changes: Any) -> LinuxEvent:
    attr = kvm_attr(type=PerfType.SOFTWARE, config=TASK_CLOCK, **changes)
    try:
        return perf.create(attr, handler)
    except PerfError as error:
        if error.errno in NOT_PERMITTED:
            pytest.skip(f"perf_event_open is not permitted here: {error}")
        raise


def work() -> int:
    return sum(range(20_000))


@pytest.mark.parametrize("name", ["cycles", "cache-misses", "dTLB-load-misses"])
def test_hardware_events_count_or_are_refused_in_the_kernels_words(perf: LinuxPerf, name: str) -> None:
    refused: PerfError | None = None
    event: LinuxEvent | None = None
    try:
        event = perf.create(kvm_attr(name))
    except PerfError as error:
        refused = error
    if refused is not None:
        assert refused.errno > 0
        assert refused.reason == f"perf_event_open: {name}: {os.strerror(refused.errno)}"
        assert refused.step == "perf_event_open"
    else:
        assert event is not None
        event.enable()
        work()
        # A pinned event that finds no counter says so at the first read, by end of file.
        assert event.read() > 0 or event.state is EventState.ERROR or name != "cycles"
        assert event.host_noise


def test_a_malformed_event_is_refused(perf: LinuxPerf) -> None:
    with pytest.raises(PerfError) as caught:
        perf.create(PerfEventAttr(PerfType.HARDWARE, U64))
    assert caught.value.errno in {errno.ENOENT, errno.EINVAL, *NOT_PERMITTED}


def test_unknown_types_never_reach_the_kernel(perf: LinuxPerf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf, "_libc", None)
    with pytest.raises(PerfError, match="ENOENT: event_init: no PMU takes events of type 6"):
        perf.create(kvm_attr(type=6, config=U64))


def test_unknown_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "pdp11")
    with pytest.raises(PerfError, match="ENOSYS: perf_event_open: its number on pdp11 is not known"):
        LinuxPerf().create(kvm_attr())


def test_life_cycle(perf: LinuxPerf) -> None:
    event = task_clock(perf)
    work()
    assert (event.state, event.read()) == (EventState.OFF, 0)
    event.enable()
    work()
    event.disable()
    first = event.read()
    assert first > 0
    work()
    assert event.read() == first
    event.enable()
    work()
    event.release()
    assert event.state is EventState.RELEASED
    assert event.read() > first
    event.release()
    with pytest.raises(RuntimeError, match="released"):
        event.enable()


def test_created_enabled(perf: LinuxPerf) -> None:
    event = task_clock(perf, disabled=False)
    assert event.state is EventState.ACTIVE
    work()
    assert event.read() > 0


@pytest.mark.parametrize("period", [0, 1 << 63])
def test_period_rules_are_the_kernels(perf: LinuxPerf, period: int) -> None:
    event = task_clock(perf, sample_period=1 << 40)
    refused = event.set_period(period)
    assert refused is not None
    assert (refused.errno, str(refused).partition("EINVAL: set period")[1]) == (
        errno.EINVAL,
        "EINVAL: set period",
    )
    assert event.sample_period == 1 << 40


def test_period_of_an_event_that_does_not_sample(perf: LinuxPerf) -> None:
    event = task_clock(perf, sample_period=0)
    assert "EINVAL" in str(event.set_period(1000))


def test_overflow_is_seen_at_a_poll(perf: LinuxPerf) -> None:
    seen: list[int] = []

    def handler(event: Any) -> None:
        seen.append(event.read())
        event.restart_with_period(-event.read() & U64)

    event = task_clock(perf, handler)
    event.set_period(20_000_000)
    event.enable()
    perf.poll()
    assert seen == []
    while event.read() < 20_000_000:
        work()
    perf.poll()
    perf.poll()
    assert len(seen) == 1
    assert seen[0] >= 20_000_000


def test_close_releases_what_a_guest_leaked(perf: LinuxPerf) -> None:
    events = [task_clock(perf) for _ in range(3)]
    perf.close()
    assert {event.state for event in events} == {EventState.RELEASED}
