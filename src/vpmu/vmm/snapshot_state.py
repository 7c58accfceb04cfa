"""The state of a machine without its memory, as plain data: what a snapshot holds beside pages.

Objects whose attributes are plain (devices, the virtual PMU's numbers) are taken generically, so that a new
register of a device needs no word here; what refers to other objects has a function of its own.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..hart import state as layout
from ..hart.events import HartEvent, Mode
from ..hart.hart import Hart
from ..hart.pmu import PhysicalPmu, Selector
from ..kvm.counter import Counter as KvmCounter
from ..kvm.pmu import VcpuPmu
from ..kvm.vcpu import Vcpu
from ..perf.event import EventState
from ..perf.host_event import HostPmuEvent
from ..perf.host_pmu import HostPmuPerf
from ..profiles.profiles import SbiExtension
from ..see.pmu import SbiPmu
from ..spec.perf import PerfEventAttr

if TYPE_CHECKING:
    from .machine import Machine

State = dict[str, object]
_LEAVES = (int, bool, str, bytes, type(None), float)
_MODEL_STATE = layout.MODEL_DTLB_READ
"""From here on a context holds state of the guest (modelled TLB and cache, counts); before it, the engine's
caches of host addresses.
"""
_VCPU = (
    "mp_state", "blocking", "suspended", "timer", "reset_to", "mmio", "sbi_pending", "stalled", "exits",
    "sbi_calls", "overflows", "steal_time_area", "firmware_features", "immediate_exit",
)  # fmt: skip
_INTERRUPTS = ("pending", "pending_mask", "hvip")
_COUNTER = ("event_idx", "in_use", "started", "overflown", "value", "mark", "tainted")
_FW = ("value", "started", "tainted")
_PAGE = ("address", "copy", "tainted", "leaked")
_EVENT = (
    *("_attr_period", "_count", "_hw_period", "_index", "_mask", "_period_left", "_prev_count", "_serial"),
    *("_up_to_date", "host_noise"),
)
_PHYSICAL = ("base", "mark", "running", "overflow")


def plain(value: object) -> bool:
    """True for numbers, texts, and containers of nothing else."""
    kind = type(value)
    if kind in _LEAVES or kind is bytearray:
        return True
    if kind in (list, tuple, set, frozenset, deque):
        return all(map(plain, value))  # type: ignore[call-overload]
    if kind in (dict, Counter):
        return all(plain(key) and plain(item) for key, item in value.items())  # type: ignore[attr-defined]
    return False


def copied(value: object) -> object:
    """A copy that shares nothing that can change."""
    kind = type(value)
    if kind in (list, set, deque, tuple, frozenset):
        return kind(map(copied, value))  # type: ignore[call-overload]
    if kind in (dict, Counter):
        return kind({key: copied(item) for key, item in value.items()})  # type: ignore[attr-defined, misc]
    return bytearray(value) if isinstance(value, bytearray) else value


def attributes(thing: object) -> State:
    """All plain attributes of an object."""
    return {name: copied(value) for name, value in vars(thing).items() if plain(value)}


def _picked(thing: object, names: tuple[str, ...]) -> State:
    return {name: copied(getattr(thing, name)) for name in names}


def put(thing: object, values: Mapping[str, object]) -> None:
    """Set attributes to what `attributes` or `_picked` gave. KeyError for one that the object has not."""
    for name, value in values.items():
        if not hasattr(thing, name) or callable(getattr(thing, name)):
            raise KeyError(name)
        setattr(thing, name, copied(value))


# --- harts


def _context_starts(hart: Hart) -> range:
    """Offsets of the translation contexts in the hart's block."""
    return range(layout.CONTEXTS, layout.CONTEXTS + hart.contexts * layout.CONTEXT_SIZE, layout.CONTEXT_SIZE)


def hart_state(hart: Hart) -> State:
    """Registers, clock, counts, and the modelled TLBs and caches."""
    raw = hart.words.cast("B")
    ctx = (hart.get("ctx") - hart.get("contexts")) // layout.CONTEXT_SIZE
    models = [
        bytes(raw[start + _MODEL_STATE : start + layout.CONTEXT_SIZE]) for start in _context_starts(hart)
    ]
    return {"words": bytes(raw[: layout.CONTEXTS]), "context": ctx, "models": models}


def put_hart(hart: Hart, state: Mapping[str, object]) -> None:
    """Set a hart to a state; its caches of host addresses are empty afterwards."""
    words, models, context = state["words"], state["models"], state["context"]
    assert isinstance(words, bytes)
    assert isinstance(models, list)
    assert isinstance(context, int)
    sizes = [len(words), *map(len, models)]
    model = layout.CONTEXT_SIZE - _MODEL_STATE
    if sizes != [layout.CONTEXTS, *[model] * hart.contexts] or not 0 <= context < hart.contexts:
        raise ValueError("state of a hart")
    _refuse_impossible(memoryview(words).cast("Q"))
    keep = {name: hart.get(name) for name in ("contexts", "shared", "epoch")}
    raw = hart.words.cast("B")
    raw[: layout.CONTEXTS] = words
    for number, content in enumerate(models):
        start = layout.CONTEXTS + number * layout.CONTEXT_SIZE
        raw[start + _MODEL_STATE : start + layout.CONTEXT_SIZE] = content
    for name, value in keep.items():
        hart.set(name, value)
    hart.set("ctx", keep["contexts"] + context * layout.CONTEXT_SIZE)
    hart.set("dbase", 0)
    forget_translations(hart)


def _refuse_impossible(words: memoryview) -> None:
    """ValueError for words that no hart can hold (the engines rely on it)."""
    pc, mode, satp, frm = (words[layout.STATE[name]] for name in ("pc", "mode", "satp", "frm"))
    if (
        pc & 1
        or mode not in (layout.USER, layout.SUPERVISOR, layout.MACHINE)
        or satp >> 60 not in (0, 8, 9)
        or frm > 7
    ):
        raise ValueError("state of a hart")


def forget_translations(hart: Hart, *, writes_only: bool = False) -> None:
    """Empty the engine's caches of host addresses, which are no state of the guest: nothing that counts
    changes.
    """
    first, last = (layout.TLB_WRITE, layout.TLB_FETCH) if writes_only else (0, _MODEL_STATE)
    raw = hart.words.cast("B")
    for start in _context_starts(hart):
        raw[start + first : start + last] = b"\xff" * (last - first)


# --- the physical PMU and perf's events on it


def _physical_state(pmu: PhysicalPmu) -> State:
    counters = {
        index: {
            **_picked(counter, _PHYSICAL),
            "selector": [str(event) for event in counter.selector],
            "counted": [str(event) for event in counter.counted],
            "modes": int(counter.modes),
        }
        for index, counter in pmu._counters.items()
    }
    return {
        "counters": counters,
        "order": [counter.index for counter in pmu._running],
        "requests": list(pmu._requests),
        "holders": [[[str(event) for event in what], index] for what, index in pmu._holders.items()],
    }


def _selector(names: list[str]) -> Selector:
    return tuple(map(HartEvent, names))


def _put_physical(pmu: PhysicalPmu, state: Mapping[str, object]) -> None:
    counters, order, holders = state["counters"], state["order"], state["holders"]
    assert isinstance(counters, dict)
    assert isinstance(order, list)
    assert isinstance(holders, list)
    for index, saved in counters.items():
        counter = pmu._counters[index]
        put(counter, {name: saved[name] for name in _PHYSICAL})
        counter.selector, counter.counted = _selector(saved["selector"]), _selector(saved["counted"])
        counter.modes = Mode(saved["modes"])
    pmu._running = [pmu._counters[index] for index in order]
    pmu._requests = list(state["requests"])  # type: ignore[call-overload]
    pmu._holders = {_selector(what): index for what, index in holders}
    for counter in pmu._counters.values():
        counter.held = counter.selector if pmu._holders.get(counter.selector) == counter.index else None
    pmu._wanted = {}
    for counter in pmu._running:
        for event in counter.counted:
            pmu._wanted[event] = pmu._wanted.get(event, 0) + 1
    pmu._want()


def _counters(vcpu: Vcpu) -> list[KvmCounter]:
    """The counters that have perf events: those of a virtual PMU."""
    return vcpu.pmu.counters if isinstance(vcpu.pmu, VcpuPmu) else []


def _events_of(vcpu: Vcpu, perf: HostPmuPerf) -> list[HostPmuEvent]:
    """Every event of a hart that anybody still refers to, in the order of their creation."""
    cpu = perf._cpu
    found = {id(event): event for event in (*cpu.active.values(), *cpu.waiting)}
    for counter in _counters(vcpu):
        if isinstance(counter.event, HostPmuEvent):
            found[id(counter.event)] = counter.event
    return sorted(found.values(), key=lambda event: event.serial)


def _event_state(event: HostPmuEvent) -> State:
    return {
        **_picked(event, _EVENT),
        "attr": list(event.attr),
        "state": str(event.state),
        "modes": int(event._modes),
        "handled": event._handler is not None,
    }


def _put_event(event: HostPmuEvent, state: Mapping[str, object]) -> None:
    put(event, {name: state[name] for name in _EVENT})
    event.state = EventState(str(state["state"]))


def _perf_state(vcpu: Vcpu, perf: HostPmuPerf, events: list[HostPmuEvent]) -> State:
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
        "physical": _physical_state(perf.physical),
    }


def _put_perf(
    vcpu: Vcpu, perf: HostPmuPerf, state: Mapping[str, object], events: list[HostPmuEvent] | None
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
            attr = PerfEventAttr(*one["attr"])
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
    _put_physical(perf.physical, state["physical"])  # type: ignore[arg-type]


# --- vCPUs


def _pmu_state(pmu: SbiPmu) -> State:
    if not isinstance(pmu, VcpuPmu):
        return {"plain": attributes(pmu)}
    return {
        "plain": attributes(pmu),
        "counters": [list(_picked(counter, _COUNTER).values()) for counter in pmu.counters],
        "fw": [list(_picked(one, _FW).values()) for one in pmu.fw],
        "page": _picked(pmu.snapshot, _PAGE),
    }


def _put_pmu(pmu: SbiPmu, state: Mapping[str, object]) -> None:
    put(pmu, state["plain"])  # type: ignore[arg-type]
    pmu.last_refusal = None
    if not isinstance(pmu, VcpuPmu):
        return
    for counter, values in zip(pmu.counters, state["counters"], strict=True):  # type: ignore[call-overload]
        for name, value in zip(_COUNTER, values, strict=True):
            setattr(counter, name, value)
    for one, values in zip(pmu.fw, state["fw"], strict=True):  # type: ignore[call-overload]
        for name, value in zip(_FW, values, strict=True):
            setattr(one, name, value)
    put(pmu.snapshot, state["page"])  # type: ignore[arg-type]


def vcpu_state(vcpu: Vcpu, perf: HostPmuPerf) -> tuple[State, list[HostPmuEvent]]:
    """A vCPU with its hart and its host's PMU, and the event objects that belong to it."""
    events = _events_of(vcpu, perf)
    return {
        "hart": hart_state(vcpu.hart),
        "vcpu": _picked(vcpu, _VCPU),
        "interrupts": _picked(vcpu.interrupts, _INTERRUPTS),
        "extensions": {int(key): on for key, on in vcpu.extensions._enabled.items()},
        "ran": vcpu.extensions.ran_at_least_once,
        "pmu": _pmu_state(vcpu.pmu),
        "perf": _perf_state(vcpu, perf, events),
    }, events


def put_vcpu(
    vcpu: Vcpu, perf: HostPmuPerf, state: Mapping[str, object], events: list[HostPmuEvent] | None
) -> None:
    """Set a vCPU to a state; see `_put_perf` for `events`."""
    put_hart(vcpu.hart, state["hart"])  # type: ignore[arg-type]
    put(vcpu, state["vcpu"])  # type: ignore[arg-type]
    put(vcpu.interrupts, state["interrupts"])  # type: ignore[arg-type]
    enabled = state["extensions"]
    assert isinstance(enabled, dict)
    vcpu.extensions._enabled = {SbiExtension(key): on for key, on in enabled.items()}
    vcpu.extensions._by_eid.clear()
    vcpu.extensions.ran_at_least_once = bool(state["ran"])
    _put_pmu(vcpu.pmu, state["pmu"])  # type: ignore[arg-type]
    _put_perf(vcpu, perf, state["perf"], events)  # type: ignore[arg-type]


# --- devices


def device_state(machine: Machine) -> State:
    """Console, serial port, interrupt controller, and what the machine itself remembers."""
    return {
        "console": attributes(machine.console),
        "serial": attributes(machine.serial),
        "plic": None if machine.plic is None else attributes(machine.plic),
        "user_exits": copied(machine.user_exits),
        "current": machine.turns.current,
    }


def put_devices(machine: Machine, state: Mapping[str, object]) -> None:
    """Set the devices to a state."""
    put(machine.console, state["console"])  # type: ignore[arg-type]
    put(machine.serial, state["serial"])  # type: ignore[arg-type]
    if machine.plic is not None:
        put(machine.plic, state["plic"])  # type: ignore[arg-type]
    machine.user_exits.clear()
    machine.user_exits.update(state["user_exits"])  # type: ignore[call-overload]
    machine.turns.resume(int(state["current"]))  # type: ignore[call-overload]
