"""A described host to create events on, and the attr that KVM builds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vpmu.hart.pmu import PhysicalPmu
from vpmu.perf.description import HostPmuDescription, load_host_pmu
from vpmu.perf.host_event import HostPmuEvent
from vpmu.perf.host_pmu import HostPmuPerf
from vpmu.spec.perf import EVENTS, U64, PerfEventAttr

from ..hart.fake_source import FakeSource


def kvm_attr(name: str = "cycles", **changes: Any) -> PerfEventAttr:
    """As KVM builds it for a counter at 0, from Linux 6.18 on (created disabled)."""
    type_, config = EVENTS.get(name, (0, 0))
    attr = PerfEventAttr(
        type_,
        config,
        config1=1,
        sample_period=U64,
        disabled=True,
        pinned=True,
        exclude_hv=True,
        exclude_host=True,
    )
    return attr._replace(**changes)


@dataclass
class Host:
    """One hart with a fake event source, and the perf layer on it."""

    source: FakeSource
    pmu: PhysicalPmu
    perf: HostPmuPerf
    overflows: list[int] = field(default_factory=list)
    """The count of the event at each overflow."""

    def run(self, instructions: int, **others: Any) -> None:
        """Run the guest as a run loop does: up to the budget, then take the interrupts."""
        while instructions:
            budget = self.perf.budget()
            step = instructions if budget is None else min(budget, instructions)
            self.source.run(step, **others)
            instructions -= step
            self.perf.poll()
            assert self.perf.budget() != 0, "an overflow was polled and is still due"

    def create(self, name: str = "cycles", **changes: Any) -> HostPmuEvent:
        """An event for the guest that notes its overflows."""
        return self.perf.create(kvm_attr(name, **changes), lambda event: self.overflows.append(event.read()))

    def started(self, name: str = "cycles", **changes: Any) -> HostPmuEvent:
        """The same, enabled."""
        event = self.create(name, **changes)
        event.enable()
        return event


def make_host(description: str | HostPmuDescription, **options: Any) -> Host:
    """`description`: a name, or a whole description."""
    described = load_host_pmu(description) if isinstance(description, str) else description
    source = FakeSource()
    pmu = PhysicalPmu(source, described.counters)
    return Host(source, pmu, HostPmuPerf(pmu, described, **options))
