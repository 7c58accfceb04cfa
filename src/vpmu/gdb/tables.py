"""What a machine's counters, profile and faults are now, as lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vpmu.gdb import registers
from vpmu.hart.events import Mode
from vpmu.kvm.pmu import VcpuPmu
from vpmu.spec.sbi_events import EVENT_IDX_INVALID, event_name

if TYPE_CHECKING:
    from vpmu.hart.pmu import PhysicalPmu
    from vpmu.see.guest_hart import GuestHart
    from vpmu.vmm.machine import Machine

_LEVELS = {
    Mode.M: "firmware", Mode.S: "kernel", Mode.U: "program", Mode.VS: "guest kernel",
    Mode.VU: "guest program",
}  # fmt: skip
_HOST = {Mode.S: "host kernel", Mode.U: "host program"}


def level(machine: Machine, vcpu: GuestHart) -> str:
    """What runs on a hart now, in words."""
    mode, hart = vcpu.hart.mode, vcpu.hart
    name = _LEVELS[mode]
    if hart.whole and "h" in hart.isa:
        name = _HOST.get(mode, name)
    elif not hart.whole and machine.profile.base.startswith("opensbi"):
        name = {Mode.VS: "kernel", Mode.VU: "program"}[mode]
    return f"{name}, {registers.mode_name(hart)} mode"


def counters(machine: Machine, vcpu: GuestHart) -> Iterator[str]:
    """The counters that the guest has, then the hart's."""
    pmu = vcpu.pmu
    if isinstance(pmu, VcpuPmu):
        held = [counter for counter in pmu.counters if counter.event_idx != EVENT_IDX_INVALID]
        bound = f"{len(held)} of {pmu.num_counters_total} counters"
        yield f"hart {vcpu.id}: {bound} of {machine.profile.name} are bound"
        for counter in held:
            kind = "firmware" if counter.firmware else "hardware"
            how = "running" if counter.started else "stopped"
            if counter.event is not None:
                how += f", perf event {counter.event.state.name.lower()}"
            if counter.overflown:
                how += ", overflown"
            value = registers.counter(vcpu, counter.idx) or 0
            name = f"counter {counter.idx:2} {kind} {event_name(counter.event_idx)}"
            yield f"  {name}: {value:#x} ({value:,}), {how}"
    elif not hasattr(pmu, "physical"):
        yield f"hart {vcpu.id}: {pmu.num_counters_total} counters of {machine.profile.name}"
    physical = getattr(vcpu.perf, "physical", None)
    if physical is not None:
        yield f"hart {vcpu.id}: the hart's own counters (host PMU {machine.host_pmu.name})"
        yield from _physical(physical, vcpu)


def _physical(physical: PhysicalPmu, vcpu: GuestHart) -> Iterator[str]:
    for index in physical.layout.indices:
        counter = physical._counters[index]
        if not counter.selector:
            continue
        value = counter.base + (physical._count(counter) - counter.mark if counter.running else 0)
        names = "+".join(event.name.lower().replace("_", "-") for event in counter.selector)
        modes = "+".join(mode.name or "?" for mode in counter.modes)
        over = ", overflown" if counter.overflow or (counter.interrupts and value > counter.mask) else ""
        shown = value & counter.mask
        yield (
            f"  counter {index:2} {names} in {modes}: {shown:#x} ({shown:,}), "
            f"{'running' if counter.running else 'stopped'}{over}"
        )


def profile(machine: Machine) -> Iterator[str]:
    """Who answers the guest."""
    found = machine.profile
    yield f"{found.name}: {found.summary}"
    yield f"host PMU {machine.host_pmu.name}; {machine.levels.answers or 'nobody'} answers SBI calls"
    for behaviour in sorted(found.behaviours, key=lambda one: one.name):
        yield f"  {behaviour.name}: {behaviour.summary}"


def rules(machine: Machine) -> Iterator[str]:
    """The fault plan's."""
    if machine.injection is None:
        return
    plan, injector = machine.injection.plan, machine.injection.injector
    for rule, fired in zip(plan.rules, injector.fired_by_rule, strict=True):
        facts = ",".join(f"{key}={value}" for key, value in {**rule.match, **rule.effect}.items())
        yield f"{rule.site}:{facts}: fired {fired} times"
