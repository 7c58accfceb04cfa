"""The state of a machine without its memory, as plain data: what a snapshot holds beside pages.

Objects whose attributes are plain (devices, the virtual PMU's numbers) are taken generically, so that a new
register of a device needs no word here; what refers to other objects has a function of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from ..kvm.interrupts import VcpuInterrupts
from ..kvm.pmu import VcpuPmu
from ..perf.host_event import HostPmuEvent
from ..perf.host_pmu import HostPmuPerf
from ..profiles.profiles import SbiExtension
from ..see.guest_hart import GuestHart
from ..see.pmu import SbiPmu
from .snapshot_hart import hart_state, put_hart
from .snapshot_perf import events_of, perf_state, put_perf
from .snapshot_values import State, attributes, copied, picked, put

if TYPE_CHECKING:
    from .machine import Machine

_VCPU = (
    "mp_state", "blocking", "suspended", "timer", "reset_to", "mmio", "sbi_pending", "stalled", "exits",
    "sbi_calls", "overflows", "steal_time_area", "firmware_features", "software_events",
    "events_masked", "immediate_exit",
    "midway", "progress",
)  # fmt: skip
_INTERRUPTS = ("pending", "pending_mask", "hvip")
_VCPU_INTERRUPTS = (*_INTERRUPTS, "stray")
_COUNTER = ("event_idx", "in_use", "started", "overflown", "value", "mark", "tainted")
_FW = ("value", "started", "tainted")
_PAGE = ("address", "copy", "tainted", "leaked", "gone")


def _pmu_state(pmu: SbiPmu) -> State:
    if not isinstance(pmu, VcpuPmu):
        return {"plain": attributes(pmu)}
    return {
        "plain": attributes(pmu),
        "counters": list(map(attrgetter(*_COUNTER), pmu.counters)),
        "fw": list(map(attrgetter(*_FW), pmu.fw)),
        "page": picked(pmu.snapshot, _PAGE),
    }


def _put_pmu(pmu: SbiPmu, state: Mapping[str, object]) -> None:
    put(pmu, state["plain"])  # type: ignore[arg-type]
    pmu.last_refusal = None
    if not isinstance(pmu, VcpuPmu):
        return
    _put_rows(pmu.counters, _COUNTER, state["counters"])  # type: ignore[arg-type]
    _put_rows(pmu.fw, _FW, state["fw"])  # type: ignore[arg-type]
    put(pmu.snapshot, state["page"])  # type: ignore[arg-type]


def _put_rows(things: Sequence[object], names: tuple[str, ...], rows: Sequence[Sequence[object]]) -> None:
    """Attributes of many alike objects, of which a run touches few."""
    present = attrgetter(*names)
    if list(map(present, things)) == rows:
        return
    for thing, row in zip(things, rows, strict=True):
        if present(thing) != tuple(row):
            for name, value in zip(names, row, strict=True):
                setattr(thing, name, value)


def vcpu_state(vcpu: GuestHart, perf: HostPmuPerf) -> tuple[State, list[HostPmuEvent]]:
    """A vCPU with its hart and its host's PMU, and the event objects that belong to it."""
    events = events_of(vcpu, perf)
    return {
        "hart": hart_state(vcpu.hart),
        "vcpu": picked(vcpu, _VCPU),
        "interrupts": picked(
            vcpu.interrupts, _VCPU_INTERRUPTS if isinstance(vcpu.interrupts, VcpuInterrupts) else _INTERRUPTS
        ),
        "extensions": {int(key): on for key, on in vcpu.extensions._enabled.items()},
        "ran": vcpu.extensions.ran_at_least_once,
        "pmu": _pmu_state(vcpu.pmu),
        "csrs": attributes(vcpu.csrs) if hasattr(vcpu, "csrs") else None,  # of a hart with software in M mode
        "perf": perf_state(vcpu, perf, events),
    }, events


def put_vcpu(
    vcpu: GuestHart, perf: HostPmuPerf, state: Mapping[str, object], events: list[HostPmuEvent] | None
) -> None:
    """Set a vCPU to a state; see `put_perf` for `events`."""
    put_hart(vcpu.hart, state["hart"])  # type: ignore[arg-type]
    put(vcpu, state["vcpu"])  # type: ignore[arg-type]
    put(vcpu.interrupts, state["interrupts"])  # type: ignore[arg-type]
    enabled = state["extensions"]
    assert isinstance(enabled, dict)
    if vcpu.extensions._enabled != enabled:  # numbers, and members of an IntEnum
        vcpu.extensions._enabled = {SbiExtension(key): on for key, on in enabled.items()}
        vcpu.extensions._by_eid.clear()
    vcpu.extensions.ran_at_least_once = bool(state["ran"])
    _put_pmu(vcpu.pmu, state["pmu"])  # type: ignore[arg-type]
    if hasattr(vcpu, "csrs"):
        put(vcpu.csrs, state["csrs"])  # type: ignore[arg-type]
    put_perf(vcpu, perf, state["perf"], events)  # type: ignore[arg-type]


def device_state(machine: Machine) -> State:
    """Console, serial port, interrupt controller, and what the machine itself remembers."""
    second = machine.board.second_serial
    return {
        **({} if second is None else {"second_serial": attributes(second)}),
        "htif": machine.board.htif,
        "console": attributes(machine.console),
        "serial": attributes(machine.serial),
        "plic": None if machine.plic is None else attributes(machine.plic),
        **({"virtio": [one.state() for one in machine.board.virtio]} if machine.board.virtio else {}),
        "user_exits": copied(machine.user_exits),
        "turns": machine.turns.state(),
    }


def put_devices(machine: Machine, state: Mapping[str, object]) -> None:
    """Set the devices to a state."""
    htif = state["htif"]
    if htif is not None and machine.board.htif is None:
        machine.board.add_htif(*htif)  # type: ignore[misc]
    put(machine.console, state["console"])  # type: ignore[arg-type]
    put(machine.serial, state["serial"])  # type: ignore[arg-type]
    if machine.board.second_serial is not None:
        put(machine.board.second_serial, state["second_serial"])  # type: ignore[arg-type]
    if machine.plic is not None:
        put(machine.plic, state["plic"])  # type: ignore[arg-type]
    for device, saved in zip(machine.board.virtio, state.get("virtio", []), strict=True):  # type: ignore[call-overload]
        device.resume(saved)
    machine.user_exits.clear()
    machine.user_exits.update(state["user_exits"])  # type: ignore[call-overload]
    machine.turns.resume(state["turns"])  # type: ignore[arg-type]
