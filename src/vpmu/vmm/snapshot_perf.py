"""The state of perf on one hart: its events, which of them count, and whose they are."""

from __future__ import annotations

from collections.abc import Mapping

from ..hart.events import Mode
from ..kvm.counter import Counter
from ..kvm.pmu import VcpuPmu
from ..perf.event import EventState
from ..perf.host_event import HostPmuEvent
from ..perf.host_pmu import HostPmuPerf
from ..see.guest_hart import GuestHart
from ..spec.perf import PerfEventAttr, PerfType
from .snapshot_hart import physical_state, put_physical
from .snapshot_values import State, picked, put

_TYPES = frozenset(PerfType)
_EVENT = (
    *("_attr_period", "_count", "_hw_period", "_index", "_mask", "_period_left", "_prev_count", "_serial"),
    *("_up_to_date", "host_noise"),
)


def _counters(vcpu: GuestHart) -> list[Counter]:
    """The counters that have perf events: those of a virtual PMU."""
    return vcpu.pmu.counters if isinstance(vcpu.pmu, VcpuPmu) else []


def events_of(vcpu: GuestHart, perf: HostPmuPerf) -> list[HostPmuEvent]:
    """Every event of a hart that anybody still refers to, in the order of their creation."""
    cpu = perf._cpu
    found = {id(event): event for event in (*cpu.active.values(), *cpu.waiting)}
    for counter in _counters(vcpu):
        if isinstance(counter.event, HostPmuEvent):
            found[id(counter.event)] = counter.event
    return sorted(found.values(), key=lambda event: event.serial)


def _event_state(event: HostPmuEvent) -> State:
    event.read()  # up to date, as the counters of the hart
    return {
        **picked(event, _EVENT),
        "attr": list(event.attr),
        "state": str(event.state),
        "modes": int(event._modes),
        "handled": event._handler is not None,
    }


def _put_event(event: HostPmuEvent, state: Mapping[str, object]) -> None:
    put(event, {name: state[name] for name in _EVENT})
    event.state = EventState(str(state["state"]))


def perf_state(vcpu: GuestHart, perf: HostPmuPerf, events: list[HostPmuEvent]) -> State:
    """`events`: those of `events_of`."""
    cpu = perf._cpu
    numbers = {id(event): number for number, event in enumerate(events)}
    return {
        "events": [_event_state(event) for event in events],
        "active": {index: numbers[id(event)] for index, event in cpu.active.items()},
        "waiting": [numbers[id(event)] for event in cpu.waiting],
        "created": cpu.created,
        "held": sorted(cpu.firmware.held),
        "owners": [
            [counter.idx, numbers[id(counter.event)]]
            for counter in _counters(vcpu)
            if isinstance(counter.event, HostPmuEvent)
        ],
        "physical": physical_state(perf.physical),
    }


def put_perf(
    vcpu: GuestHart, perf: HostPmuPerf, state: Mapping[str, object], events: list[HostPmuEvent] | None
) -> None:
    """`events`: the objects that the state was taken of, where they still live in this machine."""
    cpu = perf._cpu
    saved, owners, active = state["events"], state["owners"], state["active"]
    assert isinstance(saved, list)
    assert isinstance(owners, list)
    assert isinstance(active, dict)
    cpu.created = int(state["created"])  # type: ignore[call-overload]
    cpu.firmware.held = set(state["held"])  # type: ignore[call-overload]
    if events is None:
        pmu = vcpu.pmu
        handlers = (
            {number: pmu.overflow_handler(pmu.counters[idx]) for idx, number in owners}
            if isinstance(pmu, VcpuPmu)
            else {}
        )
        events = []
        created = cpu.created
        for number, one in enumerate(saved):
            kind, *rest = one["attr"]
            # out of a file it is a number, and hashes of a state tell these from members
            attr = PerfEventAttr(PerfType(kind) if kind in _TYPES else kind, *rest)
            handler = handlers.get(number) if one["handled"] else None
            events.append(perf.revive(attr, handler, Mode(one["modes"])))
        cpu.created = created
    for event, one in zip(events, saved, strict=True):
        _put_event(event, one)
    cpu.active = {index: events[number] for index, number in active.items()}
    cpu.waiting = [events[number] for number in state["waiting"]]  # type: ignore[attr-defined]
    counters = _counters(vcpu)
    for counter in counters:
        counter.event = None
    for idx, number in owners:
        counters[idx].event = events[number]
    put_physical(perf.physical, state["physical"])  # type: ignore[arg-type]
