"""What the perf events of one hart share, and how they get counters again (kernel/events/core.c)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vpmu.hart.pmu import PhysicalPmu
from vpmu.perf.event import EventState
from vpmu.perf.firmware import Firmware
from vpmu.trace.recorder import Recorder

if TYPE_CHECKING:
    from vpmu.perf.host_event import HostPmuEvent


@dataclass(slots=True, eq=False)
class Cpu:
    """What the events of one hart share (struct cpu_hw_events, and the context of the one thread that
    runs there).
    """

    pmu: PhysicalPmu
    firmware: Firmware
    recorder: Recorder
    hart: int = 0
    active: dict[int, HostPmuEvent] = field(default_factory=dict)
    """By the index of the counter."""
    waiting: list[HostPmuEvent] = field(default_factory=list)
    """Flexible (not pinned) events that are enabled and have no counter, the oldest first."""
    created: int = 0
    """Events created so far."""


def ctx_resched(events: Sequence[HostPmuEvent], meanwhile: Callable[[], object] = lambda: None) -> None:
    """Enabled events leave the counters that they have, and get new ones: pinned ones first, by age.

    Where a pinned one finds no counter it goes to ERROR, and so does every younger one, without a try
    (merge_sched_in, can_add_hw); a flexible one waits. `meanwhile` is called when nobody has a counter.
    """
    before = [event.counter for event in events]
    for event in events:
        if event.counter is not None:
            event.state = EventState.INACTIVE
            event._leave_counter()
    meanwhile()
    can_add = True
    for event in sorted(events, key=lambda event: (not event.attr.pinned, event._serial)):
        if not event.attr.pinned:
            event._schedule_or_wait()
            continue
        can_add = can_add and event._schedule_in()
        if not can_add:
            event.state = EventState.ERROR
    for event, index in zip(events, before, strict=True):
        if index is not None and event.counter != index and event._cpu.recorder.enabled:
            event._record("reschedule", event.state.value, counter=event.counter)
