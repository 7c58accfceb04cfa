"""One perf event on a described host PMU: Linux's perf core and RISC-V driver, from enable to overflow.

Names in comments are the kernel's. Source: kernel/events/core.c; drivers/perf/riscv_pmu.c and
riscv_pmu_sbi.c, Linux 6.12.
"""

from __future__ import annotations

import errno
from bisect import insort
from typing import TYPE_CHECKING, Final, NamedTuple

from vpmu.hart.events import Mode
from vpmu.perf.driver import MappedEvent, counts_host, guest_modes
from vpmu.perf.event import EventState, OverflowHandler, PerfError
from vpmu.perf.host_cpu import Cpu, ctx_resched
from vpmu.spec.perf import U64, PerfEventAttr

if TYPE_CHECKING:
    from vpmu.hart.pmu import Selector

# Refusals of perf_event_period, which KVM provokes again and again.
_NO_SAMPLES, _NO_PERIOD, _LONG_PERIOD = (
    PerfError(errno.EINVAL, f"set period: {why}", step="set period")
    for why in ("the event does not sample", "a period of 0", "bit 63 of the period is set")
)
_S64_MIN: Final = 1 << 63
# an attribute of an enum class takes as long as a call
_OFF: Final = EventState.OFF
_INACTIVE: Final = EventState.INACTIVE
_ACTIVE: Final = EventState.ACTIVE
_ERROR: Final = EventState.ERROR
_RELEASED: Final = EventState.RELEASED


def _s64(value: int) -> int:
    """`value` as the kernel keeps it: signed, 64 bits, wrapping."""
    return (value + _S64_MIN & U64) - _S64_MIN


class KnownAttr(NamedTuple):
    """What follows from an attr alone, for all events of it on one hart."""

    attr: PerfEventAttr
    mapped: MappedEvent
    modes: Mode
    counts_host: bool
    hw_period: int
    """hw.sample_period: without sampling half the counter's range, so that a counter never laps its last
    reading.
    """
    period_left: int


def known_attr(cpu: Cpu, attr: PerfEventAttr, mapped: MappedEvent) -> KnownAttr:
    """See KnownAttr."""
    period = attr.sample_period or (1 << cpu.pmu.layout.width) - 1 >> 1
    modes = guest_modes(attr, whole=cpu.pmu.whole)
    return KnownAttr(attr, mapped, modes, counts_host(attr), period, _s64(period))


class HostPmuEvent:
    """See `vpmu.perf.event.PerfEvent` for the contract of the public methods."""

    __slots__ = (
        "_attr_period",
        "_count",
        "_counts_host",
        "_cpu",
        "_handler",
        "_hw_period",
        "_index",
        "_mapped",
        "_mask",
        "_modes",
        "_period_left",
        "_prev_count",
        "_serial",
        "_up_to_date",
        "attr",
        "host_noise",
        "state",
    )

    def __init__(self, cpu: Cpu, known: KnownAttr, handler: OverflowHandler | None) -> None:
        self.attr = attr = known.attr
        self.state: EventState = _OFF
        self.host_noise = False
        self._cpu = cpu
        cpu.created += 1
        self._serial = cpu.created  # group_index: pinned events are scheduled in the order of their creation
        self._mapped = known.mapped
        self._modes: Mode = known.modes
        self._counts_host = known.counts_host
        self._handler = handler
        self._attr_period = attr.sample_period  # attr.sample_period: 0 where the event does not sample
        self._hw_period, self._period_left = known.hw_period, known.period_left
        self._prev_count = 0  # raw counter value at the last update
        self._mask = 0
        self._index: int | None = None
        self._up_to_date = True  # PERF_HES_UPTODATE: the counter has nothing that `_count` lacks
        self._count = 0

    # --- life cycle -------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The perf tool's name of the event."""
        return self._mapped.name

    @property
    def counter(self) -> int | None:
        """Index of the physical counter it is on; None while it is not ACTIVE."""
        return self._index

    @property
    def countable(self) -> bool:
        return self._mapped.fixed is not None or bool(self._mapped.counters)

    @property
    def sample_period(self) -> int:
        return self._attr_period

    def enable(self) -> None:
        if self.state is _OFF or self.state is _ERROR:
            self.state = _INACTIVE
            if self.attr.pinned and self._cpu.active:
                pinned = [event for event in self._cpu.active.values() if event.attr.pinned]
                ctx_resched([*pinned, self])
            elif not self._schedule_in():
                if self.attr.pinned:
                    self.state = _ERROR
                else:
                    self._cpu.waiting.append(self)
        elif self.state is _RELEASED:
            raise RuntimeError(f"perf: enable of the released event {self.name}")
        if self._cpu.recorder.enabled:
            self._record("enable", self.state.value, counter=self._index)

    def disable(self) -> None:
        if self.state is _ACTIVE or self.state is _INACTIVE:
            self._turn_off()
        if self._cpu.recorder.enabled:
            self._record("disable", self.state.value, count=self._count)

    def _turn_off(self) -> None:
        """Of an event that is on a counter or waits for one."""
        if self.state is _ACTIVE:
            self.state = _OFF
            self._leave_counter()
            if self._cpu.waiting:
                self._hand_on()
        elif self.state is _INACTIVE:
            self.state = _OFF
            self._cpu.waiting.remove(self)

    def release(self) -> None:
        if self.state is _RELEASED:
            return
        if self.state is _ACTIVE or self.state is _INACTIVE:
            self._turn_off()
        self.state = _RELEASED
        if self._cpu.recorder.enabled:
            self._record("release", count=self._count)

    def read(self) -> int:
        if self._index is not None and not self._up_to_date:
            self._update()
        return self._count

    def follows(self) -> tuple[int, Selector, Mode] | None:
        count = self.read()
        if self._index is None or self._up_to_date:
            return count, (), self._modes
        counter = self._cpu.pmu.follows(self._index)
        if counter is None:
            return None
        start, counted, modes = counter
        return count - self._prev_count + start, counted, modes

    # --- scheduling (pmu->add, pmu->del) ----------------------------------------------------------

    def _schedule_in(self) -> bool:
        """Get a counter and start on it."""
        cpu = self._cpu
        index = cpu.firmware.match(self._mapped, self._modes)
        if index is None:
            return False
        self.state = _ACTIVE
        self._index = index
        self._mask = cpu.pmu.mask(index)
        cpu.active[index] = self
        if self._counts_host or not cpu.pmu.filters(index):
            self.host_noise = True
        self._start()
        return True

    def _leave_counter(self) -> None:
        cpu, index = self._cpu, self._index
        assert index is not None
        self._stop()
        del cpu.active[index]
        cpu.firmware.release(index)
        self._index = None

    @property
    def serial(self) -> int:
        """Its place among the events of the hart, by age."""
        return self._serial

    def reschedule(self) -> None:
        """Look for a counter again, as a flexible event that waits for one."""
        self._schedule_or_wait()
        if self._cpu.recorder.enabled:
            self._record("reschedule", self.state.value, counter=self._index)

    def _schedule_or_wait(self) -> None:
        waiting = self._cpu.waiting
        if self._schedule_in():
            if self in waiting:
                waiting.remove(self)
        elif self not in waiting:
            insort(waiting, self, key=lambda event: event._serial)

    def _hand_on(self) -> None:
        """A counter is free: the oldest flexible event that can use it gets it."""
        cpu = self._cpu
        for event in cpu.waiting:
            if event._schedule_in():
                cpu.waiting.remove(event)
                break

    # --- counting (pmu->start, pmu->stop, pmu->read) ----------------------------------------------

    def _start(self) -> None:
        """riscv_pmu_start with PERF_EF_RELOAD."""
        assert self._index is not None
        self._set_period()
        self._up_to_date = False
        self._cpu.firmware.start(self._index, self._prev_count & self._mask)

    def _program(self) -> None:
        assert self._index is not None
        self._up_to_date = False
        self._cpu.firmware.start(self._index, self._prev_count & self._mask)

    def _stop(self) -> None:
        """riscv_pmu_stop with PERF_EF_UPDATE."""
        assert self._index is not None
        self._cpu.pmu.stop(self._index)
        if not self._up_to_date:
            self._update()
            self._up_to_date = True

    def _update(self) -> None:
        """riscv_pmu_event_update: move what the counter has counted into the event."""
        if self._up_to_date:
            return
        assert self._index is not None
        raw = self._cpu.pmu.read(self._index)
        delta = (raw - self._prev_count) & self._mask
        self._prev_count = raw
        self._count = (self._count + delta) & U64
        left = self._period_left - delta
        self._period_left = left if left >= -_S64_MIN else _s64(left)

    # --- sampling ---------------------------------------------------------------------------------

    def set_period(self, period: int) -> PerfError | None:
        if not self._attr_period:
            return _NO_SAMPLES
        if not period:
            return _NO_PERIOD
        if period >> 63:
            return _LONG_PERIOD
        if self._index is None:
            self._attr_period = self._hw_period = period
            self._period_left = 0
        else:
            self.restart_with_period(period)
        return None

    def restart_with_period(self, period: int) -> None:
        if self._index is not None:
            self._stop()
        self._attr_period = self._hw_period = period & U64
        self._period_left = 0
        if self._index is not None:
            self._start()

    def _set_period(self) -> bool:
        """riscv_pmu_event_set_period: choose the counter's next value, -left. True where the period is
        over.

        Kept as the kernel has it, signs included: a period with bit 63 set is negative there, and `left`,
        compared as unsigned, ends as the longest possible run.
        """
        left, period = self._period_left, self._hw_period
        if period >> 63:
            period -= 1 << 64
        over = False
        if left <= -period:
            left = self._period_left = period
            over = True
        if left <= 0:
            left = self._period_left = _s64(left + period)
            over = True
        self._prev_count = -min(left & U64, self._mask >> 1) & self._mask
        return over

    def overflowed(self) -> None:
        """The counter has wrapped: what the interrupt handler does for it (pmu_sbi_ovf_handler)."""
        if not self._attr_period:
            return
        self._update()
        self._up_to_date = True
        if self._set_period():
            if self._cpu.recorder.enabled:
                self._record("overflow", count=self._count, counter=self._index)
            if self._handler is not None:
                self._handler(self)
        if self._index is not None:  # the handler may have disabled it
            self._program()

    def _record(self, action: str, result: object | None = None, **args: object) -> None:
        cpu = self._cpu
        cpu.recorder.emit("perf", "perf_event", action, result, hart=cpu.hart, event=self.name, **args)
