"""Faults on a hart with all its modes: interrupt lines into a hart whose M mode is software, and which sites
such a hart has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vpmu.faults.injector import Injector
from vpmu.firmware.bare import BareHart
from vpmu.hart.state import STATE
from vpmu.spec.privileged import IP_LCOFI

if TYPE_CHECKING:
    from vpmu.see.guest_hart import GuestHart

_SIP = STATE["sip"]
PULSE_NS = 1000
"""How long the line of an interrupt that comes twice is raised once more."""

_NO_PERF = "perf is the image's own, and no host's perf is asked"
_NO_KVM = "no KVM is below the image"
_FIRMWARE: dict[str, str] = {
    "perf.create": _NO_PERF,
    "perf.enable": _NO_PERF,
    "perf.period": _NO_PERF,
    "perf.read": _NO_PERF,
    "perf.starve": _NO_PERF,
    "kvm.allocate": _NO_KVM,
    "kvm.run": _NO_KVM,
}
MISSING: Mapping[str, Mapping[str, str]] = {
    "spec": {"kvm.run": _NO_KVM},
    "firmware": _FIRMWARE,
    "none": _FIRMWARE
    | dict.fromkeys(
        ("sbi.call", "kvm.snapshot", "kvm.reset"), "M mode is software and answers SBI calls itself"
    ),
}
"""By who answers a hart with all its modes (the specification, modelled firmware, nobody): sites that are not
there, and why.
"""


class Lines:
    """Interrupt lines of a hart whose requests may get lost, come late or come twice (kvm.interrupt)."""

    def __init__(self, injector: Injector, hart: BareHart) -> None:
        self._injector, self._hart = injector, hart
        self._due: list[tuple[int, int, bool]] = []  # virtual time, line, its level from then on
        self._again: set[int] = set()

    def raises(self, irq: int) -> bool:
        """Whether the line is raised now."""
        effect = self._injector.ask("kvm.interrupt", self._hart.hart_id, irq=irq)
        if effect is None:
            return True
        if "duplicate" in effect:
            self._again.add(irq)
            return True
        if "delay" in effect:
            self._at(int(effect["delay"]), irq, level=True)  # type: ignore[call-overload]
        return False

    def lowered(self, irq: int) -> None:
        """The line was withdrawn: what was late is gone, and what comes twice comes again."""
        for entry in [entry for entry in self._due if entry[1] == irq]:
            self._forget(entry)
        if irq in self._again:
            self._again.discard(irq)
            self._at(0, irq, level=True)
            self._at(PULSE_NS, irq, level=False)

    def elapse(self) -> None:
        """Lines whose time has come change."""
        now = self._injector.clock()
        for entry in [entry for entry in self._due if entry[0] <= now]:
            self._forget(entry)
            self._hart.set_line(entry[1], level=entry[2])

    def _at(self, delay: int, irq: int, *, level: bool) -> None:
        due = self._injector.clock() + delay
        self._due.append((due, irq, level))
        self._injector.until.append(due)

    def _forget(self, entry: tuple[int, int, bool]) -> None:
        self._due.remove(entry)
        self._injector.until.remove(entry[0])


def taken(vcpu: GuestHart) -> bool:
    """Whether no overflow interrupt is pending in a hart."""
    held = vcpu.interrupts
    return not (held.pending | held.hvip | vcpu.hart.words[_SIP]) & IP_LCOFI


def missing(vcpu: GuestHart) -> Mapping[str, str]:
    """Sites that a hart with all its modes does not have, and why."""
    if isinstance(vcpu, BareHart):
        return MISSING["none"]
    return MISSING["spec" if vcpu.pmu.csrs_trap else "firmware"]
