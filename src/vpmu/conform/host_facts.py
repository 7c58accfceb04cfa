"""What the monitor says about its host."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Kernel, machine and ISA of a KVM host."""

    kernel: str = ""
    machine: str = ""
    isa: str = ""
    log: list[str] = field(default_factory=list)
    """What the kernel logged about SBI, its PMU and KVM."""


def parse_facts(text: str) -> HostFacts:
    """The facts from the monitor's `name: value` lines."""
    pairs = [line.partition(": ")[::2] for line in text.splitlines()]
    known = {name: value for name, value in pairs if name in ("kernel", "machine", "isa")}
    return HostFacts(**known, log=[value for name, value in pairs if name == "log"])
