"""The counters of a hart as they are now: those that its guest was given, else the hart's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vpmu.hart.events import ALL_MODES
from vpmu.kvm.counter import Counter
from vpmu.kvm.pmu import VcpuPmu
from vpmu.perf.host_pmu import HostPmuPerf
from vpmu.perf.injection import FaultyPerf
from vpmu.profiles.behaviours import B
from vpmu.spec.sbi import U64
from vpmu.spec.sbi_events import EVENT_IDX_INVALID, event_name
from vpmu.vmm.state_hash import _event, _inner, _value

if TYPE_CHECKING:
    from vpmu.hart.pmu import PhysicalPmu
    from vpmu.see.guest_hart import GuestHart


@dataclass(frozen=True, slots=True)
class Count:
    """One counter: what it counts, what it holds, and how it stands."""

    hart: int
    counter: int
    event: str
    value: int
    state: str

    def __str__(self) -> str:
        return f"counter {self.counter} ({self.event}): {self.value:,}, {self.state}"


def counts(vcpu: GuestHart) -> list[Count]:
    """The counters that an event is bound to, or that run; reading them changes nothing."""
    perf = vcpu.perf.inner if isinstance(vcpu.perf, FaultyPerf) else vcpu.perf
    if not isinstance(perf, HostPmuPerf):
        return []
    if isinstance(vcpu.pmu, VcpuPmu):
        return list(_of_kvm(vcpu, vcpu.pmu, perf.physical))
    return list(_of_hart(vcpu, perf.physical))


def _of_kvm(vcpu: GuestHart, pmu: VcpuPmu, physical: PhysicalPmu) -> Iterator[Count]:
    for counter in pmu.counters:
        if counter.event_idx == EVENT_IDX_INVALID:
            continue
        state = "runs" if counter.started else "stopped"
        if counter.event is not None:
            state += f", perf event {counter.event.state}"
        elif not counter.firmware:
            state += ", no perf event"
        state += ", overflown" * counter.overflown
        yield Count(vcpu.id, counter.idx, event_name(counter.event_idx), _held(pmu, counter, physical), state)


def _held(pmu: VcpuPmu, counter: Counter, physical: PhysicalPmu) -> int:
    if counter.firmware and pmu.profile.has(B.FW_STATE_PER_CODE):
        return pmu.fw[counter.code].value if counter.code < len(pmu.fw) else counter.value
    if counter.event is None:
        return counter.value
    counted = _event(_inner(counter.event), physical)["count"]  # type: ignore[arg-type]
    return counter.value + counted - counter.mark & counter.mask  # type: ignore[operator]


def _of_hart(vcpu: GuestHart, physical: PhysicalPmu) -> Iterator[Count]:
    """cycle and instret always run; the others where they have an event."""
    for index, counter in physical._counters.items():
        if not counter.selector:
            continue
        state = "runs" if counter.running else "stopped"
        if counter.modes != ALL_MODES:
            state += f" in {'/'.join(mode.name or '?' for mode in counter.modes)}"
        state += ", overflown" * counter.overflow
        name = "+".join(str(event) for event in counter.selector)
        yield Count(vcpu.id, index, name, _value(physical, index) & (counter.mask & U64), state)
